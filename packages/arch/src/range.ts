/** A range of guest physical addresses. */
export interface AddressRange {
  readonly guestAddress: number;
  /** Bytes. */
  readonly size: number;
}

export function alignUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment;
}

export function alignDown(value: number, alignment: number): number {
  return Math.floor(value / alignment) * alignment;
}

/**
 * A window of this size, at a multiple of it, behind all memory and within `limit`; undefined when there is no room.
 *
 * @param size a power of two
 */
export function windowBehind(
  memory: readonly AddressRange[],
  size: number,
  limit: AddressRange,
): AddressRange | undefined {
  const end = Math.max(limit.guestAddress, ...memory.map((range) => range.guestAddress + range.size));
  const guestAddress = Math.ceil(end / size) * size;
  return guestAddress + size > limit.guestAddress + limit.size ? undefined : { guestAddress, size };
}
