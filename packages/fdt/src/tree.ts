import { FdtError } from './errors.ts';
import type { FdtReservation } from './format.ts';
import { decodeText } from './text.ts';
import type { FdtValue } from './value.ts';
import { FdtWriter } from './writer.ts';
import type { FdtFinishOptions } from './writer.ts';

/** A node as plain data, or an {@link FdtNode} that was read. Properties and children keep their order. */
export interface FdtNodeInput {
  /** node-name[@unit-address]; empty for the root. */
  readonly name: string;
  /** An object, or pairs for names that JavaScript would reorder (those that are integers). */
  readonly properties?:
    Readonly<Record<string, FdtValue>> | Iterable<readonly [string, FdtValue]> | undefined;
  readonly children?: readonly FdtNodeInput[] | undefined;
}

/** A node of a tree that was read. Accessors check the value's length and throw `BAD_VALUE`. */
export class FdtNode implements FdtNodeInput {
  readonly name: string;
  readonly path: string;
  /** Raw values by name, in the tree's order. */
  readonly properties: ReadonlyMap<string, Uint8Array>;
  readonly children: readonly FdtNode[];

  constructor(
    name: string,
    path: string,
    properties: ReadonlyMap<string, Uint8Array>,
    children: readonly FdtNode[],
  ) {
    this.name = name;
    this.path = path;
    this.properties = properties;
    this.children = children;
  }

  has(property: string): boolean {
    return this.properties.has(property);
  }

  /** @throws FdtError `NOT_FOUND`, as all accessors below do */
  bytes(property: string): Uint8Array {
    const value = this.properties.get(property);
    if (value === undefined) throw new FdtError('NOT_FOUND', `'${this.path}' has no property '${property}'`);
    return value;
  }

  /** One cell. */
  u32(property: string): number {
    return this.#view(property, 4).getUint32(0);
  }

  u64(property: string): bigint {
    return this.#view(property, 8).getBigUint64(0);
  }

  /** All 32-bit cells. */
  cells(property: string): number[] {
    const view = this.#view(property, undefined);
    if (view.byteLength % 4 !== 0) throw this.#bad(property, `${view.byteLength} bytes, not whole cells`);
    return Array.from({ length: view.byteLength / 4 }, (_, index) => view.getUint32(index * 4));
  }

  /** One NUL-terminated string. */
  string(property: string): string {
    const values = this.strings(property);
    if (values.length !== 1) throw this.#bad(property, `${values.length} strings, not one`);
    return values[0]!;
  }

  /** NUL-terminated strings, in order. */
  strings(property: string): string[] {
    const value = this.bytes(property);
    if (value.length === 0) return [];
    if (value.at(-1) !== 0) throw this.#bad(property, 'no NUL at the end of its string');
    let text: string;
    try {
      text = decodeText(value.subarray(0, -1));
    } catch (cause) {
      throw this.#bad(property, 'not UTF-8', cause);
    }
    return text.split('\0');
  }

  /** `phandle`, or undefined for a node without. */
  get phandle(): number | undefined {
    if (this.has('phandle')) return this.u32('phandle');
    return this.has('linux,phandle') ? this.u32('linux,phandle') : undefined;
  }

  /** A child by its whole name, or by its node-name when just one child has that. */
  child(name: string): FdtNode | undefined {
    const exact = this.children.find((node) => node.name === name);
    if (exact !== undefined || name.includes('@')) return exact;
    const matching = this.children.filter((node) => node.name.startsWith(`${name}@`));
    return matching.length === 1 ? matching[0] : undefined;
  }

  /** This node and all below it, parents first. */
  *walk(): Generator<FdtNode, void, undefined> {
    yield this;
    for (const child of this.children) yield* child.walk();
  }

  #view(property: string, length: number | undefined): DataView {
    const value = this.bytes(property);
    if (length !== undefined && value.length !== length) {
      throw this.#bad(property, `${value.length} bytes, not ${length}`);
    }
    return new DataView(value.buffer, value.byteOffset, value.length);
  }

  #bad(property: string, what: string, cause?: unknown): FdtError {
    return new FdtError('BAD_VALUE', `property '${property}' of '${this.path}' has ${what}`, { cause });
  }
}

/** A tree that was read. */
export class Fdt {
  /** Version of the blob, 16 or more. */
  readonly version: number;
  /** `boot_cpuid_phys` of the header (§5.2). */
  readonly bootCpuId: number;
  readonly reservations: readonly FdtReservation[];
  readonly root: FdtNode;
  readonly #byPhandle: ReadonlyMap<number, FdtNode>;

  constructor(
    version: number,
    bootCpuId: number,
    reservations: readonly FdtReservation[],
    root: FdtNode,
    byPhandle: ReadonlyMap<number, FdtNode>,
  ) {
    this.version = version;
    this.bootCpuId = bootCpuId;
    this.reservations = reservations;
    this.root = root;
    this.#byPhandle = byPhandle;
  }

  /** @param path from the root, `/cpus/cpu@0`; unit addresses may be left out where one node matches */
  find(path: string): FdtNode | undefined {
    if (!path.startsWith('/')) return undefined;
    let node: FdtNode | undefined = this.root;
    for (const name of path.split('/')) {
      if (name !== '') node = node?.child(name);
    }
    return node;
  }

  byPhandle(phandle: number): FdtNode | undefined {
    return this.#byPhandle.get(phandle);
  }

  /** Nodes whose `compatible` lists `model`, in the tree's order. */
  compatible(model: string): FdtNode[] {
    return [...this.root.walk()].filter(
      (node) => node.has('compatible') && node.strings('compatible').includes(model),
    );
  }
}

export interface WriteFdtOptions extends FdtFinishOptions {
  readonly reservations?: readonly { readonly address: number | bigint; readonly size: number | bigint }[];
  /** Default, as dtc's: the first child of `/cpus`' `reg`, if that is one cell, else 0. */
  readonly bootCpuId?: number;
}

/**
 * The flattened form of a tree, version 17.
 *
 * @throws FdtError as {@link FdtWriter}
 */
export function writeFdt(root: FdtNodeInput, options: WriteFdtOptions = {}): Uint8Array {
  const writer = new FdtWriter();
  for (const { address, size } of options.reservations ?? []) writer.addReservation(address, size);
  writer.bootCpuId = options.bootCpuId ?? guessBootCpuId(root);
  addNode(writer, root);
  return writer.finish(options);
}

function addNode(writer: FdtWriter, node: FdtNodeInput): void {
  writer.beginNode(node.name);
  for (const [name, value] of entries(node)) writer.property(name, value);
  for (const child of node.children ?? []) addNode(writer, child);
  writer.endNode();
}

function entries(node: FdtNodeInput): Iterable<readonly [string, FdtValue]> {
  const properties = node.properties ?? [];
  return isIterable(properties) ? properties : Object.entries(properties);
}

function isIterable(
  properties: NonNullable<FdtNodeInput['properties']>,
): properties is Iterable<readonly [string, FdtValue]> {
  return Symbol.iterator in properties;
}

function guessBootCpuId(root: FdtNodeInput): number {
  const cpu = root.children?.find((node) => node.name === 'cpus')?.children?.[0];
  if (cpu === undefined) return 0;
  for (const [name, value] of entries(cpu)) {
    if (name !== 'reg') continue;
    if (typeof value === 'number') return value;
    if (Array.isArray(value)) {
      const cells: readonly unknown[] = value;
      return cells.length === 1 && typeof cells[0] === 'number' ? cells[0] : 0;
    }
    if (value instanceof Uint8Array && value.length === 4) {
      return new DataView(value.buffer, value.byteOffset, 4).getUint32(0);
    }
    return 0;
  }
  return 0;
}
