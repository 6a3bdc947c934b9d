/**
 * A guest physical address: an integer from 0 to 2^53 - 1. The type is a flavour: plain numbers assign to
 * it, and it says in a signature which of several numbers is the address.
 */
export type GuestAddress = number & { readonly __flavour?: 'GuestAddress' };

/** For messages: hexadecimal where that is possible, else what was handed in. */
export function formatAddress(address: number): string {
  return Number.isSafeInteger(address) && address >= 0 ? `0x${address.toString(16)}` : String(address);
}
