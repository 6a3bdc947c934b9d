import { FdtError } from './errors.ts';
import {
  FDT_BEGIN_NODE,
  FDT_END,
  FDT_END_NODE,
  FDT_HEADER_SIZE,
  FDT_LAST_COMP_VERSION,
  FDT_MAGIC,
  FDT_PROP,
  FDT_RESERVE_ENTRY_SIZE,
  FDT_VERSION,
  MAX_DEPTH,
  MAX_NAME_LENGTH,
  NODE_NAME,
  PROPERTY_NAME,
  align4,
  isPhandle,
} from './format.ts';
import type { FdtReservation } from './format.ts';
import { StringTable } from './string-table.ts';
import { checkU32, checkU64, encodeCells, encodeStrings, encodeValue } from './value.ts';
import type { FdtValue } from './value.ts';

/** Space behind the tree, as dtc's options make it. */
export interface FdtFinishOptions {
  /** Bytes of free space to add, as `dtc -p`. Default 0. */
  readonly padding?: number;
  /** Power of 2 that `totalsize` is made a multiple of, as `dtc -a`. Default 1. */
  readonly alignTo?: number;
  /** `totalsize` to reach with free space, as `dtc -S`. `TOO_LARGE` when the tree needs more. */
  readonly padTo?: number;
  /** Free memory reservation entries before the terminator, as `dtc -R`. Default 0. */
  readonly spareReservations?: number;
}

interface OpenNode {
  readonly name: string;
  readonly names: Set<string>;
  hasChildren: boolean;
  phandle: number | undefined;
}

/**
 * Writes a flattened device tree, version 17, from the top: `beginNode('')`, the root's properties, its
 * children, `endNode()`, `finish()`. The bytes are those that dtc makes of the same tree.
 *
 * Every method throws an {@link FdtError} and leaves the writer as it was when its arguments are wrong:
 * `BAD_NAME`, `BAD_VALUE`, `DUPLICATE_NAME`, `BAD_PHANDLE`, `TOO_DEEP`, or `WRONG_STATE` for a call at the
 * wrong place (a property after a child, §5.4.2; anything after `finish()`).
 */
export class FdtWriter {
  #structure = new Uint8Array(1024);
  #view = new DataView(this.#structure.buffer);
  #length = 0;
  readonly #strings = new StringTable();
  readonly #reservations: FdtReservation[] = [];
  readonly #phandles = new Set<number>();
  #nextPhandle = 1;
  readonly #open: OpenNode[] = [];
  #state: 'empty' | 'open' | 'complete' | 'finished' = 'empty';
  #bootCpuId = 0;

  /** Physical id of the boot CPU: `reg` of its node (header field `boot_cpuid_phys`, §5.2). Default 0. */
  get bootCpuId(): number {
    return this.#bootCpuId;
  }

  set bootCpuId(id: number) {
    this.#bootCpuId = checkU32(id, 'boot CPU id');
  }

  /** Adds an entry to the memory reservation block (§5.3), at any time before `finish()`. */
  addReservation(address: number | bigint, size: number | bigint): void {
    this.#require(this.#state !== 'finished', 'addReservation() after finish()');
    const entry = { address: checkU64(address, 'reservation address'), size: checkU64(size, 'its size') };
    if (entry.address === 0n && entry.size === 0n) {
      throw new FdtError('BAD_VALUE', 'reservation of 0 bytes at 0: this pair ends the block');
    }
    this.#reservations.push(entry);
  }

  /** @param name node-name[@unit-address]; empty for the root */
  beginNode(name: string): void {
    const parent = this.#open.at(-1);
    this.#require(
      this.#state === 'open' || this.#state === 'empty',
      `node '${name}' begins after the end of the root`,
    );
    if (parent === undefined ? name !== '' : !NODE_NAME.test(name) || name.length > MAX_NAME_LENGTH) {
      throw new FdtError(
        'BAD_NAME',
        parent === undefined ? `the root node has the name '${name}'` : `node name '${name}'`,
      );
    }
    if (this.#open.length >= MAX_DEPTH) {
      throw new FdtError('TOO_DEEP', `node '${this.#path(name)}' is deeper than ${MAX_DEPTH} levels`);
    }
    if (parent !== undefined) {
      if (!parent.hasChildren) {
        parent.hasChildren = true;
        parent.names.clear();
      }
      if (parent.names.has(name)) {
        throw new FdtError('DUPLICATE_NAME', `node '${this.#path(name)}' appears twice`);
      }
      parent.names.add(name);
    }
    this.#open.push({ name, names: new Set(), hasChildren: false, phandle: undefined });
    this.#state = 'open';
    const size = align4(name.length + 1);
    this.#reserve(4 + size);
    this.#u32(FDT_BEGIN_NODE);
    this.#name(name, size);
  }

  endNode(): void {
    this.#require(this.#open.length > 0, 'endNode() without a node');
    this.#reserve(4);
    this.#u32(FDT_END_NODE);
    this.#open.pop();
    if (this.#open.length === 0) this.#state = 'complete';
  }

  /** A property of any kind of value, by the rules of {@link FdtValue}. */
  property(name: string, value: FdtValue): void {
    this.propertyBytes(name, encodeValue(value, `property '${name}'`));
  }

  /** A property whose presence is its meaning, e.g. `dma-coherent`. */
  propertyEmpty(name: string): void {
    this.propertyBytes(name, new Uint8Array(0));
  }

  /** One cell. */
  propertyU32(name: string, value: number): void {
    this.propertyBytes(name, encodeCells([value], `property '${name}'`));
  }

  propertyU64(name: string, value: number | bigint): void {
    this.propertyBytes(name, encodeCells([checkU64(value, `property '${name}'`)], name));
  }

  /** @param cells integers of 0…2^32-1 */
  propertyCells(name: string, cells: readonly number[]): void {
    this.propertyBytes(name, encodeCells(cells, `property '${name}'`));
  }

  propertyString(name: string, value: string): void {
    this.propertyBytes(name, encodeStrings([value], `property '${name}'`));
  }

  propertyStringList(name: string, values: readonly string[]): void {
    this.propertyBytes(name, encodeStrings(values, `property '${name}'`));
  }

  /** `phandle` of the open node; without a value, a new one. Returns it. */
  propertyPhandle(value: number = this.allocatePhandle()): number {
    this.propertyU32('phandle', value);
    return value;
  }

  /** A phandle that no node has so far and no later call returns, e.g. to refer to a node written later. */
  allocatePhandle(): number {
    while (this.#phandles.has(this.#nextPhandle)) this.#nextPhandle++;
    return this.#nextPhandle++;
  }

  propertyBytes(name: string, value: Uint8Array): void {
    const node = this.#open.at(-1);
    this.#require(node !== undefined, `property '${name}' outside of a node`);
    this.#require(!node!.hasChildren, `property '${name}' of '${this.#path()}' after a child node`);
    if (!PROPERTY_NAME.test(name) || name.length > MAX_NAME_LENGTH) {
      throw new FdtError('BAD_NAME', `property name '${name}'`);
    }
    if (node!.names.has(name)) {
      throw new FdtError('DUPLICATE_NAME', `property '${name}' of '${this.#path()}' appears twice`);
    }
    const size = align4(value.length);
    this.#reserve(12 + size);
    if (name === 'phandle' || name === 'linux,phandle') this.#notePhandle(node!, value);
    node!.names.add(name);
    this.#u32(FDT_PROP);
    this.#u32(value.length);
    this.#u32(this.#strings.offsetOf(name));
    this.#structure.set(value, this.#length);
    this.#length += size;
  }

  /**
   * The blob. The writer takes nothing more afterwards.
   *
   * @throws FdtError `WRONG_STATE` while a node is open or when there is none, `TOO_LARGE` when the tree does
   *   not fit `padTo` or 2^31 bytes
   */
  finish(options: FdtFinishOptions = {}): Uint8Array {
    this.#require(this.#state === 'complete', `finish() while the tree is ${this.#state}`);
    const spare = checkU32(options.spareReservations ?? 0, 'spareReservations');
    const structureOffset =
      FDT_HEADER_SIZE + (this.#reservations.length + spare + 1) * FDT_RESERVE_ENTRY_SIZE;
    this.#reserve(4);
    const structureLength = this.#length + 4;
    const stringsOffset = structureOffset + structureLength;
    const used = stringsOffset + this.#strings.length;
    const alignment = checkU32(options.alignTo ?? 1, 'alignTo');
    if (alignment === 0 || (alignment & (alignment - 1)) !== 0) {
      throw new FdtError('BAD_VALUE', `alignTo is ${alignment}, not a power of 2`);
    }
    const size = Math.ceil((used + checkU32(options.padding ?? 0, 'padding')) / alignment) * alignment;
    const padTo = options.padTo === undefined ? size : checkU32(options.padTo, 'padTo');
    if (size > padTo) throw new FdtError('TOO_LARGE', `the tree takes ${size} bytes, more than ${padTo}`);
    checkSize(padTo);
    this.#u32(FDT_END);
    this.#state = 'finished';

    const blob = new Uint8Array(padTo);
    const view = new DataView(blob.buffer);
    const header = [
      FDT_MAGIC,
      padTo,
      structureOffset,
      stringsOffset,
      FDT_HEADER_SIZE,
      FDT_VERSION,
      FDT_LAST_COMP_VERSION,
      this.#bootCpuId,
      this.#strings.length,
      structureLength,
    ];
    header.forEach((field, index) => view.setUint32(index * 4, field));
    this.#reservations.forEach((entry, index) => {
      const at = FDT_HEADER_SIZE + index * FDT_RESERVE_ENTRY_SIZE;
      view.setBigUint64(at, entry.address);
      view.setBigUint64(at + 8, entry.size);
    });
    blob.set(this.#structure.subarray(0, structureLength), structureOffset);
    this.#strings.copyTo(blob, stringsOffset);
    return blob;
  }

  #notePhandle(node: OpenNode, value: Uint8Array): void {
    const phandle =
      value.length === 4 ? new DataView(value.buffer, value.byteOffset, value.length).getUint32(0) : 0;
    if (!isPhandle(phandle)) {
      throw new FdtError('BAD_PHANDLE', `phandle of '${this.#path()}' is not one cell of 1…0xfffffffe`);
    }
    if (node.phandle === undefined ? this.#phandles.has(phandle) : node.phandle !== phandle) {
      throw new FdtError('BAD_PHANDLE', `phandle ${phandle} of '${this.#path()}' is not unique`);
    }
    node.phandle = phandle;
    this.#phandles.add(phandle);
  }

  #path(child?: string): string {
    const names = this.#open.slice(1).map((node) => node.name);
    if (child !== undefined && this.#open.length > 0) names.push(child);
    return `/${names.join('/')}`;
  }

  #require(condition: boolean, message: string): void {
    if (!condition) throw new FdtError('WRONG_STATE', message);
  }

  #reserve(extra: number): void {
    const needed = this.#length + extra;
    if (needed <= this.#structure.length) return;
    checkSize(needed);
    const grown = new Uint8Array(Math.max(needed, this.#structure.length * 2));
    grown.set(this.#structure.subarray(0, this.#length));
    this.#structure = grown;
    this.#view = new DataView(grown.buffer);
  }

  #u32(value: number): void {
    this.#view.setUint32(this.#length, value);
    this.#length += 4;
  }

  #name(name: string, size: number): void {
    for (let index = 0; index < name.length; index++) {
      this.#structure[this.#length + index] = name.charCodeAt(index);
    }
    this.#length += size;
  }
}

function checkSize(size: number): void {
  if (size > 0x7fffffff) throw new FdtError('TOO_LARGE', `a tree of ${size} bytes, more than 2^31-1`);
}
