import type { GuestMemory } from '@vmm/vm-memory';
import type { QueueConfig } from '../queue.ts';

/**
 * A buffer of a chain: bytes for the device to read, or zeroed room for it to write. A string stands for one
 * byte a character (ASCII).
 */
export type MockBuffer =
  | { readonly readable: Uint8Array | readonly number[] | string }
  | { readonly writable: number }
  /** Guest memory that the caller placed; nothing is copied and any address will do. */
  | { readonly address: number; readonly size: number; readonly isWritable: boolean };

/**
 * `direct`: one descriptor of the ring for each buffer. `indirect`: all in one table. A number, on a split ring:
 * that many direct descriptors, then a table with the rest.
 */
export type MockLayout = 'direct' | 'indirect' | number;

/** One chain that the device used. */
export interface MockUsed {
  readonly head: number;
  /** The used element's length; all there was room for, if IN_ORDER let the device leave the element out. */
  readonly length: number;
  /** The first `length` bytes of the chain's writable buffers, or all of them if there are fewer. */
  readonly written: Uint8Array;
}

/** Raw contents of a descriptor. */
export interface MockDescriptor {
  readonly address: number | bigint;
  readonly length: number;
  readonly flags: number;
  /** Split ring only. Default when written: 0. */
  readonly next?: number;
  /** Buffer ID, packed ring only. Default when written: 0. */
  readonly id?: number;
}

export interface MockDriverOptions {
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
  /** Default false. */
  readonly inOrder?: boolean;
  /** Where the ring begins, for a queue restored with this `nextAvail`. Default: as a new ring does. */
  readonly firstIndex?: number;
}

/**
 * The driver's side of a virtqueue in a guest's memory, for tests: it follows VIRTIO 1.3 §2.7 or §2.8, except
 * where it is told to corrupt something. It is as slow as it is simple.
 */
export interface MockDriver {
  readonly memory: GuestMemory;
  /** What a transport hands to `createQueue()`. */
  readonly config: Required<QueueConfig>;
  /** Descriptors of the ring that no chain takes. */
  readonly freeDescriptors: number;
  /** Chains added and not collected. */
  readonly pendingChains: number;

  /**
   * Adds a chain; the device sees it after {@link publish}.
   *
   * @param layout default `direct`
   * @returns the chain's head: index of its first descriptor, or its Buffer ID
   * @throws RangeError when descriptors or memory run out, or the ring cannot have the layout
   */
  add(buffers: readonly MockBuffer[], layout?: MockLayout): number;
  /**
   * Makes what was added available.
   *
   * @returns whether the device wants a notification for it (§2.7.10, §2.8.10)
   */
  publish(): boolean;
  /** {@link add} and {@link publish}; answers the head. */
  send(buffers: readonly MockBuffer[], layout?: MockLayout): number;
  /**
   * Takes everything the device has used since the last call.
   *
   * @throws RangeError when the device used what was not pending
   */
  collect(): MockUsed[];

  /**
   * Asks for an interrupt when the device uses the ring's entry at `position` (EVENT_IDX): an index of the used
   * ring, or a packed ring's offset and wrap counter (§2.8.14). Default: the next entry.
   */
  setUsedEvent(position?: number): void;
  /** Asks for no interrupts, or for all of them. */
  suppressInterrupts(suppress: boolean): void;

  /** Where in the ring descriptor `i` of a pending chain is. */
  descriptorIndex(head: number, i: number): number;
  /** What the ring holds at `index`. */
  readDescriptor(index: number): MockDescriptor;
  /** Overwrites the descriptor at `index` of the ring, at once. */
  writeDescriptor(index: number, descriptor: MockDescriptor): void;
  /** Overwrites some fields of the descriptor at `index` of the ring, at once. */
  corruptDescriptor(index: number, fields: Partial<MockDescriptor>): void;
  /**
   * Overwrites some fields of descriptor `i` of a pending chain. A packed ring's AVAIL and USED flags stay as they
   * are: what is not published stays so.
   */
  corruptChain(head: number, i: number, fields: Partial<MockDescriptor>): void;
}
