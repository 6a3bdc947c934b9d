import { EBADF, EMFILE } from '../fs/constants.ts';
import type { HostNode } from './fs-nodes.ts';
import type { NativeFileSystem } from './native-fs.ts';

/** A file or directory that the guest has opened. */
export class OpenFile {
  readonly fh: number;
  readonly node: HostNode;
  /** The descriptor, or -1: it could not be restored. */
  readonly fd: number;
  /** Flags of open(2) that were given. */
  readonly flags: number;
  readonly isDirectory: boolean;
  /** Operations on the thread pool that have the descriptor. */
  users = 0;
  isReleased = false;
  /** For directories: what was read and not told. */
  entries: Uint8Array | undefined;
  entriesLength = 0;
  entriesAt = 0;
  /** The offset that `entriesAt` stands for. */
  nextLow = 0;
  nextHigh = 0;

  constructor(fh: number, node: HostNode, fd: number, flags: number, isDirectory: boolean) {
    this.fh = fh;
    this.node = node;
    this.fd = fd;
    this.flags = flags;
    this.isDirectory = isDirectory;
  }
}

/** The files that the guest has opened, by its handles. */
export class FileTable {
  readonly #native: NativeFileSystem;
  readonly #limit: number;
  readonly #files = new Map<number, OpenFile>();
  #next = 1;

  constructor(native: NativeFileSystem, limit: number) {
    this.#native = native;
    this.#limit = limit;
  }

  get size(): number {
    return this.#files.size;
  }

  get next(): number {
    return this.#next;
  }

  /** Whether one more can be opened. */
  get hasRoom(): boolean {
    return this.#files.size < this.#limit;
  }

  files(): Iterable<OpenFile> {
    return this.#files.values();
  }

  /** Takes a descriptor over. @param fd may be a negative error @returns the file or a negative error */
  add(node: HostNode, fd: number, flags: number, isDirectory: boolean): OpenFile | number {
    if (fd < 0) return fd;
    if (!this.hasRoom) {
      this.#native.close(fd);
      return -EMFILE;
    }
    return this.put(this.#next, node, fd, flags, isDirectory);
  }

  /** For restoring, too: a file with a handle of its own. */
  put(fh: number, node: HostNode, fd: number, flags: number, isDirectory: boolean): OpenFile {
    const file = new OpenFile(fh, node, fd, flags, isDirectory);
    this.#files.set(fh, file);
    this.#next = Math.max(this.#next, fh + 1);
    return file;
  }

  /** @returns the file, or a negative error */
  get(fh: number, node: number, isDirectory = false): OpenFile | number {
    const file = this.#files.get(fh);
    if (file === undefined || file.node.id !== node || file.isDirectory !== isDirectory) return -EBADF;
    return file.fd < 0 ? -EBADF : file;
  }

  /** @returns 0 or a negative error */
  release(fh: number, node: number, isDirectory: boolean): number {
    const file = this.#files.get(fh);
    if (file === undefined || file.node.id !== node || file.isDirectory !== isDirectory) return -EBADF;
    this.#close(file);
    return 0;
  }

  /** For restoring. */
  skip(next: number): void {
    this.#next = Math.max(this.#next, next);
  }

  clear(): void {
    for (const file of [...this.#files.values()]) this.#close(file);
  }

  /** Runs something that needs the descriptor for longer; it is not closed before. */
  async use<T>(file: OpenFile, work: (fd: number) => Promise<T>): Promise<T> {
    file.users++;
    try {
      return await work(file.fd);
    } finally {
      if (--file.users === 0 && file.isReleased) this.#native.close(file.fd);
    }
  }

  #close(file: OpenFile): void {
    this.#files.delete(file.fh);
    file.isReleased = true;
    if (file.users === 0 && file.fd >= 0) this.#native.close(file.fd);
  }
}
