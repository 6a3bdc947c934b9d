import type { GuestMemory } from '@vmm/vm-memory';
import {
  DESCRIPTOR_SIZE,
  VIRTQ_AVAIL_F_NO_INTERRUPT,
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
  VIRTQ_USED_F_NO_NOTIFY,
  descriptorAreaSize,
  deviceAreaSize,
  driverAreaSize,
} from '../constants.ts';
import { needEvent } from '../event-index.ts';
import type { QueueConfig } from '../queue.ts';
import { Arena } from './arena.ts';

/**
 * A buffer of a chain: bytes for the device to read, or zeroed room for it to write. A string stands for one
 * byte a character (ASCII).
 */
export type MockBuffer =
  | { readonly readable: Uint8Array | readonly number[] | string }
  | { readonly writable: number }
  /** Guest memory that the caller placed; nothing is copied and any address will do. */
  | { readonly address: number; readonly size: number; readonly isWritable: boolean };

/** One element that the device put on the used ring. */
export interface MockUsed {
  readonly head: number;
  /** The element's `len`. */
  readonly length: number;
  /** The first `length` bytes of the chain's writable buffers, or all of them if there are fewer. */
  readonly written: Uint8Array;
}

export interface MockSplitDriverOptions {
  /** Default 16. */
  readonly size?: number;
  /** Guest address where rings and buffers go, a multiple of 16. Default: the start of the first region. */
  readonly base?: number;
  /** First guest address after them. Default: the end of the region that holds `base`. */
  readonly end?: number;
  /** Default false. */
  readonly eventIdx?: boolean;
  /** Whether `indirect` is announced in `config`. Default false. */
  readonly indirect?: boolean;
  /** What both ring indices start at, for a queue restored with this `nextAvail`. Default 0. */
  readonly firstIndex?: number;
}

/** Raw contents of a descriptor for {@link MockSplitDriver.writeDescriptor}. */
export interface MockDescriptor {
  readonly address: number | bigint;
  readonly length: number;
  readonly flags: number;
  readonly next: number;
}

interface Pending {
  /** Descriptors of the ring's table that the chain takes. */
  readonly descriptors: readonly number[];
  /** What to give back to the arena. */
  readonly allocated: readonly number[];
  readonly writable: readonly { readonly address: number; readonly size: number }[];
}

/**
 * The driver's side of a split virtqueue in a guest's memory, for tests: it follows VIRTIO 1.3 §2.7, except
 * where it is told to corrupt something. It is as slow as it is simple.
 */
export class MockSplitDriver {
  readonly memory: GuestMemory;
  /** What a transport hands to `createSplitQueue()`. */
  readonly config: QueueConfig;
  readonly #arena: Arena;
  readonly #free: number[];
  readonly #pending = new Map<number, Pending>();
  #availIdx: number;
  #publishedIdx: number;
  #usedIdx: number;

  constructor(memory: GuestMemory, options: MockSplitDriverOptions = {}) {
    const { size = 16, base = memory.regions[0]?.guestAddress ?? 0 } = options;
    const end = options.end ?? memory.findRegion(base)?.end ?? 0;
    const driverArea = base + descriptorAreaSize(size);
    const deviceArea = roundUp(driverArea + driverAreaSize(size), 16);
    const buffers = roundUp(deviceArea + deviceAreaSize(size), 16);
    if (base % 16 !== 0 || buffers > end) {
      throw new RangeError(`mock driver: a ring of ${size} does not fit at ${base}`);
    }
    this.memory = memory;
    this.config = {
      size,
      descriptorArea: base,
      driverArea,
      deviceArea,
      eventIdx: options.eventIdx ?? false,
      indirect: options.indirect ?? false,
    };
    this.#arena = new Arena(buffers, end);
    this.#free = Array.from({ length: size }, (_, index) => size - 1 - index);
    memory.fill(base, buffers - base, 0);
    const { firstIndex = 0 } = options;
    this.#availIdx = firstIndex;
    this.#publishedIdx = firstIndex;
    this.#usedIdx = firstIndex;
    this.writeAvailIdx(firstIndex);
    memory.writeUint16(deviceArea + 2, firstIndex);
  }

  /** Descriptors that no chain takes. */
  get freeDescriptors(): number {
    return this.#free.length;
  }

  /** Chains added and not collected. */
  get pendingChains(): number {
    return this.#pending.size;
  }

  /**
   * Adds a chain; the device sees it after {@link publish}.
   *
   * @param layout `direct`: one descriptor of the ring for each buffer. `indirect`: all in one table.
   *   A number: that many direct descriptors, then a table with the rest. Default `direct`
   * @returns the chain's head
   * @throws RangeError when descriptors or memory run out
   */
  add(buffers: readonly MockBuffer[], layout: 'direct' | 'indirect' | number = 'direct'): number {
    const direct = layout === 'direct' ? buffers.length : layout === 'indirect' ? 0 : layout;
    const needed = direct + (direct < buffers.length ? 1 : 0);
    if (needed === 0 || needed > this.#free.length) {
      throw new RangeError(`mock driver: ${needed} descriptors wanted, ${this.#free.length} free`);
    }
    const allocated: number[] = [];
    const placed = buffers.map((buffer) => this.#place(buffer, allocated));
    const descriptors = Array.from({ length: needed }, () => this.#free.pop()!);
    const head = descriptors[0]!;
    for (let i = 0; i < direct; i++) {
      const more = i + 1 < needed;
      this.writeDescriptor(descriptors[i]!, {
        address: placed[i]!.address,
        length: placed[i]!.size,
        flags: (placed[i]!.isWritable ? VIRTQ_DESC_F_WRITE : 0) | (more ? VIRTQ_DESC_F_NEXT : 0),
        next: more ? descriptors[i + 1]! : 0,
      });
    }
    if (direct < buffers.length) {
      const rest = placed.slice(direct);
      const table = this.#arena.allocate(rest.length * DESCRIPTOR_SIZE);
      allocated.push(table);
      rest.forEach((buffer, i) => {
        const more = i + 1 < rest.length;
        this.#writeDescriptorAt(table + i * DESCRIPTOR_SIZE, {
          address: buffer.address,
          length: buffer.size,
          flags: (buffer.isWritable ? VIRTQ_DESC_F_WRITE : 0) | (more ? VIRTQ_DESC_F_NEXT : 0),
          next: more ? i + 1 : 0,
        });
      });
      this.writeDescriptor(descriptors[direct]!, {
        address: table,
        length: rest.length * DESCRIPTOR_SIZE,
        flags: VIRTQ_DESC_F_INDIRECT,
        next: 0,
      });
    }
    this.#pending.set(head, { descriptors, allocated, writable: placed.filter((b) => b.isWritable) });
    this.writeAvailEntry(this.#availIdx, head);
    this.#availIdx = (this.#availIdx + 1) & 0xffff;
    return head;
  }

  /**
   * Makes what was added available.
   *
   * @returns whether the device wants a notification for it (§2.7.10)
   */
  publish(): boolean {
    const old = this.#publishedIdx;
    this.#publishedIdx = this.#availIdx;
    this.writeAvailIdx(this.#availIdx);
    if (this.#availIdx === old) return false;
    if (this.config.eventIdx) return needEvent(this.availEvent, this.#availIdx, old);
    return (this.usedFlags & VIRTQ_USED_F_NO_NOTIFY) === 0;
  }

  /** {@link add} and {@link publish}; answers the head. */
  send(buffers: readonly MockBuffer[], layout: 'direct' | 'indirect' | number = 'direct'): number {
    const head = this.add(buffers, layout);
    this.publish();
    return head;
  }

  /**
   * Takes everything the device has used since the last call.
   *
   * @throws RangeError when the device used what was not pending
   */
  collect(): MockUsed[] {
    const used: MockUsed[] = [];
    for (const idx = this.usedIdx; this.#usedIdx !== idx; this.#usedIdx = (this.#usedIdx + 1) & 0xffff) {
      const element = this.config.deviceArea + 4 + (this.#usedIdx % this.config.size) * 8;
      const head = this.memory.readUint32(element);
      const length = this.memory.readUint32(element + 4);
      const pending = this.#pending.get(head);
      if (pending === undefined) throw new RangeError(`mock driver: chain ${head} was used but not pending`);
      used.push({ head, length, written: this.#gather(pending, length) });
      this.#pending.delete(head);
      for (const address of pending.allocated) this.#arena.free(address);
      this.#free.push(...pending.descriptors);
    }
    return used;
  }

  /** Asks for an interrupt when the used index passes `index`, default the next one (EVENT_IDX, §2.7.7.1). */
  setUsedEvent(index: number = this.#usedIdx): void {
    this.memory.writeUint16(this.config.driverArea + 4 + this.config.size * 2, index);
  }

  /** Sets or clears VIRTQ_AVAIL_F_NO_INTERRUPT. */
  suppressInterrupts(suppress: boolean): void {
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

  /** Overwrites a descriptor of the ring's table. */
  writeDescriptor(index: number, descriptor: MockDescriptor): void {
    this.#writeDescriptorAt(this.config.descriptorArea + index * DESCRIPTOR_SIZE, descriptor);
  }

  /** What the ring's table holds at `index`. */
  readDescriptor(index: number): MockDescriptor {
    const at = this.config.descriptorArea + index * DESCRIPTOR_SIZE;
    return {
      address: this.memory.readBigUint64(at),
      length: this.memory.readUint32(at + 8),
      flags: this.memory.readUint16(at + 12),
      next: this.memory.readUint16(at + 14),
    };
  }

  /** Overwrites some fields of a descriptor of the ring's table. */
  corruptDescriptor(index: number, fields: Partial<MockDescriptor>): void {
    this.writeDescriptor(index, { ...this.readDescriptor(index), ...fields });
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

  #place(
    buffer: MockBuffer,
    allocated: number[],
  ): { readonly address: number; readonly size: number; readonly isWritable: boolean } {
    if ('address' in buffer) return buffer;
    const isWritable = 'writable' in buffer;
    const data = isWritable ? undefined : toBytes(buffer.readable);
    const size = isWritable ? buffer.writable : (data?.length ?? 0);
    const address = this.#arena.allocate(size);
    allocated.push(address);
    if (data === undefined) this.memory.fill(address, size, 0);
    else this.memory.write(address, data);
    return { address, size, isWritable };
  }

  #writeDescriptorAt(at: number, { address, length, flags, next }: MockDescriptor): void {
    this.memory.writeBigUint64(at, BigInt(address));
    this.memory.writeUint32(at + 8, length);
    this.memory.writeUint16(at + 12, flags);
    this.memory.writeUint16(at + 14, next);
  }

  #gather({ writable }: Pending, length: number): Uint8Array {
    const room = writable.reduce((sum, { size }) => sum + size, 0);
    const bytes = new Uint8Array(Math.min(length, room));
    let done = 0;
    for (const { address, size } of writable) {
      const part = bytes.subarray(done, done + size);
      this.memory.read(address, part);
      done += part.length;
    }
    return bytes;
  }
}

function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}

function toBytes(data: Uint8Array | readonly number[] | string): Uint8Array {
  return typeof data === 'string' ? Uint8Array.from(data, (c) => c.charCodeAt(0)) : Uint8Array.from(data);
}
