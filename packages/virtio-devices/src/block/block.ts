import type { DescriptorChain, Queue } from '@vmm/virtio-queue';
import type { ActivateContext, VirtioDevice } from '../device.ts';
import { MAX_QUEUE_SIZE, PIECES_PER_TURN } from '../drain.ts';
import { checkOption, VirtioDeviceError } from '../errors.ts';
import { FeatureSet } from '../features.ts';
import type { RateLimiter, RateLimiterState } from '../rate-limiter.ts';
import { StateReader } from '../state.ts';
import { VIRTIO_ID_BLOCK } from '../virtio.ts';
import type { BlockBackend } from './backend.ts';
import type { BlockBatch } from './batch.ts';
import { BlockConfig, MAX_RANGE_SECTORS, MAX_RANGES, type BlockTopology } from './config.ts';
import {
  VIRTIO_BLK_F_BLK_SIZE,
  VIRTIO_BLK_F_CONFIG_WCE,
  VIRTIO_BLK_F_DISCARD,
  VIRTIO_BLK_F_FLUSH,
  VIRTIO_BLK_F_MQ,
  VIRTIO_BLK_F_RO,
  VIRTIO_BLK_F_SEG_MAX,
  VIRTIO_BLK_F_SIZE_MAX,
  VIRTIO_BLK_F_TOPOLOGY,
  VIRTIO_BLK_F_WRITE_ZEROES,
  VIRTIO_BLK_HEADER_SIZE,
  VIRTIO_BLK_ID_BYTES,
  VIRTIO_BLK_RANGE_SIZE,
  VIRTIO_BLK_S_IOERR,
  VIRTIO_BLK_S_OK,
  VIRTIO_BLK_S_UNSUPP,
  VIRTIO_BLK_SECTOR_SIZE,
  VIRTIO_BLK_T_DISCARD,
  VIRTIO_BLK_T_FLUSH,
  VIRTIO_BLK_T_GET_ID,
  VIRTIO_BLK_T_IN,
  VIRTIO_BLK_T_OUT,
  VIRTIO_BLK_T_WRITE_ZEROES,
} from './constants.ts';
import { BlockExecutor, type VirtioBlockStatistics } from './executor.ts';
import { BlockRequest, readRanges } from './request.ts';

/** A buffer of 1 MiB, in pages that lie apart, is one request by it, with 256 segments or 257; by 256 it would be two. */
const DEFAULT_QUEUE_SIZE = 512;
/** Bytes after which the rest of a queue waits for the next turn of the event loop. */
const BYTES_PER_TURN = 8 * 1024 * 1024;
/** Bytes that an asynchronous backend is given at a time: it may have to hold a copy. */
const MAX_BYTES_IN_FLIGHT = 64 * 1024 * 1024;

export interface VirtioBlockOptions {
  readonly backend: BlockBackend;
  /** What the guest sees as the disk's serial number, at most 20 ASCII characters. Default empty. */
  readonly id?: string;
  /** Logical block size: 512, 1024, 2048 or 4096, a divisor of the backend's size. Default 512. */
  readonly blockSize?: number;
  /** How the disk is best used. Default: physical blocks of 4096 bytes. */
  readonly topology?: BlockTopology;
  /** Number of request queues, 1 to 16. Default 1. */
  readonly queues?: number;
  /** Queue Size, a power of two from 4 to 1024. Default 512. A request has at most so many segments, less 2. */
  readonly queueSize?: number;
  /** Refuse writes even when the backend takes them. Default: what the backend says. */
  readonly readOnly?: boolean;
  /** Of this device alone. Requests beyond its limits wait. Default: no limits. */
  readonly rateLimiter?: RateLimiter;
  /**
   * The backend failed a request: `IO_ERROR`, with the backend's error as its cause. The guest was told; it
   * decides how often this runs. Must not throw.
   */
  readonly onError?: (error: VirtioDeviceError) => void;
}

/** Plain, versioned state of a {@link VirtioBlock}: what a restored guest relies on. */
export interface VirtioBlockState {
  readonly version: 1;
  readonly sizeBytes: number;
  readonly blockSize: number;
  /** The driver lets writes stay in caches until a flush. */
  readonly writeback: boolean;
  /** Null: there are no limits. */
  readonly rateLimiter: RateLimiterState | null;
}

/** Block device, VIRTIO 1.3 §5.2. */
export class VirtioBlock implements VirtioDevice {
  readonly type: number = VIRTIO_ID_BLOCK;
  readonly name: string = 'block';
  readonly features: FeatureSet;
  readonly queueSizes: readonly number[];
  readonly backend: BlockBackend;
  readonly readOnly: boolean;
  readonly #id: Uint8Array;
  readonly #config: BlockConfig;
  readonly #limiter: RateLimiter | undefined;
  readonly #executor: BlockExecutor;
  readonly #request = new BlockRequest();
  /** Queues whose next request waits for the limiter or for the backend, the first to wait first. */
  readonly #waiting: number[] = [];
  #context: ActivateContext | undefined;
  /** Pieces of chains that may be taken in this turn. */
  #pieces = 0;
  #paused = false;

  /** @throws VirtioDeviceError `INVALID_OPTION` */
  constructor(options: VirtioBlockOptions) {
    const { backend } = options;
    const queues = checkOption('queues', options.queues ?? 1, 1, 16);
    const queueSize = checkOption('queueSize', options.queueSize ?? DEFAULT_QUEUE_SIZE, 4, MAX_QUEUE_SIZE);
    this.#config = new BlockConfig(
      backend.sizeBytes,
      backend.description,
      options.blockSize ?? VIRTIO_BLK_SECTOR_SIZE,
      options.topology ?? {},
      queues,
      queueSize,
    );
    this.#id = encodeId(options.id ?? '');
    this.backend = backend;
    this.readOnly = options.readOnly === true || backend.readOnly;
    this.queueSizes = new Array<number>(queues).fill(queueSize);
    this.features = offer(backend, this.readOnly, queues);
    this.#executor = new BlockExecutor(backend, options.onError, this.#serveWaiting);
    this.#limiter = options.rateLimiter;
    if (this.#limiter !== undefined) this.#limiter.onReady = this.#serveWaiting;
  }

  get statistics(): VirtioBlockStatistics {
    return { ...this.#executor.statistics, throttled: this.#limiter?.refused ?? 0 };
  }

  configRead(offset: number, length: 1 | 2 | 4): number {
    return this.#config.read(offset, length);
  }

  configWrite(offset: number, length: 1 | 2 | 4, value: number): void {
    // Before DRIVER_OK too (§3.1.1), when `activate` is still to say what was negotiated.
    if (this.#context?.features.has(VIRTIO_BLK_F_CONFIG_WCE) === false) return;
    if (this.#config.write(offset, length, value)) this.#executor.writeThrough = !this.#config.writeback;
  }

  activate(context: ActivateContext): void {
    const { features } = context;
    // Without F_FLUSH the driver cannot ask: every write is made durable before it is answered (§5.2.6.2).
    if (!features.has(VIRTIO_BLK_F_FLUSH)) this.#config.writeback = false;
    else if (!features.has(VIRTIO_BLK_F_CONFIG_WCE)) this.#config.writeback = true;
    this.#context = context;
    this.#executor.writeThrough = !this.#config.writeback;
    this.#executor.activate(context);
  }

  notify(queueIndex: number): void {
    if (this.#waiting.includes(queueIndex)) return;
    this.#serve(queueIndex);
  }

  reset(): void {
    this.#context = undefined;
    this.#paused = false;
    this.#waiting.length = 0;
    this.#limiter?.cancel();
    this.#executor.reset();
    this.#config.writeback = true;
  }

  queueReset(queueIndex: number): void {
    this.#executor.queueReset(queueIndex);
    const at = this.#waiting.indexOf(queueIndex);
    if (at < 0) return;
    this.#waiting.splice(at, 1);
    // What the limiter waits for may have been of this queue.
    this.#limiter?.cancel();
    this.#serveWaiting();
  }

  /** Resolves when every request that was taken is answered. Those that wait for the limiter are not taken. */
  async pause(): Promise<void> {
    this.#paused = true;
    this.#limiter?.cancel();
    await this.#executor.idle();
  }

  resume(): void {
    this.#paused = false;
    this.#waiting.length = 0;
  }

  save(): VirtioBlockState {
    return {
      version: 1,
      sizeBytes: this.backend.sizeBytes,
      blockSize: this.#config.blockSize,
      writeback: this.#config.writeback,
      rateLimiter: this.#limiter?.save() ?? null,
    };
  }

  restore(state: unknown): void {
    const reader = new StateReader('block device state', state);
    reader.version(1);
    const sizeBytes = reader.integer('sizeBytes', 0, Number.MAX_SAFE_INTEGER);
    const blockSize = reader.integer('blockSize', 512, 4096);
    const writeback = reader.boolean('writeback');
    if (sizeBytes !== this.backend.sizeBytes || blockSize !== this.#config.blockSize) {
      throw new VirtioDeviceError(
        'INVALID_STATE',
        `the guest was saved with a disk of ${sizeBytes} bytes in blocks of ${blockSize}; ${this.backend.description} has ${this.backend.sizeBytes} in blocks of ${this.#config.blockSize}`,
      );
    }
    const limits = reader.unknown('rateLimiter');
    if (limits !== null) this.#limiter?.restore(limits);
    this.#config.writeback = writeback;
  }

  #serve(queueIndex: number): void {
    const context = this.#context;
    const queue = context?.queues[queueIndex];
    if (context === undefined || queue === undefined || this.#paused) return;
    const batch = this.#executor.batch(queue, queueIndex);
    let budget = queue.size;
    this.#pieces = PIECES_PER_TURN;
    do {
      queue.disableNotifications();
      let more = this.#accept(context, queueIndex, queue, batch);
      while (more && --budget > 0 && this.#pieces > 0 && batch.bytes < BYTES_PER_TURN) {
        more = this.#accept(context, queueIndex, queue, batch);
      }
      if (more) {
        context.renotify(queueIndex);
        break;
      }
      if (this.#waiting.includes(queueIndex)) break;
    } while (queue.enableNotifications());
    this.#executor.submit(batch);
    if (queue.needsInterrupt()) context.interrupt.queue(queueIndex);
  }

  /** Those that wait are served in turn, so that none of them is served for ever. */
  readonly #serveWaiting = (): void => {
    for (let turns = this.#waiting.length; turns > 0 && this.#mayTake(); turns--) {
      const queueIndex = this.#waiting.shift();
      if (queueIndex !== undefined) this.#serve(queueIndex);
    }
  };

  #mayTake(): boolean {
    return !this.#paused && this.#limiter?.blocked !== true && this.#hasRoom();
  }

  #hasRoom(): boolean {
    return this.#executor.bytes < MAX_BYTES_IN_FLIGHT && !this.#executor.draining;
  }

  /** Takes the next request of a queue; false: there is none, or it has to wait. */
  #accept(context: ActivateContext, queueIndex: number, queue: Queue, batch: BlockBatch): boolean {
    if (!this.#hasRoom()) {
      this.#waiting.push(queueIndex);
      return false;
    }
    const chain = queue.pop();
    if (chain === null) return false;
    this.#pieces -= chain.length;
    const request = this.#request;
    if (!request.parse(chain)) {
      if (chain.writableBytes === 0) {
        context.interrupt.needsReset('a block request without room for its status (§5.2.6)');
        return false;
      }
      this.#executor.answer(queue, chain, VIRTIO_BLK_S_IOERR);
      return true;
    }
    if (this.#limiter?.consume(request.cost) === false) {
      queue.undoPop(chain);
      this.#waiting.push(queueIndex);
      return false;
    }
    this.#start(context, queueIndex, queue, chain, batch);
    return true;
  }

  #start(
    context: ActivateContext,
    queueIndex: number,
    queue: Queue,
    chain: DescriptorChain,
    batch: BlockBatch,
  ): void {
    const request = this.#request;
    const executor = this.#executor;
    switch (request.type) {
      case VIRTIO_BLK_T_IN:
        if (!this.#fits(request.position, request.dataIn)) executor.answer(queue, chain, VIRTIO_BLK_S_IOERR);
        else batch.add(chain, false, request.position, 0, request.dataIn);
        return;
      case VIRTIO_BLK_T_OUT:
        if (this.readOnly || !this.#fits(request.position, request.dataOut)) {
          executor.answer(queue, chain, VIRTIO_BLK_S_IOERR);
        } else {
          batch.add(chain, true, request.position, VIRTIO_BLK_HEADER_SIZE, request.dataOut);
        }
        return;
      case VIRTIO_BLK_T_FLUSH:
        executor.statistics.flushes++;
        executor.run(queueIndex, queue, chain, () => this.backend.flush());
        return;
      case VIRTIO_BLK_T_GET_ID: {
        const length = Math.min(VIRTIO_BLK_ID_BYTES, request.dataIn);
        chain.writer.write(this.#id.subarray(0, length));
        executor.answer(queue, chain, VIRTIO_BLK_S_OK, length);
        return;
      }
      case VIRTIO_BLK_T_DISCARD:
        if (context.features.has(VIRTIO_BLK_F_DISCARD)) this.#ranges(queueIndex, queue, chain, false);
        else executor.answer(queue, chain, VIRTIO_BLK_S_UNSUPP);
        return;
      case VIRTIO_BLK_T_WRITE_ZEROES:
        if (context.features.has(VIRTIO_BLK_F_WRITE_ZEROES)) this.#ranges(queueIndex, queue, chain, true);
        else executor.answer(queue, chain, VIRTIO_BLK_S_UNSUPP);
        return;
      default:
        executor.answer(queue, chain, VIRTIO_BLK_S_UNSUPP);
    }
  }

  #fits(position: number, length: number): boolean {
    return (
      length % VIRTIO_BLK_SECTOR_SIZE === 0 &&
      length <= this.#config.maxBytes &&
      position + length <= this.backend.sizeBytes
    );
  }

  /** DISCARD and WRITE_ZEROES, §5.2.6. */
  #ranges(queueIndex: number, queue: Queue, chain: DescriptorChain, zeroes: boolean): void {
    const { dataOut } = this.#request;
    const { backend } = this;
    const executor = this.#executor;
    if (
      dataOut === 0 ||
      dataOut % VIRTIO_BLK_RANGE_SIZE !== 0 ||
      dataOut > MAX_RANGES * VIRTIO_BLK_RANGE_SIZE
    ) {
      executor.answer(queue, chain, VIRTIO_BLK_S_IOERR);
      return;
    }
    const ranges = readRanges(chain);
    // A discard unmaps anyway; there the flag is reserved (§5.2.6.2).
    if (ranges.some((range) => range.reserved || (!zeroes && range.unmap))) {
      executor.answer(queue, chain, VIRTIO_BLK_S_UNSUPP);
      return;
    }
    const inside = ranges.every(
      ({ position, length }) =>
        length <= MAX_RANGE_SECTORS * VIRTIO_BLK_SECTOR_SIZE && position + length <= backend.sizeBytes,
    );
    if (!inside) {
      executor.answer(queue, chain, VIRTIO_BLK_S_IOERR);
      return;
    }
    executor.statistics.discards++;
    executor.run(queueIndex, queue, chain, async () => {
      for (const { position, length, unmap } of ranges) {
        if (length === 0) continue;
        if (zeroes) await backend.writeZeroes?.(position, length, unmap);
        else await backend.discard?.(position, length);
      }
      if (executor.writeThrough) await backend.flush();
    });
  }
}

/** Feature bits, §5.2.3. */
function offer(backend: BlockBackend, readOnly: boolean, queues: number): FeatureSet {
  const bits = [
    VIRTIO_BLK_F_SIZE_MAX,
    VIRTIO_BLK_F_SEG_MAX,
    VIRTIO_BLK_F_BLK_SIZE,
    VIRTIO_BLK_F_FLUSH,
    VIRTIO_BLK_F_TOPOLOGY,
    VIRTIO_BLK_F_CONFIG_WCE,
  ];
  if (readOnly) bits.push(VIRTIO_BLK_F_RO);
  if (queues > 1) bits.push(VIRTIO_BLK_F_MQ);
  if (!readOnly && backend.discard !== undefined) bits.push(VIRTIO_BLK_F_DISCARD);
  if (!readOnly && backend.writeZeroes !== undefined) bits.push(VIRTIO_BLK_F_WRITE_ZEROES);
  return FeatureSet.of(...bits);
}

function encodeId(id: string): Uint8Array {
  if (id.length > VIRTIO_BLK_ID_BYTES || !/^[\x20-\x7e]*$/.test(id)) {
    throw new VirtioDeviceError('INVALID_OPTION', `id ${JSON.stringify(id)}: at most 20 ASCII characters`);
  }
  const bytes = new Uint8Array(VIRTIO_BLK_ID_BYTES);
  for (let i = 0; i < id.length; i++) bytes[i] = id.charCodeAt(i);
  return bytes;
}
