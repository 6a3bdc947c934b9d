import { ArchError } from './errors.ts';

declare const TextEncoder: new () => { encode(text: string): Uint8Array };

/**
 * A kernel command line under construction: parameters separated by single spaces (Linux
 * admin-guide/kernel-parameters). Every method throws an {@link ArchError} and leaves the line as it was
 * when the result would be too long (`COMMAND_LINE_TOO_LONG`) or would hold NUL, a line end or another
 * control character (`BAD_COMMAND_LINE`).
 */
export class CommandLine {
  /** Largest length in bytes of UTF-8, the terminating NUL included. */
  readonly limit: number;
  #text = '';

  /** @param limit in bytes, NUL included; 2048 is arm64's and x86's COMMAND_LINE_SIZE */
  constructor(limit = 2048) {
    if (!Number.isSafeInteger(limit) || limit < 1) {
      throw new ArchError('INVALID_ARGUMENT', `a command line limit of ${limit} bytes`);
    }
    this.limit = limit;
  }

  /** Adds text as it is, one or more parameters. Empty text adds nothing. */
  append(text: string): this {
    const trimmed = text.trim();
    const bad = /\p{Cc}/u.exec(trimmed);
    if (bad !== null) {
      throw new ArchError(
        'BAD_COMMAND_LINE',
        `control character 0x${bad[0].charCodeAt(0).toString(16)} in the command line`,
      );
    }
    if (trimmed === '') return this;
    const joined = this.#text === '' ? trimmed : `${this.#text} ${trimmed}`;
    const size = new TextEncoder().encode(joined).length + 1;
    if (size > this.limit) {
      throw new ArchError(
        'COMMAND_LINE_TOO_LONG',
        `the command line takes ${size} bytes with its NUL, more than ${this.limit}`,
      );
    }
    this.#text = joined;
    return this;
  }

  /**
   * Adds `name` or `name=value`, in double quotes when the value has spaces.
   *
   * @throws ArchError `BAD_COMMAND_LINE` for a name with spaces, `=` or quotes, or a value that would need a
   *   quote inside quotes, which the kernel's parser does not know
   */
  set(name: string, value?: string | number): this {
    if (name === '' || /[\s="]/.test(name)) {
      throw new ArchError('BAD_COMMAND_LINE', `parameter name ${JSON.stringify(name)}`);
    }
    if (value === undefined) return this.append(name);
    const text = String(value);
    if (text.includes('"')) throw new ArchError('BAD_COMMAND_LINE', `a quote in the value of ${name}`);
    return this.append(text.includes(' ') ? `${name}="${text}"` : `${name}=${text}`);
  }

  toString(): string {
    return this.#text;
  }
}
