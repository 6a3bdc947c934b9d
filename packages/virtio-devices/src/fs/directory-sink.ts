import { FUSE_ENTRY_OUT_SIZE, FUSE_NAME_OFFSET, FUSE_OUT_HEADER_SIZE } from './constants.ts';
import type { FuseEntry } from './handler.ts';
import { putString } from './names.ts';
import type { ReplyBuffer } from './reply.ts';

/** One name of a directory. */
export interface FuseDirent {
  readonly name: string;
  readonly ino: number;
  /** DT_… : the file type's bits 15:12 of `mode`. */
  readonly type: number;
  /** Where the directory goes on after this entry, 64 bits. */
  readonly offsetLow: number;
  readonly offsetHigh: number;
}

/** Takes the entries of READDIR and READDIRPLUS as far as there is room. */
export class DirectorySink {
  /** Entries are to come with what a lookup would answer. */
  readonly plus: boolean;
  /** Number of entries taken. */
  count = 0;
  readonly #reply: ReplyBuffer;
  readonly #limit: number;

  /** @param limit bytes */
  constructor(reply: ReplyBuffer, plus: boolean, limit: number) {
    this.#reply = reply;
    this.plus = plus;
    this.#limit = FUSE_OUT_HEADER_SIZE + limit;
  }

  /** Whether an entry with a name of so many bytes can be added: look before a lookup that could not be told. */
  fits(nameLength: number): boolean {
    return this.#reply.length + this.#size(nameLength) <= this.#limit;
  }

  /**
   * Adds an entry.
   *
   * @param entry with `plus`: what a lookup answered, which counts as one. Absent: the driver will look it up itself,
   *   as `.` and `..` must be.
   * @returns false: it does not fit
   */
  add(dirent: FuseDirent, entry?: FuseEntry): boolean {
    const { name } = dirent;
    if (!this.fits(name.length)) return false;
    const reply = this.#reply;
    let at = reply.grow(this.#size(name.length));
    if (this.plus) {
      if (entry !== undefined) reply.putEntry(at, entry);
      at += FUSE_ENTRY_OUT_SIZE;
    }
    reply.setUint64(at, dirent.ino);
    reply.view.setUint32(at + 8, dirent.offsetLow, true);
    reply.view.setUint32(at + 12, dirent.offsetHigh, true);
    reply.view.setUint32(at + 16, name.length, true);
    reply.view.setUint32(at + 20, dirent.type, true);
    putString(name, reply.bytes, at + FUSE_NAME_OFFSET);
    this.count++;
    return true;
  }

  /** FUSE_DIRENT_SIZE, FUSE_DIRENTPLUS_SIZE. */
  #size(nameLength: number): number {
    const dirent = (FUSE_NAME_OFFSET + nameLength + 7) & ~7;
    return this.plus ? FUSE_ENTRY_OUT_SIZE + dirent : dirent;
  }
}
