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
