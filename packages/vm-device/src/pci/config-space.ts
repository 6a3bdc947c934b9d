import { PCI_CONFIG_SIZE } from './registers.ts';

/**
 * The 256 bytes of a function's configuration space, with a mask of the bits that software may write and one of
 * those that it clears by writing 1. All other bits are read-only.
 */
export class PciConfigSpace {
  readonly bytes: Uint8Array = new Uint8Array(PCI_CONFIG_SIZE);
  readonly #writable = new Uint8Array(PCI_CONFIG_SIZE);
  readonly #clearable = new Uint8Array(PCI_CONFIG_SIZE);

  /** Little-endian; bytes beyond the end read as 0. */
  read(offset: number, length: 1 | 2 | 4): number {
    let value = 0;
    for (let i = length - 1; i >= 0; i--) value = (value << 8) | (this.bytes[offset + i] ?? 0);
    return value >>> 0;
  }

  /** A write of software: only writable bits change. */
  write(offset: number, length: 1 | 2 | 4, value: number): void {
    for (let i = 0; i < length && offset + i < PCI_CONFIG_SIZE; i++) {
      const at = offset + i;
      const byte = (value >>> (8 * i)) & 0xff;
      const mask = this.#writable[at]!;
      const kept = this.bytes[at]! & ~(byte & this.#clearable[at]!);
      this.bytes[at] = (kept & ~mask) | (byte & mask);
    }
  }

  /** A change by the function itself, whatever the masks say. */
  set(offset: number, length: 1 | 2 | 3 | 4, value: number): void {
    for (let i = 0; i < length; i++) this.bytes[offset + i] = value >>> (8 * i);
  }

  /** Lets software write the bits of `mask`. */
  allowWrite(offset: number, length: 1 | 2 | 4, mask: number): void {
    for (let i = 0; i < length; i++) this.#writable[offset + i] = mask >>> (8 * i);
  }

  /** Lets software clear the bits of `mask` by writing 1. */
  allowClear(offset: number, length: 1 | 2 | 4, mask: number): void {
    for (let i = 0; i < length; i++) this.#clearable[offset + i] = mask >>> (8 * i);
  }

  /** Whether `bytes` differs from this space only in bits that software, or the function as `volatile`, may change. */
  accepts(bytes: Uint8Array, volatile: (offset: number) => number): boolean {
    if (bytes.length !== PCI_CONFIG_SIZE) return false;
    return bytes.every((byte, at) => {
      const free = this.#writable[at]! | this.#clearable[at]! | volatile(at);
      return ((byte ^ this.bytes[at]!) & ~free) === 0;
    });
  }
}
