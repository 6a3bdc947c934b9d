import { HypervisorError } from '../errors.ts';
import type { GuestMemoryRegion } from '../vm.ts';
import type { SharedState } from './shared.ts';
import { checkRange, hex } from '../validate.ts';
import { WASM_PAGE } from './webassembly.ts';

/** Granule of guest memory. */
const GUEST_PAGE = 4096;

interface Entry {
  readonly region: GuestMemoryRegion;
  readonly offset: number;
}

/** Guest memory: carves regions out of the shared memory and keeps the engine's table of them. */
export class RegionTable {
  readonly #shared: SharedState;
  readonly #maxMemory: number;
  #entries: Entry[] = [];
  #mapped = 0;
  /** Where the next region begins. Regions are never given out twice, as views of an old one may still be in use. */
  #next: number;

  constructor(shared: SharedState, maxMemory: number) {
    this.#shared = shared;
    this.#maxMemory = maxMemory;
    this.#next = shared.layout.RAM_BASE;
  }

  get regions(): readonly GuestMemoryRegion[] {
    return this.#entries.map(({ region }) => region).sort((a, b) => a.guestAddress - b.guestAddress);
  }

  /** @throws HypervisorError `INVALID_ARGUMENT`, `OVERLAP`, `OUT_OF_MEMORY` */
  map(guestAddress: number, size: number, readOnly: boolean): GuestMemoryRegion {
    checkRange('guest memory', guestAddress, size, GUEST_PAGE);
    if (size % GUEST_PAGE !== 0) {
      throw new HypervisorError(
        'INVALID_ARGUMENT',
        `size ${size} of guest memory is not a multiple of ${GUEST_PAGE}`,
      );
    }
    for (const { region } of this.#entries) {
      if (
        guestAddress < region.guestAddress + region.bytes.length &&
        region.guestAddress < guestAddress + size
      ) {
        const end = hex(region.guestAddress + region.bytes.length - 1);
        throw new HypervisorError(
          'OVERLAP',
          `${size} bytes at ${hex(guestAddress)} overlap the memory from ${hex(region.guestAddress)} to ${end}`,
        );
      }
    }
    const { layout, memory } = this.#shared;
    if (this.#entries.length === layout.MAX_REGIONS) {
      throw new HypervisorError(
        'OUT_OF_MEMORY',
        `the VM has ${layout.MAX_REGIONS} regions of memory, which is the limit`,
      );
    }
    const pages = Math.ceil(size / WASM_PAGE);
    if (this.#mapped + size > this.#maxMemory || this.#next + pages * WASM_PAGE > memory.buffer.byteLength) {
      throw new HypervisorError(
        'OUT_OF_MEMORY',
        `${size} more bytes exceed the VM's maxMemory of ${this.#maxMemory}, of which ${this.#next - layout.RAM_BASE} are taken`,
      );
    }
    const offset = this.#next;
    const bytes = new Uint8Array(memory.buffer, offset, size);
    const region = { guestAddress, bytes, readOnly };
    this.#next += pages * WASM_PAGE;
    this.#mapped += size;
    this.#entries.push({ region, offset });
    this.#publish(this.#entries.length - 1);
    return region;
  }

  /** @throws HypervisorError `INVALID_ARGUMENT` for a region that is not mapped */
  unmap(region: GuestMemoryRegion): void {
    const index = this.#entries.findIndex((entry) => entry.region === region);
    if (index < 0) throw new HypervisorError('INVALID_ARGUMENT', 'the region is not one of this VM');
    this.#entries.splice(index, 1);
    region.bytes.fill(0);
    this.#publish(0);
  }

  /** Writes the entries from `first` on, then their number: a vCPU that runs sees a new one whole or not at all. */
  #publish(first: number): void {
    const { words, layout } = this.#shared;
    const { HEADER } = layout;
    this.#entries.slice(first).forEach(({ region, offset }, index) => {
      const base = HEADER + layout.HEADER_REGIONS + (first + index) * layout.REGION_STRIDE;
      this.#shared.writeNumber((base + layout.REGION_BASE) / 4, region.guestAddress);
      this.#shared.writeNumber((base + layout.REGION_SIZE) / 4, region.bytes.length);
      words[(base + layout.REGION_OFFSET) / 4] = offset;
      words[(base + layout.REGION_FLAGS) / 4] = region.readOnly ? layout.REGION_READ_ONLY : 0;
    });
    Atomics.store(words, (HEADER + layout.HEADER_REGION_COUNT) / 4, this.#entries.length);
  }
}
