import type { GuestMemory } from '@vmm/vm-memory';
import type { DescriptorChain } from './chain.ts';
import type { FullConfig } from './config.ts';
import {
  DESCRIPTOR_SIZE,
  EVENT_SUPPRESSION_SIZE,
  RING_EVENT_FLAGS_DESC,
  RING_EVENT_FLAGS_DISABLE,
  RING_EVENT_FLAGS_ENABLE,
  RING_WRAP_COUNTER,
  VIRTQ_DESC_F_AVAIL,
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_USED,
  VIRTQ_DESC_F_WRITE,
} from './constants.ts';
import { VirtioQueueError } from './errors.ts';
import { Ring } from './ring.ts';
import { appendWholeTable, notNegotiated, tooLong, withNext } from './table.ts';

// The optimiser folds constants of this module, and loads and checks imported ones at every use.
const TWO_32 = 2 ** 32;
const ENTRY = DESCRIPTOR_SIZE;
const WRAP = RING_WRAP_COUNTER;

/**
 * Words of a descriptor (§2.8.13): address low, address high, length, and a word of two halves. Shifts, because the
 * optimiser checks products and sums for overflow.
 */
const DESCRIPTOR_SHIFT = 2;
const DESCRIPTOR_LENGTH = 2;
/** Buffer ID in the low half, flags in the high one. */
const DESCRIPTOR_CONTROL = 3;
const ID_MASK = 0xffff;
const F_NEXT = VIRTQ_DESC_F_NEXT << 16;
const F_WRITE = VIRTQ_DESC_F_WRITE << 16;
const F_INDIRECT = VIRTQ_DESC_F_INDIRECT << 16;
const F_AVAIL = VIRTQ_DESC_F_AVAIL << 16;
const F_USED = VIRTQ_DESC_F_USED << 16;
const F_STATE = F_AVAIL | F_USED;

/** Halfwords of an event suppression structure (§2.8.14). */
const EVENT_DESC = 0;
const EVENT_FLAGS = 1;
const EVENT_FLAGS_MASK = 3;

/**
 * A packed virtqueue, VIRTIO 1.3 §2.8. Positions are offsets in the ring; its entries are its descriptors. Those
 * from `nextUsed` to `nextAvail` are the chains' that are out, and none is written but at `nextUsed`.
 */
export class PackedQueue extends Ring {
  override readonly format = 'packed';
  /** The ring. Signed, so that what atomic accesses give is always a small integer. */
  readonly #words: Int32Array = new Int32Array(0);
  readonly #driverEvent: Uint16Array = new Uint16Array(0);
  readonly #deviceEvent: Uint16Array = new Uint16Array(0);
  /** What {@link #deviceEvent} asks for. */
  #eventFlags = 0;
  #nextAvail = 0;
  /** AVAIL and USED of a descriptor at `nextAvail` that is available: AVAIL as the wrap counter, USED not. */
  #available = 0;
  #nextUsed = 0;
  /** AVAIL and USED of a used descriptor at `nextUsed`: both as the wrap counter. */
  #used = 0;
  /** The used descriptor that hides those after it, and its control word to be; -1 when there is none. */
  #hiddenAt = -1;
  #hiddenControl = 0;

  /**
   * @param config checked
   * @param position offset and wrap counter as in §2.8.14
   * @param restored whether the driver's side is at work already
   */
  constructor(memory: GuestMemory, config: FullConfig, position: number, restored: boolean) {
    super(memory, config, 0, restored);
    const { size } = config;
    const words = memory.uint32View(config.descriptorArea, size << DESCRIPTOR_SHIFT);
    this.#words = new Int32Array(words.buffer, words.byteOffset, words.length);
    this.#driverEvent = memory.uint16View(config.driverArea, EVENT_SUPPRESSION_SIZE / 2);
    this.#deviceEvent = memory.uint16View(config.deviceArea, EVENT_SUPPRESSION_SIZE / 2);
    this.#eventFlags = Atomics.load(this.#deviceEvent, EVENT_FLAGS);
    const wrap = (position & WRAP) !== 0;
    this.#nextAvail = position & ~WRAP;
    this.#available = wrap ? F_AVAIL : F_USED;
    this.#nextUsed = this.#nextAvail;
    this.#used = wrap ? F_STATE : 0;
    // The structure is the device's (§2.8): a driver need not have cleared it.
    if (!restored) this.enableNotifications();
  }

  /** Reads each word of each descriptor once. The walk is not apart from the rest: a call costs as much as a descriptor. */
  override pop(): DescriptorChain | null {
    if (this.error !== undefined) throw this.error;
    const first = this.#nextAvail;
    const words = this.#words;
    // Later reads do not overtake this one. Only `| 0` tells the optimiser that the result is an integer.
    let control = Atomics.load(words, (first << DESCRIPTOR_SHIFT) | DESCRIPTOR_CONTROL) | 0;
    let available = this.#available;
    if ((control & F_STATE) !== available) return null;
    const chain = this.take();
    chain.identify(first);
    try {
      const { size } = this;
      const end = this.#nextUsed;
      let index = first;
      let count = 1;
      if (first === end && (available ^ this.#used) !== F_USED) throw this.#noRoom(chain, 0);
      for (; ; count++) {
        const at = index << DESCRIPTOR_SHIFT;
        const address = (words[at]! >>> 0) + (words[at | 1]! >>> 0) * TWO_32;
        const length = words[at | DESCRIPTOR_LENGTH]! >>> 0;
        if (++index === size) {
          index = 0;
          available ^= F_STATE;
        }
        if ((control & F_INDIRECT) !== 0) {
          this.#appendTable(chain, address, length, count > 1 || (control & F_NEXT) !== 0);
          break;
        }
        chain.append(address, length, (control & F_WRITE) !== 0);
        if ((control & F_NEXT) === 0) break;
        if (index === end) throw this.#noRoom(chain, count);
        control = words[(index << DESCRIPTOR_SHIFT) | DESCRIPTOR_CONTROL]!;
        if ((control & F_STATE) !== available) throw tailUnavailable(chain, index);
      }
      const id = control & ID_MASK;
      if (id >= size || !this.isFree(id)) throw this.#wrongId(id);
      this.give(chain, id, count);
      this.#nextAvail = index;
      this.#available = available;
      return chain;
    } catch (error) {
      this.put(chain);
      if (error instanceof VirtioQueueError) this.error = error;
      throw error;
    }
  }

  override disableNotifications(): void {
    // With EVENT_IDX an event that lies behind suppresses.
    if (this.error === undefined && this.#eventFlags === RING_EVENT_FLAGS_ENABLE) {
      this.#storeEventFlags(RING_EVENT_FLAGS_DISABLE);
    }
  }

  override enableNotifications(): boolean {
    if (this.error !== undefined) return false;
    if (this.config.eventIdx) {
      Atomics.store(this.#deviceEvent, EVENT_DESC, this.position());
      if (this.memory.dirty !== undefined) this.memory.markDirty(this.config.deviceArea, 2);
      if (this.#eventFlags !== RING_EVENT_FLAGS_DESC) this.#storeEventFlags(RING_EVENT_FLAGS_DESC);
    } else if (this.#eventFlags !== RING_EVENT_FLAGS_ENABLE) {
      this.#storeEventFlags(RING_EVENT_FLAGS_ENABLE);
    }
    // Both sides store, then load what the other stores; one of them sees the other (§2.8.21, §2.8.22).
    return (this.#loadControl() & F_STATE) === this.#available;
  }

  protected override position(): number {
    return this.#nextAvail | (this.#available === F_AVAIL ? WRAP : 0);
  }

  protected override wantsInterrupt(count: number): boolean {
    const kind = Atomics.load(this.#driverEvent, EVENT_FLAGS) & EVENT_FLAGS_MASK;
    if (kind === RING_EVENT_FLAGS_DISABLE) return false;
    // One interrupt too many does no harm where the driver says what the standard does not provide for.
    if (kind !== RING_EVENT_FLAGS_DESC || !this.config.eventIdx) return true;
    const event = Atomics.load(this.#driverEvent, EVENT_DESC);
    const { size } = this;
    const offset = event & ~WRAP;
    if (offset >= size) return true;
    // Offsets of two rounds, so that the wrap counter tells them apart.
    const eventAt = offset + ((event & WRAP) !== 0 ? size : 0);
    const usedAt = this.#nextUsed + (this.#used !== 0 ? size : 0);
    return (usedAt - 1 - eventAt + 2 * size) % (2 * size) < count;
  }

  protected override writeUsed(head: number, length: number, entries: number, hide: boolean): void {
    const at = this.#nextUsed;
    const words = this.#words;
    const control = head | this.#used | (length > 0 ? F_WRITE : 0);
    words[(at << DESCRIPTOR_SHIFT) | DESCRIPTOR_LENGTH] = length;
    // Last and atomic, so that the driver finds the rest and the buffer written when it sees the flags.
    if (!hide) Atomics.store(words, (at << DESCRIPTOR_SHIFT) | DESCRIPTOR_CONTROL, control);
    else this.#writeHidden(at, control);
    if (this.memory.dirty !== undefined) this.#markUsed(at);
    const next = at + entries;
    if (next < this.size) {
      this.#nextUsed = next;
    } else {
      this.#nextUsed = next - this.size;
      this.#used ^= F_STATE;
    }
  }

  protected override showUsed(): void {
    const at = this.#hiddenAt;
    if (at < 0) return;
    Atomics.store(this.#words, (at << DESCRIPTOR_SHIFT) | DESCRIPTOR_CONTROL, this.#hiddenControl);
    this.#hiddenAt = -1;
  }

  protected override takeBack(entries: number): void {
    const previous = this.#nextAvail - entries;
    if (previous >= 0) {
      this.#nextAvail = previous;
    } else {
      this.#nextAvail = previous + this.size;
      this.#available ^= F_STATE;
    }
  }

  /** Buffer ID and flags of the next descriptor. */
  #loadControl(): number {
    return Atomics.load(this.#words, (this.#nextAvail << DESCRIPTOR_SHIFT) | DESCRIPTOR_CONTROL);
  }

  #appendTable(chain: DescriptorChain, address: number, length: number, inList: boolean): void {
    if (!this.config.indirect) throw notNegotiated(chain);
    if (inList) throw withNext(chain);
    appendWholeTable(chain, this.size, address, length);
  }

  /** Only the first has to be hidden, and what it hides needs no atomic store. */
  #writeHidden(at: number, control: number): void {
    if (this.#hiddenAt < 0) {
      this.#hiddenAt = at;
      this.#hiddenControl = control;
    } else {
      this.#words[(at << DESCRIPTOR_SHIFT) | DESCRIPTOR_CONTROL] = control;
    }
  }

  #markUsed(at: number): void {
    this.memory.markDirty(this.config.descriptorArea + at * ENTRY, ENTRY);
  }

  #wrongId(id: number): VirtioQueueError {
    return id >= this.size
      ? new VirtioQueueError('BUFFER_ID_OUT_OF_RANGE', `Buffer ID ${id} in a ring of ${this.size}`)
      : new VirtioQueueError('BUFFER_ID_IN_USE', `chain ${id} is not used yet`);
  }

  /** @param count descriptors of the list before the one that has no place */
  #noRoom(chain: DescriptorChain, count: number): VirtioQueueError {
    return count === this.size
      ? tooLong(chain, this.size)
      : new VirtioQueueError(
          'RING_OVERRUN',
          `the list at ${chain.head} takes the place of chains that are out`,
        );
  }

  #storeEventFlags(flags: number): void {
    this.#eventFlags = flags;
    Atomics.store(this.#deviceEvent, EVENT_FLAGS, flags);
    if (this.memory.dirty !== undefined) this.memory.markDirty(this.config.deviceArea + 2, 2);
  }
}

function tailUnavailable(chain: DescriptorChain, index: number): VirtioQueueError {
  return new VirtioQueueError(
    'CHAIN_TAIL_UNAVAILABLE',
    `the list at ${chain.head} goes on at ${index}, which is not available`,
  );
}
