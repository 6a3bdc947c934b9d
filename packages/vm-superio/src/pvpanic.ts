import type { BusDevice } from '@vmm/vm-device';

/** Port of the ISA device. */
export const PVPANIC_PORT = 0x505;
/** Bits of the register: the guest's kernel has panicked, or runs a crash kernel. */
export const PVPANIC_PANICKED = 0x1;
export const PVPANIC_CRASH_LOADED = 0x2;
const SUPPORTED = PVPANIC_PANICKED | PVPANIC_CRASH_LOADED;

/** The paravirtual panic device: one byte through which a guest's kernel says that it is at its end. */
export class Pvpanic implements BusDevice {
  readonly #onEvent: (events: number) => void;

  /** @param onEvent runs with {@link PVPANIC_PANICKED} and {@link PVPANIC_CRASH_LOADED}; must not throw */
  constructor(onEvent: (events: number) => void) {
    this.#onEvent = onEvent;
  }

  /** Events that the device knows. */
  read(offset: number): number {
    return offset === 0 ? SUPPORTED : 0;
  }

  write(offset: number, _length: 1 | 2 | 4, value: number): void {
    const events = value & SUPPORTED;
    if (offset === 0 && events !== 0) this.#onEvent(events);
  }
}
