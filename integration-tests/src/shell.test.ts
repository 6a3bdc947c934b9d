import { jest } from '@jest/globals';
import { execFileSync } from 'node:child_process';
import { BOOT_TIMEOUT, CLI, ROOT } from './support.ts';

jest.setTimeout(BOOT_TIMEOUT);

/** A terminal that runs the shell, by tmux. */
class Terminal implements Disposable {
  readonly #session = `vmm-${process.pid}-${Math.random().toString(36).slice(2)}`;

  constructor(command: string) {
    this.#tmux('new-session', '-d', '-s', this.#session, '-x', '100', '-y', '30', '-c', ROOT, command);
  }

  type(keys: string): void {
    this.#tmux('send-keys', '-t', this.#session, '-l', keys);
  }

  press(...keys: string[]): void {
    this.#tmux('send-keys', '-t', this.#session, ...keys);
  }

  screen(): string {
    return this.#tmux('capture-pane', '-p', '-t', this.#session, '-S', '-200');
  }

  resize(columns: number, rows: number): void {
    this.#tmux('resize-window', '-t', this.#session, '-x', String(columns), '-y', String(rows));
  }

  /** Waits until the screen matches; a test's own time limit ends a vain wait. */
  async waitFor(pattern: RegExp): Promise<string> {
    const deadline = Date.now() + BOOT_TIMEOUT / 2;
    for (;;) {
      const screen = this.screen();
      if (pattern.test(screen)) return screen;
      if (Date.now() > deadline) throw new Error(`${String(pattern)} did not appear on:\n${screen}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  [Symbol.dispose](): void {
    try {
      this.#tmux('kill-session', '-t', this.#session);
    } catch {
      // The session ends by itself with its command.
    }
  }

  #tmux(...args: string[]): string {
    return execFileSync('tmux', ['-L', this.#session, ...args], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }
}

describe('the interactive shell', () => {
  it('takes commands, follows the window size, passes Ctrl-C, and leaves at Ctrl-] twice', async () => {
    using terminal = new Terminal(
      `sh -c '"${process.execPath}" "${CLI}" run; echo "code=$?"; stty -a | grep -c " icanon"; sleep 600'`,
    );
    await terminal.waitFor(/Ctrl-\] twice/);
    await terminal.waitFor(/~ #\s*$/m);
    terminal.type('echo $((6 * 7)) answers\n');
    await terminal.waitFor(/^42 answers/m);
    terminal.type('stty size\n');
    await terminal.waitFor(/^30 100/m);
    terminal.resize(90, 20);
    await new Promise((resolve) => setTimeout(resolve, 500));
    terminal.type('stty size\n');
    await terminal.waitFor(/^20 90/m);
    terminal.type('sleep 1000\n');
    await new Promise((resolve) => setTimeout(resolve, 500));
    terminal.press('C-c');
    terminal.type('echo interrupted=$?\n');
    await terminal.waitFor(/^interrupted=130/m);
    terminal.press('C-]');
    terminal.press('C-]');
    const screen = await terminal.waitFor(/^code=0\s+1$/m);
    expect(screen).toContain('left');
  });

  it.each([
    ['poweroff', /the guest powered off[\s\S]*code=0/],
    ['reboot', /the guest rebooted[\s\S]*code=0/],
    ['exit', /code=0/],
  ])('ends properly at %s', async (command, pattern) => {
    using terminal = new Terminal(`sh -c '"${process.execPath}" "${CLI}" run; echo "code=$?"; sleep 600'`);
    await terminal.waitFor(/~ #\s*$/m);
    terminal.type(`${command}\n`);
    await terminal.waitFor(pattern);
  });
});
