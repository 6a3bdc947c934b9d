// Runs inside the rig: commands as JSON lines on standard input, their results as JSON lines on standard output.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** @param {{ argv: string[], stdin?: string, env?: Record<string, string>, cwd?: string, timeoutMs?: number }} command */
function execute({ argv, stdin, env, cwd, timeoutMs }) {
  return new Promise((resolve) => {
    const started = performance.now();
    const [file = '', ...args] = argv;
    const child = spawn(file, args, { cwd, env: { ...process.env, ...env }, stdio: 'pipe', detached: true });
    const stdout = [];
    const stderr = [];
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      process.kill(-child.pid, 'SIGKILL');
    }, timeoutMs ?? 600_000);
    const finish = (result) => {
      clearTimeout(timer);
      resolve({
        ...result,
        timedOut,
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
