import type { GuestMemory } from '@vmm/vm-memory';
import { ArchError } from '../errors.ts';
import { alignDown, alignUp } from '../range.ts';
import type { AddressRange } from '../range.ts';
import { readFully, readInto, sourceSize } from '../source.ts';
import type { BlobSource } from '../source.ts';
import { readElf } from './elf.ts';
import type { ElfKernel } from './elf.ts';
import { HEAD_SIZE, identifyKernel } from './kernel-format.ts';
import type { SetupHeader } from './kernel-format.ts';
import { HIGH_MEMORY_START, RAM_LOW } from './layout.ts';

const PAGE = 4096;
/** The 64-bit entry's distance from the load address (boot.rst, 64-bit boot protocol). */
const ENTRY_64_OFFSET = 0x200;
/** What x86-64 kernels have in `initrd_addr_max` and `cmdline_size`; an ELF file does not tell. */
const INITRD_ADDRESS_MAX = 0x7fff_ffff;
const CMDLINE_SIZE = 2047;

/**
 * How the boot CPU enters the kernel. `linux64`: Linux's 64-bit boot protocol, with `boot_params`. `pvh`: 32-bit
 * protected mode with `hvm_start_info` (Xen docs/misc/pvh.pandoc).
 */
export type BootProtocol = 'linux64' | 'pvh';

export interface LoadKernelOptions {
  readonly initrd?: BlobSource | undefined;
  /**
   * For ELF kernels. Default: `pvh` when the file has the note that asks for it, because that it can be started so is
   * told by the file itself; else `linux64`, which only a Linux kernel understands. A bzImage is always `linux64`.
   */
  readonly protocol?: BootProtocol | undefined;
}

/** Where things are in guest memory after {@link loadKernel}. */
export interface LoadedKernel {
  readonly format: 'bzImage' | 'elf';
  readonly protocol: BootProtocol;
  /** Guest physical address of the kernel's first instruction. */
  readonly entry: number;
  /** The kernel with all memory that it needs at first. */
  readonly kernel: AddressRange;
  readonly initrd: AddressRange | undefined;
  /** Longest command line in bytes, without its NUL. */
  readonly cmdlineSize: number;
  /** Of a bzImage. */
  readonly header: SetupHeader | undefined;
}

/**
 * Loads an x86-64 Linux kernel, as bzImage or ELF file (vmlinux), or another ELF kernel with a PVH entry, and its
 * initial RAM disk into the first memory region: the kernel where it wants to be, the RAM disk, page aligned, as high
 * as the kernel takes it.
 *
 * @throws ArchError `NOT_A_KERNEL`, `WRONG_ARCHITECTURE`, `UNSUPPORTED_KERNEL` (32-bit, boot protocol before 2.12, not the
 *   asked protocol, below 1 MiB), `UNSUPPORTED_COMPRESSION`, `BAD_KERNEL`, `TRUNCATED`, `INVALID_ARGUMENT`,
 *   `KERNEL_TOO_LARGE` (for any memory), `MEMORY_TOO_SMALL` (for this one), `INITRD_TOO_LARGE`; whatever a source's
 *   `read()` throws
 */
export async function loadKernel(
  memory: GuestMemory,
  kernel: BlobSource,
  options: LoadKernelOptions = {},
): Promise<LoadedKernel> {
  const ram = bootRegion(memory);
  const size = sourceSize(kernel);
  const head = new Uint8Array(Math.min(size, HEAD_SIZE));
  await readFully(kernel, 0, head);
  const format = identifyKernel(head, size);
  const placed =
    format.kind === 'bzImage'
      ? await loadBzImage(memory, ram, kernel, format.header, options)
      : await loadElf(memory, ram, kernel, size, options);
  if (options.initrd === undefined) return { ...placed, initrd: undefined };
  const top = Math.min(ram.size, (placed.header?.initrdAddressMax ?? INITRD_ADDRESS_MAX) + 1);
  return { ...placed, initrd: await loadInitrd(memory, options.initrd, placed.kernel, top) };
}

type Placed = Omit<LoadedKernel, 'initrd'>;

function bootRegion(memory: GuestMemory): AddressRange {
  const first = memory.regions[0];
  if (first === undefined) throw new ArchError('MEMORY_TOO_SMALL', 'the guest has no memory');
  if (first.guestAddress !== 0 || first.readOnly) {
    throw new ArchError('INVALID_ARGUMENT', 'the first memory region does not begin at 0 or is read-only');
  }
  return { guestAddress: 0, size: Math.min(first.size, RAM_LOW.size) };
}

async function loadBzImage(
  memory: GuestMemory,
  ram: AddressRange,
  source: BlobSource,
  header: SetupHeader,
  { protocol = 'linux64' }: LoadKernelOptions,
): Promise<Placed> {
  if (protocol !== 'linux64') {
    throw new ArchError(
      'UNSUPPORTED_KERNEL',
      'a bzImage has no PVH entry: give the vmlinux that it was made of',
    );
  }
  // A relocatable kernel that is loaded below its preferred address moves itself there (boot.rst, init_size).
  const guestAddress = header.relocatable
    ? alignUp(Math.max(header.preferredAddress, HIGH_MEMORY_START), header.alignment)
    : header.preferredAddress;
  const kernel = { guestAddress, size: Math.max(header.initSize, header.kernelSize) };
  requireRoom(ram, kernel);
  if (header.kernelSize <= ENTRY_64_OFFSET) {
    throw new ArchError(
      'BAD_KERNEL',
      `a bzImage whose kernel of ${header.kernelSize} bytes ends before its entry`,
    );
  }
  await readInto(memory, guestAddress, header.kernelSize, source, header.kernelOffset);
  return {
    format: 'bzImage',
    protocol,
    entry: guestAddress + ENTRY_64_OFFSET,
    kernel,
    cmdlineSize: header.cmdlineSize,
    header,
  };
}

async function loadElf(
  memory: GuestMemory,
  ram: AddressRange,
  source: BlobSource,
  size: number,
  options: LoadKernelOptions,
): Promise<Placed> {
  const elf = await readElf(source, size);
  const { protocol, entry } = chooseEntry(elf, options.protocol);
  for (const segment of elf.segments) requireRoom(ram, segment);
  for (const { guestAddress, offset, fileSize, size: memorySize } of elf.segments) {
    await readInto(memory, guestAddress, fileSize, source, offset);
    memory.fill(guestAddress + fileSize, memorySize - fileSize, 0);
  }
  const start = Math.min(...elf.segments.map(({ guestAddress }) => guestAddress));
  const end = Math.max(...elf.segments.map((segment) => segment.guestAddress + segment.size));
  return {
    format: 'elf',
    protocol,
    entry,
    kernel: { guestAddress: start, size: end - start },
    cmdlineSize: CMDLINE_SIZE,
    header: undefined,
  };
}

function chooseEntry(
  elf: ElfKernel,
  wanted: BootProtocol | undefined,
): { readonly protocol: BootProtocol; readonly entry: number } {
  const protocol = wanted ?? (elf.pvhEntry === undefined ? 'linux64' : 'pvh');
  const entry = protocol === 'pvh' ? elf.pvhEntry : elf.entry;
  if (entry === undefined) {
    throw new ArchError('UNSUPPORTED_KERNEL', 'the ELF file has no PVH entry (XEN_ELFNOTE_PHYS32_ENTRY)');
  }
  const inside = elf.segments.some(
    ({ guestAddress, fileSize }) => entry >= guestAddress && entry < guestAddress + fileSize,
  );
  if (!inside) {
    throw new ArchError(
      'BAD_KERNEL',
      `the ELF file's entry 0x${entry.toString(16)} lies in none of its segments`,
    );
  }
  return { protocol, entry };
}

/** Refuses a kernel, or a part of one, that does not lie in memory from 1 MiB on. */
function requireRoom(ram: AddressRange, { guestAddress, size }: AddressRange): void {
  const where = `the kernel takes ${size} bytes at 0x${guestAddress.toString(16)}`;
  if (guestAddress < HIGH_MEMORY_START) {
    throw new ArchError('UNSUPPORTED_KERNEL', `${where}, in the first MiB, which holds tables for its start`);
  }
  const needed = guestAddress + size;
  if (needed <= ram.size) return;
  if (needed > RAM_LOW.size) {
    throw new ArchError(
      'KERNEL_TOO_LARGE',
      `${where}; memory there never has more than ${RAM_LOW.size} bytes`,
    );
  }
  throw new ArchError(
    'MEMORY_TOO_SMALL',
    `${where} and needs ${alignUp(needed, PAGE)} bytes of memory; there are ${ram.size}`,
  );
}

async function loadInitrd(
  memory: GuestMemory,
  source: BlobSource,
  kernel: AddressRange,
  limit: number,
): Promise<AddressRange> {
  const size = sourceSize(source);
  const bottom = alignUp(kernel.guestAddress + kernel.size, PAGE);
  const guestAddress = alignDown(limit - size, PAGE);
  if (guestAddress < bottom) {
    throw new ArchError(
      'INITRD_TOO_LARGE',
      `the initial RAM disk takes ${size} bytes; ${Math.max(alignDown(limit, PAGE) - bottom, 0)} are free between the kernel and 0x${limit.toString(16)}`,
    );
  }
  await readInto(memory, guestAddress, size, source, 0);
  return { guestAddress, size };
}
