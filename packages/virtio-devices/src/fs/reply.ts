import {
  FUSE_ATTR_OUT_SIZE,
  FUSE_ATTR_SIZE,
  FUSE_ENTRY_OUT_SIZE,
  FUSE_OPEN_OUT_SIZE,
  FUSE_OUT_HEADER_SIZE,
  FUSE_STATFS_OUT_SIZE,
} from './constants.ts';
import type { FuseAttr, FuseAttrReply, FuseEntry, FuseOpened, FuseStatfs } from './handler.ts';
import { putString } from './names.ts';

const TWO_32 = 2 ** 32;

/** Where answers are put together, from the header on. Grows to what is asked for and is used again. */
export class ReplyBuffer {
  bytes: Uint8Array<ArrayBuffer> = new Uint8Array(4096);
  view: DataView<ArrayBuffer> = new DataView(this.bytes.buffer);
  /** Bytes of the answer with its header. */
  length: number = FUSE_OUT_HEADER_SIZE;

  reset(): void {
    this.length = FUSE_OUT_HEADER_SIZE;
  }

  /** Appends `size` zeroes. @returns where they are */
  grow(size: number): number {
    const at = this.length;
    this.length = at + size;
    if (this.length > this.bytes.length) {
      const bytes = new Uint8Array(Math.max(this.length, 2 * this.bytes.length));
      bytes.set(this.bytes.subarray(0, at));
      this.bytes = bytes;
      this.view = new DataView(bytes.buffer);
    } else {
      this.bytes.fill(0, at, this.length);
    }
    return at;
  }

  string(text: string): void {
    putString(text, this.bytes, this.grow(text.length));
  }

  append(bytes: Uint8Array): void {
    const at = this.grow(bytes.length);
    this.bytes.set(bytes, at);
  }

  /** Appends four bytes of value and four of padding. */
  uint32Padded(value: number): void {
    const at = this.grow(8);
    this.view.setUint32(at, value, true);
  }

  /** @param value an integer of -2^53 … 2^53 */
  setUint64(at: number, value: number): void {
    this.view.setUint32(at, value >>> 0, true);
    this.view.setUint32(at + 4, Math.floor(value / TWO_32) >>> 0, true);
  }

  /** `struct fuse_entry_out`. */
  entry(entry: FuseEntry): void {
    this.putEntry(this.grow(FUSE_ENTRY_OUT_SIZE), entry);
  }

  putEntry(at: number, entry: FuseEntry): void {
    const { view } = this;
    this.setUint64(at, entry.nodeId);
    this.setUint64(at + 16, Math.floor(entry.entryValid / 1000));
    this.setUint64(at + 24, Math.floor(entry.attrValid / 1000));
    view.setUint32(at + 32, (entry.entryValid % 1000) * 1e6, true);
    view.setUint32(at + 36, (entry.attrValid % 1000) * 1e6, true);
    this.#putAttr(at + FUSE_ENTRY_OUT_SIZE - FUSE_ATTR_SIZE, entry.attr);
  }

  /** `struct fuse_attr_out`. */
  attr({ attr, attrValid }: FuseAttrReply): void {
    const at = this.grow(FUSE_ATTR_OUT_SIZE);
    this.setUint64(at, Math.floor(attrValid / 1000));
    this.view.setUint32(at + 8, (attrValid % 1000) * 1e6, true);
    this.#putAttr(at + FUSE_ATTR_OUT_SIZE - FUSE_ATTR_SIZE, attr);
  }

  /** `struct fuse_open_out`. */
  opened({ fh, openFlags }: FuseOpened): void {
    const at = this.grow(FUSE_OPEN_OUT_SIZE);
    this.setUint64(at, fh);
    this.view.setUint32(at + 8, openFlags, true);
  }

  /** `struct fuse_statfs_out`. */
  statfs(st: FuseStatfs): void {
    const at = this.grow(FUSE_STATFS_OUT_SIZE);
    const counts = [st.blocks, st.bfree, st.bavail, st.files, st.ffree];
    counts.forEach((count, index) => this.setUint64(at + 8 * index, count));
    this.view.setUint32(at + 40, st.bsize, true);
    this.view.setUint32(at + 44, st.namelen, true);
    this.view.setUint32(at + 48, st.frsize, true);
  }

  #putAttr(at: number, attr: FuseAttr): void {
    const { view } = this;
    this.setUint64(at, attr.ino);
    this.setUint64(at + 8, attr.size);
    this.setUint64(at + 16, attr.blocks);
    this.setUint64(at + 24, attr.atime);
    this.setUint64(at + 32, attr.mtime);
    this.setUint64(at + 40, attr.ctime);
    view.setUint32(at + 48, attr.atimensec, true);
    view.setUint32(at + 52, attr.mtimensec, true);
    view.setUint32(at + 56, attr.ctimensec, true);
    view.setUint32(at + 60, attr.mode, true);
    view.setUint32(at + 64, attr.nlink, true);
    view.setUint32(at + 68, attr.uid, true);
    view.setUint32(at + 72, attr.gid, true);
    view.setUint32(at + 76, attr.rdev, true);
    view.setUint32(at + 80, attr.blksize, true);
  }
}
