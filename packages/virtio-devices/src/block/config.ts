import { readConfigSpace } from '../config-space.ts';
import { checkOption, VirtioDeviceError } from '../errors.ts';
import { VIRTIO_BLK_SECTOR_SIZE } from './constants.ts';

/** Largest segment that the driver is asked to make (`size_max`). */
const SIZE_MAX = 64 * 1024;
/** Ranges in one DISCARD or WRITE_ZEROES request. */
export const MAX_RANGES = 16;
/** Sectors in one such range: 1 GiB. */
export const MAX_RANGE_SECTORS: number = 2 * 1024 * 1024;

/** Offsets in `struct virtio_blk_config`, VIRTIO 1.3 §5.2.4. */
const CAPACITY = 0;
const SIZE_MAX_FIELD = 8;
const SEG_MAX = 12;
const BLK_SIZE = 20;
const PHYSICAL_BLOCK_EXP = 24;
const ALIGNMENT_OFFSET = 25;
const MIN_IO_SIZE = 26;
const OPT_IO_SIZE = 28;
const WRITEBACK = 32;
const NUM_QUEUES = 34;
const MAX_DISCARD_SECTORS = 36;
const MAX_DISCARD_SEG = 40;
const DISCARD_SECTOR_ALIGNMENT = 44;
const MAX_WRITE_ZEROES_SECTORS = 48;
const MAX_WRITE_ZEROES_SEG = 52;
const WRITE_ZEROES_MAY_UNMAP = 56;
const CONFIG_BYTES = 60;

/** How the disk is best used, VIRTIO 1.3 §5.2.4: `virtio_blk_topology`. Hints for the driver. */
export interface BlockTopology {
  /** Bytes that the disk writes as one: a power of two times the block size. Default 4096, or the block size. */
  readonly physicalBlockSize?: number;
  /** Bytes from the start of the disk to its first whole physical block: a multiple of the block size. Default 0. */
  readonly alignmentOffset?: number;
  /** Smallest request that needs no read before, bytes. Default the physical block size. */
  readonly minimumIoSize?: number;
  /** Best size of a large request, bytes; 0: nothing to say. Default 0. */
  readonly optimalIoSize?: number;
}

/** The device's configuration space, and the limits that it tells the driver. */
export class BlockConfig {
  readonly blockSize: number;
  /** Most bytes of a request: what `size_max` and `seg_max` allow. */
  readonly maxBytes: number;
  readonly #bytes = new Uint8Array(CONFIG_BYTES);

  /** @throws VirtioDeviceError `INVALID_OPTION` */
  constructor(
    sizeBytes: number,
    description: string,
    blockSize: number,
    topology: BlockTopology,
    queues: number,
    queueSize: number,
  ) {
    if (![512, 1024, 2048, 4096].includes(blockSize) || sizeBytes % blockSize !== 0) {
      throw new VirtioDeviceError(
        'INVALID_OPTION',
        `blockSize ${blockSize} must be 512, 1024, 2048 or 4096 and divide the ${sizeBytes} bytes of ${description}`,
      );
    }
    this.blockSize = blockSize;
    const segments = queueSize - 2;
    this.maxBytes = SIZE_MAX * segments;
    const view = new DataView(this.#bytes.buffer);
    const sectors = sizeBytes / VIRTIO_BLK_SECTOR_SIZE;
    view.setUint32(CAPACITY, sectors, true);
    view.setUint32(CAPACITY + 4, Math.floor(sectors / 2 ** 32), true);
    view.setUint32(SIZE_MAX_FIELD, SIZE_MAX, true);
    view.setUint32(SEG_MAX, segments, true);
    view.setUint32(BLK_SIZE, blockSize, true);
    // The page size of whatever caches the backend.
    const physical = checkBlocks('physicalBlockSize', topology.physicalBlockSize ?? 4096, blockSize, 2 ** 31);
    const exponent = Math.log2(physical / blockSize);
    if (!Number.isInteger(exponent) || exponent < 0) {
      throw new VirtioDeviceError(
        'INVALID_OPTION',
        `physicalBlockSize ${physical} must be a power of two times the block size of ${blockSize}`,
      );
    }
    const offset = checkBlocks('alignmentOffset', topology.alignmentOffset ?? 0, blockSize, physical - 1);
    view.setUint8(PHYSICAL_BLOCK_EXP, exponent);
    view.setUint8(ALIGNMENT_OFFSET, checkOption('alignmentOffset in blocks', offset / blockSize, 0, 0xff));
    const minimum = checkBlocks('minimumIoSize', topology.minimumIoSize ?? physical, blockSize, 2 ** 31);
    view.setUint16(MIN_IO_SIZE, checkOption('minimumIoSize in blocks', minimum / blockSize, 0, 0xffff), true);
    const optimal = checkBlocks('optimalIoSize', topology.optimalIoSize ?? 0, blockSize, 2 ** 40);
    view.setUint32(
      OPT_IO_SIZE,
      checkOption('optimalIoSize in blocks', optimal / blockSize, 0, 0xffff_ffff),
      true,
    );
    view.setUint8(WRITEBACK, 1);
    view.setUint16(NUM_QUEUES, queues, true);
    view.setUint32(MAX_DISCARD_SECTORS, MAX_RANGE_SECTORS, true);
    view.setUint32(MAX_DISCARD_SEG, MAX_RANGES, true);
    view.setUint32(DISCARD_SECTOR_ALIGNMENT, blockSize / VIRTIO_BLK_SECTOR_SIZE, true);
    view.setUint32(MAX_WRITE_ZEROES_SECTORS, MAX_RANGE_SECTORS, true);
    view.setUint32(MAX_WRITE_ZEROES_SEG, MAX_RANGES, true);
    view.setUint8(WRITE_ZEROES_MAY_UNMAP, 1);
  }

  read(offset: number, length: 1 | 2 | 4): number {
    return readConfigSpace(this.#bytes, offset, length);
  }

  /**
   * A write of the driver. Only `writeback` may be written (§5.2.5).
   *
   * @returns whether it changed
   */
  write(offset: number, length: 1 | 2 | 4, value: number): boolean {
    if (offset !== WRITEBACK || length !== 1) return false;
    const writeback = value !== 0;
    if (writeback === this.writeback) return false;
    this.writeback = writeback;
    return true;
  }

  /** Whether writes may stay in caches until a flush. */
  get writeback(): boolean {
    return this.#bytes[WRITEBACK] !== 0;
  }

  set writeback(value: boolean) {
    this.#bytes[WRITEBACK] = value ? 1 : 0;
  }
}

function checkBlocks(name: string, bytes: number, blockSize: number, maximum: number): number {
  checkOption(name, bytes, 0, maximum);
  if (bytes % blockSize !== 0) {
    throw new VirtioDeviceError(
      'INVALID_OPTION',
      `${name} ${bytes} must be a multiple of the block size of ${blockSize}`,
    );
  }
  return bytes;
}
