import type { GuestMemory } from '@vmm/vm-memory';
import {
  DESCRIPTOR_SIZE,
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
} from '../constants.ts';
import type { QueueConfig } from '../queue.ts';
import { Arena } from './arena.ts';
import type {
  MockBuffer,
  MockDescriptor,
  MockDriver,
  MockDriverOptions,
  MockLayout,
  MockUsed,
} from './driver.ts';

/** A buffer in guest memory. */
interface Placed {
  readonly address: number;
  readonly size: number;
  readonly isWritable: boolean;
}

interface Pending {
  /** Where in the ring the chain's descriptors are. */
  readonly descriptors: readonly number[];
  /** What to give back to the arena. */
  readonly allocated: readonly number[];
  readonly writable: readonly Placed[];
}

/** Bytes of the three areas of a ring. */
export interface AreaSizes {
  readonly descriptor: number;
  readonly driver: number;
  readonly device: number;
}

/** What the mock drivers of both rings have in common: memory, chains, and what became of them. */
export abstract class MockRingDriver implements MockDriver {
  readonly memory: GuestMemory;
  readonly config: Required<QueueConfig>;
  readonly #arena: Arena;
  /** In the order in which they were added. */
  readonly #pending = new Map<number, Pending>();

  protected constructor(
    memory: GuestMemory,
    options: MockDriverOptions,
    packed: boolean,
    sizesOf: (size: number) => AreaSizes,
  ) {
    const { size = 16, base = memory.regions[0]?.guestAddress ?? 0 } = options;
    const end = options.end ?? memory.findRegion(base)?.end ?? 0;
    const sizes = sizesOf(size);
    const driverArea = base + sizes.descriptor;
    const deviceArea = roundUp(driverArea + sizes.driver, 16);
    const buffers = roundUp(deviceArea + sizes.device, 16);
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
      packed,
      inOrder: options.inOrder ?? false,
    };
    this.#arena = new Arena(buffers, end);
    memory.fill(base, buffers - base, 0);
  }

  get pendingChains(): number {
    return this.#pending.size;
  }

  abstract get freeDescriptors(): number;
  abstract publish(): boolean;
  abstract collect(): MockUsed[];
  abstract setUsedEvent(position?: number): void;
  abstract suppressInterrupts(suppress: boolean): void;
  abstract readDescriptor(index: number): MockDescriptor;
  abstract writeDescriptor(index: number, descriptor: MockDescriptor): void;
  abstract corruptChain(head: number, i: number, fields: Partial<MockDescriptor>): void;

  add(buffers: readonly MockBuffer[], layout: MockLayout = 'direct'): number {
    const direct = layout === 'direct' ? buffers.length : layout === 'indirect' ? 0 : layout;
    const needed = direct + (direct < buffers.length ? 1 : 0);
    if (needed === 0 || needed > this.freeDescriptors) {
      throw new RangeError(`mock driver: ${needed} descriptors wanted, ${this.freeDescriptors} free`);
    }
    if (this.config.packed && direct > 0 && direct < buffers.length) {
      throw new RangeError('mock driver: no table follows direct descriptors in a packed ring (§2.8.19)');
    }
    const allocated: number[] = [];
    const placed = buffers.map((buffer) => this.#place(buffer, allocated));
    const descriptors = placed.slice(0, direct).map((buffer, i) => ({
      address: buffer.address,
      length: buffer.size,
      flags: flagsOf(buffer, i + 1 < needed),
    }));
    if (direct < buffers.length) descriptors.push(this.#writeTable(placed.slice(direct), allocated));
    const { head, indices } = this.enter(descriptors);
    this.#pending.set(head, {
      descriptors: indices,
      allocated,
      writable: placed.filter(({ isWritable }) => isWritable),
    });
    return head;
  }

  send(buffers: readonly MockBuffer[], layout: MockLayout = 'direct'): number {
    const head = this.add(buffers, layout);
    this.publish();
    return head;
  }

  descriptorIndex(head: number, i: number): number {
    const index = this.#pending.get(head)?.descriptors[i];
    if (index === undefined) throw new RangeError(`mock driver: no descriptor ${i} of a chain ${head}`);
    return index;
  }

  corruptDescriptor(index: number, fields: Partial<MockDescriptor>): void {
    this.writeDescriptor(index, { ...this.readDescriptor(index), ...fields });
  }

  /** Puts a chain's descriptors, of which `next`, Buffer ID, AVAIL and USED are missing, into the ring. */
  protected abstract enter(descriptors: readonly MockDescriptor[]): {
    readonly head: number;
    readonly indices: readonly number[];
  };

  /** Writes an entry of an indirect table. */
  protected abstract writeTableEntry(at: number, descriptor: MockDescriptor, next: number): void;

  /**
   * Notes that the device used `head`, and with IN_ORDER all chains added before it (§2.7.9, §2.8.8).
   *
   * @returns the chains, in the order in which they were added
   */
  protected settle(head: number, length: number, used: MockUsed[]): readonly Pending[] {
    if (!this.#pending.has(head)) {
      throw new RangeError(`mock driver: chain ${head} was used but not pending`);
    }
    const settled: Pending[] = [];
    for (const each of this.config.inOrder ? [...this.#pending.keys()] : [head]) {
      const pending = this.#pending.get(each)!;
      const room = pending.writable.reduce((sum, { size }) => sum + size, 0);
      const bytes = each === head ? length : room;
      used.push({ head: each, length: bytes, written: this.#gather(pending, Math.min(bytes, room)) });
      this.#pending.delete(each);
      for (const address of pending.allocated) this.#arena.free(address);
      settled.push(pending);
      if (each === head) break;
    }
    return settled;
  }

  #writeTable(
    buffers: readonly Placed[],
    allocated: number[],
  ): MockDescriptor & { readonly address: number } {
    const table = this.#arena.allocate(buffers.length * DESCRIPTOR_SIZE);
    allocated.push(table);
    buffers.forEach((buffer, i) => {
      const more = i + 1 < buffers.length;
      // Of the flags a packed ring's table has WRITE only (§2.8.19).
      const flags = flagsOf(buffer, more && !this.config.packed);
      this.writeTableEntry(
        table + i * DESCRIPTOR_SIZE,
        { address: buffer.address, length: buffer.size, flags },
        more ? i + 1 : 0,
      );
    });
    return { address: table, length: buffers.length * DESCRIPTOR_SIZE, flags: VIRTQ_DESC_F_INDIRECT };
  }

  #place(buffer: MockBuffer, allocated: number[]): Placed {
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

  #gather({ writable }: Pending, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    let done = 0;
    for (const { address, size } of writable) {
      const part = bytes.subarray(done, done + size);
      this.memory.read(address, part);
      done += part.length;
    }
    return bytes;
  }
}

function flagsOf({ isWritable }: Placed, more: boolean): number {
  return (isWritable ? VIRTQ_DESC_F_WRITE : 0) | (more ? VIRTQ_DESC_F_NEXT : 0);
}

function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}

function toBytes(data: Uint8Array | readonly number[] | string): Uint8Array {
  return typeof data === 'string' ? Uint8Array.from(data, (c) => c.charCodeAt(0)) : Uint8Array.from(data);
}
