import { checkInteger, hex, VmDeviceError } from './errors.ts';
import type { BusDevice } from './device.ts';

/** Width of a guest access in bytes. */
export type AccessLength = 1 | 2 | 4 | 8;

export interface BusOptions {
  /** Used in messages. Default `bus`. */
  readonly name?: string;
  /** First address beyond the bus, at most 2^53-1: 0x10000 for x86 port I/O. Default 2^53-1. */
  readonly limit?: number;
  /**
   * An access that no device claims, or that begins inside a device's range and ends outside. Runs for each
   * one, so a guest decides how often: count or limit what you print. Must not throw.
   */
  readonly onUnclaimed?: (address: number, length: AccessLength, write: boolean) => void;
  /**
   * A device threw: `DEVICE_FAULT`, with the device's error as its cause. Runs once for each registration;
   * further throws of the same device are only counted. Must not throw.
   */
  readonly onDeviceError?: (error: VmDeviceError, registration: BusRegistration) => void;
}

/** What a bus counted since it was made. */
export interface BusStatistics {
  readonly reads: number;
  readonly writes: number;
  /** Accesses that hit nothing or crossed the end of a range. */
  readonly unclaimed: number;
  /** Accesses in which a device threw. */
  readonly deviceErrors: number;
}

/** A device's place on a bus. Disposing takes it off; more than once is harmless. */
export interface BusRegistration extends Disposable {
  readonly name: string;
  readonly address: number;
  /** Bytes. */
  readonly size: number;
}

class Range implements BusRegistration {
  readonly name: string;
  readonly address: number;
  readonly size: number;
  readonly end: number;
  readonly device: BusDevice;
  readonly #remove: (range: Range) => void;
  faultReported = false;

  constructor(
    name: string,
    address: number,
    size: number,
    device: BusDevice,
    remove: (range: Range) => void,
  ) {
    this.name = name;
    this.address = address;
    this.size = size;
    this.end = address + size;
    this.device = device;
    this.#remove = remove;
  }

  [Symbol.dispose](): void {
    this.#remove(this);
  }
}

/**
 * Routes guest accesses to the devices registered on its address ranges: one instance for MMIO, one for
 * x86 port I/O. Lookup is the range used last, then a binary search; an access allocates nothing.
 *
 * An access never throws, whatever the guest does: one that no device claims reads as 0 or is dropped, and
 * so does one in which a device throws.
 */
export class Bus {
  readonly name: string;
  readonly limit: number;
  /** Bits 63:32 of what the last {@link read} answered; 0 unless it was an 8-byte read. */
  readHigh = 0;

  #ranges: Range[] = [];
  #last: Range | undefined;
  #reads = 0;
  #writes = 0;
  #unclaimed = 0;
  #deviceErrors = 0;
  readonly #onUnclaimed: BusOptions['onUnclaimed'];
  readonly #onDeviceError: BusOptions['onDeviceError'];

  /** @throws VmDeviceError `INVALID_ARGUMENT` */
  constructor(options: BusOptions = {}) {
    this.name = options.name ?? 'bus';
    this.limit = options.limit ?? Number.MAX_SAFE_INTEGER;
    checkInteger('limit', this.limit, 1);
    this.#onUnclaimed = options.onUnclaimed;
    this.#onDeviceError = options.onDeviceError;
  }

  /** Registered ranges by ascending address. */
  get registrations(): readonly BusRegistration[] {
    return this.#ranges.slice();
  }

  get statistics(): BusStatistics {
    return {
      reads: this.#reads,
      writes: this.#writes,
      unclaimed: this.#unclaimed,
      deviceErrors: this.#deviceErrors,
    };
  }

  /**
   * Puts a device on `[address, address + size)`.
   *
   * @param name used in messages and hooks
   * @throws VmDeviceError `OVERLAP` when a part of the range is taken, `INVALID_ARGUMENT` when it is empty
   *   or does not fit below the limit
   */
  register(address: number, size: number, device: BusDevice, name = 'device'): BusRegistration {
    checkInteger('address', address, 0);
    checkInteger('size', size, 1);
    if (address > this.limit - size) {
      throw new VmDeviceError(
        'INVALID_ARGUMENT',
        `${name} at ${hex(address)} with ${hex(size)} bytes does not fit below the limit ${hex(this.limit)} of ${this.name}`,
      );
    }
    const index = this.#firstEndingAfter(address);
    const neighbour = this.#ranges[index];
    if (neighbour !== undefined && neighbour.address < address + size) {
      throw new VmDeviceError(
        'OVERLAP',
        `${name} at ${hex(address)} with ${hex(size)} bytes overlaps ${neighbour.name} at ${hex(neighbour.address)} with ${hex(neighbour.size)} bytes on ${this.name}`,
      );
    }
    const range = new Range(name, address, size, device, (gone) => this.#remove(gone));
    this.#ranges.splice(index, 0, range);
    return range;
  }

  /**
   * Bits 31:0 of what the device answers, unsigned; bits 63:32 of an 8-byte read are left in
   * {@link readHigh}.
   */
  read(address: number, length: AccessLength): number {
    this.#reads++;
    this.readHigh = 0;
    const range = this.#find(address);
    if (range === undefined || address + length > range.end) {
      this.#reportUnclaimed(address, length, false);
      return 0;
    }
    const offset = address - range.address;
    try {
      switch (length) {
        case 1:
          return range.device.read(offset, 1) & 0xff;
        case 2:
          return range.device.read(offset, 2) & 0xffff;
        case 4:
          return range.device.read(offset, 4) >>> 0;
        case 8: {
          const low = range.device.read(offset, 4) >>> 0;
          this.readHigh = range.device.read(offset + 4, 4) >>> 0;
          return low;
        }
      }
    } catch (error) {
      this.#reportFault(range, address, 'read', error);
      return 0;
    }
  }

  /**
   * @param value bits 31:0; bits beyond `length` are ignored
   * @param valueHigh bits 63:32 of an 8-byte write
   */
  write(address: number, length: AccessLength, value: number, valueHigh = 0): void {
    this.#writes++;
    const range = this.#find(address);
    if (range === undefined || address + length > range.end) {
      this.#reportUnclaimed(address, length, true);
      return;
    }
    const offset = address - range.address;
    try {
      switch (length) {
        case 1:
          range.device.write(offset, 1, value & 0xff);
          return;
        case 2:
          range.device.write(offset, 2, value & 0xffff);
          return;
        case 4:
          range.device.write(offset, 4, value >>> 0);
          return;
        case 8:
          range.device.write(offset, 4, value >>> 0);
          range.device.write(offset + 4, 4, valueHigh >>> 0);
          return;
      }
    } catch (error) {
      this.#reportFault(range, address, 'write', error);
    }
  }

  #find(address: number): Range | undefined {
    const last = this.#last;
    if (last !== undefined && address >= last.address && address < last.end) return last;
    const range = this.#ranges[this.#firstEndingAfter(address)];
    if (range === undefined || address < range.address) return undefined;
    this.#last = range;
    return range;
  }

  /** Index of the lowest range whose end lies above `address`; the number of ranges when there is none. */
  #firstEndingAfter(address: number): number {
    const ranges = this.#ranges;
    let low = 0;
    let high = ranges.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (ranges[middle]!.end > address) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  #remove(range: Range): void {
    const index = this.#ranges.indexOf(range);
    if (index >= 0) this.#ranges.splice(index, 1);
    if (this.#last === range) this.#last = undefined;
  }

  #reportUnclaimed(address: number, length: AccessLength, write: boolean): void {
    this.#unclaimed++;
    this.#onUnclaimed?.(address, length, write);
  }

  #reportFault(range: Range, address: number, operation: string, cause: unknown): void {
    this.#deviceErrors++;
    this.readHigh = 0;
    if (range.faultReported) return;
    range.faultReported = true;
    this.#onDeviceError?.(
      new VmDeviceError(
        'DEVICE_FAULT',
        `${range.name} threw on a ${operation} at ${hex(address)} (offset ${hex(address - range.address)}) of ${this.name}`,
        { cause },
      ),
      range,
    );
  }
}
