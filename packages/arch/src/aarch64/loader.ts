import type { GuestMemory } from '@vmm/vm-memory';
import { ArchError } from '../errors.ts';
import { gunzip } from '../gunzip.ts';
import { alignDown, alignUp } from '../range.ts';
import { readFully, readInto, sourceSize } from '../source.ts';
import type { BlobSource } from '../source.ts';
import { HEAD_SIZE, identifyKernel } from './kernel-format.ts';
import type { ImageHeader, KernelFormat } from './kernel-format.ts';
import { RAM_LOW } from './layout.ts';
import type { AddressRange } from './layout.ts';

/** Alignment of the kernel's base, and the most that the device tree may take (booting.rst §2, §4). */
const BLOCK = 2 * 1024 * 1024;
/** Largest device tree in bytes (booting.rst §2). */
export const MAX_DEVICE_TREE_SIZE: number = BLOCK;
const PAGE = 4096;

export interface LoadKernelOptions {
  readonly initrd?: BlobSource | undefined;
  /** Translation granules of the CPU in bytes; a kernel built for another is refused. Default: all three. */
  readonly pageSizes?: readonly (4096 | 16384 | 65536)[];
}

/** Where things are in guest memory after {@link loadKernel}. */
export interface LoadedKernel {
  /** Guest physical address of the kernel's first instruction. */
  readonly entry: number;
  /** The kernel with its BSS. */
  readonly kernel: AddressRange;
  readonly initrd: AddressRange | undefined;
  /** Where {@link loadDeviceTree} puts the device tree: {@link MAX_DEVICE_TREE_SIZE} bytes are free there. */
  readonly deviceTree: AddressRange;
  readonly header: ImageHeader;
  /** How the kernel came: as an Image, compressed with gzip, or in an EFI zboot image. */
  readonly format: 'image' | 'gzip' | 'zboot';
}

/**
 * Loads an arm64 Linux kernel and its initial RAM disk (Linux Documentation/arch/arm64/booting.rst) into the
 * first memory region: the kernel at `text_offset` from its start, the device tree's 2 MiB block at its end,
 * the RAM disk, page aligned, below that. The kernel is an Image, an Image compressed with gzip, or an EFI
 * zboot image with a gzip payload; a compressed one is unpacked straight into guest memory, and no further
 * than that has room.
 *
 * @throws ArchError `NOT_A_KERNEL`, `WRONG_ARCHITECTURE`, `UNSUPPORTED_KERNEL` (big-endian, page size, ELF),
 *   `UNSUPPORTED_COMPRESSION`, `BAD_COMPRESSION`, `TRUNCATED`, `INVALID_ARGUMENT`, `KERNEL_TOO_LARGE` (for any memory),
 *   `MEMORY_TOO_SMALL` (for this one), `INITRD_TOO_LARGE`; whatever a source's `read()` throws
 */
export async function loadKernel(
  memory: GuestMemory,
  kernel: BlobSource,
  options: LoadKernelOptions = {},
): Promise<LoadedKernel> {
  const region = bootRegion(memory);
  const size = sourceSize(kernel);
  const head = new Uint8Array(Math.min(size, HEAD_SIZE));
  await readFully(kernel, 0, head);
  const format = identifyKernel(head, size);
  const placed =
    format.kind === 'image'
      ? await loadImage(memory, region, kernel, format.header, size, options)
      : await loadGzip(memory, region, kernel, format, options);
  const top = region.guestAddress + region.size;
  const deviceTree = { guestAddress: alignDown(top - BLOCK, BLOCK), size: BLOCK };
  const initrd =
    options.initrd === undefined
      ? undefined
      : await loadInitrd(memory, options.initrd, placed.kernel, deviceTree.guestAddress);
  return {
    entry: placed.kernel.guestAddress,
    kernel: placed.kernel,
    initrd,
    deviceTree,
    header: placed.header,
    format: format.kind === 'image' ? 'image' : format.zboot ? 'zboot' : 'gzip',
  };
}

/**
 * Puts the device tree where {@link loadKernel} left room for it.
 *
 * @returns its guest physical address, for `configureBootCpu`
 * @throws ArchError `DEVICE_TREE_TOO_LARGE`
 */
export function loadDeviceTree(
  memory: GuestMemory,
  loaded: Pick<LoadedKernel, 'deviceTree'>,
  tree: Uint8Array,
): number {
  const { guestAddress, size } = loaded.deviceTree;
  if (tree.length > size) {
    throw new ArchError(
      'DEVICE_TREE_TOO_LARGE',
      `the device tree takes ${tree.length} bytes, more than ${size}`,
    );
  }
  memory.write(guestAddress, tree);
  return guestAddress;
}

interface Placed {
  readonly kernel: AddressRange;
  readonly header: ImageHeader;
}

function bootRegion(memory: GuestMemory): AddressRange {
  const first = memory.regions[0];
  if (first === undefined) throw new ArchError('MEMORY_TOO_SMALL', 'the guest has no memory');
  if (first.readOnly) throw new ArchError('INVALID_ARGUMENT', 'the first memory region is read-only');
  return { guestAddress: first.guestAddress, size: first.size };
}

/**
 * The place of a kernel.
 *
 * @param size bytes of the Image as far as known
 */
function place(
  region: AddressRange,
  header: ImageHeader,
  size: number,
  { pageSizes = [4096, 16384, 65536] }: LoadKernelOptions,
): AddressRange {
  if (header.bigEndian) throw new ArchError('UNSUPPORTED_KERNEL', 'the kernel is a big-endian one');
  if (header.pageSize !== undefined && !pageSizes.includes(header.pageSize)) {
    throw new ArchError(
      'UNSUPPORTED_KERNEL',
      `the kernel is built for pages of ${header.pageSize} bytes, the CPU has ${pageSizes.join(', ')}`,
    );
  }
  if (header.textOffset % 4 !== 0) {
    throw new ArchError('NOT_A_KERNEL', `text_offset ${header.textOffset} in the Image header is unaligned`);
  }
  const address = alignUp(region.guestAddress, BLOCK) + header.textOffset;
  const needed = header.imageSize === 0 ? size : header.imageSize;
  const kernel = { guestAddress: address, size: needed };
  requireRoom(region, kernel);
  return kernel;
}

/** Refuses a kernel that leaves no room for the device tree behind it. */
function requireRoom(region: AddressRange, kernel: AddressRange): void {
  const top = region.guestAddress + region.size;
  if (kernel.guestAddress + kernel.size <= alignDown(top - BLOCK, BLOCK)) return;
  const needed = alignUp(kernel.guestAddress - region.guestAddress + kernel.size, BLOCK) + BLOCK;
  const largest = RAM_LOW.size;
  if (needed > largest) {
    throw new ArchError(
      'KERNEL_TOO_LARGE',
      `the kernel takes ${kernel.size} bytes at 0x${kernel.guestAddress.toString(16)}; the first region of memory never has more than ${largest}`,
    );
  }
  throw new ArchError(
    'MEMORY_TOO_SMALL',
    `the kernel takes ${kernel.size} bytes at 0x${kernel.guestAddress.toString(16)} and needs ${needed} bytes of memory; there are ${region.size}`,
  );
}

async function loadImage(
  memory: GuestMemory,
  region: AddressRange,
  source: BlobSource,
  header: ImageHeader,
  size: number,
  options: LoadKernelOptions,
): Promise<Placed> {
  const kernel = place(region, header, size, options);
  // What a signing tool appended lies beyond image_size and is no part of the kernel.
  await readInto(memory, kernel.guestAddress, Math.min(size, kernel.size), source, 0);
  return { kernel, header };
}

async function loadGzip(
  memory: GuestMemory,
  region: AddressRange,
  source: BlobSource,
  format: KernelFormat & { readonly kind: 'gzip' },
  options: LoadKernelOptions,
): Promise<Placed> {
  const head = new Uint8Array(HEAD_SIZE);
  let headLength = 0;
  let total = 0;
  let placed: Placed | undefined;
  const start = (): Placed => {
    const inner = identifyKernel(head.subarray(0, headLength), Infinity);
    if (inner.kind !== 'image') {
      throw new ArchError('UNSUPPORTED_COMPRESSION', 'the kernel is compressed twice');
    }
    const kernel = place(region, inner.header, headLength, options);
    memory.write(kernel.guestAddress, head.subarray(0, Math.min(headLength, kernel.size)));
    return { kernel, header: inner.header };
  };
  await gunzip(source, format.offset, format.size, (chunk) => {
    const used = Math.min(chunk.length, HEAD_SIZE - headLength);
    head.set(chunk.subarray(0, used), headLength);
    headLength += used;
    total += used;
    if (headLength < HEAD_SIZE) return true;
    placed ??= start();
    const { guestAddress } = placed.kernel;
    // Without an image_size (kernels before 3.17) the kernel is as long as it turns out to be.
    if (placed.header.imageSize === 0) {
      placed = { header: placed.header, kernel: { guestAddress, size: total + chunk.length - used } };
      requireRoom(region, placed.kernel);
    }
    const rest = chunk.subarray(used, used + Math.max(placed.kernel.size - total, 0));
    memory.write(guestAddress + total, rest);
    total += rest.length;
    return total < placed.kernel.size || placed.header.imageSize === 0;
  });
  return placed ?? start();
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
      `the initial RAM disk takes ${size} bytes; ${Math.max(limit - bottom, 0)} are free between kernel and device tree`,
    );
  }
  await readInto(memory, guestAddress, size, source, 0);
  return { guestAddress, size };
}
