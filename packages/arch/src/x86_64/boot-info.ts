import type { GuestMemory } from '@vmm/vm-memory';
import { ArchError } from '../errors.ts';
import { SETUP_HEADER_OFFSET } from './kernel-format.ts';
import { BOOT_PARAMS, CMDLINE, PVH_START_INFO, SETUP_DATA, memoryMap } from './layout.ts';
import type { MemoryMapEntry } from './layout.ts';
import type { BootProtocol, LoadedKernel } from './loader.ts';

declare const TextEncoder: new () => { encode(text: string): Uint8Array };

/** What a kernel is told. */
export interface BootInformation {
  /** Without the NUL. Default: empty. */
  readonly cmdline?: string | undefined;
  /** Guest physical address of the ACPI root pointer (RSDP), when there are ACPI tables. */
  readonly rsdp?: number | undefined;
  /** Default: {@link memoryMap} of all the guest's memory. */
  readonly memoryMap?: readonly MemoryMapEntry[] | undefined;
  /** Random bytes for the kernel's generator, at most 4080; 32 or more are useful. A PVH start has no place for them. */
  readonly rngSeed?: Uint8Array | undefined;
}

/** Where the boot CPU starts and what it is given. */
export interface BootState {
  readonly protocol: BootProtocol;
  /** Guest physical address of the kernel's first instruction. */
  readonly entry: number;
  /** Guest physical address of `boot_params` or `hvm_start_info`. */
  readonly info: number;
}

/**
 * Writes the command line and `boot_params` or `hvm_start_info`, as the kernel's protocol asks, to where the layout has
 * them.
 *
 * @throws ArchError `COMMAND_LINE_TOO_LONG` for more bytes than the kernel takes, `BAD_COMMAND_LINE` for one with a NUL,
 *   `INVALID_ARGUMENT` for a memory map or seed that has no room
 */
export function writeBootInformation(
  memory: GuestMemory,
  loaded: Pick<LoadedKernel, 'protocol' | 'entry' | 'initrd' | 'cmdlineSize' | 'header'>,
  information: BootInformation = {},
): BootState {
  writeCmdline(memory, loaded.cmdlineSize, information.cmdline ?? '');
  const map = information.memoryMap ?? memoryMap(memory.size);
  const info =
    loaded.protocol === 'linux64'
      ? writeBootParams(memory, loaded, map, information)
      : writeStartInfo(memory, loaded, map, information);
  return { protocol: loaded.protocol, entry: loaded.entry, info };
}

function writeCmdline(memory: GuestMemory, kernelLimit: number, cmdline: string): void {
  if (cmdline.includes('\0')) throw new ArchError('BAD_COMMAND_LINE', 'a NUL in the command line');
  const text = new TextEncoder().encode(cmdline);
  const limit = Math.min(kernelLimit, CMDLINE.size - 1);
  if (text.length > limit) {
    throw new ArchError(
      'COMMAND_LINE_TOO_LONG',
      `the command line takes ${text.length} bytes; the kernel takes at most ${limit}`,
    );
  }
  memory.write(CMDLINE.guestAddress, text);
  memory.writeUint8(CMDLINE.guestAddress + text.length, 0);
}

/** Entries that `boot_params.e820_table` has room for (E820_MAX_ENTRIES_ZEROPAGE). */
const E820_MAX_ENTRIES = 128;
const SETUP_RNG_SEED = 9;

/** Fills the zero page (Linux Documentation/arch/x86/zero-page.rst; boot.rst for `hdr`, from 0x1f1 on). */
function writeBootParams(
  memory: GuestMemory,
  { header, initrd }: Pick<LoadedKernel, 'header' | 'initrd'>,
  map: readonly MemoryMapEntry[],
  { rsdp = 0, rngSeed }: BootInformation,
): number {
  if (map.length > E820_MAX_ENTRIES) {
    throw new ArchError('INVALID_ARGUMENT', `a memory map of ${map.length} entries; ${E820_MAX_ENTRIES} fit`);
  }
  const page = new Uint8Array(BOOT_PARAMS.size);
  const view = new DataView(page.buffer);
  if (header !== undefined) {
    page.set(header.bytes, SETUP_HEADER_OFFSET);
  } else {
    view.setUint16(0x1fe, 0xaa55, true); // boot_flag
    view.setUint32(0x202, 0x53726448, true); // header: "HdrS"
    view.setUint16(0x206, 0x020c, true); // version
    view.setUint8(0x211, 1); // loadflags: LOADED_HIGH
    view.setUint32(0x230, 0x20_0000, true); // kernel_alignment
  }
  setUint64(view, 0x070, rsdp); // acpi_rsdp_addr
  view.setUint8(0x1e8, map.length); // e820_entries
  view.setUint8(0x210, 0xff); // type_of_loader: none that has a number
  view.setUint32(0x218, initrd?.guestAddress ?? 0, true); // ramdisk_image
  view.setUint32(0x21c, initrd?.size ?? 0, true); // ramdisk_size
  view.setUint32(0x228, CMDLINE.guestAddress, true); // cmd_line_ptr
  setUint64(view, 0x250, rngSeed === undefined ? 0 : writeRngSeed(memory, rngSeed)); // setup_data
  map.forEach(({ guestAddress, size, type }, index) => {
    const at = 0x2d0 + index * 20; // e820_table
    setUint64(view, at, guestAddress);
    setUint64(view, at + 8, size);
    view.setUint32(at + 16, type, true);
  });
  memory.write(BOOT_PARAMS.guestAddress, page);
  return BOOT_PARAMS.guestAddress;
}

/** A `setup_data` node: next, type, length, data. */
function writeRngSeed(memory: GuestMemory, seed: Uint8Array): number {
  if (seed.length > SETUP_DATA.size - 16) {
    throw new ArchError('INVALID_ARGUMENT', `a seed of ${seed.length} bytes; ${SETUP_DATA.size - 16} fit`);
  }
  const { guestAddress } = SETUP_DATA;
  memory.writeUint64(guestAddress, 0);
  memory.writeUint32(guestAddress + 8, SETUP_RNG_SEED);
  memory.writeUint32(guestAddress + 12, seed.length);
  memory.write(guestAddress + 16, seed);
  return guestAddress;
}

const XEN_HVM_START_MAGIC_VALUE = 0x336ec578;
const START_INFO_SIZE = 56;
const MODULE_SIZE = 32;
const MEMMAP_ENTRY_SIZE = 24;

/** Fills `hvm_start_info` version 1, its module and its memory map (Xen public/arch-x86/hvm/start_info.h). */
function writeStartInfo(
  memory: GuestMemory,
  { initrd }: Pick<LoadedKernel, 'initrd'>,
  map: readonly MemoryMapEntry[],
  { rsdp = 0 }: BootInformation,
): number {
  const mapOffset = START_INFO_SIZE + MODULE_SIZE;
  const mapRoom = Math.floor((PVH_START_INFO.size - mapOffset) / MEMMAP_ENTRY_SIZE);
  if (map.length > mapRoom) {
    throw new ArchError('INVALID_ARGUMENT', `a memory map of ${map.length} entries; ${mapRoom} fit`);
  }
  const base = PVH_START_INFO.guestAddress;
  const page = new Uint8Array(PVH_START_INFO.size);
  const view = new DataView(page.buffer);
  view.setUint32(0, XEN_HVM_START_MAGIC_VALUE, true); // magic
  view.setUint32(4, 1, true); // version
  setUint64(view, 24, CMDLINE.guestAddress); // cmdline_paddr
  setUint64(view, 32, rsdp); // rsdp_paddr
  setUint64(view, 40, base + mapOffset); // memmap_paddr
  view.setUint32(48, map.length, true); // memmap_entries
  if (initrd !== undefined) {
    view.setUint32(12, 1, true); // nr_modules
    setUint64(view, 16, base + START_INFO_SIZE); // modlist_paddr
    setUint64(view, START_INFO_SIZE, initrd.guestAddress);
    setUint64(view, START_INFO_SIZE + 8, initrd.size);
  }
  map.forEach(({ guestAddress, size, type }, index) => {
    const at = mapOffset + index * MEMMAP_ENTRY_SIZE;
    setUint64(view, at, guestAddress);
    setUint64(view, at + 8, size);
    view.setUint32(at + 16, type, true);
  });
  memory.write(base, page);
  return base;
}

function setUint64(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, value, true);
  view.setUint32(offset + 4, Math.floor(value / 2 ** 32), true);
}
