import { checkInteger, hex, VmDeviceError } from './errors.ts';

/** A range of addresses that an {@link AddressAllocator} gave out. */
export interface AddressRange {
  readonly address: number;
  /** Bytes. */
  readonly size: number;
}

export interface AllocateOptions {
  /** The address is a multiple of this power of two. Default 1. */
  readonly alignment?: number;
  /** Exactly this address instead of the lowest that fits. */
  readonly at?: number;
}

/**
 * Gives out parts of one range of addresses, lowest fit first. Deterministic: the same calls give the same
 * addresses.
 */
export class AddressAllocator {
  readonly address: number;
  readonly size: number;
  readonly #end: number;
  /** By ascending address, never overlapping. */
  readonly #taken: AddressRange[] = [];

  /**
   * @param address first address that may be given out
   * @param size bytes
   * @throws VmDeviceError `INVALID_ARGUMENT` when the range is empty or ends beyond 2^53-1
   */
  constructor(address: number, size: number) {
    checkInteger('address', address, 0);
    checkInteger('size', size, 1);
    if (!Number.isSafeInteger(address + size)) {
      throw new VmDeviceError('INVALID_ARGUMENT', `a range at ${hex(address)} ends beyond 2^53-1`);
    }
    this.address = address;
    this.size = size;
    this.#end = address + size;
  }

  /** Ranges in use, by ascending address. */
  get allocated(): readonly AddressRange[] {
    return this.#taken.slice();
  }

  /**
   * @param size bytes, at least 1
   * @throws VmDeviceError `EXHAUSTED` when nothing that large is free, `OVERLAP` when `at` is in use,
   *   `INVALID_ARGUMENT` when the size is 0, the alignment is no power of two or `at` breaks it or lies
   *   outside
   */
  allocate(size: number, options: AllocateOptions = {}): AddressRange {
    const alignment = options.alignment ?? 1;
    checkInteger('size', size, 1);
    if (!isPowerOfTwo(alignment)) {
      throw new VmDeviceError('INVALID_ARGUMENT', `alignment must be a power of two, not ${alignment}`);
    }
    if (options.at !== undefined) return this.#allocateAt(options.at, size, alignment);

    let candidate = alignUp(this.address, alignment);
    let index = 0;
    for (const range of this.#taken) {
      if (candidate + size <= range.address) break;
      candidate = Math.max(candidate, alignUp(range.address + range.size, alignment));
      index++;
    }
    if (candidate > this.#end - size) {
      throw new VmDeviceError(
        'EXHAUSTED',
        `no ${hex(size)} free bytes aligned to ${hex(alignment)} between ${hex(this.address)} and ${hex(this.#end)}`,
      );
    }
    return this.#insert(index, candidate, size);
  }

  /** @throws VmDeviceError `NOT_ALLOCATED` unless exactly this range is in use */
  free(range: AddressRange): void {
    const index = this.#taken.findIndex(
      (taken) => taken.address === range.address && taken.size === range.size,
    );
    if (index < 0) {
      throw new VmDeviceError(
        'NOT_ALLOCATED',
        `the range at ${hex(range.address)} with ${hex(range.size)} bytes is not in use`,
      );
    }
    this.#taken.splice(index, 1);
  }

  #allocateAt(at: number, size: number, alignment: number): AddressRange {
    checkInteger('at', at, 0);
    if (at % alignment !== 0 || at < this.address || at > this.#end - size) {
      throw new VmDeviceError(
        'INVALID_ARGUMENT',
        `${hex(size)} bytes at ${hex(at)}, aligned to ${hex(alignment)}, do not fit between ${hex(this.address)} and ${hex(this.#end)}`,
      );
    }
    let index = 0;
    for (const range of this.#taken) {
      if (range.address >= at + size) break;
      if (range.address + range.size > at) {
        throw new VmDeviceError(
          'OVERLAP',
          `${hex(size)} bytes at ${hex(at)} overlap the range at ${hex(range.address)} with ${hex(range.size)} bytes`,
        );
      }
      index++;
    }
    return this.#insert(index, at, size);
  }

  #insert(index: number, address: number, size: number): AddressRange {
    const range: AddressRange = Object.freeze({ address, size });
    this.#taken.splice(index, 0, range);
    return range;
  }
}

/** Gives out numbers of one range, e.g. interrupt lines, lowest first. */
export class IdAllocator {
  readonly first: number;
  readonly last: number;
  readonly #taken = new Set<number>();
  /** No number below this one is free. */
  #lowest: number;

  /**
   * @param first lowest number, at least 0
   * @param last highest number, inclusive
   * @throws VmDeviceError `INVALID_ARGUMENT` when `last` lies below `first`
   */
  constructor(first: number, last: number) {
    checkInteger('first', first, 0);
    checkInteger('last', last, first);
    this.first = first;
    this.last = last;
    this.#lowest = first;
  }

  /** How many numbers are in use. */
  get used(): number {
    return this.#taken.size;
  }

  has(id: number): boolean {
    return this.#taken.has(id);
  }

  /**
   * @param at exactly this number instead of the lowest free one
   * @throws VmDeviceError `EXHAUSTED`; with `at`, `OVERLAP` when it is in use and `INVALID_ARGUMENT` when it
   *   lies outside
   */
  allocate(at?: number): number {
    if (at !== undefined) {
      if (!Number.isInteger(at) || at < this.first || at > this.last) {
        throw new VmDeviceError('INVALID_ARGUMENT', `${at} is not from ${this.first} to ${this.last}`);
      }
      if (this.#taken.has(at)) throw new VmDeviceError('OVERLAP', `${at} is in use`);
      this.#taken.add(at);
      return at;
    }
    while (this.#taken.has(this.#lowest)) this.#lowest++;
    if (this.#lowest > this.last) {
      throw new VmDeviceError('EXHAUSTED', `all numbers from ${this.first} to ${this.last} are in use`);
    }
    const id = this.#lowest++;
    this.#taken.add(id);
    return id;
  }

  /** @throws VmDeviceError `NOT_ALLOCATED` */
  free(id: number): void {
    if (!this.#taken.delete(id)) throw new VmDeviceError('NOT_ALLOCATED', `${id} is not in use`);
    this.#lowest = Math.min(this.#lowest, id);
  }
}

function isPowerOfTwo(value: number): boolean {
  return Number.isSafeInteger(value) && value > 0 && Number.isInteger(Math.log2(value));
}

function alignUp(value: number, alignment: number): number {
  const remainder = value % alignment;
  return remainder === 0 ? value : value + (alignment - remainder);
}
