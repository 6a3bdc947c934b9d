import type { FuseCall } from './call.ts';
import * as fuse from './constants.ts';
import { DirectorySink } from './directory-sink.ts';
import { FuseError } from './errors.ts';
import type { FuseHandler, FuseResult } from './handler.ts';

/** Bytes of an answer to READDIR, whatever the driver has room for: with READDIRPLUS each entry is a file to look at. */
const MAX_READDIR = 32 * 1024;

/** How a request is carried out. */
export interface Operation {
  /** Bytes that the request must have after its header. */
  readonly bodySize: number;
  /** Bytes that the answer must have room for after its header: what a handler did must not go untold. */
  readonly replySize: number;
  /** Answers 0, with the answer in `call.reply`, or a negative error. Throws FuseError for what the guest may not send. */
  readonly run: (handler: FuseHandler, call: FuseCall) => number | Promise<number>;
}

function operation(bodySize: number, replySize: number, run: Operation['run']): Operation {
  return { bodySize, replySize, run };
}

/** Puts the value of an answer, now or later, into the reply. */
function answer<T>(result: FuseResult<T> | undefined, encode: (value: T) => void): number | Promise<number> {
  if (result === undefined) return -fuse.ENOSYS;
  if (result instanceof Promise) return result.then((value) => settle(value, encode));
  return settle(result, encode);
}

function settle<T>(value: T | number, encode: (value: T) => void): number {
  if (typeof value === 'number') return value < 0 ? value : -fuse.EIO;
  encode(value);
  return 0;
}

/** An answer that has no value but an error. */
function plain(result: FuseResult<0> | undefined): number | Promise<number> {
  return result ?? -fuse.ENOSYS;
}

function entryOperation(
  bodySize: number,
  run: (handler: FuseHandler, call: FuseCall) => ReturnType<FuseHandler['lookup']> | undefined,
): Operation {
  return operation(bodySize, fuse.FUSE_ENTRY_OUT_SIZE, (handler, call) =>
    answer(run(handler, call), (entry) => call.reply.entry(entry)),
  );
}

function rename(handler: FuseHandler, call: FuseCall, at: number, flags: number): number | Promise<number> {
  const name = call.name(at);
  const newName = call.name(at + name.length + 1);
  return plain(handler.rename?.(call, call.nodeId, name, call.uint64(0), newName, flags));
}

function readdir(handler: FuseHandler, call: FuseCall, plus: boolean): number | Promise<number> {
  const limit = Math.min(call.uint32(16), call.room, MAX_READDIR);
  const sink = new DirectorySink(call.reply, plus, limit);
  return plain(handler.readdir?.(call, call.nodeId, call.uint64(0), call.uint32(8), call.uint32(12), sink));
}

/** The answer to GETXATTR and LISTXATTR: the bytes, or how many they are. */
function attributes(call: FuseCall, result: FuseResult<Uint8Array> | undefined): number | Promise<number> {
  const size = call.uint32(0);
  return answer(result, (bytes) => {
    if (size === 0) call.reply.uint32Padded(bytes.length);
    else if (bytes.length > Math.min(size, call.room)) throw new FuseError(fuse.ERANGE);
    else call.reply.append(bytes);
  });
}

/** By opcode: everything but what the device itself knows (INIT, FORGET, READ, WRITE, INTERRUPT, DESTROY). */
export const OPERATIONS: ReadonlyMap<number, Operation> = new Map([
  [fuse.FUSE_LOOKUP, entryOperation(2, (handler, call) => handler.lookup(call, call.nodeId, call.name()))],
  [
    fuse.FUSE_GETATTR,
    operation(16, fuse.FUSE_ATTR_OUT_SIZE, (handler, call) => {
      const fh = (call.uint32(0) & fuse.FUSE_GETATTR_FH) !== 0 ? call.uint64(8) : undefined;
      return answer(handler.getattr(call, call.nodeId, fh), (attr) => call.reply.attr(attr));
    }),
  ],
  [
    fuse.FUSE_SETATTR,
    operation(88, fuse.FUSE_ATTR_OUT_SIZE, (handler, call) => {
      const changes = {
        valid: call.uint32(0),
        fh: call.uint64(8),
        size: call.uint64(16),
        atime: call.int64(32),
        mtime: call.int64(40),
        atimensec: call.uint32(56),
        mtimensec: call.uint32(60),
        mode: call.uint32(68),
        uid: call.uint32(76),
        gid: call.uint32(80),
      };
      checkChanges(changes);
      return answer(handler.setattr?.(call, call.nodeId, changes), (attr) => call.reply.attr(attr));
    }),
  ],
  [
    fuse.FUSE_READLINK,
    operation(0, 1, (handler, call) =>
      answer(handler.readlink?.(call, call.nodeId), (target) => call.reply.string(target)),
    ),
  ],
  [
    fuse.FUSE_SYMLINK,
    entryOperation(4, (handler, call) => {
      const name = call.name();
      const target = call.string(name.length + 1, fuse.FUSE_PATH_MAX - 1);
      return handler.symlink?.(call, call.nodeId, name, target);
    }),
  ],
  [
    fuse.FUSE_MKNOD,
    entryOperation(18, (handler, call) =>
      handler.mknod?.(call, call.nodeId, call.name(16), call.uint32(0), call.uint32(4)),
    ),
  ],
  [
    fuse.FUSE_MKDIR,
    entryOperation(10, (handler, call) =>
      handler.mkdir?.(call, call.nodeId, call.name(8), call.uint32(0) & 0o7777),
    ),
  ],
  [
    fuse.FUSE_UNLINK,
    operation(2, 0, (handler, call) => plain(handler.unlink?.(call, call.nodeId, call.name()))),
  ],
  [
    fuse.FUSE_RMDIR,
    operation(2, 0, (handler, call) => plain(handler.rmdir?.(call, call.nodeId, call.name()))),
  ],
  [fuse.FUSE_RENAME, operation(12, 0, (handler, call) => rename(handler, call, 8, 0))],
  [
    fuse.FUSE_RENAME2,
    operation(20, 0, (handler, call) => {
      const flags = call.uint32(8);
      const known = fuse.RENAME_NOREPLACE | fuse.RENAME_EXCHANGE;
      if ((flags & ~known) !== 0 || flags === known) return -fuse.EINVAL;
      return rename(handler, call, 16, flags);
    }),
  ],
  [
    fuse.FUSE_LINK,
    entryOperation(10, (handler, call) => handler.link?.(call, call.uint64(0), call.nodeId, call.name(8))),
  ],
  [
    fuse.FUSE_OPEN,
    operation(8, fuse.FUSE_OPEN_OUT_SIZE, (handler, call) =>
      answer(handler.open?.(call, call.nodeId, call.uint32(0), call.uint32(4)), (opened) =>
        call.reply.opened(opened),
      ),
    ),
  ],
  [
    fuse.FUSE_CREATE,
    operation(18, fuse.FUSE_ENTRY_OUT_SIZE + fuse.FUSE_OPEN_OUT_SIZE, (handler, call) =>
      answer(
        handler.create?.(
          call,
          call.nodeId,
          call.name(16),
          call.uint32(4) & 0o7777,
          call.uint32(0),
          call.uint32(12),
        ),
        (created) => {
          call.reply.entry(created.entry);
          call.reply.opened(created);
        },
      ),
    ),
  ],
  [
    fuse.FUSE_FLUSH,
    operation(24, 0, (handler, call) => plain(handler.flush?.(call, call.nodeId, call.uint64(0)))),
  ],
  [
    fuse.FUSE_RELEASE,
    operation(24, 0, (handler, call) => plain(handler.release?.(call, call.nodeId, call.uint64(0)))),
  ],
  [
    fuse.FUSE_FSYNC,
    operation(16, 0, (handler, call) =>
      plain(handler.fsync?.(call, call.nodeId, call.uint64(0), isDataOnly(call))),
    ),
  ],
  [
    fuse.FUSE_OPENDIR,
    operation(8, fuse.FUSE_OPEN_OUT_SIZE, (handler, call) =>
      answer(handler.opendir?.(call, call.nodeId, call.uint32(0)), (opened) => call.reply.opened(opened)),
    ),
  ],
  [fuse.FUSE_READDIR, operation(40, 0, (handler, call) => readdir(handler, call, false))],
  [fuse.FUSE_READDIRPLUS, operation(40, 0, (handler, call) => readdir(handler, call, true))],
  [
    fuse.FUSE_RELEASEDIR,
    operation(24, 0, (handler, call) => plain(handler.releasedir?.(call, call.nodeId, call.uint64(0)))),
  ],
  [
    fuse.FUSE_FSYNCDIR,
    operation(16, 0, (handler, call) =>
      plain(handler.fsyncdir?.(call, call.nodeId, call.uint64(0), isDataOnly(call))),
    ),
  ],
  [
    fuse.FUSE_STATFS,
    operation(0, fuse.FUSE_STATFS_OUT_SIZE, (handler, call) =>
      answer(handler.statfs?.(call, call.nodeId), (st) => call.reply.statfs(st)),
    ),
  ],
  [
    fuse.FUSE_SETXATTR,
    operation(10, 0, (handler, call) => {
      const size = call.uint32(0);
      if (size > fuse.FUSE_XATTR_MAX) return -fuse.E2BIG;
      const name = call.string(8, fuse.FUSE_NAME_MAX);
      const value = call.bytes(8 + name.length + 1, size);
      return plain(handler.setxattr?.(call, call.nodeId, name, value, call.uint32(4)));
    }),
  ],
  [
    fuse.FUSE_GETXATTR,
    operation(10, 0, (handler, call) =>
      attributes(call, handler.getxattr?.(call, call.nodeId, call.string(8, fuse.FUSE_NAME_MAX))),
    ),
  ],
  [
    fuse.FUSE_LISTXATTR,
    operation(8, 0, (handler, call) => attributes(call, handler.listxattr?.(call, call.nodeId))),
  ],
  [
    fuse.FUSE_REMOVEXATTR,
    operation(2, 0, (handler, call) =>
      plain(handler.removexattr?.(call, call.nodeId, call.string(0, fuse.FUSE_NAME_MAX))),
    ),
  ],
  [
    fuse.FUSE_FALLOCATE,
    operation(32, 0, (handler, call) =>
      plain(
        handler.fallocate?.(call, call.nodeId, call.uint64(0), call.size(8), call.size(16), call.uint32(24)),
      ),
    ),
  ],
  [
    fuse.FUSE_LSEEK,
    operation(24, fuse.FUSE_LSEEK_OUT_SIZE, (handler, call) => {
      const result = handler.lseek?.(call, call.nodeId, call.uint64(0), call.size(8), call.uint32(16));
      const encode = (offset: number): number => {
        if (offset >= 0) call.reply.setUint64(call.reply.grow(8), offset);
        return Math.min(offset, 0);
      };
      if (result === undefined) return -fuse.ENOSYS;
      return result instanceof Promise ? result.then(encode) : encode(result);
    }),
  ],
  [fuse.FUSE_SYNCFS, operation(8, 0, (handler, call) => plain(handler.syncfs?.(call, call.nodeId)))],
]);

function isDataOnly(call: FuseCall): boolean {
  return (call.uint32(8) & fuse.FUSE_FSYNC_FDATASYNC) !== 0;
}

function checkChanges(changes: {
  readonly valid: number;
  readonly size: number;
  readonly atime: number;
  readonly mtime: number;
  readonly atimensec: number;
  readonly mtimensec: number;
}): void {
  const bad = (flag: number, value: number, nanoseconds = 0): boolean =>
    (changes.valid & flag) !== 0 && (Number.isNaN(value) || nanoseconds >= 1e9);
  if (
    bad(fuse.FATTR_SIZE, changes.size) ||
    bad(fuse.FATTR_ATIME, changes.atime, changes.atimensec) ||
    bad(fuse.FATTR_MTIME, changes.mtime, changes.mtimensec)
  ) {
    throw new FuseError(fuse.EINVAL);
  }
}
