import {
  ETH_HLEN,
  VIRTIO_NET_HDR_F_NEEDS_CSUM,
  VIRTIO_NET_HDR_GSO_NONE,
  VIRTIO_NET_HDR_SIZE,
} from './constants.ts';

/**
 * Makes a frame that needs no offloads out of one that a driver sent with its header, in place: completes
 * the checksum (VIRTIO 1.3 §5.1.6.2).
 *
 * @param bytes the header and the frame, in memory that the driver cannot change any more
 * @returns false when the header makes no sense for the frame, or wants it segmented
 */
export function completeFrame(bytes: Uint8Array): boolean {
  if (bytes.length < VIRTIO_NET_HDR_SIZE + ETH_HLEN) return false;
  if (bytes[1] !== VIRTIO_NET_HDR_GSO_NONE) return false;
  if ((bytes[0]! & VIRTIO_NET_HDR_F_NEEDS_CSUM) === 0) return true;
  const start = VIRTIO_NET_HDR_SIZE + (bytes[6]! | (bytes[7]! << 8));
  const target = start + (bytes[8]! | (bytes[9]! << 8));
  if (start < VIRTIO_NET_HDR_SIZE + ETH_HLEN || target + 2 > bytes.length) return false;
  const sum = internetChecksum(bytes, start, bytes.length);
  // UDP has no checksum 0 (RFC 768); in TCP both forms of zero are the same.
  const value = sum === 0 ? 0xffff : sum;
  bytes[target] = value >>> 8;
  bytes[target + 1] = value & 0xff;
  return true;
}

/** The ones' complement of the ones' complement sum of the bytes from `start` to `end` (RFC 1071). */
export function internetChecksum(bytes: Uint8Array, start: number, end: number): number {
  let sum = 0;
  const even = end - ((end - start) & 1);
  // 32768 words of 16 bits do not overflow the 53 bits of a number.
  for (let i = start; i < even; i += 2) sum += (bytes[i]! << 8) | bytes[i + 1]!;
  if (even !== end) sum += bytes[even]! << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return ~sum & 0xffff;
}
