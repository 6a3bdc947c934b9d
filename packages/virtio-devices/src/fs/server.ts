import type { DescriptorChain } from '@vmm/virtio-queue';
import { StateReader } from '../state.ts';
import type { FuseCall } from './call.ts';
import * as fuse from './constants.ts';
import { FuseError } from './errors.ts';
import type { FuseHandler } from './handler.ts';
import { OPERATIONS } from './operations.ts';

/** The longest body of a request other than WRITE: SETXATTR with the largest name and value. */
const MAX_BODY = 16 + fuse.FUSE_NAME_MAX + 1 + fuse.FUSE_XATTR_MAX;
const FORGET_ONE_SIZE = 16;
/** Requests without an answer of their own, and asynchronous ones, that the driver may have in flight. */
const MAX_BACKGROUND = 64;
/** Flags of INIT that hold for every handler. */
const INIT_FLAGS: number =
  fuse.FUSE_ASYNC_READ |
  fuse.FUSE_ATOMIC_O_TRUNC |
  fuse.FUSE_BIG_WRITES |
  fuse.FUSE_ASYNC_DIO |
  fuse.FUSE_PARALLEL_DIROPS |
  fuse.FUSE_MAX_PAGES;

export interface FuseServerStatistics {
  readonly requests: number;
  readonly lookups: number;
  readonly forgets: number;
  readonly reads: number;
  readonly readBytes: number;
  readonly writes: number;
  readonly writtenBytes: number;
  /** Requests answered with an error, names that do not exist among them. */
  readonly errors: number;
}

/** What was agreed by INIT. */
export interface FuseSession {
  readonly initialized: boolean;
  /** Minor version of the protocol. */
  readonly minor: number;
}

/** @throws VirtioDeviceError `INVALID_STATE` */
export function restoreSession(state: unknown): FuseSession {
  const reader = new StateReader('fs session', state);
  return {
    initialized: reader.boolean('initialized'),
    minor: reader.integer('minor', 0, fuse.FUSE_KERNEL_MINOR_VERSION),
  };
}

/** Carries out FUSE requests that lie in descriptor chains, by the methods of a handler. */
export class FuseServer {
  readonly statistics: { -readonly [name in keyof FuseServerStatistics]: number } = {
    requests: 0,
    lookups: 0,
    forgets: 0,
    reads: 0,
    readBytes: 0,
    writes: 0,
    writtenBytes: 0,
    errors: 0,
  };
  /** Requests that wait for the handler. */
  readonly busy: Set<FuseCall> = new Set();
  readonly #handler: FuseHandler;
  readonly #maxTransfer: number;
  readonly #onError: (opcode: number, cause: unknown) => void;
  #session: FuseSession = { initialized: false, minor: 0 };

  constructor(handler: FuseHandler, maxTransfer: number, onError: (opcode: number, cause: unknown) => void) {
    this.#handler = handler;
    this.#maxTransfer = maxTransfer;
    this.#onError = onError;
  }

  /**
   * Carries out the request in a chain. Promises resolve always; while one is pending the call is in `busy`.
   *
   * @returns bytes written to the chain, 0 for requests that have no answer; undefined: it is none that could be answered
   */
  start(call: FuseCall, chain: DescriptorChain): number | Promise<number> | undefined {
    if (!call.parseHeader(chain)) return undefined;
    this.statistics.requests++;
    if (this.#hasNoAnswer(call, chain)) return 0;
    if (chain.writableBytes < fuse.FUSE_OUT_HEADER_SIZE) return undefined;
    let result: number | Promise<number>;
    try {
      result = this.#run(call, chain);
    } catch (cause) {
      return this.#finish(call, chain, this.#errnoOf(call, cause));
    }
    if (typeof result === 'number') return this.#finish(call, chain, result);
    this.busy.add(call);
    return result
      .catch((cause: unknown) => this.#errnoOf(call, cause))
      .then((value) => {
        this.busy.delete(call);
        return call.cancelled ? 0 : this.#finishLate(call, chain, value);
      });
  }

  /** The driver is gone. */
  end(): void {
    this.#session = { initialized: false, minor: 0 };
    try {
      this.#handler.destroy?.();
    } catch (cause) {
      this.#onError(fuse.FUSE_DESTROY, cause);
    }
  }

  save(): FuseSession {
    return this.#session;
  }

  restore(session: FuseSession): void {
    this.#session = session;
  }

  #hasNoAnswer(call: FuseCall, chain: DescriptorChain): boolean {
    const { opcode, bodyLength } = call;
    if (opcode !== fuse.FUSE_FORGET && opcode !== fuse.FUSE_BATCH_FORGET && opcode !== fuse.FUSE_INTERRUPT) {
      return false;
    }
    if (bodyLength < 8 || bodyLength > MAX_BODY) return true;
    call.loadBody(chain, bodyLength);
    if (opcode === fuse.FUSE_INTERRUPT) this.#interrupt(call.uint32(0), call.uint32(4));
    else if (opcode === fuse.FUSE_FORGET) this.#forget(call.nodeId, call.uint64(0));
    else {
      const count = Math.min(call.uint32(0), Math.floor((bodyLength - 8) / FORGET_ONE_SIZE));
      for (let i = 0; i < count; i++) {
        const at = 8 + i * FORGET_ONE_SIZE;
        this.#forget(call.uint64(at), call.uint64(at + 8));
      }
    }
    return true;
  }

  #forget(node: number, count: number): void {
    this.statistics.forgets++;
    try {
      if (node > 0 && count > 0) this.#handler.forget?.(node, count);
    } catch (cause) {
      this.#onError(fuse.FUSE_FORGET, cause);
    }
  }

  #interrupt(uniqueLow: number, uniqueHigh: number): void {
    for (const call of this.busy) {
      if (call.uniqueLow === uniqueLow && call.uniqueHigh === uniqueHigh) call.interrupted = true;
    }
  }

  #run(call: FuseCall, chain: DescriptorChain): number | Promise<number> {
    const { opcode } = call;
    if (opcode === fuse.FUSE_INIT) return this.#init(call, chain);
    if (!this.#session.initialized) return -fuse.EIO;
    if (opcode === fuse.FUSE_READ) return this.#read(call, chain);
    if (opcode === fuse.FUSE_WRITE) return this.#write(call, chain);
    if (opcode === fuse.FUSE_DESTROY) {
      this.end();
      return 0;
    }
    const operation = OPERATIONS.get(opcode);
    if (operation === undefined) return -fuse.ENOSYS;
    if (call.bodyLength < operation.bodySize || call.bodyLength > MAX_BODY) return -fuse.EINVAL;
    if (call.room < operation.replySize) return -fuse.EINVAL;
    if (opcode === fuse.FUSE_LOOKUP) this.statistics.lookups++;
    call.loadBody(chain, call.bodyLength);
    return operation.run(this.#handler, call);
  }

  #init(call: FuseCall, chain: DescriptorChain): number {
    if (call.bodyLength < 16 || call.bodyLength > MAX_BODY || call.room < fuse.FUSE_INIT_OUT_SIZE) {
      return -fuse.EINVAL;
    }
    call.loadBody(chain, call.bodyLength);
    const major = call.uint32(0);
    const minor = Math.min(call.uint32(4), fuse.FUSE_KERNEL_MINOR_VERSION);
    const { reply } = call;
    const at = reply.grow(fuse.FUSE_INIT_OUT_SIZE);
    const { view } = reply;
    view.setUint32(at, fuse.FUSE_KERNEL_VERSION, true);
    view.setUint32(at + 4, fuse.FUSE_KERNEL_MINOR_VERSION, true);
    // A driver of a later major version comes again with this one.
    if (major > fuse.FUSE_KERNEL_VERSION) return 0;
    if (major < fuse.FUSE_KERNEL_VERSION || minor < fuse.FUSE_MINIMUM_MINOR_VERSION) return -fuse.EPROTO;
    this.end();
    this.#session = { initialized: true, minor };
    view.setUint32(at + 4, minor, true);
    view.setUint32(at + 8, call.uint32(8), true);
    view.setUint32(at + 12, call.uint32(12) & this.#flags(), true);
    view.setUint16(at + 16, MAX_BACKGROUND, true);
    view.setUint16(at + 18, (MAX_BACKGROUND * 3) / 4, true);
    view.setUint32(at + 20, this.#maxTransfer, true);
    // The granularity of times, in nanoseconds.
    view.setUint32(at + 24, 1, true);
    view.setUint16(at + 28, this.#maxTransfer / 4096, true);
    return 0;
  }

  #flags(): number {
    const handler = this.#handler;
    const plus = handler.readdir === undefined ? 0 : fuse.FUSE_DO_READDIRPLUS | fuse.FUSE_READDIRPLUS_AUTO;
    return INIT_FLAGS | plus | (handler.initFlags ?? 0);
  }

  #read(call: FuseCall, chain: DescriptorChain): number | Promise<number> {
    const handler = this.#handler;
    if (handler.read === undefined) return -fuse.ENOSYS;
    if (call.bodyLength < 40 || call.bodyLength > MAX_BODY) return -fuse.EINVAL;
    call.loadBody(chain, 40);
    const size = call.uint32(16);
    if (size > this.#maxTransfer || size > call.room) return -fuse.EINVAL;
    const { writer } = chain;
    writer.seek(fuse.FUSE_OUT_HEADER_SIZE);
    call.data.set(chain.memory, writer, size, chain.length);
    this.statistics.reads++;
    const done = handler.read(call, call.nodeId, call.uint64(0), call.size(8), call.data);
    return typeof done === 'number' ? this.#readDone(call, done) : done.then((n) => this.#readDone(call, n));
  }

  #readDone(call: FuseCall, done: number): number {
    if (done > call.data.length) return -fuse.EIO;
    if (done > 0) this.statistics.readBytes += done;
    return done;
  }

  #write(call: FuseCall, chain: DescriptorChain): number | Promise<number> {
    const handler = this.#handler;
    if (handler.write === undefined) return -fuse.ENOSYS;
    if (call.bodyLength < fuse.FUSE_WRITE_IN_SIZE || call.room < fuse.FUSE_WRITE_OUT_SIZE) {
      return -fuse.EINVAL;
    }
    call.loadBody(chain, fuse.FUSE_WRITE_IN_SIZE);
    const size = call.uint32(16);
    if (size > this.#maxTransfer || size > call.bodyLength - fuse.FUSE_WRITE_IN_SIZE) return -fuse.EINVAL;
    call.data.set(chain.memory, chain.reader, size, chain.length);
    this.statistics.writes++;
    const done = handler.write(call, call.nodeId, call.uint64(0), call.size(8), call.data, call.uint32(20));
    return typeof done === 'number'
      ? this.#writeDone(call, done)
      : done.then((n) => this.#writeDone(call, n));
  }

  #writeDone(call: FuseCall, done: number): number {
    if (done < 0) return done;
    if (done > call.data.length) return -fuse.EIO;
    this.statistics.writtenBytes += done;
    call.reply.uint32Padded(done);
    return 0;
  }

  /** Nobody is there to catch what this might throw: the memory may be gone with the machine. */
  #finishLate(call: FuseCall, chain: DescriptorChain, result: number): number {
    try {
      return this.#finish(call, chain, result);
    } catch (cause) {
      call.cancelled = true;
      this.#onError(call.opcode, cause);
      return 0;
    }
  }

  /** Stores the answer. @param result an error, or for READ the bytes that are in the guest's buffer, or 0 */
  #finish(call: FuseCall, chain: DescriptorChain, result: number): number {
    const { reply } = call;
    const errno = checkErrno(result, reply.length - fuse.FUSE_OUT_HEADER_SIZE > call.room);
    if (errno < 0) {
      reply.reset();
      this.statistics.errors++;
    }
    const length = reply.length + Math.max(0, result);
    reply.view.setUint32(0, length, true);
    reply.view.setInt32(4, errno, true);
    reply.view.setUint32(8, call.uniqueLow, true);
    reply.view.setUint32(12, call.uniqueHigh, true);
    chain.writer.rewind();
    chain.writer.write(reply.bytes.subarray(0, reply.length));
    return length;
  }

  #errnoOf(call: FuseCall, cause: unknown): number {
    if (cause instanceof FuseError) return -cause.errno;
    this.#onError(call.opcode, cause);
    return -fuse.EIO;
  }
}

/** The driver takes what is not -4095 … 0 for a broken device. */
function checkErrno(result: number, tooLong: boolean): number {
  if (!Number.isInteger(result) || result < -4095 || tooLong) return -fuse.EIO;
  return Math.min(0, result);
}
