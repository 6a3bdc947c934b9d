import { HypervisorError } from '../errors.ts';
import { checkRange, checkUnsigned, hex } from '../validate.ts';
import type { HypervisorDoorbell, HypervisorInterrupt } from '../vm.ts';
import type { NativeEvent, NativeIrqfd, NativeVm } from './native.ts';
import type { EventPump, RingSource } from './pump.ts';
import { systemError } from './system-error.ts';
import { KVM_IOEVENTFD_FLAG_DATAMATCH, KVM_IOEVENTFD_FLAG_PIO } from './uapi.ts';

/** The bus that a doorbell listens on. */
export type Bus = 'memory' | 'port';

interface Doorbell {
  readonly bus: Bus;
  readonly address: number;
  readonly length: number;
  readonly match: number | undefined;
}

/** Ports of x86 are 16 bits wide. */
const PORT_LIMIT = 0x1_0000;

/** Eventfds: stores of the guest that ring (KVM_IOEVENTFD), and interrupts that are raised by them (KVM_IRQFD). */
export class Events {
  readonly #native: NativeVm;
  readonly #pump: EventPump;
  readonly #doorbells = new Set<Doorbell>();
  /** Keeps them from being collected, which would close them, while their user keeps only the callback. */
  readonly #open = new Set<NativeEvent>();

  constructor(native: NativeVm, pump: EventPump) {
    this.#native = native;
    this.#pump = pump;
  }

  /** @throws HypervisorError `INVALID_ARGUMENT`, `OVERLAP`, `UNSUPPORTED` */
  createDoorbell(
    bus: Bus,
    address: number,
    length: 1 | 2 | 4,
    match: number | undefined,
    onRing: () => void,
  ): HypervisorDoorbell {
    const widths: readonly number[] = bus === 'port' ? [1, 2, 4] : [2, 4];
    if (!widths.includes(length)) {
      throw new HypervisorError('INVALID_ARGUMENT', `doorbell: a width of ${length} bytes`);
    }
    checkRange('doorbell', address, length, length);
    if (bus === 'port' && address + length > PORT_LIMIT) {
      throw new HypervisorError('INVALID_ARGUMENT', `doorbell: there is no port ${hex(address)}`);
    }
    if (match !== undefined) checkUnsigned('doorbell value', match, length);
    for (const other of this.#doorbells) {
      if (
        other.bus === bus &&
        other.address === address &&
        other.length === length &&
        other.match === match
      ) {
        throw new HypervisorError(
          'OVERLAP',
          `there is a doorbell at ${hex(address)} for the same value already`,
        );
      }
    }
    const flags =
      (match === undefined ? 0 : KVM_IOEVENTFD_FLAG_DATAMATCH) |
      (bus === 'port' ? KVM_IOEVENTFD_FLAG_PIO : 0);
    let event: NativeEvent;
    try {
      event = this.#native.createIoeventfd(address, length, flags, match ?? 0, 0);
    } catch (error) {
      throw systemError(`the doorbell at ${hex(address)}`, error, {
        EEXIST: 'OVERLAP',
        ENOSPC: 'UNSUPPORTED',
        EMFILE: 'UNSUPPORTED',
      });
    }
    const doorbell = { bus, address, length, match };
    this.#doorbells.add(doorbell);
    const source = this.#listen(event, onRing);
    return {
      address,
      [Symbol.dispose]: () => {
        if (!source.active) return;
        this.#doorbells.delete(doorbell);
        this.#close(event, source);
      },
    };
  }

  /** @throws HypervisorError `UNSUPPORTED`, `INVALID_ARGUMENT` */
  createInterrupt(gsi: number, onResample: (() => void) | undefined): HypervisorInterrupt {
    let event: NativeIrqfd;
    try {
      event = this.#native.createIrqfd(gsi, onResample !== undefined);
    } catch (error) {
      throw systemError(`an interrupt at GSI ${gsi}`, error, {
        EINVAL: onResample === undefined ? 'INVALID_ARGUMENT' : 'UNSUPPORTED',
        EMFILE: 'UNSUPPORTED',
      });
    }
    const source = this.#listen(event, onResample ?? (() => undefined));
    return {
      gsi,
      trigger: () => {
        if (!source.active) return;
        try {
          event.trigger();
        } catch (error) {
          throw systemError(`the interrupt at GSI ${gsi}`, error);
        }
      },
      [Symbol.dispose]: () => {
        if (source.active) this.#close(event, source);
      },
    };
  }

  #listen(event: NativeEvent, ring: () => void): RingSource {
    const source = { pending: false, active: true, ring };
    this.#open.add(event);
    if (event.token >= 0) this.#pump.addRing(event.token, source);
    return source;
  }

  #close(event: NativeEvent, source: RingSource): void {
    source.active = false;
    this.#open.delete(event);
    if (event.token >= 0) this.#pump.removeRing(event.token);
    event.close();
  }
}
