/** Flattened Devicetree format, Devicetree Specification v0.4 chapter 5. All fields are big-endian. */

/** `magic` of the header (§5.2). */
export const FDT_MAGIC = 0xd00dfeed;
/** Version that the writer produces and the newest that the reader knows (§5.2). */
export const FDT_VERSION = 17;
/** Oldest version that version 17 is compatible with, and the oldest that the reader accepts (§5.2). */
export const FDT_LAST_COMP_VERSION = 16;
/** Size of the version 17 header in bytes; version 16 lacks the last field, `size_dt_struct` (§5.2). */
export const FDT_HEADER_SIZE = 40;
export const FDT_V16_HEADER_SIZE = 36;

/** Structure block tokens (§5.4.1). */
export const FDT_BEGIN_NODE = 1;
export const FDT_END_NODE = 2;
export const FDT_PROP = 3;
export const FDT_NOP = 4;
export const FDT_END = 9;

/** Size of one entry of the memory reservation block in bytes (§5.3.2). */
export const FDT_RESERVE_ENTRY_SIZE = 16;

/** Nodes on a path from the root, the root included. Linux unflattens no deeper trees (FDT_MAX_DEPTH). */
export const MAX_DEPTH = 64;
/**
 * Length of a node or property name in characters. The standard's limit is 31 (§2.2.1, §2.2.4), which
 * device trees in use exceed.
 */
export const MAX_NAME_LENGTH = 255;

/**
 * A node name: node-name with an optional unit-address (§2.2.1). Either may be empty, as dtc has it and trees
 * in use have it. The root's name is empty.
 */
export const NODE_NAME: RegExp = /^(?!$)[0-9A-Za-z,._+-]*(@[0-9A-Za-z,._+-]*)?$/;
/** Characters of property names (§2.2.4.1). */
export const PROPERTY_NAME: RegExp = /^[0-9A-Za-z,._+?#*-]+$/;

/** Phandle values that no node may have: 0 and -1 (§2.3.3 allows any unique value; dtc reserves these). */
export function isPhandle(value: number): boolean {
  return Number.isInteger(value) && value > 0 && value < 0xffffffff;
}

/** A range of physical memory that the client program must leave alone (§5.3). */
export interface FdtReservation {
  /** First byte, 0…2^64-1. */
  readonly address: bigint;
  /** Bytes, 0…2^64-1. */
  readonly size: bigint;
}

/** `length` rounded up to a multiple of 4, the alignment of structure block tokens (§5.4). */
export function align4(length: number): number {
  return Math.ceil(length / 4) * 4;
}
