import { type AccessLength, Bus, type BusDevice } from '@vmm/vm-device';
import { busHooks } from './bus-hooks.ts';

/** x86 I/O ports. */
const PORTS = 0x1_0000;
/** What a read of nothing answers: no device drives the data lines. */
const FLOATING = 0xffff_ffff;

/** The I/O ports of a machine. */
export class PortBus {
  readonly #bus: Bus;
  /** Lines that nothing drove in the last access. */
  #floating = 0;

  constructor(debug: (message: string) => void) {
    const hooks = busHooks(debug);
    this.#bus = new Bus({
      name: 'I/O ports',
      limit: PORTS,
      ...hooks,
      onUnclaimed: (...access) => {
        this.#floating = FLOATING;
        hooks.onUnclaimed(...access);
      },
    });
  }

  register(port: number, size: number, device: BusDevice, name: string): void {
    this.#bus.register(port, size, device, name);
  }

  read(port: number, length: AccessLength): number {
    this.#floating = 0;
    const value = this.#bus.read(port, length);
    return (value | this.#floating) >>> 0;
  }

  write(port: number, length: AccessLength, value: number): void {
    this.#bus.write(port, length, value);
  }
}
