import { spawnSync } from 'node:child_process';
import { GuestMemory } from '@vmm/vm-memory';
import { ArchError } from '../src/index.ts';
import type { ArchErrorCode, BlobReader } from '../src/index.ts';
import { memoryRegions } from '../src/aarch64/index.ts';

export const MIB: number = 1024 * 1024;

/** Guest memory as a VMM lays it out. */
export function guestMemory(bytes: number): GuestMemory {
  return new GuestMemory(
    memoryRegions(bytes).map(({ guestAddress, size }) => ({ guestAddress, bytes: new Uint8Array(size) })),
  );
}

export interface ImageFields {
  readonly textOffset?: bigint;
  readonly imageSize?: bigint;
  readonly flags?: number;
  /** Length of the file. */
  readonly length?: number;
}

/** An arm64 Image whose every byte behind the header tells its offset. */
export function image({
  textOffset = 0n,
  imageSize,
  flags = 0xa,
  length = 64 * 1024,
}: ImageFields = {}): Uint8Array {
  const bytes = Uint8Array.from({ length }, (_, index) => (index * 7 + (index >> 8)) & 0xff);
  const view = new DataView(bytes.buffer);
  bytes.fill(0, 0, 64);
  view.setBigUint64(8, textOffset, true);
  view.setBigUint64(16, imageSize ?? BigInt(length), true);
  view.setBigUint64(24, BigInt(flags), true);
  view.setUint32(56, 0x644d5241, true);
  return bytes;
}

/** An EFI zboot image around a payload (Linux drivers/firmware/efi/libstub/zboot-header.S). */
export function zboot(payload: Uint8Array, compression = 'gzip', machine = 0xaa64): Uint8Array {
  const bytes = new Uint8Array(0x200 + payload.length + 16);
  const view = new DataView(bytes.buffer);
  bytes.set(new TextEncoder().encode('MZ\0\0zimg'));
  view.setUint32(8, 0x200, true);
  view.setUint32(12, payload.length, true);
  bytes.set(new TextEncoder().encode(compression), 24);
  view.setUint32(56, 0x818223cd, true);
  view.setUint32(60, 64, true);
  bytes.set(new TextEncoder().encode('PE\0\0'), 64);
  view.setUint16(68, machine, true);
  bytes.set(payload, 0x200);
  return bytes;
}

/** A source that is read on demand, `most` bytes at a time. */
export function reader(bytes: Uint8Array, most = 5000): BlobReader {
  return {
    size: bytes.length,
    read(offset, into): Promise<number> {
      const part = bytes.subarray(offset, offset + Math.min(into.length, most));
      into.set(part);
      return Promise.resolve(part.length);
    },
  };
}

/** Whether two ranges hold the same bytes; far quicker than the test framework's comparison. */
export function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

/** Code of the ArchError that `action` throws or rejects with; anything else goes on. */
export async function codeOf(action: () => unknown): Promise<ArchErrorCode | 'none'> {
  try {
    await action();
  } catch (error) {
    if (error instanceof ArchError) return error.code;
    throw error;
  }
  return 'none';
}

/** From Debian's device-tree-compiler. */
const DTC = 'dtc';

/** What dtc makes of a blob, and what it has to say about it. */
export function decompile(blob: Uint8Array): { readonly source: string; readonly warnings: string } {
  const { error, status, stdout, stderr } = spawnSync(DTC, ['-I', 'dtb', '-O', 'dts', '-'], {
    input: blob,
    encoding: 'utf8',
  });
  if (error !== undefined) {
    throw new Error('this test needs dtc: apt-get install device-tree-compiler', { cause: error });
  }
  if (status !== 0) throw new Error(`dtc: ${stderr}`);
  return { source: stdout, warnings: stderr };
}
