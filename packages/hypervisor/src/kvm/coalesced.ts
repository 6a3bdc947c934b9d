import { HypervisorError } from '../errors.ts';
import { checkRange, checkUnsigned, hex } from '../validate.ts';
import type { Bus } from './doorbells.ts';
import type { NativeVm } from './native.ts';
import { systemError } from './system-error.ts';
import {
  KVM_REGISTER_COALESCED_MMIO,
  KVM_UNREGISTER_COALESCED_MMIO,
  RING_ENTRIES,
  RING_ENTRY_ADDRESS,
  RING_ENTRY_DATA,
  RING_ENTRY_LEN,
  RING_ENTRY_PIO,
  RING_ENTRY_SIZE,
  RING_FIRST,
  RING_LAST,
} from './uapi.ts';

/** Called with address (or port), width in bytes and value of each store. */
export type WriteListener = (address: number, length: number, value: number) => void;

interface Range {
  readonly bus: Bus;
  readonly address: number;
  readonly length: number;
  readonly onWrite: WriteListener;
}

/** KVM tells nobody of a queued write: while threads run the ring is looked at after so many milliseconds. */
const BUSY_INTERVAL = 1;
const IDLE_INTERVAL = 16;

const PORT_LIMIT = 0x1_0000;

/**
 * Stores that KVM queues in a ring that all vCPUs of a VM share (KVM_CAP_COALESCED_MMIO, KVM_CAP_COALESCED_PIO). A full
 * ring makes the store exit.
 */
export class CoalescedWrites {
  readonly #native: NativeVm;
  #ranges: readonly Range[] = [];
  readonly #onTimer: () => void;
  #words: Uint32Array | undefined;
  /** Entries of the ring. */
  #entries = 0;
  #timer: NodeJS.Timeout | undefined;
  #interval = IDLE_INTERVAL;
  #watching = false;
  #closed = false;

  /** @param onTimer called on the event loop from time to time while threads run; is to call {@link deliver} */
  constructor(native: NativeVm, onTimer: () => void) {
    this.#native = native;
    this.#onTimer = onTimer;
  }

  /**
   * Takes the ring of a vCPU's mapping; it is the same for all vCPUs.
   *
   * @param offset page number that KVM_CAP_COALESCED_MMIO answers
   */
  attach(runPage: ArrayBuffer, offset: number): void {
    if (this.#words !== undefined || offset === 0) return;
    // The mapping has one page for kvm_run, on x86 one for port I/O, and the ring as the last.
    const page = runPage.byteLength / (offset + 1);
    this.#words = new Uint32Array(runPage, offset * page, page / 4);
    this.#entries = Math.floor((page - RING_ENTRIES) / RING_ENTRY_SIZE);
  }

  /**
   * @param taken whether KVM can take such stores; they exit otherwise
   * @throws HypervisorError `INVALID_ARGUMENT`, `OVERLAP`, `UNSUPPORTED`
   */
  add(bus: Bus, address: number, length: number, onWrite: WriteListener, taken = true): Disposable {
    checkRange('coalesced writes', address, length, 1);
    for (const other of this.#ranges) {
      if (other.bus === bus && address < other.address + other.length && other.address < address + length) {
        throw new HypervisorError(
          'OVERLAP',
          `writes from ${hex(other.address)} to ${hex(other.address + other.length - 1)} are coalesced already`,
        );
      }
    }
    checkUnsigned('length of coalesced writes', length, 4);
    if (bus === 'port' && address + length > PORT_LIMIT) {
      throw new HypervisorError('INVALID_ARGUMENT', `coalesced writes: there is no port ${hex(address)}`);
    }
    const range = { bus, address, length, onWrite };
    const zone = encodeZone(range);
    if (taken) {
      try {
        this.#native.ioctl(KVM_REGISTER_COALESCED_MMIO, zone);
      } catch (error) {
        throw systemError(`coalesced writes at ${hex(address)}`, error, { ENOSPC: 'UNSUPPORTED' });
      }
    }
    this.#ranges = [...this.#ranges, range];
    this.#arm();
    return {
      [Symbol.dispose]: () => {
        if (!this.#ranges.includes(range)) return;
        this.#ranges = this.#ranges.filter((other) => other !== range);
        this.#arm();
        if (this.#closed || !taken) return;
        try {
          this.#native.ioctl(KVM_UNREGISTER_COALESCED_MMIO, zone);
        } catch (error) {
          throw systemError(`no more coalesced writes at ${hex(address)}`, error);
        }
      },
    };
  }

  /** Whether threads run, whose writes nothing else tells of. */
  watch(running: boolean): void {
    this.#watching = running;
    this.#arm();
  }

  /** The VM is gone. */
  close(): void {
    this.#closed = true;
    this.#words = undefined;
    this.watch(false);
  }

  #arm(): void {
    if (!this.#watching || this.#ranges.length === 0) {
      clearTimeout(this.#timer);
      this.#timer = undefined;
      return;
    }
    if (this.#timer !== undefined) return;
    this.#timer = setTimeout(this.#look, this.#interval);
    // A thread keeps the event loop alive, the timer does not.
    this.#timer.unref();
  }

  readonly #look = (): void => {
    this.#timer = undefined;
    const words = this.#words;
    const busy =
      words !== undefined && Atomics.load(words, RING_LAST / 4) !== Atomics.load(words, RING_FIRST / 4);
    this.#interval = busy ? BUSY_INTERVAL : Math.min(this.#interval * 2, IDLE_INTERVAL);
    this.#arm();
    if (busy) this.#onTimer();
  };

  /**
   * Delivers what is in the ring, in order; at most as much as the ring holds, so that a guest that writes for ever does
   * not keep the owner here. True if there was anything.
   */
  deliver(): boolean {
    const words = this.#words;
    if (words === undefined) return false;
    let any = false;
    for (let count = 0; count < this.#entries; count++) {
      const first = words[RING_FIRST / 4]!;
      if (first === Atomics.load(words, RING_LAST / 4)) break;
      any = true;
      const entry = (RING_ENTRIES + first * RING_ENTRY_SIZE) / 4;
      const address =
        words[entry + RING_ENTRY_ADDRESS / 4]! + words[entry + RING_ENTRY_ADDRESS / 4 + 1]! * 2 ** 32;
      const length = words[entry + RING_ENTRY_LEN / 4]!;
      const bus = words[entry + RING_ENTRY_PIO / 4] === 0 ? 'memory' : 'port';
      const low = words[entry + RING_ENTRY_DATA / 4]!;
      const high = words[entry + RING_ENTRY_DATA / 4 + 1]!;
      // Taken before the callback, which may come back here.
      Atomics.store(words, RING_FIRST / 4, (first + 1) % this.#entries);
      const range = this.#find(bus, address);
      if (range === undefined) continue;
      if (length <= 4) {
        range.onWrite(address, length, (low & (0xffff_ffff >>> (32 - 8 * length))) >>> 0);
      } else {
        // Told as two stores, since a value has 32 bits.
        range.onWrite(address, 4, low);
        range.onWrite(address + 4, length - 4, (high & (0xffff_ffff >>> (64 - 8 * length))) >>> 0);
      }
    }
    return any;
  }

  #find(bus: Bus, address: number): Range | undefined {
    const ranges = this.#ranges;
    for (let index = 0; index < ranges.length; index++) {
      const range = ranges[index]!;
      if (range.bus === bus && address >= range.address && address < range.address + range.length)
        return range;
    }
    return undefined;
  }
}

/** struct kvm_coalesced_mmio_zone */
function encodeZone({ bus, address, length }: Range): Uint8Array {
  const zone = new Uint8Array(16);
  const view = new DataView(zone.buffer);
  view.setBigUint64(0, BigInt(address), true);
  view.setUint32(8, length, true);
  view.setUint32(12, bus === 'port' ? 1 : 0, true);
  return zone;
}
