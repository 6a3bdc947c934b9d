import { VirtioDeviceError } from '../errors.ts';
import { FUSE_ROOT_ID, S_IFDIR, S_IFLNK } from '../fs/constants.ts';
import { StateReader } from '../state.ts';
import type { FileTable } from './fs-files.ts';
import type { HostNode, NodeTable } from './fs-nodes.ts';

/** A node and where it is. */
export interface SavedNode {
  readonly id: number;
  /** S_IF… */
  readonly type: number;
  readonly lookups: number;
  /** 0: it has no name any more, and is stale after restoring. */
  readonly parent: number;
  readonly name: string;
}

export interface SavedFile {
  readonly fh: number;
  readonly node: number;
  /** Of open(2). */
  readonly flags: number;
  readonly isDirectory: boolean;
}

/** Plain, versioned state of a {@link HostDirectory}. */
export interface HostDirectoryState {
  readonly version: 1;
  readonly nextId: number;
  readonly nextFh: number;
  /** Without the root; parents come before what is in them. */
  readonly nodes: readonly SavedNode[];
  readonly files: readonly SavedFile[];
}

const MAX = Number.MAX_SAFE_INTEGER;

export function saveTables(nodes: NodeTable, files: FileTable): HostDirectoryState {
  const saved = new Map<HostNode, SavedNode>();
  const save = (node: HostNode): void => {
    const path: HostNode[] = [];
    for (let at: HostNode | undefined = node; at !== undefined && at !== nodes.root; at = at.parent) {
      if (saved.has(at) || path.length > 4096) break;
      path.push(at);
    }
    for (const next of path.reverse()) {
      const { id, type, lookups, parent, name } = next;
      const isKnown = parent !== undefined && (parent === nodes.root || saved.has(parent));
      saved.set(next, { id, type, lookups, parent: isKnown ? parent.id : 0, name });
    }
  };
  for (const node of nodes.nodes()) if (node !== nodes.root) save(node);
  return {
    version: 1,
    nextId: nodes.nextId,
    nextFh: files.next,
    nodes: [...saved.values()],
    files: Array.from(files.files(), ({ fh, node, flags, isDirectory }) => ({
      fh,
      node: node.id,
      flags,
      isDirectory,
    })),
  };
}

/** @throws VirtioDeviceError `INVALID_STATE` */
export function parseState(state: unknown): HostDirectoryState {
  const reader = new StateReader('host directory state', state);
  reader.version(1);
  const nextId = reader.integer('nextId', FUSE_ROOT_ID + 1, MAX);
  const nextFh = reader.integer('nextFh', 1, MAX);
  const known = new Set<number>([FUSE_ROOT_ID]);
  const nodes = reader.array('nodes').map((item): SavedNode => {
    const node = new StateReader('node of a host directory', item);
    const id = node.integer('id', FUSE_ROOT_ID + 1, nextId - 1);
    const parent = node.integer('parent', 0, MAX);
    if (known.has(id) || (parent !== 0 && !known.has(parent))) throw invalid(`node ${id} is out of place`);
    known.add(id);
    const name = node.unknown('name');
    if (!isName(name)) throw invalid(`node ${id} has no name`);
    const type = node.integer('type', 0, 0o170000);
    return { id, type, lookups: node.integer('lookups', 0, MAX), parent, name };
  });
  const handles = new Set<number>();
  const files = reader.array('files').map((item): SavedFile => {
    const file = new StateReader('file of a host directory', item);
    const fh = file.integer('fh', 1, nextFh - 1);
    const node = file.integer('node', 1, MAX);
    if (handles.has(fh) || !known.has(node)) throw invalid(`file ${fh} is out of place`);
    handles.add(fh);
    return { fh, node, flags: file.uint32('flags'), isDirectory: file.boolean('isDirectory') };
  });
  return { version: 1, nextId, nextFh, nodes, files };
}

/**
 * Fills empty tables.
 *
 * @param open answers a descriptor, or a negative error: the file is stale
 */
export function restoreTables(
  state: HostDirectoryState,
  nodes: NodeTable,
  files: FileTable,
  open: (node: HostNode, file: SavedFile) => number,
): void {
  const byId = new Map<number, HostNode>([[FUSE_ROOT_ID, nodes.root]]);
  for (const { id, type, lookups, parent, name } of state.nodes) {
    byId.set(id, nodes.restore(id, type, lookups, byId.get(parent), name));
  }
  nodes.skipIds(state.nextId);
  for (const file of state.files) {
    const node = byId.get(file.node)!;
    const fd = node.type === S_IFDIR || node.type !== S_IFLNK ? open(node, file) : -1;
    files.put(file.fh, node, fd, file.flags, file.isDirectory);
  }
  files.skip(state.nextFh);
}

/** One component, as the guest could have sent it. */
function isName(name: unknown): name is string {
  return (
    typeof name === 'string' &&
    name.length > 0 &&
    name.length <= 255 &&
    // eslint-disable-next-line no-control-regex
    !/[/\x00\u0100-\uffff]/.test(name) &&
    name !== '.' &&
    name !== '..'
  );
}

function invalid(message: string): VirtioDeviceError {
  return new VirtioDeviceError('INVALID_STATE', `host directory state: ${message}`);
}
