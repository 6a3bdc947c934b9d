// Runs inside the rig: commands as JSON lines on standard input, their results as JSON lines on standard output.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** What looks at a command that takes too long may take so long itself. */
const ON_TIMEOUT_MS = 60_000;

/**
 * @param {{ argv: string[], stdin?: string, env?: Record<string, string>, cwd?: string, timeoutMs?: number,
 *   onTimeout?: string[] }} command
 */
function execute({ argv, stdin, env, cwd, timeoutMs, onTimeout }) {
  return new Promise((resolve) => {
    const started = performance.now();
    const [file = '', ...args] = argv;
    const child = spawn(file, args, { cwd, env: { ...process.env, ...env }, stdio: 'pipe', detached: true });
    const stdout = [];
    const stderr = [];
    let timedOut = false;
    let lastWords;
    const timer = setTimeout(async () => {
      timedOut = true;
      if (onTimeout !== undefined)
        lastWords = (await execute({ argv: onTimeout, cwd, timeoutMs: ON_TIMEOUT_MS })).stdout;
      if (child.exitCode === null && child.signalCode === null) process.kill(-child.pid, 'SIGKILL');
    }, timeoutMs ?? 600_000);
    const finish = (result) => {
      clearTimeout(timer);
      resolve({
        ...result,
        timedOut,
        lastWords,
        milliseconds: Math.round(performance.now() - started),
        stdout: Buffer.concat(stdout).toString('base64'),
        stderr: Buffer.concat(stderr).toString('base64'),
      });
    };
    child.stdout.on('data', (bytes) => stdout.push(bytes));
    child.stderr.on('data', (bytes) => stderr.push(bytes));
    child.stdin.on('error', () => undefined);
    child.stdin.end(Buffer.from(stdin ?? '', 'base64'));
    child.on('error', (error) => finish({ code: 127, signal: null, error: error.message }));
    child.on('close', (code, signal) => finish({ code, signal }));
  });
}

for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  if (line !== '') process.stdout.write(`${JSON.stringify(await execute(JSON.parse(line)))}\n`);
}
