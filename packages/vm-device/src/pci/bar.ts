import type { BusDevice } from '../device.ts';
import { VmDeviceError } from '../errors.ts';
import type { PciConfigSpace } from './config-space.ts';
import {
  PCI_BASE_ADDRESS_0,
  PCI_BASE_ADDRESS_64BIT,
  PCI_BASE_ADDRESS_IO,
  PCI_BASE_ADDRESS_PREFETCHABLE,
} from './registers.ts';

/** What a Base Address register asks for. */
export type PciBarKind = 'memory32' | 'memory64' | 'io';

export interface PciBarOptions {
  /** Number of the register, 0 to 5; a 64-bit BAR takes the next one as well. */
  readonly index: number;
  readonly kind: PciBarKind;
  /** Bytes, a power of two: 16 to 2^31, for `memory64` to 2^52, for `io` 4 to 256. */
  readonly size: number;
  /** Reads have no side effects (§6.2.5.1). Default false. */
  readonly prefetchable?: boolean;
  /** What answers accesses. Without it the range reads as 0: guest memory may be mapped over it. */
  readonly device?: BusDevice;
  /**
   * The range begins to be decoded at this address, moved, or is decoded no longer (undefined). Must not throw.
   */
  readonly onMapped?: (address: number | undefined) => void;
}

/** One Base Address register (pair) of a function. */
export class PciBar {
  readonly index: number;
  readonly kind: PciBarKind;
  readonly size: number;
  readonly prefetchable: boolean;
  /** In messages. */
  readonly name: string;
  readonly device: BusDevice;
  readonly #space: PciConfigSpace;
  readonly #onMapped: PciBarOptions['onMapped'];
  #mapped: number | undefined;

  /** @throws VmDeviceError `INVALID_ARGUMENT` */
  constructor(space: PciConfigSpace, options: PciBarOptions, owner: string) {
    const { index, kind, size, prefetchable = false } = options;
    this.name = `${owner} BAR ${index}`;
    const last = kind === 'memory64' ? 4 : 5;
    const least = kind === 'io' ? 4 : 16;
    const most = kind === 'io' ? 256 : kind === 'memory32' ? 2 ** 31 : 2 ** 52;
    if (!Number.isInteger(index) || index < 0 || index > last) {
      throw new VmDeviceError('INVALID_ARGUMENT', `${this.name}: a ${kind} BAR is one of 0 to ${last}`);
    }
    if (!Number.isInteger(Math.log2(size)) || size < least || size > most) {
      throw new VmDeviceError(
        'INVALID_ARGUMENT',
        `${this.name}: the size must be a power of two from ${least} to ${most}, not ${size}`,
      );
    }
    if (kind === 'io' && prefetchable) {
      throw new VmDeviceError('INVALID_ARGUMENT', `${this.name}: I/O is not prefetchable`);
    }
    this.index = index;
    this.kind = kind;
    this.size = size;
    this.prefetchable = prefetchable;
    this.device = options.device ?? NOTHING;
    this.#onMapped = options.onMapped;
    this.#space = space;
    const low = size >= 2 ** 32 ? 0 : ~(size - 1);
    space.allowWrite(this.#offset, 4, low);
    space.set(this.#offset, 4, this.#flags);
    if (kind === 'memory64') {
      space.allowWrite(this.#offset + 4, 4, size > 2 ** 32 ? ~(size / 2 ** 32 - 1) : ~0);
    }
  }

  /** What software wrote, whether it is decoded or not; may be beyond 2^53. */
  get address(): number {
    const low = this.#space.read(this.#offset, 4);
    if (this.kind === 'io') return (low & ~3) >>> 0;
    const high = this.kind === 'memory64' ? this.#space.read(this.#offset + 4, 4) : 0;
    return high * 2 ** 32 + ((low & ~0xf) >>> 0);
  }

  /** As firmware would. @param address a multiple of the size */
  set address(address: number) {
    this.#space.set(this.#offset, 4, ((address % 2 ** 32) >>> 0) | this.#flags);
    if (this.kind === 'memory64') this.#space.set(this.#offset + 4, 4, Math.floor(address / 2 ** 32));
  }

  /** Where accesses reach the function now. */
  get mapped(): number | undefined {
    return this.#mapped;
  }

  /** For the root. */
  setMapped(address: number | undefined): void {
    if (address === this.#mapped) return;
    this.#mapped = address;
    this.#onMapped?.(address);
  }

  get #offset(): number {
    return PCI_BASE_ADDRESS_0 + 4 * this.index;
  }

  get #flags(): number {
    if (this.kind === 'io') return PCI_BASE_ADDRESS_IO;
    return (
      (this.kind === 'memory64' ? PCI_BASE_ADDRESS_64BIT : 0) |
      (this.prefetchable ? PCI_BASE_ADDRESS_PREFETCHABLE : 0)
    );
  }
}

const NOTHING: BusDevice = {
  read: () => 0,
  write: () => undefined,
};
