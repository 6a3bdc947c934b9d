import { ENFILE, ESTALE, FUSE_ROOT_ID, S_IFMT } from '../fs/constants.ts';
import type { HostStat } from './fs-stat.ts';
import type { NativeFileSystem } from './native-fs.ts';

/** Nodes used so recently are not closed: the operation that runs may have their handles in its hand. */
const IN_USE = 8;

/** A file that the guest knows. */
export class HostNode {
  readonly id: number;
  /** S_IF… */
  type: number;
  /** How often the guest looked it up and has not forgotten. */
  lookups = 0;
  /** The handle, or -1: it can be opened again by the name. */
  handle: number;
  /** Where it was seen last; undefined: it has lost its name. */
  parent: HostNode | undefined;
  name: string;
  /** What a file that is found by the name must be; undefined: unknown. */
  identity: string | undefined;
  birth: number;
  lastUse = 0;
  /** `lastUse` when eviction came by the last time. */
  seenUse = -1;

  constructor(
    id: number,
    type: number,
    handle: number,
    parent: HostNode | undefined,
    name: string,
    identity: string | undefined,
    birth: number,
  ) {
    this.id = id;
    this.type = type;
    this.handle = handle;
    this.parent = parent;
    this.name = name;
    this.identity = identity;
    this.birth = birth;
  }
}

/**
 * The nodes that a guest knows, each with a handle. When there are too many handles those not used for long are closed,
 * and opened again by their name when they are needed; if the name leads to another file by then, the node is stale.
 */
export class NodeTable {
  readonly root: HostNode;
  readonly #native: NativeFileSystem;
  readonly #openat2: number;
  readonly #stat: HostStat;
  readonly #maxNodes: number;
  readonly #maxHandles: number;
  readonly #byId = new Map<number, HostNode>();
  readonly #byIdentity = new Map<string, HostNode>();
  readonly #byName = new Map<string, HostNode>();
  /** Nodes with a handle other than the root, in the order in which eviction looks at them. */
  readonly #open = new Set<HostNode>();
  #nextId = FUSE_ROOT_ID + 1;
  #clock = IN_USE;
  #evictions = 0;

  constructor(
    native: NativeFileSystem,
    openat2: number,
    stat: HostStat,
    rootHandle: number,
    limits: { readonly maxNodes: number; readonly maxHandles: number },
  ) {
    this.#native = native;
    this.#openat2 = openat2;
    this.#stat = stat;
    this.#maxNodes = limits.maxNodes;
    this.#maxHandles = limits.maxHandles;
    native.stat(rootHandle, stat.words);
    this.root = new HostNode(
      FUSE_ROOT_ID,
      stat.mode & S_IFMT,
      rootHandle,
      undefined,
      '',
      stat.identity,
      stat.birth,
    );
    this.root.lookups = 1;
    this.#byId.set(FUSE_ROOT_ID, this.root);
    this.#byIdentity.set(stat.identity, this.root);
  }

  /** Known nodes, the root among them. */
  get size(): number {
    return this.#byId.size;
  }

  /** Handles that are open, but for the root's. */
  get handles(): number {
    return this.#open.size;
  }

  get evictions(): number {
    return this.#evictions;
  }

  get nextId(): number {
    return this.#nextId;
  }

  get(id: number): HostNode | undefined {
    return this.#byId.get(id);
  }

  nodes(): Iterable<HostNode> {
    return this.#byId.values();
  }

  /** The node that was seen by a name last. */
  named(parent: HostNode, name: string): HostNode | undefined {
    return this.#byName.get(nameKey(parent, name));
  }

  /** A node's handle, valid for the operation that runs; or a negative error. */
  handleOf(node: HostNode): number {
    node.lastUse = ++this.#clock;
    return node.handle >= 0 ? node.handle : this.#reopen(node);
  }

  /**
   * Looks a name up.
   *
   * @returns the node, with the status in the table's; or a negative error
   */
  lookup(parent: HostNode, name: string): HostNode | number {
    const directory = this.handleOf(parent);
    if (directory < 0) return directory;
    const handle = this.#native.lookup(directory, name, this.#openat2, this.#stat.words);
    return handle < 0 ? handle : this.add(parent, name, handle);
  }

  /**
   * Counts a lookup of the file whose new handle and status are given; the handle is the table's.
   *
   * @returns the node or a negative error
   */
  add(parent: HostNode, name: string, handle: number): HostNode | number {
    const stat = this.#stat;
    const { identity } = stat;
    const known = this.#byIdentity.get(identity);
    if (known !== undefined) {
      if (known.handle >= 0) {
        this.#native.close(handle);
      } else if (known.birth === stat.birth) {
        this.#setHandle(known, handle);
      } else {
        this.#forgetIdentity(known);
        return this.#create(parent, name, handle);
      }
      known.lookups++;
      known.lastUse = ++this.#clock;
      if (known !== this.root) this.#place(known, parent, name);
      this.#evict();
      return known;
    }
    return this.#create(parent, name, handle);
  }

  forget(id: number, count: number): void {
    const node = this.#byId.get(id);
    if (node === undefined || node === this.root) return;
    node.lookups = Math.max(0, node.lookups - count);
    if (node.lookups === 0) this.#remove(node);
  }

  /** Everything but the root. */
  clear(): void {
    for (const node of this.#open) this.#native.close(node.handle);
    this.#open.clear();
    this.#byId.clear();
    this.#byName.clear();
    this.#byIdentity.clear();
    this.#byId.set(FUSE_ROOT_ID, this.root);
    if (this.root.identity !== undefined) this.#byIdentity.set(this.root.identity, this.root);
  }

  /** Opens a node that is about to lose its name. */
  hold(node: HostNode | undefined): void {
    if (node !== undefined) this.handleOf(node);
  }

  /** A name is gone. */
  unlinked(parent: HostNode, name: string): void {
    const node = this.named(parent, name);
    if (node !== undefined) this.#unplace(node);
  }

  /** A name is another now, and what had that is gone or has the old one. */
  renamed(parent: HostNode, name: string, newParent: HostNode, newName: string, exchange: boolean): void {
    const node = this.named(parent, name);
    const other = this.named(newParent, newName);
    // Two names of one file: nothing has happened.
    if (node !== undefined && node === other) return;
    if (other !== undefined) this.#unplace(other);
    if (node !== undefined) this.#place(node, newParent, newName);
    if (exchange && other !== undefined) this.#place(other, parent, name);
  }

  /** For restoring: a node with an id, without a handle. */
  restore(id: number, type: number, lookups: number, parent: HostNode | undefined, name: string): HostNode {
    const node = new HostNode(id, type, -1, undefined, name, undefined, 0);
    node.lookups = lookups;
    this.#byId.set(id, node);
    if (parent !== undefined) this.#place(node, parent, name);
    this.#nextId = Math.max(this.#nextId, id + 1);
    return node;
  }

  /** For restoring. */
  skipIds(next: number): void {
    this.#nextId = Math.max(this.#nextId, next);
  }

  #create(parent: HostNode, name: string, handle: number): HostNode | number {
    const stat = this.#stat;
    if (this.#byId.size >= this.#maxNodes) {
      this.#native.close(handle);
      return -ENFILE;
    }
    const node = new HostNode(
      this.#nextId++,
      stat.mode & S_IFMT,
      -1,
      undefined,
      name,
      stat.identity,
      stat.birth,
    );
    node.lookups = 1;
    this.#byId.set(node.id, node);
    this.#byIdentity.set(stat.identity, node);
    this.#place(node, parent, name);
    node.lastUse = ++this.#clock;
    this.#setHandle(node, handle);
    if (!this.#evict()) {
      this.#remove(node);
      return -ENFILE;
    }
    return node;
  }

  #remove(node: HostNode): void {
    this.#byId.delete(node.id);
    this.#forgetIdentity(node);
    const { parent, name } = node;
    if (parent !== undefined && this.named(parent, name) === node) this.#byName.delete(nameKey(parent, name));
    node.lookups = 0;
    this.#closeHandle(node);
  }

  #forgetIdentity(node: HostNode): void {
    const { identity } = node;
    if (identity !== undefined && this.#byIdentity.get(identity) === node) this.#byIdentity.delete(identity);
  }

  #place(node: HostNode, parent: HostNode, name: string): void {
    if (node.parent === parent && node.name === name) return;
    this.#unplace(node);
    const other = this.named(parent, name);
    if (other !== undefined) this.#unplace(other);
    node.parent = parent;
    node.name = name;
    this.#byName.set(nameKey(parent, name), node);
  }

  #unplace(node: HostNode): void {
    const { parent, name } = node;
    if (parent === undefined) return;
    if (this.named(parent, name) === node) this.#byName.delete(nameKey(parent, name));
    node.parent = undefined;
  }

  #setHandle(node: HostNode, handle: number): void {
    node.handle = handle;
    node.seenUse = -1;
    this.#open.add(node);
  }

  #closeHandle(node: HostNode): void {
    if (node.handle < 0 || node === this.root) return;
    this.#native.close(node.handle);
    node.handle = -1;
    this.#open.delete(node);
  }

  /** Opens a node by its name, and those above it if need be. */
  #reopen(node: HostNode): number {
    const path: HostNode[] = [];
    let above: HostNode | undefined = node;
    for (; above !== undefined && above.handle < 0; above = above.parent) {
      // Directories that were moved into each other on the host while the guest looked.
      if (path.length > 4096) return -ESTALE;
      path.push(above);
    }
    if (above === undefined) return -ESTALE;
    const words = this.#stat.words.slice();
    let directory = above.handle;
    let passing = false;
    let error = 0;
    for (const next of path.reverse()) {
      const handle = this.#native.lookup(directory, next.name, this.#openat2, this.#stat.words);
      const found = handle >= 0 && this.#is(next);
      if (passing) this.#native.close(directory);
      if (!found) {
        if (handle >= 0) this.#native.close(handle);
        error = -ESTALE;
        break;
      }
      directory = handle;
      // A directory that the guest has forgotten keeps no handle.
      passing = next.lookups === 0;
      if (!passing) {
        next.lastUse = this.#clock;
        this.#setHandle(next, handle);
      }
    }
    this.#stat.words.set(words);
    if (error < 0) return error;
    if (!this.#evict()) return -ENFILE;
    return node.handle;
  }

  /** Whether the status is that of the node; learns it if it is unknown. */
  #is(node: HostNode): boolean {
    const stat = this.#stat;
    if (node.identity === undefined) {
      if (node.type !== (stat.mode & S_IFMT)) return false;
      const known = this.#byIdentity.get(stat.identity);
      node.identity = stat.identity;
      node.birth = stat.birth;
      if (known === undefined) this.#byIdentity.set(stat.identity, node);
      return true;
    }
    return node.identity === stat.identity && node.birth === stat.birth;
  }

  /** Closes handles until there are few enough. @returns false: none can be closed */
  #evict(): boolean {
    if (this.#open.size <= this.#maxHandles) return true;
    let left = 2 * this.#open.size;
    for (const node of this.#open) {
      if (--left < 0) return false;
      const isInUse = node.lastUse > this.#clock - IN_USE;
      if (node.parent !== undefined && node.seenUse === node.lastUse && !isInUse) {
        this.#closeHandle(node);
        this.#evictions++;
        if (this.#open.size <= this.#maxHandles) return true;
        continue;
      }
      // A second chance at the end of the line.
      node.seenUse = node.lastUse;
      this.#open.delete(node);
      this.#open.add(node);
    }
    return false;
  }
}

function nameKey(parent: HostNode, name: string): string {
  return `${parent.id}/${name}`;
}
