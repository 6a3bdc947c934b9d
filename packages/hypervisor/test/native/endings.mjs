import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const CHILD = fileURLToPath(new URL('child.mjs', import.meta.url));

/** The cases of child.mjs and the exit code of each: its own 7, or Node's 1 for an uncaught error. */
export const ENDINGS = {
  exit: 7,
  'exit-later': 7,
  uncaught: 1,
  'uncaught-in-events': 1,
  'uncaught-and-handled': 7,
  unused: 7,
  'end-of-loop': 7,
  'worker-terminate': 7,
  'worker-terminate-in-run': 7,
  'worker-terminate-in-exceptions': 7,
  'exit-while-worker-in-run': 7,
  'worker-ends': 7,
  collected: 7,
  kept: 7,
  'double-close': 7,
  'vm-first': 7,
  'close-in-exit': 7,
  'close-in-events': 7,
};

/** Runs one; `code` is null after two minutes, which only a hang takes. */
export function runEnding(addon, name, env = {}) {
  const result = spawnSync(process.execPath, ['--expose-gc', CHILD, addon, name], {
    encoding: 'utf8',
    env: { ...process.env, NODE_OPTIONS: '', ...env },
    killSignal: 'SIGKILL',
    timeout: 120_000,
  });
  return { code: result.status, output: `${result.stdout}${result.stderr}` };
}
