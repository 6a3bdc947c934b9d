import { FdtError } from './errors.ts';
import {
  FDT_BEGIN_NODE,
  FDT_END,
  FDT_END_NODE,
  FDT_HEADER_SIZE,
  FDT_LAST_COMP_VERSION,
  FDT_MAGIC,
  FDT_NOP,
  FDT_PROP,
  FDT_RESERVE_ENTRY_SIZE,
  FDT_V16_HEADER_SIZE,
  FDT_VERSION,
  MAX_DEPTH,
  MAX_NAME_LENGTH,
  NODE_NAME,
  PROPERTY_NAME,
  align4,
  isPhandle,
} from './format.ts';
import type { FdtReservation } from './format.ts';
import { latin1 } from './text.ts';
import { Fdt, FdtNode } from './tree.ts';

interface Header {
  readonly totalSize: number;
  readonly structureOffset: number;
  readonly structureEnd: number;
  readonly stringsOffset: number;
  readonly stringsEnd: number;
  readonly reservationsOffset: number;
  readonly version: number;
  readonly bootCpuId: number;
}

/**
 * Reads a flattened device tree of version 16 or 17 (or a later one that says it is compatible). Every
 * offset, size and name is checked; a tree that is read can be written again. Time and memory are linear in
 * the length of the blob. Property values are views of `bytes`, not copies.
 *
 * @param bytes the blob; bytes behind its `totalsize` are ignored
 * @throws FdtError `TRUNCATED`, `BAD_MAGIC`, `UNSUPPORTED_VERSION`, `BAD_LAYOUT` (header), `BAD_STRUCTURE`,
 *   `TOO_DEEP`, `BAD_NAME`, `DUPLICATE_NAME`, `BAD_PHANDLE`
 */
export function readFdt(bytes: Uint8Array): Fdt {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const header = readHeader(view);
  const reservations = readReservations(view, header);
  const byPhandle = new Map<number, FdtNode>();
  const root = new StructureReader(bytes, view, header, byPhandle).read();
  return new Fdt(header.version, header.bootCpuId, reservations, root, byPhandle);
}

function readHeader(view: DataView): Header {
  if (view.byteLength < FDT_V16_HEADER_SIZE) {
    throw new FdtError('TRUNCATED', `${view.byteLength} bytes are less than a header`);
  }
  const field = (index: number): number => view.getUint32(index * 4);
  const magic = field(0);
  if (magic !== FDT_MAGIC) {
    throw new FdtError('BAD_MAGIC', `magic is 0x${magic.toString(16)}, not 0x${FDT_MAGIC.toString(16)}`);
  }
  const version = field(5);
  const lastCompatible = field(6);
  if (version < FDT_LAST_COMP_VERSION || lastCompatible > FDT_VERSION || lastCompatible > version) {
    throw new FdtError(
      'UNSUPPORTED_VERSION',
      `version ${version} (compatible with ${lastCompatible}): versions 16 and 17 are known`,
    );
  }
  const headerSize = version >= 17 ? FDT_HEADER_SIZE : FDT_V16_HEADER_SIZE;
  const totalSize = field(1);
  if (totalSize < headerSize)
    throw new FdtError('BAD_LAYOUT', `totalsize ${totalSize} is less than a header`);
  if (totalSize > view.byteLength) {
    throw new FdtError('TRUNCATED', `totalsize is ${totalSize}, the blob has ${view.byteLength} bytes`);
  }
  const block = (name: string, offset: number, size: number, alignment: number): number => {
    if (offset % alignment !== 0) {
      throw new FdtError('BAD_LAYOUT', `${name} at ${offset} is not ${alignment}-byte aligned`);
    }
    if (offset < headerSize || offset + size > totalSize) {
      throw new FdtError('BAD_LAYOUT', `${name} of ${size} bytes at ${offset} is not inside the blob`);
    }
    return offset;
  };
  const structureOffset = field(2);
  const stringsOffset = field(3);
  const stringsSize = field(8);
  const structureSize = version >= 17 ? field(9) : Math.max(totalSize - structureOffset, 0);
  return {
    totalSize,
    structureOffset: block('structure block', structureOffset, structureSize, 4),
    structureEnd: structureOffset + structureSize,
    stringsOffset: block('strings block', stringsOffset, stringsSize, 1),
    stringsEnd: stringsOffset + stringsSize,
    reservationsOffset: block('memory reservation block', field(4), FDT_RESERVE_ENTRY_SIZE, 8),
    version,
    bootCpuId: field(7),
  };
}

function readReservations(view: DataView, header: Header): FdtReservation[] {
  const reservations: FdtReservation[] = [];
  for (let at = header.reservationsOffset; ; at += FDT_RESERVE_ENTRY_SIZE) {
    if (at + FDT_RESERVE_ENTRY_SIZE > header.totalSize) {
      throw new FdtError('BAD_LAYOUT', 'the memory reservation block has no end');
    }
    const address = view.getBigUint64(at);
    const size = view.getBigUint64(at + 8);
    if (address === 0n && size === 0n) return reservations;
    reservations.push({ address, size });
  }
}

interface OpenNode {
  readonly name: string;
  readonly path: string;
  readonly properties: Map<string, Uint8Array>;
  readonly children: FdtNode[];
  readonly childNames: Set<string>;
}

class StructureReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #header: Header;
  readonly #byPhandle: Map<number, FdtNode>;
  readonly #names = new Map<number, string>();
  readonly #open: OpenNode[] = [];
  #at: number;

  constructor(bytes: Uint8Array, view: DataView, header: Header, byPhandle: Map<number, FdtNode>) {
    this.#bytes = bytes;
    this.#view = view;
    this.#header = header;
    this.#byPhandle = byPhandle;
    this.#at = header.structureOffset;
  }

  read(): FdtNode {
    let root: FdtNode | undefined;
    for (;;) {
      const at = this.#at;
      const token = this.#u32();
      switch (token) {
        case FDT_BEGIN_NODE:
          if (root !== undefined) throw this.#bad(at, 'a second root node');
          this.#begin(at);
          break;
        case FDT_END_NODE:
          root = this.#end(at);
          break;
        case FDT_PROP:
          this.#property(at);
          break;
        case FDT_NOP:
          break;
        case FDT_END:
          if (root === undefined) throw this.#bad(at, 'the end before that of the root node');
          return root;
        default:
          throw this.#bad(at, `token 0x${token.toString(16)}`);
      }
    }
  }

  #begin(at: number): void {
    const start = this.#at;
    const end = this.#stringEnd(start, this.#header.structureEnd);
    if (end === undefined) throw this.#bad(at, 'a node name without end');
    const name = latin1(this.#bytes, start, end);
    this.#at = align4(end + 1);
    const parent = this.#open.at(-1);
    if (parent === undefined) {
      if (name !== '') throw new FdtError('BAD_NAME', `the root node has the name ${JSON.stringify(name)}`);
    } else if (!NODE_NAME.test(name)) {
      throw new FdtError('BAD_NAME', `node name ${JSON.stringify(name)} in '${parent.path}'`);
    } else if (parent.childNames.has(name)) {
      throw new FdtError('DUPLICATE_NAME', `node '${name}' of '${parent.path}' appears twice`);
    }
    if (this.#open.length >= MAX_DEPTH) {
      throw new FdtError('TOO_DEEP', `a node is deeper than ${MAX_DEPTH} levels`);
    }
    parent?.childNames.add(name);
    const path = parent === undefined ? '/' : `${parent.path === '/' ? '' : parent.path}/${name}`;
    this.#open.push({ name, path, properties: new Map(), children: [], childNames: new Set() });
  }

  /** The node that ends, if it is the root. */
  #end(at: number): FdtNode | undefined {
    const open = this.#open.pop();
    if (open === undefined) throw this.#bad(at, 'the end of no node');
    const node = new FdtNode(open.name, open.path, open.properties, open.children);
    this.#notePhandle(node);
    const parent = this.#open.at(-1);
    parent?.children.push(node);
    return parent === undefined ? node : undefined;
  }

  #property(at: number): void {
    const node = this.#open.at(-1);
    if (node === undefined) throw this.#bad(at, 'a property outside of a node');
    if (node.childNames.size > 0) throw this.#bad(at, `a property of '${node.path}' after a child node`);
    const length = this.#u32();
    const name = this.#propertyName(this.#u32(), at);
    const start = this.#at;
    const end = start + length;
    if (end > this.#header.structureEnd) throw this.#bad(at, `a property of ${length} bytes`);
    this.#at = align4(end);
    if (node.properties.has(name)) {
      throw new FdtError('DUPLICATE_NAME', `property '${name}' of '${node.path}' appears twice`);
    }
    node.properties.set(name, this.#bytes.subarray(start, end));
  }

  #propertyName(offset: number, at: number): string {
    const known = this.#names.get(offset);
    if (known !== undefined) return known;
    const start = this.#header.stringsOffset + offset;
    const end = this.#stringEnd(start, this.#header.stringsEnd);
    if (end === undefined) throw this.#bad(at, `a property name at ${offset} of the strings block`);
    const name = latin1(this.#bytes, start, end);
    if (!PROPERTY_NAME.test(name)) throw new FdtError('BAD_NAME', `property name ${JSON.stringify(name)}`);
    this.#names.set(offset, name);
    return name;
  }

  #notePhandle(node: FdtNode): void {
    const values: number[] = [];
    for (const name of ['phandle', 'linux,phandle']) {
      const value = node.properties.get(name);
      if (value === undefined) continue;
      const phandle = value.length === 4 ? node.u32(name) : 0;
      if (!isPhandle(phandle)) {
        throw new FdtError('BAD_PHANDLE', `${name} of '${node.path}' is not one cell of 1…0xfffffffe`);
      }
      values.push(phandle);
    }
    const [first, second] = values;
    if (first === undefined) return;
    if (this.#byPhandle.has(first) || (second !== undefined && second !== first)) {
      throw new FdtError('BAD_PHANDLE', `phandle ${first} of '${node.path}' is not unique`);
    }
    this.#byPhandle.set(first, node);
  }

  /** Where the NUL of the string at `start` is, if that is before `limit` and the string is not too long. */
  #stringEnd(start: number, limit: number): number | undefined {
    const last = Math.min(limit, start + MAX_NAME_LENGTH + 1);
    for (let at = start; at < last; at++) if (this.#bytes[at] === 0) return at;
    return undefined;
  }

  #u32(): number {
    const at = this.#at;
    if (at + 4 > this.#header.structureEnd) throw this.#bad(at, 'the end of the block without FDT_END');
    this.#at = at + 4;
    return this.#view.getUint32(at);
  }

  #bad(at: number, what: string): FdtError {
    return new FdtError(
      'BAD_STRUCTURE',
      `structure block offset ${at - this.#header.structureOffset} has ${what}`,
    );
  }
}
