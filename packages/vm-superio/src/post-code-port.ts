import type { BusDevice } from '@vmm/vm-device';

/**
 * The port of power-on self-test codes, 0x80, which Linux also writes to wait a microsecond. Stores may come late, several
 * at once: a hypervisor can coalesce them.
 */
export class PostCodePort implements BusDevice {
  readonly #onCode: ((code: number) => void) | undefined;
  #last = 0;

  /** @param onCode runs with each code; must not throw */
  constructor(onCode?: (code: number) => void) {
    this.#onCode = onCode;
  }

  /** The code that was written last. */
  get last(): number {
    return this.#last;
  }

  read(offset: number): number {
    return offset === 0 ? this.#last : 0;
  }

  write(offset: number, _length: 1 | 2 | 4, value: number): void {
    if (offset !== 0) return;
    this.#last = value & 0xff;
    this.#onCode?.(this.#last);
  }
}
