import { VmmError } from '../errors.ts';

/**
 * What stands behind an option of the command line: `VALUE[,NAME=VALUE][,FLAG]…`. A comma inside of a value is written
 * twice. Every part is to be taken; {@link done} refuses what is left.
 */
export class OptionList {
  /** The first part. */
  readonly value: string;
  readonly #option: string;
  readonly #known: string[] = [];
  readonly #parts = new Map<string, string[]>();

  /** @param option name of the option, for messages */
  constructor(option: string, text: string) {
    this.#option = option;
    // No command line holds a NUL.
    const [value = '', ...parts] = text
      .replaceAll(',,', '\0')
      .split(',')
      .map((part) => part.replaceAll('\0', ','));
    this.value = value;
    for (const part of parts) {
      const at = part.indexOf('=');
      const name = at < 0 ? part : part.slice(0, at);
      const values = this.#parts.get(name) ?? [];
      if (at >= 0) values.push(part.slice(at + 1));
      else if (values.length > 0) throw this.error(`"${name}" is given twice`);
      this.#parts.set(name, values);
    }
  }

  error(message: string): VmmError {
    return new VmmError('INVALID_CONFIG', `${this.#option}: ${message}`);
  }

  /** Whether a part without a value is there. */
  flag(name: string): boolean {
    const values = this.#take(name, name);
    if (values !== undefined && values.length > 0) throw this.error(`"${name}" takes no value`);
    return values !== undefined;
  }

  /** A part that may be there once, with a value or without: then it is the empty text. */
  flagOrText(name: string): string | undefined {
    const values = this.#take(name, `${name}[=…]`);
    if (values !== undefined && values.length > 1)
      throw this.error(`"${name}" is given ${values.length} times`);
    return values === undefined ? undefined : (values[0] ?? '');
  }

  /** The value of a part that may be there once. */
  text(name: string): string | undefined {
    const values = this.texts(name);
    if (values.length > 1) throw this.error(`"${name}" is given ${values.length} times`);
    return values[0];
  }

  /** The values of a part that may be there more than once. */
  texts(name: string): readonly string[] {
    const values = this.#take(name, `${name}=…`);
    if (values === undefined) return [];
    if (values.length === 0 || values.includes('')) throw this.error(`"${name}" needs a value: ${name}=…`);
    return values;
  }

  /** A whole number. */
  integer(name: string, minimum: number, maximum: number): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= minimum && value <= maximum))
      throw this.error(`${name}=${text} is out of range, ${minimum} to ${maximum} are possible`);
    return value;
  }

  /** A number with K, M or G (powers of 1024). */
  bytes(name: string): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const match = /^(\d+)([KMG]?)$/i.exec(text);
    const value = match === null ? Number.NaN : Number(match[1]) * BYTES[match[2]!.toUpperCase()]!;
    if (!(value >= 1 && Number.isSafeInteger(value)))
      throw this.error(`${name}=${text} is no number of bytes: write 500000, 64K, 10M or 1G`);
    return value;
  }

  /** @throws VmmError `INVALID_CONFIG` naming what is left, and what is known */
  done(): void {
    for (const name of this.#parts.keys()) {
      const known = this.#known.length === 0 ? 'takes nothing more' : `knows ${this.#known.join(', ')}`;
      throw this.error(`"${name}" is unknown; it ${known}`);
    }
  }

  #take(name: string, shown: string): string[] | undefined {
    this.#known.push(shown);
    const values = this.#parts.get(name);
    this.#parts.delete(name);
    return values;
  }
}

const BYTES: Readonly<Record<string, number>> = { '': 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3 };
