import * as fuse from '../fs/constants.ts';
import type { FuseContext } from '../fs/handler.ts';
import { ownerOfNew } from './fs-attributes.ts';
import type { HostNode, NodeTable } from './fs-nodes.ts';
import type { HostDirectorySettings } from './fs-options.ts';
import { type HostStat, unpackDevice } from './fs-stat.ts';
import type { NativeFileSystem } from './native-fs.ts';

/** Makes, moves and removes entries of directories. Answers are nodes, with the status just read, 0, or negative errors. */
export class HostEntries {
  readonly #native: NativeFileSystem;
  readonly #settings: HostDirectorySettings;
  readonly #nodes: NodeTable;
  readonly #stat: HostStat;
  readonly #openat2: 0 | 1;

  constructor(
    native: NativeFileSystem,
    settings: HostDirectorySettings,
    nodes: NodeTable,
    stat: HostStat,
    openat2: 0 | 1,
  ) {
    this.#native = native;
    this.#settings = settings;
    this.#nodes = nodes;
    this.#stat = stat;
    this.#openat2 = openat2;
  }

  /** MKNOD, MKDIR and SYMLINK, by the type in `mode`. */
  make(
    context: FuseContext,
    parent: number,
    name: string,
    mode: number,
    rdev: number,
    target = '',
  ): HostNode | number {
    const owner = ownerOfNew(this.#settings, context, mode);
    if (typeof owner === 'number') return owner;
    const directory = this.#nodes.get(parent);
    if (directory === undefined) return -fuse.ESTALE;
    const to = this.#nodes.handleOf(directory);
    if (to < 0) return to;
    const { major, minor } = unpackDevice(rdev);
    const { words } = this.#stat;
    const handle = this.#native.make(
      to,
      name,
      target,
      mode,
      owner.uid,
      owner.gid,
      major,
      minor,
      this.#openat2,
      words,
    );
    if (handle < 0) return handle;
    return this.#nodes.add(directory, name, handle);
  }

  /** UNLINK and RMDIR. */
  remove(parent: number, name: string, isDirectory: 0 | 1): number {
    if (this.#settings.readOnly) return -fuse.EROFS;
    const node = this.#nodes.get(parent);
    if (node === undefined) return -fuse.ESTALE;
    const handle = this.#nodes.handleOf(node);
    if (handle < 0) return handle;
    this.#nodes.hold(this.#nodes.named(node, name));
    const error = this.#native.unlink(handle, name, isDirectory);
    if (error === 0) this.#nodes.unlinked(node, name);
    return error;
  }

  rename(parent: number, name: string, newParent: number, newName: string, flags: number): number {
    if (this.#settings.readOnly) return -fuse.EROFS;
    const from = this.#nodes.get(parent);
    const to = this.#nodes.get(newParent);
    if (from === undefined || to === undefined) return -fuse.ESTALE;
    const directory = this.#nodes.handleOf(from);
    if (directory < 0) return directory;
    const newDirectory = this.#nodes.handleOf(to);
    if (newDirectory < 0) return newDirectory;
    const isExchange = (flags & fuse.RENAME_EXCHANGE) !== 0;
    if (!isExchange) this.#nodes.hold(this.#nodes.named(to, newName));
    const error = this.#native.rename(directory, name, newDirectory, newName, flags);
    if (error === 0) this.#nodes.renamed(from, name, to, newName, isExchange);
    return error;
  }

  link(id: number, newParent: number, newName: string): HostNode | number {
    if (this.#settings.readOnly) return -fuse.EROFS;
    const directory = this.#nodes.get(newParent);
    const node = this.#nodes.get(id);
    if (directory === undefined || node === undefined) return -fuse.ESTALE;
    const handle = this.#nodes.handleOf(node);
    if (handle < 0) return handle;
    const to = this.#nodes.handleOf(directory);
    if (to < 0) return to;
    const error = this.#native.link(handle, to, newName);
    return error < 0 ? error : this.#nodes.lookup(directory, newName);
  }
}
