import { ArchError } from '../errors.ts';
import { ARM64_IMAGE_MAGIC, compressionOf, recognise, u16, u32, u64 } from '../magic.ts';

/** Length of the arm64 Image header in bytes. */
const IMAGE_HEADER_SIZE = 64;
/** Bytes from the start that {@link identifyKernel} looks at, where there are so many. */
export const HEAD_SIZE = 4096;

/** Fields of the arm64 Image header (Linux Documentation/arch/arm64/booting.rst §4). */
export interface ImageHeader {
  /** Bytes from a 2 MiB aligned base to the Image. */
  readonly textOffset: number;
  /** Memory that the kernel needs from its start, its BSS included; 0 in kernels before 3.17. */
  readonly imageSize: number;
  /** `flags` bit 0. */
  readonly bigEndian: boolean;
  /** `flags` bits 2:1 in bytes, undefined when unspecified. */
  readonly pageSize: 4096 | 16384 | 65536 | undefined;
  /** `flags` bit 3: the base may be anywhere in memory rather than close to its start. */
  readonly anywhere: boolean;
}

/** What {@link identifyKernel} recognised. */
export type KernelFormat =
  | { readonly kind: 'image'; readonly header: ImageHeader }
  | { readonly kind: 'gzip'; readonly offset: number; readonly size: number; readonly zboot: boolean };

/**
 * Recognises an arm64 kernel by its first bytes.
 *
 * @param head the first {@link HEAD_SIZE} bytes, or all there are
 * @param size length of the whole kernel in bytes, Infinity when it is not known
 * @throws ArchError `WRONG_ARCHITECTURE`, `UNSUPPORTED_COMPRESSION`, `UNSUPPORTED_KERNEL`, `NOT_A_KERNEL`
 */
export function identifyKernel(head: Uint8Array, size: number): KernelFormat {
  const view = new DataView(head.buffer, head.byteOffset, head.length);
  if (u32(view, 56) === ARM64_IMAGE_MAGIC && head.length >= IMAGE_HEADER_SIZE) {
    return { kind: 'image', header: parseHeader(view) };
  }
  const compression = compressionOf(head);
  if (compression === 'gzip') return { kind: 'gzip', offset: 0, size, zboot: false };
  const found = recognise(view);
  if (found !== undefined && found.architecture !== 'arm64') {
    throw new ArchError('WRONG_ARCHITECTURE', `${found.what}, but this machine is arm64`);
  }
  if (u16(view, 0) === DOS_MAGIC && u32(view, 4) === ZIMG_MAGIC) return parseZboot(head, view, size);
  if (compression !== undefined) throw unsupportedCompression(compression, 'unpack the kernel first');
  if (found?.format === 'elf') {
    throw new ArchError(
      'UNSUPPORTED_KERNEL',
      'an arm64 ELF file (vmlinux): give the Image that the kernel build makes of it, arch/arm64/boot/Image',
    );
  }
  if (found?.format === 'pe') {
    throw new ArchError('NOT_A_KERNEL', 'an EFI program for arm64 that is not a Linux kernel');
  }
  throw new ArchError(
    'NOT_A_KERNEL',
    'no arm64 kernel: neither an Image header (ARM\\x64 at byte 56) nor the magic of gzip or zimg',
  );
}

function parseHeader(view: DataView): ImageHeader {
  const flags = view.getUint32(24, true);
  const imageSize = u64(view, 16);
  const pageSizes = [undefined, 4096, 16384, 65536] as const;
  return {
    // Kernels before 3.17 leave image_size 0 and text_offset undefined; theirs was 0x80000.
    textOffset: imageSize === 0 ? 0x80000 : u64(view, 8),
    imageSize,
    bigEndian: (flags & 1) !== 0,
    pageSize: pageSizes[(flags >> 1) & 3],
    anywhere: (flags & 8) !== 0,
  };
}

const DOS_MAGIC = 0x5a4d;
const ZIMG_MAGIC = 0x676d697a;

/** The header of an EFI zboot image (Linux include/linux/pe.h, drivers/firmware/efi/libstub). */
function parseZboot(head: Uint8Array, view: DataView, size: number): KernelFormat {
  const payloadOffset = u32(view, 8);
  const payloadSize = u32(view, 12);
  if (payloadOffset === undefined || payloadSize === undefined || head.length < 56) {
    throw new ArchError('TRUNCATED', `an EFI zboot image of ${size} bytes is shorter than its header`);
  }
  if (payloadOffset + payloadSize > size) {
    throw new ArchError(
      'TRUNCATED',
      `the EFI zboot image has its payload in bytes ${payloadOffset} to ${payloadOffset + payloadSize}, the file ${size}`,
    );
  }
  const field = head.subarray(24, 56);
  const end = field.indexOf(0);
  const compression = String.fromCharCode(...field.subarray(0, end === -1 ? field.length : end));
  if (compression !== 'gzip') {
    throw unsupportedCompression(
      JSON.stringify(compression),
      'unpack the payload of the EFI zboot image, or build the kernel with CONFIG_KERNEL_GZIP',
    );
  }
  return { kind: 'gzip', offset: payloadOffset, size: payloadSize, zboot: true };
}

function unsupportedCompression(name: string, remedy: string): ArchError {
  return new ArchError('UNSUPPORTED_COMPRESSION', `the kernel is compressed with ${name}: ${remedy}`);
}
