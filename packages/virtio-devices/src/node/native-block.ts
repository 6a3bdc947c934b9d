import type { NativeMemoryMap } from './native.ts';

/** Block's part of the addon (native/block.cc). */
export interface NativeBlock {
  /**
   * @param fd duplicated
   * @param engine 'auto', 'io_uring' (throws ENOSYS where it is not to be had) or 'threads'
   * @param onDone called from the event loop when {@link NativeBlockFile.take} has something
   */
  readonly BlockFile: new (fd: number, engine: string, onDone: () => void) => NativeBlockFile;
}

/** Flag of {@link NativeBlockFile.submit}: everything by the engine. */
export const NATIVE_ENGINE_ONLY = 1;

/** Numbers that {@link NativeBlockFile.take} stores for each operation: token, errno. */
export const NATIVE_DONE_WORDS = 2;

/** A file or block device. What is in flight keeps the event loop alive; `close` forgets it. */
export interface NativeBlockFile {
  /** Bytes. */
  readonly size: number;
  /** 'io_uring' or 'threads': what does operations that would wait. */
  readonly engine: string;

  /**
   * Carries out transfers in one call, without a flag as far as the page cache serves them. Those that would
   * have to wait are given to the engine: the data of a write is copied before, that of a read by {@link finish}.
   *
   * @param transfers, iovecs as BlockBatch has them
   * @param count transfers
   * @param results for each transfer 0 when it is done, a positive errno (ENODATA: beyond the end), or the negative token
   *   of what the engine does
   * @returns how many tokens there are
   */
  submit(
    memory: NativeMemoryMap,
    transfers: Float64Array,
    count: number,
    iovecs: Float64Array,
    results: Int32Array,
    flags: number,
  ): number;

  /** fdatasync(). Answers a token. */
  sync(): number;
  /** fallocate(): 'punch' a hole or 'zero' the range without giving its storage back. Answers a token. */
  allocate(mode: 'punch' | 'zero', position: number, length: number): number;
  /** Writes zeroes. Answers a token. */
  zero(position: number, length: number): number;

  /**
   * Stores token and errno of operations that are done; call it until it answers 0. The token of a read is for
   * {@link finish}, all others are gone.
   */
  take(out: Int32Array): number;
  /**
   * @param copy whether to store what was read in guest memory
   * @returns 0 or an errno
   */
  finish(token: number, copy: boolean): number;

  /**
   * Locks the file for this process (F_OFD_SETLK), without waiting.
   *
   * @returns false when another holds a lock that excludes this one
   */
  lock(exclusive: boolean): boolean;
  close(): void;
}
