import { GuestMemory } from '@vmm/vm-memory';
import { memoryRegions } from '../src/x86_64/index.ts';

/** Guest memory as a VMM lays it out. */
export function x86Memory(bytes: number): GuestMemory {
  return new GuestMemory(
    memoryRegions(bytes).map(({ guestAddress, size }) => ({ guestAddress, bytes: new Uint8Array(size) })),
  );
}

/** Bytes of which each tells its offset. */
export function pattern(length: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, (_, index) => (index * 7 + (index >> 8)) & 0xff);
}

export interface BzImageFields {
  readonly version?: number;
  readonly setupSectors?: number;
  /** Bytes of the protected-mode kernel, a multiple of 16. */
  readonly kernelSize?: number;
  /** In the header, in 16 bytes; default what is there. */
  readonly syssize?: number;
  readonly loadflags?: number;
  readonly xloadflags?: number;
  readonly preferredAddress?: bigint;
  readonly relocatable?: number;
  readonly alignment?: number;
  readonly initSize?: number;
  readonly initrdAddressMax?: number;
  readonly cmdlineSize?: number;
  /** Byte 0x201: distance from 0x202 to the end of the header. */
  readonly jump?: number;
  /** Bytes behind the kernel, as of a signature. */
  readonly trailer?: number;
}

/** A bzImage (Linux Documentation/arch/x86/boot.rst). */
export function bzImage(fields: BzImageFields = {}): Uint8Array<ArrayBuffer> {
  const { setupSectors = 3, kernelSize = 32 * 1024, trailer = 0 } = fields;
  const kernelOffset = ((setupSectors === 0 ? 4 : setupSectors) + 1) * 512;
  const bytes = new Uint8Array(kernelOffset + kernelSize + trailer).fill(0xee);
  bytes.set(pattern(kernelSize), kernelOffset);
  const view = new DataView(bytes.buffer);
  // The sentinel and what else is around the header must not get into boot_params.
  bytes.fill(0xff, 0x1e0, 0x1f1);
  bytes.fill(0, 0x1f1, 0x26c);
  view.setUint8(0x1f1, setupSectors);
  view.setUint32(0x1f4, fields.syssize ?? kernelSize / 16, true);
  view.setUint16(0x1fe, 0xaa55, true);
  view.setUint8(0x200, 0xeb);
  view.setUint8(0x201, fields.jump ?? 0x6a);
  view.setUint32(0x202, 0x53726448, true);
  view.setUint16(0x206, fields.version ?? 0x20f, true);
  view.setUint8(0x211, fields.loadflags ?? 1);
  view.setUint32(0x22c, fields.initrdAddressMax ?? 0x7fff_ffff, true);
  view.setUint32(0x230, fields.alignment ?? 0x20_0000, true);
  view.setUint8(0x234, fields.relocatable ?? 1);
  view.setUint16(0x236, fields.xloadflags ?? 0x7f, true);
  view.setUint32(0x238, fields.cmdlineSize ?? 2047, true);
  view.setBigUint64(0x258, fields.preferredAddress ?? 0x100_0000n, true);
  view.setUint32(0x260, fields.initSize ?? 0x10_0000, true);
  return bytes;
}

export interface SegmentFields {
  readonly type?: number;
  readonly guestAddress?: bigint;
  readonly data?: Uint8Array;
  /** Default: as many as `data` has. */
  readonly memorySize?: bigint;
  /** Default: where `data` is. */
  readonly offset?: bigint;
  readonly fileSize?: bigint;
}

export interface ElfFields {
  readonly bits?: number;
  readonly endian?: number;
  readonly type?: number;
  readonly machine?: number;
  readonly entry?: bigint;
  readonly segments?: readonly SegmentFields[];
  readonly phnum?: number;
  readonly phentsize?: number;
  readonly phoff?: bigint;
}

const PT_LOAD = 1;
const PT_NOTE = 4;

/** An ELF file (System V ABI): headers, then what the segments hold. */
export function elf(fields: ElfFields = {}): Uint8Array<ArrayBuffer> {
  const segments = fields.segments ?? [{ guestAddress: 0x100_0000n, data: pattern(10_000) }];
  const dataStart = 64 + segments.length * 56;
  const total = segments.reduce((sum, { data }) => sum + (data?.length ?? 0), dataStart);
  const bytes = new Uint8Array(total);
  const view = new DataView(bytes.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, fields.bits ?? 2, fields.endian ?? 1, 1]);
  view.setUint16(16, fields.type ?? 2, true);
  view.setUint16(18, fields.machine ?? 62, true);
  view.setBigUint64(24, fields.entry ?? 0x100_0000n, true);
  view.setBigUint64(32, fields.phoff ?? 64n, true);
  view.setUint16(54, fields.phentsize ?? 56, true);
  view.setUint16(56, fields.phnum ?? segments.length, true);
  let offset = dataStart;
  segments.forEach((segment, index) => {
    const at = 64 + index * 56;
    const data = segment.data ?? new Uint8Array(0);
    bytes.set(data, offset);
    view.setUint32(at, segment.type ?? PT_LOAD, true);
    view.setBigUint64(at + 8, segment.offset ?? BigInt(offset), true);
    view.setBigUint64(at + 16, 0xffff_ffff_8000_0000n, true);
    view.setBigUint64(at + 24, segment.guestAddress ?? 0n, true);
    view.setBigUint64(at + 32, segment.fileSize ?? BigInt(data.length), true);
    view.setBigUint64(at + 40, segment.memorySize ?? BigInt(data.length), true);
    offset += data.length;
  });
  return bytes;
}

/** One ELF note. */
export function note(owner: string, type: number, descriptor: Uint8Array): Uint8Array {
  const name = new TextEncoder().encode(`${owner}\0`);
  const descriptorAt = 12 + Math.ceil(name.length / 4) * 4;
  const bytes = new Uint8Array(descriptorAt + Math.ceil(descriptor.length / 4) * 4);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, name.length, true);
  view.setUint32(4, descriptor.length, true);
  view.setUint32(8, type, true);
  bytes.set(name, 12);
  bytes.set(descriptor, descriptorAt);
  return bytes;
}

/** A segment of notes with a PVH entry (XEN_ELFNOTE_PHYS32_ENTRY) behind others. */
export function pvhNotes(entry: bigint, size: 4 | 8 = 8): SegmentFields {
  const descriptor = new Uint8Array(8);
  new DataView(descriptor.buffer).setBigUint64(0, entry, true);
  const notes = [
    note('GNU', 3, new Uint8Array(20).fill(7)),
    note('Linux', 18, new Uint8Array(5)),
    note('Xen', 6, new TextEncoder().encode('linux\0')),
    note('Xen', 18, descriptor.subarray(0, size)),
  ];
  return { type: PT_NOTE, data: new Uint8Array(notes.flatMap((bytes) => [...bytes])) };
}
