import type { DescriptorChain } from '@vmm/virtio-queue';
import {
  VIRTIO_BLK_HEADER_SIZE,
  VIRTIO_BLK_RANGE_SIZE,
  VIRTIO_BLK_SECTOR_SIZE,
  VIRTIO_BLK_T_IN,
  VIRTIO_BLK_T_OUT,
  VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
} from './constants.ts';

const TWO_32 = 2 ** 32;

/** The fixed part of a request (VIRTIO 1.3 §5.2.6), read once. Reused for each chain. */
export class BlockRequest {
  type = 0;
  /** In bytes. Inexact beyond 2^53, which is beyond every disk. */
  position = 0;
  /** Bytes after the header that the device reads. */
  dataOut = 0;
  /** Bytes before the status that the device writes. */
  dataIn = 0;

  /** Bytes that the rate limiter counts. */
  get cost(): number {
    if (this.type === VIRTIO_BLK_T_IN) return this.dataIn;
    return this.type === VIRTIO_BLK_T_OUT ? this.dataOut : 0;
  }

  /** @returns false when the chain has no room for header and status */
  parse(chain: DescriptorChain): boolean {
    if (chain.readableBytes < VIRTIO_BLK_HEADER_SIZE || chain.writableBytes < 1) return false;
    const { reader } = chain;
    this.type = reader.readUint32();
    reader.skip(4);
    const low = reader.readUint32();
    this.position = (low + reader.readUint32() * TWO_32) * VIRTIO_BLK_SECTOR_SIZE;
    this.dataOut = chain.readableBytes - VIRTIO_BLK_HEADER_SIZE;
    this.dataIn = chain.writableBytes - 1;
    return true;
  }
}

/** One range of a DISCARD or WRITE_ZEROES request, in bytes. */
export interface BlockRange {
  readonly position: number;
  readonly length: number;
  readonly unmap: boolean;
  /** Bits that are reserved are set. */
  readonly reserved: boolean;
}

/** Reads the ranges after the header; the caller has checked how many there are. */
export function readRanges(chain: DescriptorChain): BlockRange[] {
  const { reader } = chain;
  const ranges: BlockRange[] = [];
  while (reader.remaining >= VIRTIO_BLK_RANGE_SIZE) {
    const low = reader.readUint32();
    const position = (low + reader.readUint32() * TWO_32) * VIRTIO_BLK_SECTOR_SIZE;
    const length = reader.readUint32() * VIRTIO_BLK_SECTOR_SIZE;
    const flags = reader.readUint32();
    ranges.push({
      position,
      length,
      unmap: (flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP) !== 0,
      reserved: (flags & ~VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP) !== 0,
    });
  }
  return ranges;
}

/** Stores the status: the last byte of the writable part, wherever the descriptors put it. */
export function writeStatus(chain: DescriptorChain, status: number): void {
  const last = chain.length - 1;
  chain.region(last).bytes[chain.offset(last) + chain.size(last) - 1] = status;
}
