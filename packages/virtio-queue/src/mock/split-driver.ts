import type { GuestMemory } from '@vmm/vm-memory';
import {
  DESCRIPTOR_SIZE,
  VIRTQ_AVAIL_F_NO_INTERRUPT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_USED_F_NO_NOTIFY,
  descriptorAreaSize,
  deviceAreaSize,
  driverAreaSize,
} from '../constants.ts';
import { needEvent } from '../event-index.ts';
import type { MockDescriptor, MockDriverOptions, MockUsed } from './driver.ts';
import { MockRingDriver } from './ring-driver.ts';

/** The driver's side of a split virtqueue, VIRTIO 1.3 §2.7. */
export class MockSplitDriver extends MockRingDriver {
  readonly #free: number[];
  #availIdx: number;
  #publishedIdx: number;
  #usedIdx: number;

  constructor(memory: GuestMemory, options: MockDriverOptions = {}) {
    super(memory, options, false, (size) => ({
      descriptor: descriptorAreaSize(size),
      driver: driverAreaSize(size),
      device: deviceAreaSize(size),
    }));
    this.#free = Array.from({ length: this.config.size }, (_, index) => index);
    const { firstIndex = 0 } = options;
    this.#availIdx = firstIndex;
    this.#publishedIdx = firstIndex;
    this.#usedIdx = firstIndex;
    this.writeAvailIdx(firstIndex);
    memory.writeUint16(this.config.deviceArea + 2, firstIndex);
  }

  override get freeDescriptors(): number {
    return this.#free.length;
  }

  override publish(): boolean {
    const old = this.#publishedIdx;
    this.#publishedIdx = this.#availIdx;
    this.writeAvailIdx(this.#availIdx);
    if (this.#availIdx === old) return false;
    if (this.config.eventIdx) return needEvent(this.availEvent, this.#availIdx, old);
    return (this.usedFlags & VIRTQ_USED_F_NO_NOTIFY) === 0;
  }

  override collect(): MockUsed[] {
    const used: MockUsed[] = [];
    for (const idx = this.usedIdx; this.#usedIdx !== idx;) {
      const element = this.config.deviceArea + 4 + (this.#usedIdx % this.config.size) * 8;
      const head = this.memory.readUint32(element);
      const settled = this.settle(head, this.memory.readUint32(element + 4), used);
      for (const { descriptors } of settled) this.#giveBack(descriptors);
      this.#usedIdx = (this.#usedIdx + settled.length) & 0xffff;
    }
    return used;
  }

  override setUsedEvent(index: number = this.#usedIdx): void {
    this.memory.writeUint16(this.config.driverArea + 4 + this.config.size * 2, index);
  }

  override suppressInterrupts(suppress: boolean): void {
    this.memory.writeUint16(this.config.driverArea, suppress ? VIRTQ_AVAIL_F_NO_INTERRUPT : 0);
  }

  /** `flags` of the used ring. */
  get usedFlags(): number {
    return this.memory.readUint16(this.config.deviceArea);
  }

  /** `idx` of the used ring. */
  get usedIdx(): number {
    return this.memory.atomicLoadUint16(this.config.deviceArea + 2);
  }

  /** `avail_event` of the used ring. */
  get availEvent(): number {
    return this.memory.readUint16(this.config.deviceArea + 4 + this.config.size * 8);
  }

  override writeDescriptor(index: number, descriptor: MockDescriptor): void {
    this.#write(this.config.descriptorArea + index * DESCRIPTOR_SIZE, descriptor, descriptor.next ?? 0);
  }

  override readDescriptor(index: number): MockDescriptor & { readonly next: number } {
    const at = this.config.descriptorArea + index * DESCRIPTOR_SIZE;
    return {
      address: this.memory.readBigUint64(at),
      length: this.memory.readUint32(at + 8),
      flags: this.memory.readUint16(at + 12),
      next: this.memory.readUint16(at + 14),
    };
  }

  override corruptChain(head: number, i: number, fields: Partial<MockDescriptor>): void {
    this.corruptDescriptor(this.descriptorIndex(head, i), fields);
  }

  /** Overwrites the available ring's entry for `index`, which is taken modulo the size. */
  writeAvailEntry(index: number, head: number): void {
    this.memory.writeUint16(this.config.driverArea + 4 + (index % this.config.size) * 2, head);
  }

  /** Overwrites `idx` of the available ring. */
  writeAvailIdx(index: number): void {
    this.memory.atomicStoreUint16(this.config.driverArea + 2, index);
  }

  /** `idx` of the available ring. */
  get availIdx(): number {
    return this.memory.atomicLoadUint16(this.config.driverArea + 2);
  }

  protected override enter(descriptors: readonly MockDescriptor[]): {
    readonly head: number;
    readonly indices: readonly number[];
  } {
    // With IN_ORDER what is used first is free first, so that the descriptors stay in ring order (§2.7.5).
    const indices = descriptors.map(() => this.#free.shift()!);
    descriptors.forEach((descriptor, i) => {
      const next = (descriptor.flags & VIRTQ_DESC_F_NEXT) !== 0 ? indices[i + 1]! : 0;
      this.writeDescriptor(indices[i]!, { ...descriptor, next });
    });
    const head = indices[0]!;
    this.writeAvailEntry(this.#availIdx, head);
    this.#availIdx = (this.#availIdx + 1) & 0xffff;
    return { head, indices };
  }

  protected override writeTableEntry(at: number, descriptor: MockDescriptor, next: number): void {
    this.#write(at, descriptor, next);
  }

  /** Without IN_ORDER in an order that is not the ring's, so that devices meet all kinds of chains. */
  #giveBack(descriptors: readonly number[]): void {
    if (this.config.inOrder) this.#free.push(...descriptors);
    else this.#free.unshift(...[...descriptors].reverse());
  }

  #write(at: number, { address, length, flags }: MockDescriptor, next: number): void {
    this.memory.writeBigUint64(at, BigInt(address));
    this.memory.writeUint32(at + 8, length);
    this.memory.writeUint16(at + 12, flags);
    this.memory.writeUint16(at + 14, next);
  }
}
