import type { FuseData } from './data.ts';
import type { DirectorySink } from './directory-sink.ts';

/**
 * What a method of a {@link FuseHandler} answers: its value, or an error of Linux as a negative number (`-ENOENT`), at
 * once or later. Where nothing is to be told, 0. Throwing or rejecting answers EIO (or what a {@link FuseError} says).
 */
export type FuseResult<T> = T | number | Promise<T | number>;

/** Who asks. */
export interface FuseContext {
  /** The caller's ids as the guest's kernel tells them. */
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
  /** The driver took its memory back: touch that no more, and answer whatever. */
  readonly cancelled: boolean;
  /** The driver would like an early end: the answer may be EINTR. */
  readonly interrupted: boolean;
}

/** `struct fuse_attr`. Times are in seconds, which may be negative, and nanoseconds. */
export interface FuseAttr {
  /** Below 2^53. */
  readonly ino: number;
  /** Bytes. */
  readonly size: number;
  /** In units of 512 bytes. */
  readonly blocks: number;
  readonly atime: number;
  readonly atimensec: number;
  readonly mtime: number;
  readonly mtimensec: number;
  readonly ctime: number;
  readonly ctimensec: number;
  /** File type and permissions. */
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  /** As Linux packs it: minor bits 7:0, major bits 11:0, minor bits 19:8, from the lowest. */
  readonly rdev: number;
  readonly blksize: number;
}

/** `struct fuse_attr_out`. */
export interface FuseAttrReply {
  readonly attr: FuseAttr;
  /** For how long the driver may rely on it, in milliseconds. */
  readonly attrValid: number;
}

/** `struct fuse_entry_out`. It counts as one lookup of the node, which a forget takes back. */
export interface FuseEntry extends FuseAttrReply {
  /** 2 … 2^53 - 1, and never used for another file while the handler lives. */
  readonly nodeId: number;
  /** For how long the driver may rely on the name, in milliseconds. */
  readonly entryValid: number;
}

/** `struct fuse_open_out`. */
export interface FuseOpened {
  /** 0 … 2^53 - 1. */
  readonly fh: number;
  /** FOPEN_… */
  readonly openFlags: number;
}

export interface FuseCreated extends FuseOpened {
  readonly entry: FuseEntry;
}

/** `struct fuse_setattr_in`: only what `valid` (FATTR_…) names is meant. */
export interface FuseSetattr {
  readonly valid: number;
  /** With FATTR_FH. */
  readonly fh: number;
  readonly size: number;
  readonly atime: number;
  readonly atimensec: number;
  readonly mtime: number;
  readonly mtimensec: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** `struct fuse_kstatfs`. */
export interface FuseStatfs {
  readonly blocks: number;
  readonly bfree: number;
  readonly bavail: number;
  readonly files: number;
  readonly ffree: number;
  readonly bsize: number;
  readonly namelen: number;
  readonly frsize: number;
}

/**
 * A file system for {@link VirtioFs}. Names and targets of symbolic links are strings of one character for each byte
 * (`encodeName` and `decodeName` convert): they need not be UTF-8. A name has 1 to 255 bytes, no `/` and no NUL, and is
 * neither `.` nor `..`. Node ids, handles, offsets and flags come from the guest as they are: those that do not exist are
 * to be answered with ESTALE or EBADF. Sizes are checked. A method that is absent is answered with ENOSYS.
 *
 * Several requests may be in flight when answers are promises.
 */
export interface FuseHandler {
  /** What it is, for messages. */
  readonly description: string;
  /** Flags of INIT (bits 31:0) beside those that the device takes care of. */
  readonly initFlags?: number;

  lookup(context: FuseContext, parent: number, name: string): FuseResult<FuseEntry>;
  /** The driver forgets `count` lookups of a node. */
  forget?(node: number, count: number): void;
  /** @param fh the open file through which it was asked */
  getattr(context: FuseContext, node: number, fh: number | undefined): FuseResult<FuseAttrReply>;
  setattr?(context: FuseContext, node: number, changes: FuseSetattr): FuseResult<FuseAttrReply>;
  readlink?(context: FuseContext, node: number): FuseResult<string>;
  symlink?(context: FuseContext, parent: number, name: string, target: string): FuseResult<FuseEntry>;
  /** @param mode file type and permissions, the caller's umask applied; @param rdev as in {@link FuseAttr} */
  mknod?(
    context: FuseContext,
    parent: number,
    name: string,
    mode: number,
    rdev: number,
  ): FuseResult<FuseEntry>;
  mkdir?(context: FuseContext, parent: number, name: string, mode: number): FuseResult<FuseEntry>;
  unlink?(context: FuseContext, parent: number, name: string): FuseResult<0>;
  rmdir?(context: FuseContext, parent: number, name: string): FuseResult<0>;
  /** @param flags RENAME_NOREPLACE, RENAME_EXCHANGE */
  rename?(
    context: FuseContext,
    parent: number,
    name: string,
    newParent: number,
    newName: string,
    flags: number,
  ): FuseResult<0>;
  link?(context: FuseContext, node: number, newParent: number, newName: string): FuseResult<FuseEntry>;
  /** @param flags of open(2) as the guest's architecture has them; @param openFlags FUSE_OPEN_… */
  open?(context: FuseContext, node: number, flags: number, openFlags: number): FuseResult<FuseOpened>;
  create?(
    context: FuseContext,
    parent: number,
    name: string,
    mode: number,
    flags: number,
    openFlags: number,
  ): FuseResult<FuseCreated>;
  /** Fills `data` from the file. @returns bytes; fewer than asked for at the end of the file only */
  read?(context: FuseContext, node: number, fh: number, offset: number, data: FuseData): FuseResult<number>;
  /** @param writeFlags FUSE_WRITE_… @returns bytes written */
  write?(
    context: FuseContext,
    node: number,
    fh: number,
    offset: number,
    data: FuseData,
    writeFlags: number,
  ): FuseResult<number>;
  flush?(context: FuseContext, node: number, fh: number): FuseResult<0>;
  release?(context: FuseContext, node: number, fh: number): FuseResult<0>;
  fsync?(context: FuseContext, node: number, fh: number, dataOnly: boolean): FuseResult<0>;
  opendir?(context: FuseContext, node: number, flags: number): FuseResult<FuseOpened>;
  /**
   * Puts entries into `sink` until it takes no more. The offset is 0, or one that an entry had.
   *
   * @returns 0; with no entry it is the end
   */
  readdir?(
    context: FuseContext,
    node: number,
    fh: number,
    offsetLow: number,
    offsetHigh: number,
    sink: DirectorySink,
  ): FuseResult<0>;
  releasedir?(context: FuseContext, node: number, fh: number): FuseResult<0>;
  fsyncdir?(context: FuseContext, node: number, fh: number, dataOnly: boolean): FuseResult<0>;
  statfs?(context: FuseContext, node: number): FuseResult<FuseStatfs>;
  /** @param value valid until the call returns @param flags XATTR_CREATE = 1, XATTR_REPLACE = 2 */
  setxattr?(
    context: FuseContext,
    node: number,
    name: string,
    value: Uint8Array,
    flags: number,
  ): FuseResult<0>;
  getxattr?(context: FuseContext, node: number, name: string): FuseResult<Uint8Array>;
  /** Answers all names, each with a NUL at its end. */
  listxattr?(context: FuseContext, node: number): FuseResult<Uint8Array>;
  removexattr?(context: FuseContext, node: number, name: string): FuseResult<0>;
  /** @param mode FALLOC_FL_… of fallocate(2) */
  fallocate?(
    context: FuseContext,
    node: number,
    fh: number,
    offset: number,
    length: number,
    mode: number,
  ): FuseResult<0>;
  /** @param whence SEEK_DATA = 3, SEEK_HOLE = 4 @returns the offset */
  lseek?(context: FuseContext, node: number, fh: number, offset: number, whence: number): FuseResult<number>;
  /** Everything written before is on stable storage afterwards. */
  syncfs?(context: FuseContext, node: number): FuseResult<0>;

  /** The driver is gone: all nodes but the root are forgotten and all files closed. It may come back with INIT. */
  destroy?(): void;
  /** A plain, versioned object of the nodes and handles that the guest knows. Absent: a restored guest's are stale. */
  save?(): unknown;
  /** @throws VirtioDeviceError `INVALID_STATE`; nothing has changed then */
  restore?(state: unknown): void;
}
