import type { GuestMemory } from '@vmm/vm-memory';
import { DescriptorChain } from './chain.ts';
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
const F_NEXT = VIRTQ_DESC_F_NEXT;
const F_WRITE = VIRTQ_DESC_F_WRITE;
const F_INDIRECT = VIRTQ_DESC_F_INDIRECT;
const F_AVAIL = VIRTQ_DESC_F_AVAIL;
const F_USED = VIRTQ_DESC_F_USED;
const F_STATE = VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED;
const TWO_32 = 2 ** 32;

/** Halfwords of a descriptor (§2.8.13). */
const DESCRIPTOR_HALFWORDS = 8;
const DESCRIPTOR_ID = 6;
const DESCRIPTOR_FLAGS = 7;

/** Halfwords of an event suppression structure (§2.8.14). */
const EVENT_DESC = 0;
const EVENT_FLAGS = 1;
const EVENT_FLAGS_MASK = 3;

/** A packed virtqueue, VIRTIO 1.3 §2.8. Positions are offsets in the ring; "ring entries" are its descriptors. */
export class PackedQueue extends Ring {
  override readonly format = 'packed';
  /** Descriptors as words: address low, address high, length, id | flags << 16. */
  readonly #words: Uint32Array;
  readonly #halfwords: Uint16Array;
  readonly #driverEvent: Uint16Array;
  readonly #deviceEvent: Uint16Array;
  /** What {@link #deviceEvent} asks for. */
  #eventFlags: number;
  #nextAvail: number;
  /** AVAIL and USED of a descriptor at `nextAvail` that is available: AVAIL as the wrap counter, USED not. */
  #available: number;
  #nextUsed: number;
  /** AVAIL and USED of a used descriptor at `nextUsed`: both as the wrap counter. */
  #used: number;
  /** The used descriptor that hides those after it, and its flags to be; -1 when there is none. */
  #hidden = -1;
  #hiddenFlags = 0;
  /** Descriptors between the two: those of the chains that are out. */
  #entriesOut = 0;
  /** By Buffer ID: the number of the chain's descriptors in the ring. */
  readonly #entries: Uint16Array;
  /** Chain objects that are not out. */
  readonly #spare: DescriptorChain[] = [];

  /**
   * @param config checked
   * @param position offset and wrap counter as in §2.8.14
   * @param restored whether the driver's side is at work already
   */
  constructor(memory: GuestMemory, config: FullConfig, position: number, restored: boolean) {
    super(memory, config, 0, restored);
    const { size } = config;
    this.#words = memory.uint32View(config.descriptorArea, size * 4);
    this.#halfwords = memory.uint16View(config.descriptorArea, size * DESCRIPTOR_HALFWORDS);
    this.#driverEvent = memory.uint16View(config.driverArea, EVENT_SUPPRESSION_SIZE / 2);
    this.#deviceEvent = memory.uint16View(config.deviceArea, EVENT_SUPPRESSION_SIZE / 2);
    this.#eventFlags = Atomics.load(this.#deviceEvent, EVENT_FLAGS);
    const wrap = (position & RING_WRAP_COUNTER) !== 0;
    this.#nextAvail = position & ~RING_WRAP_COUNTER;
    this.#available = wrap ? F_AVAIL : F_USED;
    this.#nextUsed = this.#nextAvail;
    this.#used = wrap ? F_STATE : 0;
    this.#entries = new Uint16Array(size);
    // The structure is the device's (§2.8): a driver need not have cleared it.
    if (!restored) this.#storeEventFlags(RING_EVENT_FLAGS_ENABLE);
  }

  override pop(): DescriptorChain | null {
    if (this.error !== undefined) throw this.error;
    const index = this.#nextAvail;
    const flags = Atomics.load(this.#halfwords, index * DESCRIPTOR_HALFWORDS + DESCRIPTOR_FLAGS);
    if ((flags & F_STATE) !== this.#available) return null;
    const chain = this.#spare.pop() ?? new DescriptorChain(this.memory, index);
    try {
      this.#walk(chain, index, flags);
    } catch (error) {
      chain.clear();
      if (error instanceof VirtioQueueError) this.error = error;
      throw error;
    }
    return chain;
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
    const flags = Atomics.load(this.#halfwords, this.#nextAvail * DESCRIPTOR_HALFWORDS + DESCRIPTOR_FLAGS);
    return (flags & F_STATE) === this.#available;
  }

  protected override position(): number {
    return this.#nextAvail | (this.#available === F_AVAIL ? RING_WRAP_COUNTER : 0);
  }

  protected override wantsInterrupt(count: number): boolean {
    const kind = Atomics.load(this.#driverEvent, EVENT_FLAGS) & EVENT_FLAGS_MASK;
    if (kind === RING_EVENT_FLAGS_DISABLE) return false;
    // One interrupt too many does no harm where the driver says what the standard does not provide for.
    if (kind !== RING_EVENT_FLAGS_DESC || !this.config.eventIdx) return true;
    const event = Atomics.load(this.#driverEvent, EVENT_DESC);
    const { size } = this;
    const offset = event & ~RING_WRAP_COUNTER;
    if (offset >= size) return true;
    // Offsets of two rounds, so that the wrap counter tells them apart.
    const eventAt = offset + ((event & RING_WRAP_COUNTER) !== 0 ? size : 0);
    const usedAt = this.#nextUsed + (this.#used !== 0 ? size : 0);
    return (usedAt - 1 - eventAt + 2 * size) % (2 * size) < count;
  }

  protected override writeUsed(head: number, length: number, hide: boolean): void {
    const at = this.#nextUsed;
    const entries = this.#entries[head]!;
    this.#words[at * 4 + 2] = length;
    this.#halfwords[at * DESCRIPTOR_HALFWORDS + DESCRIPTOR_ID] = head;
    const flags = length > 0 ? this.#used | F_WRITE : this.#used;
    if (hide && this.#hidden < 0) {
      this.#hidden = at;
      this.#hiddenFlags = flags;
    } else {
      // Last and atomic, so that the driver finds the rest and the buffer written when it sees the flags.
      Atomics.store(this.#halfwords, at * DESCRIPTOR_HALFWORDS + DESCRIPTOR_FLAGS, flags);
    }
    if (this.memory.dirty !== undefined) {
      this.memory.markDirty(this.config.descriptorArea + at * DESCRIPTOR_SIZE, DESCRIPTOR_SIZE);
    }
    this.unpublished += entries;
    this.#entriesOut -= entries;
    const next = at + entries;
    if (next < this.size) {
      this.#nextUsed = next;
    } else {
      this.#nextUsed = next - this.size;
      this.#used ^= F_STATE;
    }
  }

  protected override showUsed(): void {
    const at = this.#hidden;
    if (at < 0) return;
    Atomics.store(this.#halfwords, at * DESCRIPTOR_HALFWORDS + DESCRIPTOR_FLAGS, this.#hiddenFlags);
    this.#hidden = -1;
  }

  protected override takeBack(chain: DescriptorChain): void {
    const entries = this.#entries[chain.head]!;
    this.#entriesOut -= entries;
    const previous = this.#nextAvail - entries;
    if (previous >= 0) {
      this.#nextAvail = previous;
    } else {
      this.#nextAvail = previous + this.size;
      this.#available ^= F_STATE;
    }
    this.#spare.push(chain);
  }

  protected override release(chain: DescriptorChain): void {
    this.#spare.push(chain);
  }

  /**
   * Reads each word of each descriptor once, gives the buffers to `chain`, and moves on.
   *
   * @param flags of the first descriptor, which is available
   */
  #walk(chain: DescriptorChain, first: number, flags: number): void {
    const words = this.#words;
    const { size } = this;
    const room = size - this.#entriesOut;
    let index = first;
    let available = this.#available;
    let id: number;
    chain.identify(first);
    for (let count = 1; ; count++) {
      if (count > room) throw this.#noRoom(chain, count);
      const at = index * 4;
      if (count === 1) {
        id = this.#halfwords[index * DESCRIPTOR_HALFWORDS + DESCRIPTOR_ID]!;
      } else {
        const control = words[at + 3]!;
        id = control & 0xffff;
        flags = control >>> 16;
        if ((flags & F_STATE) !== available) {
          throw new VirtioQueueError(
            'CHAIN_TAIL_UNAVAILABLE',
            `the list at ${first} goes on at ${index}, which is not available`,
          );
        }
      }
      if (++index === size) {
        index = 0;
        available ^= F_STATE;
      }
      const address = words[at]! + words[at + 1]! * TWO_32;
      const length = words[at + 2]!;
      if ((flags & F_INDIRECT) !== 0) {
        if (!this.config.indirect) throw notNegotiated(chain);
        if ((flags & F_NEXT) !== 0 || count > 1) throw withNext(chain);
        appendWholeTable(chain, size, address, length);
      } else {
        chain.append(address, length, (flags & F_WRITE) !== 0);
        if ((flags & F_NEXT) !== 0) continue;
      }
      if (id >= size) {
        throw new VirtioQueueError('BUFFER_ID_OUT_OF_RANGE', `the list at ${first} has the Buffer ID ${id}`);
      }
      if (!this.isFree(id)) {
        throw new VirtioQueueError('BUFFER_ID_IN_USE', `chain ${id} is not used yet`);
      }
      chain.identify(id);
      this.give(chain, id);
      this.#entries[id] = count;
      this.#entriesOut += count;
      this.#nextAvail = index;
      this.#available = available;
      return;
    }
  }

  #noRoom(chain: DescriptorChain, count: number): VirtioQueueError {
    return count > this.size
      ? tooLong(chain, this.size)
      : new VirtioQueueError(
          'RING_OVERRUN',
          `the driver made descriptors available of which ${this.#entriesOut} are not used yet`,
        );
  }

  #storeEventFlags(flags: number): void {
    this.#eventFlags = flags;
    Atomics.store(this.#deviceEvent, EVENT_FLAGS, flags);
    if (this.memory.dirty !== undefined) this.memory.markDirty(this.config.deviceArea + 2, 2);
  }
}
