import { HypervisorError } from '../errors.ts';
import type { MapFileBytes } from '../memory-file.ts';
import { checkMemoryFile } from '../memory-file.ts';
import { checkRange, hex } from '../validate.ts';
import type { GuestMemoryRegion, MapMemoryOptions, MemoryFile } from '../vm.ts';
import type { NativeVm } from './native.ts';
import { system, systemError } from './system-error.ts';
import { KVM_GET_DIRTY_LOG, KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY } from './uapi.ts';

/** Granule of guest memory. */
const GUEST_PAGE = 4096;

// struct kvm_dirty_log
const DIRTY_LOG_SIZE = 16;
const DIRTY_LOG_SLOT = 0;

interface Entry {
  readonly region: GuestMemoryRegion;
  readonly slot: number;
  /** How many bytes, from the first on, are a mapping of a file. */
  readonly fileBytes: number;
}

/** What limits the memory of a VM. */
export interface MemoryLimits {
  /** Bytes of all regions. */
  readonly maxMemory: number;
  readonly maxRegionSize: number;
  /** KVM_CAP_NR_MEMSLOTS */
  readonly slots: number;
  /** KVM_CAP_READONLY_MEM */
  readonly readOnly: boolean;
}

/** Guest memory: one slot of KVM for each region. */
export class MemorySlots {
  readonly #native: NativeVm;
  readonly #limits: MemoryLimits;
  readonly #mapFile: MapFileBytes;
  #entries: Entry[] = [];
  #mapped = 0;
  #dirtyLog = false;

  constructor(native: NativeVm, limits: MemoryLimits, mapFile: MapFileBytes) {
    this.#native = native;
    this.#limits = limits;
    this.#mapFile = mapFile;
  }

  get regions(): readonly GuestMemoryRegion[] {
    return this.#entries.map(({ region }) => region);
  }

  /** How many bytes of a region, from the first on, are a mapping of a file. */
  fileBytes(region: GuestMemoryRegion): number {
    return this.#entries.find((entry) => entry.region === region)?.fileBytes ?? 0;
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
    this.#checkLimits(size, readOnly);
    const slot = this.#freeSlot();
    const buffer = system(`mapping ${size} bytes at ${hex(guestAddress)} of guest memory`, () =>
      this.#native.mapMemory(slot, guestAddress, size, readOnly ? KVM_MEM_READONLY : this.#logFlags()),
    );
    const region = { guestAddress, bytes: new Uint8Array(buffer), readOnly };
    const fileBytes = file === undefined ? 0 : this.#overlay(slot, region, file);
    this.#entries.push({ region, slot, fileBytes });
    this.#entries.sort((a, b) => a.region.guestAddress - b.region.guestAddress);
    this.#mapped += size;
    return region;
  }

  /** Takes the slot away again when the file cannot be mapped. */
  #overlay(slot: number, { bytes, guestAddress }: GuestMemoryRegion, { fd, offset }: MemoryFile): number {
    try {
      return this.#mapFile(bytes, fd, offset);
    } catch (error) {
      this.#native.unmapMemory(slot);
      // The descriptor is the caller's, not one of the VM.
      throw systemError(`mapping a file as the guest memory at ${hex(guestAddress)}`, error, {
        EBADF: 'SYSTEM',
      });
    }
  }

  get dirtyLog(): boolean {
    return this.#dirtyLog;
  }

  #logFlags(): number {
    return this.#dirtyLog ? KVM_MEM_LOG_DIRTY_PAGES : 0;
  }

  /** @throws HypervisorError `WRONG_STATE`, `SYSTEM` */
  startDirtyLog(): void {
    if (this.#dirtyLog) throw new HypervisorError('WRONG_STATE', 'the dirty log is on already');
    this.#dirtyLog = true;
    try {
      this.#applyLog();
    } catch (error) {
      this.stopDirtyLog();
      throw error;
    }
  }

  stopDirtyLog(): void {
    if (!this.#dirtyLog) return;
    this.#dirtyLog = false;
    this.#applyLog();
  }

  /** Guests cannot store to read-only memory, so that its slots have no log. */
  #applyLog(): void {
    for (const { region, slot } of this.#entries) {
      if (region.readOnly) continue;
      system(`logging stores to the guest memory at ${hex(region.guestAddress)}`, () =>
        this.#native.setMemoryFlags(slot, this.#logFlags()),
      );
    }
  }

  /** @throws HypervisorError `WRONG_STATE`, `INVALID_ARGUMENT`, `SYSTEM` */
  takeDirtyPages(region: GuestMemoryRegion): Uint32Array {
    if (!this.#dirtyLog) throw new HypervisorError('WRONG_STATE', 'the dirty log is off');
    const entry = this.#entries.find((each) => each.region === region);
    if (entry === undefined)
      throw new HypervisorError('INVALID_ARGUMENT', 'the region is not one of this VM');
    const pages = region.bytes.length / GUEST_PAGE;
    // KVM fills whole 64-bit words.
    const bits = new Uint32Array(2 * Math.ceil(pages / 64));
    if (!region.readOnly) {
      const log = new Uint8Array(DIRTY_LOG_SIZE);
      new DataView(log.buffer).setUint32(DIRTY_LOG_SLOT, entry.slot, true);
      system(`taking the dirty log of the guest memory at ${hex(region.guestAddress)}`, () =>
        this.#native.ioctl(KVM_GET_DIRTY_LOG, log, new Uint8Array(bits.buffer)),
      );
    }
    return bits.subarray(0, Math.ceil(pages / 32));
  }

  #checkLimits(size: number, readOnly: boolean): void {
    const { maxMemory, maxRegionSize, slots } = this.#limits;
    if (readOnly && !this.#limits.readOnly) {
      throw new HypervisorError('UNSUPPORTED', 'this KVM has no read-only memory (KVM_CAP_READONLY_MEM)');
    }
    if (this.#mapped + size > maxMemory) {
      throw new HypervisorError(
        'OUT_OF_MEMORY',
        `${size} more bytes exceed the VM's maxMemory of ${maxMemory}, of which ${this.#mapped} are taken`,
      );
    }
    if (size > maxRegionSize) {
      throw new HypervisorError(
        'OUT_OF_MEMORY',
        `a region of ${size} bytes exceeds maxRegionSize, ${maxRegionSize}; map several side by side`,
      );
    }
    if (this.#entries.length >= slots) {
      throw new HypervisorError('OUT_OF_MEMORY', `all ${slots} memory slots of KVM are in use`);
    }
  }

  #freeSlot(): number {
    const used = new Set(this.#entries.map(({ slot }) => slot));
    let slot = 0;
    while (used.has(slot)) slot++;
    return slot;
  }

  /** @throws HypervisorError `INVALID_ARGUMENT` for a region that is not mapped */
  unmap(region: GuestMemoryRegion): void {
    const index = this.#entries.findIndex((entry) => entry.region === region);
    const entry = this.#entries[index];
    if (entry === undefined)
      throw new HypervisorError('INVALID_ARGUMENT', 'the region is not one of this VM');
    const size = region.bytes.length;
    system(`unmapping the guest memory at ${hex(region.guestAddress)}`, () =>
      this.#native.unmapMemory(entry.slot),
    );
    this.#entries.splice(index, 1);
    this.#mapped -= size;
  }
}
