import { VirtioDeviceError } from './errors.ts';

/** Reads the fields of a saved state of unknown origin; whatever does not fit throws `INVALID_STATE`. */
export class StateReader {
  readonly #what: string;
  readonly #fields: Readonly<Record<string, unknown>>;

  /**
   * @param what names the state in messages
   * @throws VirtioDeviceError `INVALID_STATE` unless `state` is an object
   */
  constructor(what: string, state: unknown) {
    if (typeof state !== 'object' || state === null || Array.isArray(state)) {
      throw new VirtioDeviceError('INVALID_STATE', `${what} must be an object`);
    }
    this.#what = what;
    this.#fields = state as Readonly<Record<string, unknown>>;
  }

  /** Requires the field `version` to be `expected`. */
  version(expected: number): void {
    const version = this.#fields['version'];
    if (version !== expected) {
      throw new VirtioDeviceError(
        'INVALID_STATE',
        `${this.#what} has version ${String(version)}, this release reads ${expected}`,
      );
    }
  }

  integer(name: string, minimum: number, maximum: number): number {
    const value = this.#fields[name];
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < minimum || value > maximum) {
      throw this.#invalid(name, `an integer from ${minimum} to ${maximum}`);
    }
    return value;
  }

  uint32(name: string): number {
    return this.integer(name, 0, 0xffff_ffff);
  }

  boolean(name: string): boolean {
    const value = this.#fields[name];
    if (typeof value !== 'boolean') throw this.#invalid(name, 'a boolean');
    return value;
  }

  array(name: string): readonly unknown[] {
    const value = this.#fields[name];
    if (!Array.isArray(value)) throw this.#invalid(name, 'an array');
    return value as readonly unknown[];
  }

  /** A copy. */
  bytes(name: string): Uint8Array {
    const value = this.#fields[name];
    if (!(value instanceof Uint8Array)) throw this.#invalid(name, 'a Uint8Array');
    return value.slice();
  }

  unknown(name: string): unknown {
    return this.#fields[name];
  }

  #invalid(name: string, expected: string): VirtioDeviceError {
    return new VirtioDeviceError('INVALID_STATE', `${this.#what}: ${name} must be ${expected}`);
  }
}
