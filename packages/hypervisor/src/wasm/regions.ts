import { HypervisorError } from '../errors.ts';
import type { DiscardBytes } from '../discard.ts';
import type { MapFileBytes } from '../memory-file.ts';
import { checkMemoryFile } from '../memory-file.ts';
import type { GuestMemoryRegion, MapMemoryOptions, MemoryFile } from '../vm.ts';
import type { SharedState } from './shared.ts';
import { checkRange, hex } from '../validate.ts';

/** Granule of guest memory. */
const GUEST_PAGE = 4096;

/** Where regions begin in the engine's memory: each has words of the dirty log of its own. */
export const REGION_ALIGNMENT: number = 32 * GUEST_PAGE;

interface Entry {
  readonly region: GuestMemoryRegion;
  /** In the engine's memory. */
  readonly offset: number;
  /** How many bytes, from the first on, are a mapping of a file. */
  readonly fileBytes: number;
}

/** What the surroundings can do with memory. */
export interface MemoryHost {
  readonly mapFile?: MapFileBytes | undefined;
  readonly discard?: DiscardBytes | undefined;
}

/** Guest memory: carves regions out of the shared memory and keeps the engine's table of them. */
export class RegionTable {
  readonly #shared: SharedState;
  readonly #maxMemory: number;
  readonly #host: MemoryHost;
  #entries: Entry[] = [];
  #mapped = 0;
  /** Where the next region begins. Regions are never given out twice, as views of an old one may still be in use. */
  #next: number;

  constructor(shared: SharedState, maxMemory: number, host: MemoryHost) {
    this.#shared = shared;
    this.#maxMemory = maxMemory;
    this.#host = host;
    this.#next = shared.layout.RAM_BASE;
  }

  get regions(): readonly GuestMemoryRegion[] {
    return this.#entries.map(({ region }) => region).sort((a, b) => a.guestAddress - b.guestAddress);
  }

  /**
   * Where a region lies in the engine's memory.
   *
   * @throws HypervisorError `INVALID_ARGUMENT` for a region that is not mapped
   */
  offsetOf(region: GuestMemoryRegion): number {
    return this.#entries[this.#indexOf(region)]!.offset;
  }

  /** How many bytes of a region, from the first on, are a mapping of a file. */
  fileBytes(region: GuestMemoryRegion): number {
    return this.#entries[this.#indexOf(region)]!.fileBytes;
  }

  #indexOf(region: GuestMemoryRegion): number {
    const index = this.#entries.findIndex((entry) => entry.region === region);
    if (index < 0) throw new HypervisorError('INVALID_ARGUMENT', 'the region is not one of this VM');
    return index;
  }

  /** @throws HypervisorError `INVALID_ARGUMENT`, `OVERLAP`, `OUT_OF_MEMORY`, `UNSUPPORTED`, `SYSTEM` */
  map(guestAddress: number, size: number, options: MapMemoryOptions = {}): GuestMemoryRegion {
    const { readOnly = false, file } = options;
    if (file !== undefined) checkMemoryFile(file);
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
    const taken = Math.ceil(size / REGION_ALIGNMENT) * REGION_ALIGNMENT;
    if (this.#mapped + size > this.#maxMemory || this.#next + taken > memory.buffer.byteLength) {
      throw new HypervisorError(
        'OUT_OF_MEMORY',
        `${size} more bytes exceed the VM's maxMemory of ${this.#maxMemory}, of which ${this.#next - layout.RAM_BASE} are taken`,
      );
    }
    const offset = this.#next;
    const bytes = new Uint8Array(memory.buffer, offset, size);
    const region = { guestAddress, bytes, readOnly };
    const fileBytes = file === undefined ? 0 : this.#mapFile(bytes, file);
    this.#next += taken;
    this.#mapped += size;
    this.#entries.push({ region, offset, fileBytes });
    this.#publish(this.#entries.length - 1);
    return region;
  }

  /** @throws HypervisorError `INVALID_ARGUMENT` for a region that is not mapped */
  unmap(region: GuestMemoryRegion): void {
    const [entry] = this.#entries.splice(this.#indexOf(region), 1);
    const size = region.bytes.length;
    if (entry!.fileBytes > 0)
      this.#host.discard?.(region.bytes, Float64Array.of(0, size), 2, entry!.fileBytes);
    region.bytes.fill(0);
    this.#publish(0);
  }

  /** A call that fails may have put some of the file there: the place is not used then, but it is the next one's. */
  #mapFile(bytes: Uint8Array, { fd, offset }: MemoryFile): number {
    const { mapFile } = this.#host;
    if (mapFile === undefined)
      throw new HypervisorError('UNSUPPORTED', 'files cannot be guest memory where this program runs');
    try {
      return mapFile(bytes, fd, offset);
    } catch (cause) {
      bytes.fill(0);
      throw new HypervisorError('SYSTEM', `mapping a file as guest memory: ${String(cause)}`, { cause });
    }
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
