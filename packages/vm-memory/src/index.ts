export { formatAddress, type GuestAddress } from './address.ts';
export { DIRTY_PAGE_SIZE, type DirtyBitmap, type DirtyPages } from './dirty-bitmap.ts';
export { VmMemoryError, type VmMemoryErrorCode } from './errors.ts';
export { GuestMemory, IOVEC_WORDS } from './guest-memory.ts';
export { type GuestRegion, type GuestRegionConfig } from './region.ts';
