import type { GuestMemory } from '@vmm/vm-memory';
import {
  DESCRIPTOR_SIZE,
  EVENT_SUPPRESSION_SIZE,
  RING_EVENT_FLAGS_DESC,
  RING_EVENT_FLAGS_DISABLE,
  RING_EVENT_FLAGS_ENABLE,
  RING_WRAP_COUNTER,
  VIRTQ_DESC_F_AVAIL,
  VIRTQ_DESC_F_USED,
  descriptorAreaSize,
} from '../constants.ts';
import { needEvent } from '../event-index.ts';
import type { MockDescriptor, MockDriverOptions, MockUsed } from './driver.ts';
import { MockRingDriver } from './ring-driver.ts';

const RING_FLAGS = VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED;

/** A place in the ring and the wrap counter there. */
interface Position {
  readonly offset: number;
  readonly wrap: boolean;
}

/** The driver's side of a packed virtqueue, VIRTIO 1.3 §2.8. */
export class MockPackedDriver extends MockRingDriver {
  /** Buffer IDs in an order that is not the ring's, so that nobody takes one for the other. */
  readonly #freeIds: number[];
  #free: number;
  #avail: Position;
  #used: Position;
  /** Where the last publish() ended. */
  #published: Position;
  /** Flags of the first descriptors of chains that are not published, by offset. */
  readonly #withheld = new Map<number, number>();
  /** Descriptors that were made available since the last publish(). */
  #added = 0;

  /** @param options `firstIndex`: offset in bits 0-14, wrap counter in bit 15 (§2.8.14) */
  constructor(memory: GuestMemory, options: MockDriverOptions = {}) {
    super(memory, options, true, (size) => ({
      descriptor: descriptorAreaSize(size),
      driver: EVENT_SUPPRESSION_SIZE,
      device: EVENT_SUPPRESSION_SIZE,
    }));
    const { size } = this.config;
    this.#free = size;
    this.#freeIds = Array.from({ length: size }, (_, i) => size - 1 - i);
    const { firstIndex = RING_WRAP_COUNTER } = options;
    const start = {
      offset: firstIndex & ~RING_WRAP_COUNTER,
      wrap: (firstIndex & RING_WRAP_COUNTER) !== 0,
    };
    this.#avail = start;
    this.#used = start;
    this.#published = start;
    // Descriptors before the place were used in this round, those after it in the last one.
    for (let i = 0; i < size; i++) {
      this.writeFlags(i, i < start.offset === start.wrap ? RING_FLAGS : 0);
    }
  }

  override get freeDescriptors(): number {
    return this.#free;
  }

  override publish(): boolean {
    for (const [offset, flags] of this.#withheld) this.writeFlags(offset, flags);
    this.#withheld.clear();
    const added = this.#added;
    this.#added = 0;
    this.#published = this.#avail;
    if (added === 0) return false;
    const { flags, offset, wrap } = this.deviceEvent;
    if (flags !== RING_EVENT_FLAGS_DESC || !this.config.eventIdx) return flags !== RING_EVENT_FLAGS_DISABLE;
    const event = wrap === this.#published.wrap ? offset : offset - this.config.size;
    return needEvent(event, this.#published.offset, this.#published.offset - added);
  }

  override collect(): MockUsed[] {
    const used: MockUsed[] = [];
    for (;;) {
      const at = this.#address(this.#used.offset);
      const flags = this.memory.atomicLoadUint16(at + 14) & RING_FLAGS;
      // What looks used without a pending chain is left from an earlier round.
      if (flags !== (this.#used.wrap ? RING_FLAGS : 0) || this.pendingChains === 0) return used;
      const settled = this.settle(this.memory.readUint16(at + 12), this.memory.readUint32(at + 8), used);
      const ids = used.slice(-settled.length).map(({ head }) => head);
      const entries = settled.reduce((sum, { descriptors }) => sum + descriptors.length, 0);
      this.#freeIds.push(...ids);
      this.#free += entries;
      this.#used = this.#after(this.#used, entries);
    }
  }

  override setUsedEvent(position: number = encode(this.#used)): void {
    this.memory.writeUint16(this.config.driverArea, position);
    this.memory.writeUint16(this.config.driverArea + 2, RING_EVENT_FLAGS_DESC);
  }

  override suppressInterrupts(suppress: boolean): void {
    const flags = suppress ? RING_EVENT_FLAGS_DISABLE : RING_EVENT_FLAGS_ENABLE;
    this.memory.writeUint16(this.config.driverArea + 2, flags);
  }

  /** Overwrites the Driver Event Suppression structure. */
  writeDriverEvent(desc: number, flags: number): void {
    this.memory.writeUint16(this.config.driverArea, desc);
    this.memory.writeUint16(this.config.driverArea + 2, flags);
  }

  /** The Device Event Suppression structure. */
  get deviceEvent(): { readonly flags: number; readonly offset: number; readonly wrap: boolean } {
    const desc = this.memory.atomicLoadUint16(this.config.deviceArea);
    const flags = this.memory.atomicLoadUint16(this.config.deviceArea + 2);
    return { flags, offset: desc & ~RING_WRAP_COUNTER, wrap: (desc & RING_WRAP_COUNTER) !== 0 };
  }

  /** Where the next chain goes: offset in bits 0-14, wrap counter in bit 15. */
  get nextAvail(): number {
    return encode(this.#avail);
  }

  override writeDescriptor(index: number, descriptor: MockDescriptor): void {
    this.#withheld.delete(index);
    this.#write(index, descriptor);
    this.writeFlags(index, descriptor.flags);
  }

  override readDescriptor(index: number): MockDescriptor & { readonly id: number } {
    const at = this.#address(index);
    return {
      address: this.memory.readBigUint64(at),
      length: this.memory.readUint32(at + 8),
      id: this.memory.readUint16(at + 12),
      flags: this.memory.readUint16(at + 14),
    };
  }

  override corruptChain(head: number, i: number, fields: Partial<MockDescriptor>): void {
    const index = this.descriptorIndex(head, i);
    const withheld = this.#withheld.get(index);
    const old = this.readDescriptor(index);
    const before = withheld ?? old.flags;
    const flags = ((fields.flags ?? before) & ~RING_FLAGS) | (before & RING_FLAGS);
    this.#write(index, { ...old, ...fields });
    if (withheld === undefined) this.writeFlags(index, flags);
    else this.#withheld.set(index, flags);
  }

  /** Overwrites `flags` of the descriptor at `index`, atomically. */
  writeFlags(index: number, flags: number): void {
    this.memory.atomicStoreUint16(this.#address(index) + 14, flags);
  }

  protected override enter(descriptors: readonly MockDescriptor[]): {
    readonly head: number;
    readonly indices: readonly number[];
  } {
    const id = this.#freeIds.shift()!;
    const indices = descriptors.map((descriptor, i) => {
      const { offset, wrap } = this.#avail;
      const flags = descriptor.flags | (wrap ? VIRTQ_DESC_F_AVAIL : VIRTQ_DESC_F_USED);
      // The Buffer ID of all but the last means nothing (§2.8.6).
      this.#write(offset, { ...descriptor, id: i + 1 < descriptors.length ? 0xffff : id });
      if (i === 0) this.#withheld.set(offset, flags);
      else this.writeFlags(offset, flags);
      this.#avail = this.#after(this.#avail, 1);
      return offset;
    });
    this.#free -= indices.length;
    this.#added += indices.length;
    return { head: id, indices };
  }

  protected override writeTableEntry(at: number, { address, length, flags }: MockDescriptor): void {
    this.memory.writeBigUint64(at, BigInt(address));
    this.memory.writeUint32(at + 8, length);
    // Reserved, and ignored by the device (§2.8.7).
    this.memory.writeUint16(at + 12, 0xffff);
    this.memory.writeUint16(at + 14, flags);
  }

  #write(index: number, { address, length, id = 0 }: MockDescriptor): void {
    const at = this.#address(index);
    this.memory.writeBigUint64(at, BigInt(address));
    this.memory.writeUint32(at + 8, length);
    this.memory.writeUint16(at + 12, id);
  }

  #address(index: number): number {
    return this.config.descriptorArea + index * DESCRIPTOR_SIZE;
  }

  #after({ offset, wrap }: Position, entries: number): Position {
    const next = offset + entries;
    const { size } = this.config;
    return next < size ? { offset: next, wrap } : { offset: next - size, wrap: !wrap };
  }
}

function encode({ offset, wrap }: Position): number {
  return offset | (wrap ? RING_WRAP_COUNTER : 0);
}
