/** ELF `e_machine` and PE `Machine` numbers of architectures that kernels are commonly built for. */
const ELF_MACHINES: Readonly<Record<number, string>> = {
  3: 'x86',
  8: 'MIPS',
  20: 'PowerPC',
  21: 'PowerPC64',
  22: 's390',
  40: '32-bit Arm',
  62: 'x86-64',
  183: 'arm64',
  243: 'RISC-V',
  258: 'LoongArch',
};
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
  0xaa64: 'arm64',
};

const DOS_MAGIC = 0x5a4d;
const PE_MAGIC = 0x00004550;
const ELF_MAGIC = 0x464c457f;
/** `magic` of the arm64 Image header, "ARM\x64" (Linux Documentation/arch/arm64/booting.rst §4). */
export const ARM64_IMAGE_MAGIC = 0x644d5241;

const COMPRESSIONS: readonly { readonly name: string; readonly magic: readonly number[] }[] = [
  { name: 'gzip', magic: [0x1f, 0x8b] },
  { name: 'xz', magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00] },
  { name: 'zstd', magic: [0x28, 0xb5, 0x2f, 0xfd] },
  { name: 'bzip2', magic: [0x42, 0x5a, 0x68] },
  { name: 'lz4', magic: [0x04, 0x22, 0x4d, 0x18] },
  { name: 'lz4', magic: [0x02, 0x21, 0x4c, 0x18] },
  { name: 'lzop', magic: [0x89, 0x4c, 0x5a, 0x4f] },
  { name: 'lzma', magic: [0x5d, 0x00, 0x00] },
];

/** A kernel or program, told by its magic numbers. */
export interface Recognised {
  /** `arm64`, `x86-64` … */
  readonly architecture: string;
  /** For messages, with its article. */
  readonly what: string;
  readonly format: 'elf' | 'bzImage' | 'arm64Image' | 'riscvImage' | 'zImage' | 'pe';
}

/** What a file is by its first bytes, and for which architecture; undefined when it is nothing that is known. */
export function recognise(view: DataView): Recognised | undefined {
  if (u32(view, 0) === ELF_MAGIC && view.byteLength >= 20) {
    const machine = view.getUint16(18, view.getUint8(5) !== 2);
    const architecture = ELF_MACHINES[machine] ?? `machine ${machine}`;
    return { architecture, what: `an ELF file for ${architecture}`, format: 'elf' };
  }
  if (u32(view, 56) === ARM64_IMAGE_MAGIC) {
    return { architecture: 'arm64', what: 'an arm64 kernel (Image)', format: 'arm64Image' };
  }
  if (u32(view, 0x202) === 0x53726448 && u16(view, 0x1fe) === 0xaa55) {
    return { architecture: 'x86', what: 'an x86 kernel (bzImage)', format: 'bzImage' };
  }
  if (u32(view, 48) === 0x43534952 || u32(view, 56) === 0x05435352) {
    return { architecture: 'RISC-V', what: 'a RISC-V kernel', format: 'riscvImage' };
  }
  if (u32(view, 36) === 0x016f2818) {
    return { architecture: '32-bit Arm', what: 'a 32-bit Arm kernel (zImage)', format: 'zImage' };
  }
  const machine = peMachine(view);
  if (machine === undefined) return undefined;
  const architecture = PE_MACHINES[machine] ?? `0x${machine.toString(16)}`;
  return { architecture, what: `an EFI program for ${architecture}`, format: 'pe' };
}

/** `Machine` of a PE image, when its header is among the bytes at hand. */
function peMachine(view: DataView): number | undefined {
  if (u16(view, 0) !== DOS_MAGIC) return undefined;
  const offset = u32(view, 60);
  if (offset === undefined || u32(view, offset) !== PE_MAGIC) return undefined;
  return u16(view, offset + 4);
}

/** Name of the format that a file is compressed with, by its first bytes. */
export function compressionOf(head: Uint8Array): string | undefined {
  return COMPRESSIONS.find(
    ({ magic }) => head.length >= magic.length && magic.every((byte, index) => head[index] === byte),
  )?.name;
}

export function u16(view: DataView, offset: number): number | undefined {
  return offset + 2 <= view.byteLength ? view.getUint16(offset, true) : undefined;
}

export function u32(view: DataView, offset: number): number | undefined {
  return offset + 4 <= view.byteLength ? view.getUint32(offset, true) : undefined;
}

/** A 64-bit field; values from 2^53 on lose low bits, which no valid header has. */
export function u64(view: DataView, offset: number): number {
  return view.getUint32(offset + 4, true) * 2 ** 32 + view.getUint32(offset, true);
}
