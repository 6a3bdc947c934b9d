import type { FuseAttr } from '../fs/handler.ts';
import type { IdMap } from './fs-ids.ts';
import { FS_STAT } from './native-fs.ts';

const TWO_32 = 2 ** 32;

/** The status of a file as a native call left it, and what the guest is told of it. */
export class HostStat {
  readonly words: Uint32Array = new Uint32Array(FS_STAT.length);
  readonly #uids: IdMap;
  readonly #gids: IdMap;
  /** By device: 0 is the root's. */
  readonly #devices = new Map<number, number>();

  constructor(uids: IdMap, gids: IdMap) {
    this.#uids = uids;
    this.#gids = gids;
  }

  get mode(): number {
    return this.words[FS_STAT.mode]!;
  }

  get uid(): number {
    return this.words[FS_STAT.uid]!;
  }

  get gid(): number {
    return this.words[FS_STAT.gid]!;
  }

  /** What no two files have at the same time. */
  get identity(): string {
    const { words } = this;
    return `${words[FS_STAT.devMajor]}:${words[FS_STAT.devMinor]}:${words[FS_STAT.inoLow + 1]}:${words[FS_STAT.inoLow]}`;
  }

  /** Of the file's birth in nanoseconds, rounded: tells files apart that had an inode one after the other. */
  get birth(): number {
    const { words } = this;
    return words[FS_STAT.btime]! * 1e9 + words[FS_STAT.btime + 2]!;
  }

  attr(): FuseAttr {
    const { words } = this;
    return {
      ino: this.#ino(),
      size: this.#uint64(FS_STAT.sizeLow),
      blocks: this.#uint64(FS_STAT.blocksLow),
      atime: this.#seconds(FS_STAT.atime),
      atimensec: words[FS_STAT.atime + 2]!,
      mtime: this.#seconds(FS_STAT.mtime),
      mtimensec: words[FS_STAT.mtime + 2]!,
      ctime: this.#seconds(FS_STAT.ctime),
      ctimensec: words[FS_STAT.ctime + 2]!,
      mode: words[FS_STAT.mode]!,
      nlink: words[FS_STAT.nlink]!,
      uid: this.#uids.toGuest(words[FS_STAT.uid]!),
      gid: this.#gids.toGuest(words[FS_STAT.gid]!),
      rdev: packDevice(words[FS_STAT.rdevMajor]!, words[FS_STAT.rdevMinor]!),
      blksize: words[FS_STAT.blksize]!,
    };
  }

  /**
   * An inode number below 2^53. The guest sees one file system where the host may have several (subvolumes, layers): all
   * but the first are moved out of the way.
   */
  #ino(): number {
    const { words } = this;
    const device = words[FS_STAT.devMajor]! * TWO_32 + words[FS_STAT.devMinor]!;
    let index = this.#devices.get(device);
    if (index === undefined) {
      index = this.#devices.size;
      this.#devices.set(device, index);
    }
    return foldInode(words[FS_STAT.inoLow]!, words[FS_STAT.inoLow + 1]!, index);
  }

  #uint64(at: number): number {
    return Math.min(this.words[at]! + this.words[at + 1]! * TWO_32, Number.MAX_SAFE_INTEGER);
  }

  #seconds(at: number): number {
    return (this.words[at + 1]! | 0) * TWO_32 + this.words[at]!;
  }
}

/** Makes 53 bits of an inode number of 64 and the number of its device. */
export function foldInode(low: number, high: number, device: number): number {
  const bits = (high ^ (high >>> 21) ^ (device << 10)) & 0x1f_ffff;
  return bits * TWO_32 + low;
}

/** As Linux packs it for FUSE. */
export function packDevice(major: number, minor: number): number {
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
}

export function unpackDevice(device: number): { readonly major: number; readonly minor: number } {
  return { major: (device >>> 8) & 0xfff, minor: (device & 0xff) | ((device >>> 12) & 0xfff00) };
}
