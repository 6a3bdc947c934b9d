/**
 * Reads a field of a device's configuration space, little-endian (VIRTIO 1.3 §2.5). Bytes beyond the end
 * read as 0.
 */
export function readConfigSpace(bytes: Uint8Array, offset: number, length: 1 | 2 | 4): number {
  let value = 0;
  for (let i = length - 1; i >= 0; i--) value = (value << 8) | (bytes[offset + i] ?? 0);
  return value >>> 0;
}
