import type { DescriptorChain } from '@vmm/virtio-queue';
import {
  EINVAL,
  ENAMETOOLONG,
  ENOENT,
  FUSE_IN_HEADER_SIZE,
  FUSE_NAME_MAX,
  FUSE_OUT_HEADER_SIZE,
} from './constants.ts';
import { FuseData } from './data.ts';
import { FuseError } from './errors.ts';
import type { FuseContext } from './handler.ts';
import { bytesToString } from './names.ts';
import { ReplyBuffer } from './reply.ts';

const TWO_32 = 2 ** 32;

/**
 * One FUSE request with its header (`struct fuse_in_header`) read once, and the answer as it comes about. Offsets are
 * from the end of the header. Used again for other requests.
 */
export class FuseCall implements FuseContext {
  opcode = 0;
  /** The driver's number for the request. */
  uniqueLow = 0;
  uniqueHigh = 0;
  /** NaN: beyond 2^53 - 1, which no node is. */
  nodeId = 0;
  uid = 0;
  gid = 0;
  pid = 0;
  /** Bytes after the header. */
  bodyLength = 0;
  /** The most bytes that an answer may have after its header. */
  room = 0;
  cancelled = false;
  interrupted = false;
  readonly reply: ReplyBuffer = new ReplyBuffer();
  readonly data: FuseData = new FuseData();
  queueIndex = 0;
  #bytes: Uint8Array<ArrayBuffer> = new Uint8Array(1024);
  #view: DataView<ArrayBuffer> = new DataView(this.#bytes.buffer);

  /** @returns false: there is no whole header, or its length is not that of the chain */
  parseHeader(chain: DescriptorChain): boolean {
    this.cancelled = false;
    this.interrupted = false;
    this.bodyLength = 0;
    this.reply.reset();
    if (chain.readableBytes < FUSE_IN_HEADER_SIZE) return false;
    const { reader } = chain;
    const length = reader.readUint32();
    this.opcode = reader.readUint32();
    this.uniqueLow = reader.readUint32();
    this.uniqueHigh = reader.readUint32();
    const nodeLow = reader.readUint32();
    this.nodeId = toNumber(nodeLow, reader.readUint32());
    this.uid = reader.readUint32();
    this.gid = reader.readUint32();
    this.pid = reader.readUint32();
    reader.skip(4);
    if (length < FUSE_IN_HEADER_SIZE || length > chain.readableBytes) return false;
    this.bodyLength = length - FUSE_IN_HEADER_SIZE;
    this.room = Math.max(0, chain.writableBytes - FUSE_OUT_HEADER_SIZE);
    return true;
  }

  /** Copies the first `length` bytes of the body, which are there, out of the guest's reach. */
  loadBody(chain: DescriptorChain, length: number): void {
    if (length > this.#bytes.length) {
      this.#bytes = new Uint8Array(length);
      this.#view = new DataView(this.#bytes.buffer);
    }
    chain.reader.read(this.#bytes.subarray(0, length));
  }

  uint32(at: number): number {
    return this.#view.getUint32(at, true);
  }

  /** @returns NaN beyond 2^53 - 1 */
  uint64(at: number): number {
    return toNumber(this.uint32(at), this.uint32(at + 4));
  }

  /** A signed 64-bit value. @returns NaN beyond 2^53 - 1 */
  int64(at: number): number {
    const value = this.#view.getInt32(at + 4, true) * TWO_32 + this.uint32(at);
    return Number.isSafeInteger(value) ? value : Number.NaN;
  }

  /** An offset or length. @throws FuseError EINVAL beyond 2^53 - 1 */
  size(at: number): number {
    const value = this.uint64(at);
    if (Number.isNaN(value)) throw new FuseError(EINVAL);
    return value;
  }

  /** The body's bytes, valid until the call returns. */
  bytes(at: number, length: number): Uint8Array {
    if (at + length > this.bodyLength) throw new FuseError(EINVAL);
    return this.#bytes.subarray(at, at + length);
  }

  /** A string that ends with a NUL. @throws FuseError EINVAL, ENAMETOOLONG */
  string(at: number, maximum: number): string {
    const end = this.#bytes.indexOf(0, at);
    if (end < 0 || end >= this.bodyLength) throw new FuseError(EINVAL);
    if (end - at > maximum) throw new FuseError(ENAMETOOLONG);
    if (end === at) throw new FuseError(ENOENT);
    return bytesToString(this.#bytes, at, end);
  }

  /** The name of a directory's entry. @throws FuseError EINVAL, ENAMETOOLONG */
  name(at = 0): string {
    const name = this.string(at, FUSE_NAME_MAX);
    if (name === '.' || name === '..' || name.includes('/')) throw new FuseError(EINVAL);
    return name;
  }
}

function toNumber(low: number, high: number): number {
  const value = high * TWO_32 + low;
  return value <= Number.MAX_SAFE_INTEGER ? value : Number.NaN;
}
