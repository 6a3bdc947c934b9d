import { VmSuperioError } from './errors.ts';

/** Reads a saved state of unknown origin, field by field. */
export class StateReader {
  readonly #what: string;
  readonly #fields: Readonly<Record<string, unknown>>;

  /** @throws VmSuperioError `INVALID_STATE` unless `state` is an object with this version */
  constructor(what: string, state: unknown, version: number) {
    if (typeof state !== 'object' || state === null) {
      throw new VmSuperioError('INVALID_STATE', `the state of ${what} is no object`);
    }
    this.#what = what;
    this.#fields = state as Record<string, unknown>;
    const found = this.#fields['version'];
    if (found !== version) {
      throw new VmSuperioError(
        'INVALID_STATE',
        `the state of ${what} has version ${String(found)}, and this package reads ${version}`,
      );
    }
  }

  /** An integer from 0 to `max`. */
  integer(field: string, max: number, min = 0): number {
    const value = this.#fields[field];
    if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max) {
      throw this.#invalid(field, `an integer from ${min} to ${max}`);
    }
    return value;
  }

  /** A word without bits outside of `mask`. */
  bits(field: string, mask: number): number {
    const value = this.integer(field, 0xffff_ffff);
    if ((value & ~mask) !== 0) throw this.#invalid(field, `a word within 0x${mask.toString(16)}`);
    return value;
  }

  boolean(field: string): boolean {
    const value = this.#fields[field];
    if (typeof value !== 'boolean') throw this.#invalid(field, 'a boolean');
    return value;
  }

  /** At most `length` integers from 0 to `max`. */
  integers(field: string, length: number, max: number): readonly number[] {
    const value = this.#fields[field];
    if (!Array.isArray(value) || value.length > length)
      throw this.#invalid(field, `at most ${length} integers`);
    return value.map((item: unknown) => {
      if (typeof item !== 'number' || !Number.isInteger(item) || item < 0 || item > max) {
        throw this.#invalid(field, `integers from 0 to ${max}`);
      }
      return item;
    });
  }

  /** A copy of at most `length` bytes. */
  bytes(field: string, length: number): Uint8Array {
    const value = this.#fields[field];
    if (!isUint8Array(value) || value.length > length) throw this.#invalid(field, `at most ${length} bytes`);
    return Uint8Array.from(value);
  }

  #invalid(field: string, expected: string): VmSuperioError {
    return new VmSuperioError('INVALID_STATE', `'${field}' in the state of ${this.#what} is not ${expected}`);
  }
}

/** By its tag: a copy may come from another realm, where instanceof fails. */
function isUint8Array(value: unknown): value is Uint8Array {
  return ArrayBuffer.isView(value) && Object.prototype.toString.call(value) === '[object Uint8Array]';
}
