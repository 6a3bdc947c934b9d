import { execFileSync } from 'node:child_process';
import { BOOT_TIMEOUT, CLI, ROOT } from './support.ts';

function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

/** A terminal of 100 columns and 30 rows that runs the command, by tmux; behind it come its exit code, and whether lines are edited. */
export class Terminal implements Disposable {
  readonly #session = `vmm-${process.pid}-${Math.random().toString(36).slice(2)}`;

  constructor(
    args: readonly string[],
    { env = {} }: { readonly env?: Readonly<Record<string, string>> } = {},
  ) {
    const command = [process.execPath, CLI, ...args].map(quoted).join(' ');
    const script = `${command}; echo "code=$?"; stty -a | grep -c " icanon"; sleep 600`;
    const variables = Object.entries(env).flatMap(([name, value]) => ['-e', `${name}=${value}`]);
    const size = ['-x', '100', '-y', '30'];
    this.#tmux('new-session', '-d', '-s', this.#session, ...size, ...variables, '-c', ROOT, script);
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
