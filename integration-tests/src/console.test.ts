import { jest } from '@jest/globals';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, existsSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { BOOT_TIMEOUT, CLI, Scratch, cli } from './support.ts';

jest.setTimeout(BOOT_TIMEOUT);

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

/** A program that has a terminal open. */
class Terminal implements Disposable {
  readonly #fd: number;
  #text = '';

  constructor(path: string) {
    this.#fd = openSync(path, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK);
  }

  type(text: string): void {
    writeSync(this.#fd, text);
  }

  async until(text: string): Promise<void> {
    const bytes = Buffer.alloc(65536);
    while (!this.#text.includes(text)) {
      try {
        const length = readSync(this.#fd, bytes);
        if (length === 0)
          throw new Error(`"${text}" did not come before the terminal hung up: ${this.#text}`);
        this.#text += bytes.toString('latin1', 0, length);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
        await sleep(20);
      }
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}

describe('run --console', () => {
  let vmm: ChildProcess | undefined;
  afterEach(() => void vmm?.kill('SIGKILL'));

  it('gives the shell a pseudo-terminal, which programs leave and come back to', async () => {
    const link = scratch.file('console');
    vmm = spawn(process.execPath, [CLI, 'run', '--hypervisor', 'wasm', '--console', `pty=${link}`], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const exited = once(vmm, 'exit');
    while (!existsSync(link)) await sleep(20);
    {
      using terminal = new Terminal(link);
      await terminal.until('# ');
      await new Promise((resolve) =>
        spawn('stty', ['-F', link, 'rows', '50', 'cols', '132']).on('exit', resolve),
      );
      terminal.type('until [ "$(stty size)" = "50 132" ]; do sleep 0.1; done; echo resized-$((6*7))\n');
      await terminal.until('resized-42');
    }
    {
      using terminal = new Terminal(link);
      terminal.type('echo again-$((6*7)); poweroff -f\n');
      await terminal.until('again-42');
      await terminal.until('Power down');
    }
    expect(await exited).toEqual([0, null]);
    expect(existsSync(link)).toBe(false);
  });

  it('writes what the kernel says into a file, beside the output of a command', async () => {
    const path = scratch.file('console.log');
    const result = await cli([
      'run',
      '--hypervisor',
      'wasm',
      '--console',
      `file=${path}`,
      '--',
      'echo',
      'hi',
    ]);
    expect([result.code, result.stdout.toString()]).toEqual([0, 'hi\n']);
    expect(readFileSync(path, 'latin1')).toContain('reboot: Power down');
  });

  it.each([
    ['tape', 2, /console "tape": stdio, pty/],
    ['file=/nonexistent/log', 125, /ENOENT.*\/nonexistent\/log/],
  ])('%s is refused', async (target, code, message) => {
    const result = await cli(['run', '--hypervisor', 'wasm', '--console', target, '--', 'true']);
    expect(result.code).toBe(code);
    expect(result.stderr).toMatch(message);
  });
});
