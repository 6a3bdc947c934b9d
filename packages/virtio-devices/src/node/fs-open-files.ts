import * as fuse from '../fs/constants.ts';
import type { FuseData } from '../fs/data.ts';
import type { DirectorySink } from '../fs/directory-sink.ts';
import type { FuseContext, FuseEntry, FuseOpened } from '../fs/handler.ts';
import { ownerOfNew } from './fs-attributes.ts';
import { fillDirectory } from './fs-directory.ts';
import type { FileTable, OpenFile } from './fs-files.ts';
import type { FileIo } from './fs-io.ts';
import type { HostNode, NodeTable } from './fs-nodes.ts';
import type { HostDirectorySettings } from './fs-options.ts';
import type { HostStat } from './fs-stat.ts';
import { FS_STAT, type NativeFileSystem } from './native-fs.ts';

/** fallocate(2): KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE. */
const FALLOCATE_MODES: number = 1 | 2 | 16;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;

/** Opens files and directories, and does what is done with them while they are open. Errors are negative. */
export class HostOpenFiles {
  readonly #native: NativeFileSystem;
  readonly #settings: HostDirectorySettings;
  readonly #nodes: NodeTable;
  readonly #files: FileTable;
  readonly #io: FileIo;
  readonly #stat: HostStat;

  constructor(
    native: NativeFileSystem,
    settings: HostDirectorySettings,
    nodes: NodeTable,
    files: FileTable,
    io: FileIo,
    stat: HostStat,
  ) {
    this.#native = native;
    this.#settings = settings;
    this.#nodes = nodes;
    this.#files = files;
    this.#io = io;
    this.#stat = stat;
  }

  /** What the driver is told of an open regular file. */
  opened(file: OpenFile): FuseOpened {
    return { fh: file.fh, openFlags: this.#settings.cache === 'always' ? fuse.FOPEN_KEEP_CACHE : 0 };
  }

  open(node: HostNode | undefined, flags: number, openFlags: number): OpenFile | number {
    if (node === undefined) return -fuse.ESTALE;
    const writes = (flags & fuse.O_ACCMODE) !== fuse.O_RDONLY || (flags & fuse.O_TRUNC) !== 0;
    if (this.#settings.readOnly && writes) return -fuse.EROFS;
    const handle = this.#nodes.handleOf(node);
    if (handle < 0) return handle;
    const fd = this.#native.open(handle, flags, this.#settings.noatime);
    const kills = (openFlags & fuse.FUSE_OPEN_KILL_SUIDGID) !== 0 && (flags & fuse.O_TRUNC) !== 0;
    if (fd >= 0 && kills) this.#native.killPrivileges(fd);
    return this.#files.add(node, fd, flags, false);
  }

  /** CREATE. The status of the file was just read. */
  create(
    context: FuseContext,
    parent: number,
    name: string,
    mode: number,
    flags: number,
    openFlags: number,
  ): OpenFile | number {
    const owner = ownerOfNew(this.#settings, context, mode);
    if (typeof owner === 'number') return owner;
    const directory = this.#nodes.get(parent);
    if (directory === undefined) return -fuse.ESTALE;
    if (!this.#files.hasRoom) return -fuse.EMFILE;
    const handle = this.#nodes.handleOf(directory);
    if (handle < 0) return handle;
    const { words } = this.#stat;
    const fd = this.#native.create(handle, name, flags, mode, owner.uid, owner.gid, words);
    if (fd === -fuse.EEXIST && (flags & fuse.O_EXCL) === 0) {
      return this.#createExisting(directory, name, flags, openFlags);
    }
    if (fd < 0) return fd;
    const node = this.#nodes.add(directory, name, words[FS_STAT.handle]!);
    if (typeof node === 'number') {
      this.#native.close(fd);
      return node;
    }
    return this.#files.add(node, fd, flags, false);
  }

  openDirectory(node: HostNode | undefined): FuseOpened | number {
    if (node === undefined) return -fuse.ESTALE;
    const handle = this.#nodes.handleOf(node);
    if (handle < 0) return handle;
    const file = this.#files.add(node, this.#native.openDirectory(handle, this.#settings.noatime), 0, true);
    if (typeof file === 'number') return file;
    const keeps = this.#settings.cache === 'always';
    return { fh: file.fh, openFlags: keeps ? fuse.FOPEN_KEEP_CACHE | fuse.FOPEN_CACHE_DIR : 0 };
  }

  /** For restoring. @returns a descriptor */
  reopen(node: HostNode, { flags, isDirectory }: { flags: number; isDirectory: boolean }): number {
    const handle = this.#nodes.handleOf(node);
    if (handle < 0) return handle;
    return isDirectory
      ? this.#native.openDirectory(handle, this.#settings.noatime)
      : this.#native.open(handle, flags & ~fuse.O_TRUNC, this.#settings.noatime);
  }

  read(
    context: FuseContext,
    node: number,
    fh: number,
    offset: number,
    data: FuseData,
  ): number | Promise<number> {
    const file = this.#files.get(fh, node);
    return typeof file === 'number' ? file : this.#io.read(context, file, offset, data);
  }

  write(
    node: number,
    fh: number,
    offset: number,
    data: FuseData,
    writeFlags: number,
  ): number | Promise<number> {
    const file = this.#files.get(fh, node);
    if (typeof file === 'number') return file;
    if ((writeFlags & fuse.FUSE_WRITE_KILL_SUIDGID) !== 0) {
      const error = this.#native.killPrivileges(file.fd);
      if (error < 0) return error;
    }
    return this.#io.write(file, offset, data);
  }

  sync(node: number, fh: number, isDirectory: boolean, dataOnly: boolean): number | Promise<number> {
    const file = this.#files.get(fh, node, isDirectory);
    return typeof file === 'number' ? file : this.#io.sync(file, dataOnly);
  }

  /** @param lookup what the driver is told of a name with READDIRPLUS */
  readDirectory(
    id: number,
    fh: number,
    offsetLow: number,
    offsetHigh: number,
    sink: DirectorySink,
    lookup: (directory: HostNode, name: string) => FuseEntry | number,
  ): number {
    const file = this.#files.get(fh, id, true);
    if (typeof file === 'number') return file;
    return fillDirectory(this.#native, file, offsetLow, offsetHigh, sink, (name) => lookup(file.node, name));
  }

  fallocate(node: number, fh: number, offset: number, length: number, mode: number): number {
    if ((mode & ~FALLOCATE_MODES) !== 0) return -fuse.EOPNOTSUPP;
    const file = this.#files.get(fh, node);
    return typeof file === 'number' ? file : this.#native.fallocate(file.fd, mode, offset, length);
  }

  lseek(node: number, fh: number, offset: number, whence: number): number {
    if (whence !== SEEK_DATA && whence !== SEEK_HOLE) return -fuse.EINVAL;
    const file = this.#files.get(fh, node);
    return typeof file === 'number' ? file : this.#native.lseek(file.fd, offset, whence);
  }

  /** CREATE of a name that is there. */
  #createExisting(directory: HostNode, name: string, flags: number, openFlags: number): OpenFile | number {
    const node = this.#nodes.lookup(directory, name);
    if (typeof node === 'number') return node;
    const file = this.open(node, flags, openFlags);
    // Opening may have changed its size.
    const error = typeof file === 'number' ? file : this.#native.stat(file.fd, this.#stat.words);
    if (error >= 0) return file;
    if (typeof file !== 'number') this.#files.release(file.fh, node.id, false);
    this.#nodes.forget(node.id, 1);
    return error;
  }
}
