import { ArchError } from '../errors.ts';
import { compressionOf, recognise, u64 } from '../magic.ts';

/** Bytes from the start that {@link identifyKernel} looks at, where there are so many. */
export const HEAD_SIZE = 4096;

/** First byte of `setup_header` in a bzImage and in `boot_params` (Linux Documentation/arch/x86/boot.rst). */
export const SETUP_HEADER_OFFSET = 0x1f1;
/** End of the room that `boot_params` has for `setup_header`. */
const SETUP_HEADER_LIMIT = 0x290;
/** End of the header of boot protocol 2.12, whose last field is `handover_offset`. */
const SETUP_HEADER_END_2_12 = 0x268;
/** First boot protocol with `xloadflags`, which tells of a 64-bit entry. */
const PROTOCOL_2_12 = 0x020c;
const LOADED_HIGH = 1;
const XLF_KERNEL_64 = 1;
const SECTOR = 512;
const PARAGRAPH = 16;

/** The fields of a bzImage's `setup_header` that a loader needs (Linux Documentation/arch/x86/boot.rst). */
export interface SetupHeader {
  /** Boot protocol, major × 256 + minor. */
  readonly version: number;
  /** Offset of the protected-mode kernel in the file, in bytes. */
  readonly kernelOffset: number;
  /** Bytes of the protected-mode kernel (`syssize`). */
  readonly kernelSize: number;
  /** `pref_address` */
  readonly preferredAddress: number;
  readonly relocatable: boolean;
  /** `kernel_alignment`, a power of two. */
  readonly alignment: number;
  /** `init_size`: memory that the kernel needs from its start on before it knows the memory map. */
  readonly initSize: number;
  /** `initrd_addr_max`: highest address that a byte of the RAM disk may have. */
  readonly initrdAddressMax: number;
  /** `cmdline_size`: longest command line in bytes, without its NUL. */
  readonly cmdlineSize: number;
  /** The header as it stands in the file, to be handed over in `boot_params`. */
  readonly bytes: Uint8Array;
}

/** What {@link identifyKernel} recognised. */
export type KernelFormat =
  { readonly kind: 'bzImage'; readonly header: SetupHeader } | { readonly kind: 'elf' };

/**
 * Recognises an x86-64 kernel by its first bytes.
 *
 * @param head the first {@link HEAD_SIZE} bytes, or all there are
 * @param size length of the whole kernel in bytes
 * @throws ArchError `WRONG_ARCHITECTURE`, `UNSUPPORTED_COMPRESSION`, `UNSUPPORTED_KERNEL` (boot protocol before 2.12, no
 *   64-bit entry, no bzImage), `BAD_KERNEL`, `TRUNCATED`, `NOT_A_KERNEL`
 */
export function identifyKernel(head: Uint8Array, size: number): KernelFormat {
  const view = new DataView(head.buffer, head.byteOffset, head.length);
  const found = recognise(view);
  if (found?.format === 'bzImage') return { kind: 'bzImage', header: parseSetupHeader(head, view, size) };
  if (found !== undefined && found.architecture !== 'x86-64') {
    throw new ArchError('WRONG_ARCHITECTURE', `${found.what}, but this machine is x86-64`);
  }
  if (found?.format === 'elf') return { kind: 'elf' };
  if (found?.format === 'pe') {
    throw new ArchError('NOT_A_KERNEL', 'an EFI program for x86-64 that is not a Linux kernel');
  }
  const compression = compressionOf(head);
  if (compression !== undefined) {
    throw new ArchError(
      'UNSUPPORTED_COMPRESSION',
      `the kernel is compressed with ${compression}: give the bzImage, which unpacks itself, or unpack it first`,
    );
  }
  throw new ArchError(
    'NOT_A_KERNEL',
    'no x86-64 kernel: neither a bzImage (HdrS at byte 0x202) nor an ELF file',
  );
}

function parseSetupHeader(head: Uint8Array, view: DataView, size: number): SetupHeader {
  // The jump instruction over the header tells its length.
  const end = Math.min(0x202 + view.getUint8(0x201), SETUP_HEADER_LIMIT);
  if (end > head.length) {
    throw new ArchError('TRUNCATED', `the bzImage's header ends at ${end}, the file at ${size}`);
  }
  const version = view.getUint16(0x206, true);
  if (version < PROTOCOL_2_12) {
    throw new ArchError(
      'UNSUPPORTED_KERNEL',
      `the kernel speaks boot protocol ${version >> 8}.${version & 0xff}; 2.12 (Linux 3.8) is the oldest that is loaded`,
    );
  }
  if (end < SETUP_HEADER_END_2_12) {
    throw bad(`boot protocol ${version >> 8}.${version & 0xff} and a header that ends at ${end}`);
  }
  if ((view.getUint8(0x211) & LOADED_HIGH) === 0) {
    throw new ArchError('UNSUPPORTED_KERNEL', 'the kernel is a zImage, which lies below 1 MiB');
  }
  if ((view.getUint16(0x236, true) & XLF_KERNEL_64) === 0) {
    throw new ArchError('UNSUPPORTED_KERNEL', 'the kernel has no 64-bit entry: it is a 32-bit one');
  }
  const setupSectors = view.getUint8(SETUP_HEADER_OFFSET);
  // 0 stands for 4, from times before the field.
  const kernelOffset = ((setupSectors === 0 ? 4 : setupSectors) + 1) * SECTOR;
  const kernelSize = view.getUint32(0x1f4, true) * PARAGRAPH;
  if (kernelSize === 0) throw bad('a kernel of 0 bytes');
  if (kernelOffset + kernelSize > size) {
    throw new ArchError(
      'TRUNCATED',
      `the bzImage has its kernel in bytes ${kernelOffset} to ${kernelOffset + kernelSize}, the file ${size}`,
    );
  }
  const alignment = view.getUint32(0x230, true);
  if (alignment === 0 || (alignment & (alignment - 1)) !== 0) throw bad(`an alignment of ${alignment}`);
  return {
    version,
    kernelOffset,
    kernelSize,
    preferredAddress: u64(view, 0x258),
    relocatable: view.getUint8(0x234) !== 0,
    alignment,
    initSize: view.getUint32(0x260, true),
    initrdAddressMax: view.getUint32(0x22c, true),
    cmdlineSize: view.getUint32(0x238, true),
    bytes: head.slice(SETUP_HEADER_OFFSET, end),
  };
}

function bad(what: string): ArchError {
  return new ArchError('BAD_KERNEL', `the bzImage's header cannot be true: ${what}`);
}
