import { VirtioDeviceError } from '../errors.ts';
import * as fuse from '../fs/constants.ts';
import type { FuseData } from '../fs/data.ts';
import type { DirectorySink } from '../fs/directory-sink.ts';
import type {
  FuseAttrReply,
  FuseContext,
  FuseCreated,
  FuseEntry,
  FuseHandler,
  FuseOpened,
  FuseResult,
  FuseSetattr,
  FuseStatfs,
} from '../fs/handler.ts';
import { bytesToString } from '../fs/names.ts';
import { HostAttributes } from './fs-attributes.ts';
import { HostEntries } from './fs-entries.ts';
import { FileTable } from './fs-files.ts';
import { FileIo } from './fs-io.ts';
import { type HostNode, NodeTable } from './fs-nodes.ts';
import { HostOpenFiles } from './fs-open-files.ts';
import { type HostDirectoryOptions, type HostDirectorySettings, settingsOf } from './fs-options.ts';
import { HostStat } from './fs-stat.ts';
import { type HostDirectoryState, parseState, restoreTables, saveTables } from './fs-state.ts';
import { ExtendedAttributes } from './fs-xattrs.ts';
import { requireHost } from './load.ts';
import type { NativeFileSystem } from './native-fs.ts';

/** Types of statfs(2) of file systems that lie in memory. */
const MEMORY_FILE_SYSTEMS: readonly number[] = [0x0102_1994, 0x8584_58f6];

export interface HostDirectoryStatistics {
  /** Files that the guest knows. */
  readonly nodes: number;
  /** Descriptors held for them. */
  readonly handles: number;
  readonly openFiles: number;
  /** Handles that were closed because there were too many. */
  readonly evictions: number;
  /** Reads, writes and syncs that went through the thread pool, because the host's storage makes them wait. */
  readonly pooled: number;
}

/**
 * Gives a guest a directory of the host. Every file is reached through a handle of its directory and one name without a
 * slash, and no symbolic link is ever followed: what is outside of the directory cannot be named.
 */
export class HostDirectory implements FuseHandler, Disposable {
  readonly description: string;
  readonly initFlags: number;
  readonly readOnly: boolean;
  readonly #native: NativeFileSystem;
  readonly #settings: HostDirectorySettings;
  readonly #stat: HostStat;
  readonly #nodes: NodeTable;
  readonly #files: FileTable;
  readonly #io: FileIo;
  readonly #statfs = new Float64Array(9);
  readonly #bytes = new Uint8Array(fuse.FUSE_PATH_MAX);
  readonly #attributes: HostAttributes;
  readonly #extended: ExtendedAttributes;
  readonly #entries: HostEntries;
  readonly #open: HostOpenFiles;
  #isClosed = false;

  /**
   * @param path followed once, now: a directory that is put there later is not seen
   * @throws VirtioDeviceError `INVALID_OPTION`, `NOT_FOUND`, `ACCESS_DENIED`, `IO_ERROR`, `NO_ADDON`
   */
  constructor(path: string, options: HostDirectoryOptions = {}) {
    const host = requireHost('sharing a directory');
    this.#native = host.fs;
    const own = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
    this.#settings = settingsOf(options, own, host.fs.descriptorLimit());
    const settings = this.#settings;
    const native = this.#native;
    this.description = path;
    this.readOnly = settings.readOnly;
    this.initFlags =
      fuse.FUSE_AUTO_INVAL_DATA |
      fuse.FUSE_HANDLE_KILLPRIV_V2 |
      (settings.cache === 'none' ? 0 : fuse.FUSE_CACHE_SYMLINKS);
    const root = openRoot(native, path);
    const openat2 = native.hasOpenat2(root);
    this.#stat = new HostStat(settings.uids, settings.gids);
    this.#nodes = new NodeTable(native, openat2, this.#stat, root, settings);
    this.#files = new FileTable(native, settings.maxOpenFiles);
    this.#attributes = new HostAttributes(native, settings, this.#stat, this.#files);
    this.#extended = new ExtendedAttributes(native, settings);
    this.#entries = new HostEntries(native, settings, this.#nodes, this.#stat, openat2);
    native.statfs(root, this.#statfs);
    this.#io = new FileIo(host, this.#files, MEMORY_FILE_SYSTEMS.includes(this.#statfs[8]!));
    this.#open = new HostOpenFiles(native, settings, this.#nodes, this.#files, this.#io, this.#stat);
  }

  get statistics(): HostDirectoryStatistics {
    return {
      nodes: this.#nodes.size,
      handles: this.#nodes.handles,
      openFiles: this.#files.size,
      evictions: this.#nodes.evictions,
      pooled: this.#io.pooled,
    };
  }

  lookup(_context: FuseContext, parent: number, name: string): FuseEntry | number {
    const directory = this.#nodes.get(parent);
    return directory === undefined ? -fuse.ESTALE : this.#lookup(directory, name);
  }

  forget(node: number, count: number): void {
    this.#nodes.forget(node, count);
  }

  getattr(_context: FuseContext, node: number, fh: number | undefined): FuseAttrReply | number {
    const file = fh === undefined ? undefined : this.#files.get(fh, node);
    // A file that was restored without its name is reached by what is open of it.
    const fd = typeof file === 'object' ? file.fd : this.#handle(node);
    return fd < 0 ? fd : this.#attributes.read(fd);
  }

  setattr(_context: FuseContext, id: number, changes: FuseSetattr): FuseAttrReply | number {
    if (this.readOnly) return -fuse.EROFS;
    const node = this.#nodes.get(id);
    if (node === undefined) return -fuse.ESTALE;
    const handle = this.#nodes.handleOf(node);
    if (handle < 0) return handle;
    const error = this.#attributes.change(node, handle, changes);
    return error < 0 ? error : this.#attributes.read(handle);
  }

  readlink(_context: FuseContext, node: number): string | number {
    const handle = this.#handle(node);
    if (handle < 0) return handle;
    const length = this.#native.readlink(handle, this.#bytes);
    return length < 0 ? length : bytesToString(this.#bytes, 0, length);
  }

  symlink(context: FuseContext, parent: number, name: string, target: string): FuseEntry | number {
    return this.#entryOf(this.#entries.make(context, parent, name, fuse.S_IFLNK | 0o777, 0, target));
  }

  mknod(context: FuseContext, parent: number, name: string, mode: number, rdev: number): FuseEntry | number {
    switch (mode & fuse.S_IFMT) {
      case fuse.S_IFREG:
      case fuse.S_IFIFO:
      case fuse.S_IFSOCK:
        return this.#entryOf(this.#entries.make(context, parent, name, mode, 0));
      case fuse.S_IFCHR:
      case fuse.S_IFBLK:
        return this.#settings.deviceNodes
          ? this.#entryOf(this.#entries.make(context, parent, name, mode, rdev))
          : -fuse.EPERM;
      default:
        return -fuse.EINVAL;
    }
  }

  mkdir(context: FuseContext, parent: number, name: string, mode: number): FuseEntry | number {
    return this.#entryOf(this.#entries.make(context, parent, name, fuse.S_IFDIR | mode, 0));
  }

  unlink(_context: FuseContext, parent: number, name: string): FuseResult<0> {
    return this.#entries.remove(parent, name, 0);
  }

  rmdir(_context: FuseContext, parent: number, name: string): FuseResult<0> {
    return this.#entries.remove(parent, name, 1);
  }

  rename(
    _context: FuseContext,
    parent: number,
    name: string,
    newParent: number,
    newName: string,
    flags: number,
  ): FuseResult<0> {
    return this.#entries.rename(parent, name, newParent, newName, flags);
  }

  link(_context: FuseContext, node: number, newParent: number, newName: string): FuseEntry | number {
    return this.#entryOf(this.#entries.link(node, newParent, newName));
  }

  open(_context: FuseContext, node: number, flags: number, openFlags: number): FuseOpened | number {
    const file = this.#open.open(this.#nodes.get(node), flags, openFlags);
    return typeof file === 'number' ? file : this.#open.opened(file);
  }

  create(
    context: FuseContext,
    parent: number,
    name: string,
    mode: number,
    flags: number,
    openFlags: number,
  ): FuseCreated | number {
    const file = this.#open.create(context, parent, name, mode, flags, openFlags);
    if (typeof file === 'number') return file;
    return { entry: this.#entry(file.node), ...this.#open.opened(file) };
  }

  read(
    context: FuseContext,
    node: number,
    fh: number,
    offset: number,
    data: FuseData,
  ): number | Promise<number> {
    return this.#open.read(context, node, fh, offset, data);
  }

  write(
    _context: FuseContext,
    node: number,
    fh: number,
    offset: number,
    data: FuseData,
    writeFlags: number,
  ): number | Promise<number> {
    return this.#open.write(node, fh, offset, data, writeFlags);
  }

  release(_context: FuseContext, node: number, fh: number): FuseResult<0> {
    return this.#files.release(fh, node, false);
  }

  fsync(_context: FuseContext, node: number, fh: number, dataOnly: boolean): FuseResult<0> {
    return this.#open.sync(node, fh, false, dataOnly);
  }

  opendir(_context: FuseContext, node: number): FuseOpened | number {
    return this.#open.openDirectory(this.#nodes.get(node));
  }

  readdir(
    _context: FuseContext,
    id: number,
    fh: number,
    offsetLow: number,
    offsetHigh: number,
    sink: DirectorySink,
  ): FuseResult<0> {
    return this.#open.readDirectory(id, fh, offsetLow, offsetHigh, sink, this.#lookup);
  }

  releasedir(_context: FuseContext, node: number, fh: number): FuseResult<0> {
    return this.#files.release(fh, node, true);
  }

  fsyncdir(_context: FuseContext, node: number, fh: number, dataOnly: boolean): FuseResult<0> {
    return this.#open.sync(node, fh, true, dataOnly);
  }

  statfs(_context: FuseContext, node: number): FuseStatfs | number {
    const handle = this.#handle(node);
    if (handle < 0) return handle;
    const out = this.#statfs;
    const error = this.#native.statfs(handle, out);
    if (error < 0) return error;
    return {
      blocks: out[0]!,
      bfree: out[1]!,
      bavail: out[2]!,
      files: out[3]!,
      ffree: out[4]!,
      bsize: out[5]!,
      namelen: Math.min(out[6]!, fuse.FUSE_NAME_MAX),
      frsize: out[7]!,
    };
  }

  setxattr(
    _context: FuseContext,
    node: number,
    name: string,
    value: Uint8Array,
    flags: number,
  ): FuseResult<0> {
    return this.#extended.set(this.#handle(node), name, value, flags);
  }

  getxattr(_context: FuseContext, node: number, name: string): Uint8Array | number {
    return this.#extended.get(this.#handle(node), name);
  }

  listxattr(_context: FuseContext, node: number): Uint8Array | number {
    return this.#extended.list(this.#handle(node));
  }

  removexattr(_context: FuseContext, node: number, name: string): FuseResult<0> {
    return this.#extended.remove(this.#handle(node), name);
  }

  fallocate(
    _context: FuseContext,
    node: number,
    fh: number,
    offset: number,
    length: number,
    mode: number,
  ): FuseResult<0> {
    return this.#open.fallocate(node, fh, offset, length, mode);
  }

  lseek(_context: FuseContext, node: number, fh: number, offset: number, whence: number): number {
    return this.#open.lseek(node, fh, offset, whence);
  }

  syncfs(): FuseResult<0> {
    return this.readOnly ? 0 : this.#native.syncfs(this.#nodes.root.handle);
  }

  destroy(): void {
    this.#files.clear();
    this.#nodes.clear();
  }

  save(): HostDirectoryState {
    return saveTables(this.#nodes, this.#files);
  }

  restore(state: unknown): void {
    const parsed = parseState(state);
    this.destroy();
    restoreTables(parsed, this.#nodes, this.#files, (node, how) => this.#open.reopen(node, how));
  }

  /** Gives all handles back; further requests are answered with errors. More than once is harmless. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.destroy();
    this.#native.close(this.#nodes.root.handle);
    this.#nodes.root.handle = -1;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #handle(id: number): number {
    const node = this.#nodes.get(id);
    return node === undefined ? -fuse.ESTALE : this.#nodes.handleOf(node);
  }

  readonly #lookup = (directory: HostNode, name: string): FuseEntry | number =>
    this.#entryOf(this.#nodes.lookup(directory, name));

  #entryOf(node: HostNode | number): FuseEntry | number {
    return typeof node === 'number' ? node : this.#entry(node);
  }

  /** What the guest is told of a node whose status was just read. */
  #entry(node: HostNode): FuseEntry {
    const { validity } = this.#settings;
    return { nodeId: node.id, entryValid: validity, attrValid: validity, attr: this.#stat.attr() };
  }
}

function openRoot(native: NativeFileSystem, path: string): number {
  const root = native.openRoot(path);
  if (root >= 0) return root;
  if (root === -fuse.ENOENT) throw new VirtioDeviceError('NOT_FOUND', `directory ${path} does not exist`);
  if (root === -fuse.ENOTDIR) throw new VirtioDeviceError('INVALID_OPTION', `${path} is no directory`);
  if (root === -fuse.EACCES) {
    throw new VirtioDeviceError('ACCESS_DENIED', `directory ${path} may not be opened`);
  }
  throw new VirtioDeviceError('IO_ERROR', `directory ${path} cannot be opened: errno ${-root}`);
}
