import { formatAddress, type GuestMemory } from '@vmm/vm-memory';
import { DescriptorChain } from './chain.ts';
import {
  DESCRIPTOR_SIZE,
  VIRTQ_AVAIL_F_NO_INTERRUPT,
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
  VIRTQ_USED_F_NO_NOTIFY,
  deviceAreaSize,
} from './constants.ts';
import { VirtioQueueError, type VirtioQueueErrorCode } from './errors.ts';
import { needEvent } from './event-index.ts';
import type { Queue, QueueConfig, QueueState } from './queue.ts';
import { parseSplitState, validateSplitConfig } from './split-config.ts';

// The optimiser folds constants of this module, and loads and checks imported ones at every use.
const F_NEXT = VIRTQ_DESC_F_NEXT;
const F_WRITE = VIRTQ_DESC_F_WRITE;
const F_INDIRECT = VIRTQ_DESC_F_INDIRECT;
const TWO_32 = 2 ** 32;
/** Largest value of a le32. */
const MAX_UINT32 = 0xffff_ffff;

/** Halfwords of both rings (§2.7.6, §2.7.8). */
const RING_FLAGS = 0;
const RING_IDX = 1;
const AVAIL_RING = 2;
/** Word of the used ring where its elements begin. */
const USED_RING = 1;

/**
 * Activates a split virtqueue, VIRTIO 1.3 §2.7.
 *
 * @throws VirtioQueueError `INVALID_SIZE`, `AREA_MISALIGNED`, `AREA_OUT_OF_RANGE`, `AREA_READ_ONLY`
 */
export function createSplitQueue(memory: GuestMemory, config: QueueConfig): Queue {
  validateSplitConfig(memory, config);
  return new SplitQueue(memory, config, 0, false);
}

/**
 * Activates a queue where `save()` left it. The state may come from anywhere: all of it is checked. The
 * first `needsInterrupt()` answers true, because the state does not say what the driver was told.
 *
 * @throws VirtioQueueError `INVALID_STATE` and what {@link createSplitQueue} throws
 */
export function restoreSplitQueue(memory: GuestMemory, state: unknown): Queue {
  const { config, nextAvail } = parseSplitState(state);
  validateSplitConfig(memory, config);
  return new SplitQueue(memory, config, nextAvail, true);
}

class SplitQueue implements Queue {
  readonly format = 'split';
  readonly size: number;
  readonly memory: GuestMemory;
  readonly #config: QueueConfig;
  readonly #mask: number;
  /** Descriptors as words: address low, address high, length, flags | next << 16. */
  readonly #descriptors: Uint32Array;
  readonly #avail: Uint16Array;
  readonly #used: Uint16Array;
  readonly #usedWords: Uint32Array;
  /** By head, made when first needed. */
  readonly #chains: (DescriptorChain | undefined)[];
  /** By head: 1 while the device has the chain. */
  readonly #out: Uint8Array;
  #outCount = 0;
  /** By position in the available ring: the head that was popped there. */
  readonly #popped: Uint16Array;
  #nextAvail: number;
  #nextUsed: number;
  /** The available index when it was last loaded: entries before it are ready to read. */
  #availIdx: number;
  /** Chains used since needsInterrupt() was last asked. */
  #unsignalled = 0;
  #mustSignal: boolean;
  #error: VirtioQueueError | undefined;

  constructor(memory: GuestMemory, config: QueueConfig, next: number, mustSignal: boolean) {
    const { size } = config;
    this.memory = memory;
    this.size = size;
    this.#config = { ...config };
    this.#mask = size - 1;
    this.#descriptors = memory.uint32View(config.descriptorArea, size * 4);
    this.#avail = memory.uint16View(config.driverArea, size + 3);
    this.#used = memory.uint16View(config.deviceArea, size * 4 + 3);
    this.#usedWords = memory.uint32View(config.deviceArea, size * 2 + 1);
    this.#chains = Array.from({ length: size }, () => undefined);
    this.#out = new Uint8Array(size);
    this.#popped = new Uint16Array(size);
    this.#nextAvail = next;
    this.#nextUsed = next;
    this.#availIdx = next;
    this.#mustSignal = mustSignal;
  }

  pop(): DescriptorChain | null {
    if (this.#error !== undefined) throw this.#error;
    const next = this.#nextAvail;
    if (next === this.#availIdx && !this.#loadAvailIdx()) return null;
    const slot = next & this.#mask;
    const head = this.#avail[AVAIL_RING + slot]!;
    if (head >= this.size) throw this.#fail('HEAD_OUT_OF_RANGE', `available ring entry ${slot} is ${head}`);
    if (this.#out[head] === 1) throw this.#fail('HEAD_IN_USE', `chain ${head} is not used yet`);
    const chain = (this.#chains[head] ??= new DescriptorChain(this.memory, head));
    try {
      this.#walk(chain, head);
    } catch (error) {
      chain.clear();
      if (error instanceof VirtioQueueError) this.#error = error;
      throw error;
    }
    this.#out[head] = 1;
    this.#outCount++;
    this.#popped[slot] = head;
    this.#nextAvail = (next + 1) & 0xffff;
    return chain;
  }

  undoPop(chain: DescriptorChain): void {
    if (this.#error !== undefined) return;
    const previous = (this.#nextAvail - 1) & 0xffff;
    if (!this.#isOut(chain) || this.#popped[previous & this.#mask] !== chain.head) {
      throw new VirtioQueueError('CHAIN_NOT_OUT', `chain ${chain.head} is not the one popped last`);
    }
    if (this.memory.dirty !== undefined) chain.markWritten();
    chain.clear();
    this.#out[chain.head] = 0;
    this.#outCount--;
    this.#nextAvail = previous;
  }

  addUsed(chain: DescriptorChain, bytesWritten: number): void {
    if (this.#error !== undefined) return;
    const { head } = chain;
    if (!this.#isOut(chain)) {
      throw new VirtioQueueError('CHAIN_NOT_OUT', `chain ${head} is not out`);
    }
    if (!(Number.isInteger(bytesWritten) && bytesWritten >= 0 && bytesWritten <= chain.writableBytes)) {
      throw new VirtioQueueError(
        'INVALID_ARGUMENT',
        `${bytesWritten} bytes written to chain ${head}, which has ${chain.writableBytes}`,
      );
    }
    const next = (this.#nextUsed + 1) & 0xffff;
    const element = USED_RING + (this.#nextUsed & this.#mask) * 2;
    this.#usedWords[element] = head;
    // 2^32 does not fit; the field may be too small but not too large (§2.7.8.2).
    this.#usedWords[element + 1] = Math.min(bytesWritten, MAX_UINT32);
    // Atomic, so that the driver finds element and buffer written when it sees the index.
    Atomics.store(this.#used, RING_IDX, next);
    if (this.memory.dirty !== undefined) {
      chain.markWritten();
      this.memory.markDirty(this.#config.deviceArea, deviceAreaSize(this.size));
    }
    chain.clear();
    this.#out[head] = 0;
    this.#outCount--;
    this.#nextUsed = next;
    this.#unsignalled++;
  }

  needsInterrupt(): boolean {
    if (this.#error !== undefined) return false;
    const count = this.#unsignalled;
    this.#unsignalled = 0;
    if (this.#mustSignal) {
      this.#mustSignal = false;
      return true;
    }
    if (count === 0) return false;
    if (!this.#config.eventIdx) {
      return (Atomics.load(this.#avail, RING_FLAGS) & VIRTQ_AVAIL_F_NO_INTERRUPT) === 0;
    }
    // The arithmetic is modulo 2^16: after a whole turn every index was passed.
    if (count > 0xffff) return true;
    const usedEvent = Atomics.load(this.#avail, AVAIL_RING + this.size);
    return needEvent(usedEvent, this.#nextUsed, this.#nextUsed - count);
  }

  disableNotifications(): void {
    // With EVENT_IDX the flags stay 0 (§2.7.10.1), and the event index left behind suppresses.
    if (this.#error === undefined && !this.#config.eventIdx) {
      this.#storeUsed(RING_FLAGS, VIRTQ_USED_F_NO_NOTIFY);
    }
  }

  enableNotifications(): boolean {
    if (this.#error !== undefined) return false;
    if (this.#config.eventIdx) this.#storeUsed(2 + this.size * 4, this.#nextAvail);
    else this.#storeUsed(RING_FLAGS, 0);
    // Both sides store, then load what the other stores; one of them sees the other (§2.7.13.3, §2.7.14).
    return Atomics.load(this.#avail, RING_IDX) !== this.#nextAvail;
  }

  save(): QueueState {
    if (this.#outCount > 0) {
      throw new VirtioQueueError('CHAINS_OUT', `${this.#outCount} chains are out: use or undo them first`);
    }
    return {
      version: 1,
      format: 'split',
      config: { ...this.#config },
      nextAvail: this.#nextAvail,
      nextUsed: this.#nextUsed,
    };
  }

  /** Whether there is something to pop. */
  #loadAvailIdx(): boolean {
    const idx = Atomics.load(this.#avail, RING_IDX);
    const ready = (idx - this.#nextAvail) & 0xffff;
    if (ready > this.size) {
      throw this.#fail('AVAIL_INDEX_TOO_FAR', `available index ${idx} when the next is ${this.#nextAvail}`);
    }
    this.#availIdx = idx;
    return ready > 0;
  }

  /** Reads each word of each descriptor once and gives the buffers to `chain`. */
  #walk(chain: DescriptorChain, head: number): void {
    const descriptors = this.#descriptors;
    const { size } = this;
    let index = head;
    for (let count = 1; ; count++) {
      if (count > size) throw tooLong(chain, size);
      const at = index * 4;
      const address = descriptors[at]! + descriptors[at + 1]! * TWO_32;
      const length = descriptors[at + 2]!;
      const control = descriptors[at + 3]!;
      if ((control & F_INDIRECT) !== 0) {
        this.#walkTable(chain, count - 1, address, length, control);
        return;
      }
      chain.append(address, length, (control & F_WRITE) !== 0);
      if ((control & F_NEXT) === 0) return;
      index = control >>> 16;
      if (index >= size) throw nextOutOfRange(chain, index, size);
    }
  }

  /** @param before number of descriptors of the chain before the table */
  #walkTable(chain: DescriptorChain, before: number, address: number, length: number, control: number): void {
    if (!this.#config.indirect) {
      throw new VirtioQueueError('INDIRECT_NOT_NEGOTIATED', `chain ${chain.head} has an indirect descriptor`);
    }
    if ((control & F_NEXT) !== 0) {
      throw new VirtioQueueError(
        'INDIRECT_WITH_NEXT',
        `chain ${chain.head}: INDIRECT and NEXT in one descriptor`,
      );
    }
    const region = this.memory.findRegion(address);
    if (
      region === undefined ||
      length === 0 ||
      length % DESCRIPTOR_SIZE !== 0 ||
      address + length > region.end
    ) {
      throw new VirtioQueueError(
        'INDIRECT_TABLE_INVALID',
        `chain ${chain.head}: an indirect table of ${length} bytes at ${formatAddress(address)}`,
      );
    }
    const { view } = region;
    const base = address - region.guestAddress;
    const entries = length / DESCRIPTOR_SIZE;
    let index = 0;
    for (let count = before + 1; ; count++) {
      if (count > this.size) throw tooLong(chain, this.size);
      const at = base + index * DESCRIPTOR_SIZE;
      const buffer = view.getUint32(at, true) + view.getUint32(at + 4, true) * TWO_32;
      const size = view.getUint32(at + 8, true);
      const flags = view.getUint32(at + 12, true);
      if ((flags & F_INDIRECT) !== 0) {
        throw new VirtioQueueError('INDIRECT_NESTED', `chain ${chain.head} has a table inside a table`);
      }
      chain.append(buffer, size, (flags & F_WRITE) !== 0);
      if ((flags & F_NEXT) === 0) return;
      index = flags >>> 16;
      if (index >= entries) throw nextOutOfRange(chain, index, entries);
    }
  }

  #storeUsed(halfword: number, value: number): void {
    Atomics.store(this.#used, halfword, value);
    if (this.memory.dirty !== undefined) {
      this.memory.markDirty(this.#config.deviceArea + halfword * 2, 2);
    }
  }

  #isOut(chain: DescriptorChain): boolean {
    return this.#chains[chain.head] === chain && this.#out[chain.head] === 1;
  }

  #fail(code: VirtioQueueErrorCode, message: string): VirtioQueueError {
    this.#error = new VirtioQueueError(code, message);
    return this.#error;
  }
}

function tooLong(chain: DescriptorChain, size: number): VirtioQueueError {
  return new VirtioQueueError(
    'CHAIN_TOO_LONG',
    `chain ${chain.head} has more than ${size} descriptors, or a loop`,
  );
}

function nextOutOfRange(chain: DescriptorChain, next: number, entries: number): VirtioQueueError {
  return new VirtioQueueError(
    'NEXT_OUT_OF_RANGE',
    `chain ${chain.head}: next is ${next} in a table of ${entries}`,
  );
}
