import type { NativeMemoryMap } from './native.ts';

/** Words of a status that {@link NativeFileSystem} fills in. Those named `…Low` are followed by the upper half. */
export const FS_STAT = {
  mode: 0,
  nlink: 1,
  uid: 2,
  gid: 3,
  rdevMajor: 4,
  rdevMinor: 5,
  devMajor: 6,
  devMinor: 7,
  inoLow: 8,
  sizeLow: 10,
  blocksLow: 12,
  blksize: 14,
  /** Times: seconds in two words, nanoseconds. */
  atime: 15,
  mtime: 18,
  ctime: 21,
  /** 0: the host does not know. */
  btime: 24,
  /** By `create`: a handle of the new file beside the open file. */
  handle: 27,
  /** Words in all. */
  length: 30,
} as const;

/** An owner that stays as it is. */
export const UNCHANGED_ID = 0xffff_ffff;

/** The file system backend's part of the addon (native/fs.cc). */
export interface NativeFs {
  readonly fs: NativeFileSystem;
}

/**
 * System calls on handles (descriptors opened with O_PATH), which blocks for as long as they take. Everything answers a
 * negative errno, or a result; only wrong arguments throw. Strings have one character for each byte.
 */
export interface NativeFileSystem {
  /** @param path text @returns a handle */
  openRoot(path: string): number;
  /** Whether openat2(2) can be used. */
  hasOpenat2(handle: number): 0 | 1;
  /** A handle of a directory's entry, which is not followed; EXDEV for what something is mounted on. */
  lookup(directory: number, name: string, openat2: number, stat: Uint32Array): number;
  stat(handle: number, stat: Uint32Array): number;
  /** Opens a regular file. @returns a descriptor */
  open(handle: number, flags: number, noatime: number): number;
  openDirectory(handle: number, noatime: number): number;
  /** Makes and opens a regular file. @returns a descriptor */
  create(
    directory: number,
    name: string,
    flags: number,
    mode: number,
    uid: number,
    gid: number,
    stat: Uint32Array,
  ): number;
  /** MKNOD, MKDIR and SYMLINK, by the type in `mode`. @returns a handle */
  make(
    directory: number,
    name: string,
    target: string,
    mode: number,
    uid: number,
    gid: number,
    major: number,
    minor: number,
    openat2: number,
    stat: Uint32Array,
  ): number;
  unlink(directory: number, name: string, isDirectory: number): number;
  rename(directory: number, name: string, newDirectory: number, newName: string, flags: number): number;
  link(handle: number, directory: number, name: string): number;
  readlink(handle: number, buffer: Uint8Array): number;
  chmod(handle: number, mode: number): number;
  chown(handle: number, uid: number, gid: number): number;
  utimens(handle: number, atime: number, atimensec: number, mtime: number, mtimensec: number): number;
  truncate(fd: number, size: number): number;
  /** Clears S_ISUID, and S_ISGID of what the group may execute. */
  killPrivileges(fd: number): number;
  /** @param nowait EAGAIN rather than wait for the storage @returns bytes; fewer than asked for at the end */
  read(
    fd: number,
    position: number,
    memory: NativeMemoryMap,
    iovecs: Float64Array,
    count: number,
    nowait: number,
  ): number;
  write(
    fd: number,
    position: number,
    memory: NativeMemoryMap,
    iovecs: Float64Array,
    count: number,
    nowait: number,
  ): number;
  /** getdents64(2) */
  readdir(fd: number, buffer: Uint8Array): number;
  seekdir(fd: number, low: number, high: number): number;
  lseek(fd: number, offset: number, whence: number): number;
  /** blocks, bfree, bavail, files, ffree, bsize, namelen, frsize, type */
  statfs(handle: number, out: Float64Array): number;
  getxattr(handle: number, name: string, buffer: Uint8Array): number;
  setxattr(handle: number, name: string, value: Uint8Array, flags: number): number;
  listxattr(handle: number, buffer: Uint8Array): number;
  removexattr(handle: number, name: string): number;
  fallocate(fd: number, mode: number, offset: number, length: number): number;
  close(fd: number): number;
  /** Raises the soft limit of open files to the hard one. @returns the limit */
  descriptorLimit(): number;
  /** On the thread pool. @param handle of a directory */
  syncfs(handle: number): Promise<number>;
}
