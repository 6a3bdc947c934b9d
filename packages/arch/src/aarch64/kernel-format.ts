import { ArchError } from '../errors.ts';

/** `magic` of the arm64 Image header, "ARM\x64" (Linux Documentation/arch/arm64/booting.rst §4). */
const ARM64_IMAGE_MAGIC = 0x644d5241;
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

/** ELF `e_machine` and PE `Machine` numbers of architectures that kernels are commonly built for. */
const ELF_MACHINES: Readonly<Record<number, string>> = {
  3: 'x86',
  8: 'MIPS',
  20: 'PowerPC',
  21: 'PowerPC64',
  22: 's390',
  40: '32-bit Arm',
  62: 'x86-64',
  243: 'RISC-V',
  258: 'LoongArch',
};
const EM_AARCH64 = 183;
const PE_MACHINES: Readonly<Record<number, string>> = {
  0x014c: 'x86',
  0x01c0: '32-bit Arm',
  0x01c2: '32-bit Arm',
  0x01c4: '32-bit Arm',
  0x5032: '32-bit RISC-V',
  0x5064: 'RISC-V',
  0x6232: '32-bit LoongArch',
  0x6264: 'LoongArch',
  0x8664: 'x86-64',
};
const IMAGE_FILE_MACHINE_ARM64 = 0xaa64;

const COMPRESSIONS: readonly { readonly name: string; readonly magic: readonly number[] }[] = [
  { name: 'xz', magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00] },
  { name: 'zstd', magic: [0x28, 0xb5, 0x2f, 0xfd] },
  { name: 'bzip2', magic: [0x42, 0x5a, 0x68] },
  { name: 'lz4', magic: [0x04, 0x22, 0x4d, 0x18] },
  { name: 'lz4', magic: [0x02, 0x21, 0x4c, 0x18] },
  { name: 'lzop', magic: [0x89, 0x4c, 0x5a, 0x4f] },
  { name: 'lzma', magic: [0x5d, 0x00, 0x00] },
];

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
  if (startsWith(head, [0x1f, 0x8b])) return { kind: 'gzip', offset: 0, size, zboot: false };
  refuseOtherArchitectures(view);
  if (u16(view, 0) === DOS_MAGIC && u32(view, 4) === ZIMG_MAGIC) return parseZboot(head, view, size);
  for (const { name, magic } of COMPRESSIONS) {
    if (startsWith(head, magic)) throw unsupportedCompression(name, 'unpack the kernel first');
  }
  if (isElf(view)) {
    throw new ArchError(
      'UNSUPPORTED_KERNEL',
      'an arm64 ELF file (vmlinux): give the Image that the kernel build makes of it, arch/arm64/boot/Image',
    );
  }
  if (peMachine(view) === IMAGE_FILE_MACHINE_ARM64) {
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

function refuseOtherArchitectures(view: DataView): void {
  let found: string | undefined;
  const machine = elfMachine(view);
  const pe = peMachine(view);
  if (machine !== undefined) {
    if (machine !== EM_AARCH64) found = `an ELF file for ${ELF_MACHINES[machine] ?? `machine ${machine}`}`;
  } else if (u32(view, 0x202) === 0x53726448 && u16(view, 0x1fe) === 0xaa55) {
    found = 'an x86 kernel (bzImage)';
  } else if (u32(view, 48) === 0x43534952 || u32(view, 56) === 0x05435352) {
    found = 'a RISC-V kernel';
  } else if (u32(view, 36) === 0x016f2818) {
    found = 'a 32-bit Arm kernel (zImage)';
  } else if (pe !== undefined && pe !== IMAGE_FILE_MACHINE_ARM64) {
    found = `an EFI program for ${PE_MACHINES[pe] ?? `machine 0x${pe.toString(16)}`}`;
  }
  if (found !== undefined) {
    throw new ArchError('WRONG_ARCHITECTURE', `${found}, but this machine is arm64`);
  }
}

function isElf(view: DataView): boolean {
  return u32(view, 0) === 0x464c457f;
}

function elfMachine(view: DataView): number | undefined {
  if (!isElf(view) || view.byteLength < 20) return undefined;
  return view.getUint16(18, view.getUint8(5) !== 2);
}

/** `Machine` of a PE image, when its header is among the bytes at hand. */
function peMachine(view: DataView): number | undefined {
  if (u16(view, 0) !== DOS_MAGIC) return undefined;
  const offset = u32(view, 60);
  if (offset === undefined || u32(view, offset) !== 0x00004550) return undefined;
  return u16(view, offset + 4);
}

function unsupportedCompression(name: string, remedy: string): ArchError {
  return new ArchError('UNSUPPORTED_COMPRESSION', `the kernel is compressed with ${name}: ${remedy}`);
}

function startsWith(bytes: Uint8Array, magic: readonly number[]): boolean {
  return bytes.length >= magic.length && magic.every((byte, index) => bytes[index] === byte);
}

function u16(view: DataView, offset: number): number | undefined {
  return offset + 2 <= view.byteLength ? view.getUint16(offset, true) : undefined;
}

function u32(view: DataView, offset: number): number | undefined {
  return offset + 4 <= view.byteLength ? view.getUint32(offset, true) : undefined;
}

/** A 64-bit field; values from 2^53 on lose low bits, which no valid header has. */
function u64(view: DataView, offset: number): number {
  return view.getUint32(offset + 4, true) * 2 ** 32 + view.getUint32(offset, true);
}
