import type { GuestMemory } from '@vmm/vm-memory';
import type { DescriptorChain } from './chain.ts';
import type { FullConfig } from './config.ts';
import {
  VIRTQ_AVAIL_F_NO_INTERRUPT,
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
  VIRTQ_USED_F_NO_NOTIFY,
  deviceAreaSize,
} from './constants.ts';
import { VirtioQueueError } from './errors.ts';
import { needEvent } from './event-index.ts';
import { Ring } from './ring.ts';
import { appendLinkedTable, nextOutOfRange, notNegotiated, tooLong, withNext } from './table.ts';

// The optimiser folds constants of this module, and loads and checks imported ones at every use.
const F_NEXT = VIRTQ_DESC_F_NEXT;
const F_WRITE = VIRTQ_DESC_F_WRITE;
const F_INDIRECT = VIRTQ_DESC_F_INDIRECT;
const TWO_32 = 2 ** 32;

/** Halfwords of both rings (§2.7.6, §2.7.8). */
const RING_FLAGS = 0;
const RING_IDX = 1;
const AVAIL_RING = 2;
/** Word of the used ring where its elements begin. */
const USED_RING = 1;

/** A split virtqueue, VIRTIO 1.3 §2.7. The number of the next pop is the next available index. */
export class SplitQueue extends Ring {
  override readonly format = 'split';
  readonly #mask: number = 0;
  /** Descriptors as words: address low, address high, length, flags | next << 16. */
  readonly #descriptors: Uint32Array = new Uint32Array(0);
  readonly #avail: Uint16Array = new Uint16Array(0);
  readonly #used: Uint16Array = new Uint16Array(0);
  readonly #usedWords: Uint32Array = new Uint32Array(0);
  #nextUsed = 0;
  /** The available index when it was last loaded: entries before it are ready to read. */
  #availIdx = 0;

  /**
   * @param config checked
   * @param next available and used index
   */
  constructor(memory: GuestMemory, config: FullConfig, next: number, mustSignal: boolean) {
    super(memory, config, next, mustSignal);
    const { size } = config;
    this.#mask = size - 1;
    this.#descriptors = memory.uint32View(config.descriptorArea, size * 4);
    this.#avail = memory.uint16View(config.driverArea, size + 3);
    this.#used = memory.uint16View(config.deviceArea, size * 4 + 3);
    this.#usedWords = memory.uint32View(config.deviceArea, size * 2 + 1);
    this.#nextUsed = next;
    this.#availIdx = next;
  }

  /** Reads each word of each descriptor once. The walk is not apart from the rest: a call costs as much as a descriptor. */
  override pop(): DescriptorChain | null {
    if (this.error !== undefined) throw this.error;
    const next = this.sequence;
    if (next === this.#availIdx && !this.#loadAvailIdx()) return null;
    const { size } = this;
    const head = this.#avail[AVAIL_RING + (next & this.#mask)]!;
    if (head >= size || !this.isFree(head)) throw this.#wrongHead(head);
    const chain = this.take();
    chain.identify(head);
    try {
      const descriptors = this.#descriptors;
      let index = head;
      for (let count = 1; ; count++) {
        if (count > size) throw tooLong(chain, size);
        const at = index << 2;
        const address = descriptors[at]! + descriptors[at | 1]! * TWO_32;
        const length = descriptors[at | 2]!;
        const control = descriptors[at | 3]!;
        if ((control & F_INDIRECT) !== 0) {
          this.#appendTable(chain, count - 1, address, length, (control & F_NEXT) !== 0);
          break;
        }
        chain.append(address, length, (control & F_WRITE) !== 0);
        if ((control & F_NEXT) === 0) break;
        index = control >>> 16;
        if (index >= size) throw nextOutOfRange(chain, index, size);
      }
      this.give(chain, head, 1);
      return chain;
    } catch (error) {
      this.put(chain);
      if (error instanceof VirtioQueueError) this.error = error;
      throw error;
    }
  }

  override disableNotifications(): void {
    // With EVENT_IDX the flags stay 0 (§2.7.10.1), and the event index left behind suppresses.
    if (this.error === undefined && !this.config.eventIdx) {
      this.#storeUsed(RING_FLAGS, VIRTQ_USED_F_NO_NOTIFY);
    }
  }

  override enableNotifications(): boolean {
    if (this.error !== undefined) return false;
    if (this.config.eventIdx) this.#storeUsed(2 + this.size * 4, this.sequence);
    else this.#storeUsed(RING_FLAGS, 0);
    // Both sides store, then load what the other stores; one of them sees the other (§2.7.13.3, §2.7.14).
    return Atomics.load(this.#avail, RING_IDX) !== this.sequence;
  }

  protected override position(): number {
    return this.sequence;
  }

  protected override wantsInterrupt(count: number): boolean {
    if (!this.config.eventIdx) {
      return (Atomics.load(this.#avail, RING_FLAGS) & VIRTQ_AVAIL_F_NO_INTERRUPT) === 0;
    }
    // The arithmetic is modulo 2^16: after a whole turn every index was passed.
    if (count > 0xffff) return true;
    const usedEvent = Atomics.load(this.#avail, AVAIL_RING + this.size);
    return needEvent(usedEvent, this.#nextUsed, this.#nextUsed - count);
  }

  protected override writeUsed(head: number, length: number, _entries: number, hide: boolean): void {
    const element = USED_RING + (this.#nextUsed & this.#mask) * 2;
    this.#usedWords[element] = head;
    this.#usedWords[element + 1] = length;
    this.#nextUsed = (this.#nextUsed + 1) & 0xffff;
    if (!hide) this.showUsed();
  }

  protected override showUsed(): void {
    // Atomic, so that the driver finds elements and buffers written when it sees the index.
    Atomics.store(this.#used, RING_IDX, this.#nextUsed);
    if (this.memory.dirty !== undefined) {
      this.memory.markDirty(this.config.deviceArea, deviceAreaSize(this.size));
    }
  }

  protected override takeBack(): void {
    // The position is the number of the pop.
  }

  /** Whether the driver published more. */
  #loadAvailIdx(): boolean {
    const idx = Atomics.load(this.#avail, RING_IDX);
    const ready = (idx - this.sequence) & 0xffff;
    if (ready > this.size) {
      throw this.fail('AVAIL_INDEX_TOO_FAR', `available index ${idx} when the next is ${this.sequence}`);
    }
    this.#availIdx = idx;
    return ready > 0;
  }

  #appendTable(
    chain: DescriptorChain,
    before: number,
    address: number,
    length: number,
    hasNext: boolean,
  ): void {
    if (!this.config.indirect) throw notNegotiated(chain);
    if (hasNext) throw withNext(chain);
    appendLinkedTable(chain, before, this.size, address, length);
  }

  #wrongHead(head: number): VirtioQueueError {
    return head >= this.size
      ? this.fail('HEAD_OUT_OF_RANGE', `the available ring names ${head} in a table of ${this.size}`)
      : this.fail('HEAD_IN_USE', `chain ${head} is not used yet`);
  }

  #storeUsed(halfword: number, value: number): void {
    Atomics.store(this.#used, halfword, value);
    if (this.memory.dirty !== undefined) {
      this.memory.markDirty(this.config.deviceArea + halfword * 2, 2);
    }
  }
}
