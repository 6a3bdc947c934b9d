import type { DescriptorChain, Queue } from '@vmm/virtio-queue';
import { readConfigSpace } from '../config-space.ts';
import type { ActivateContext, VirtioDevice } from '../device.ts';
import { checkOption, messageOf, VirtioDeviceError } from '../errors.ts';
import { FeatureSet } from '../features.ts';
import { StateReader } from '../state.ts';
import { VIRTIO_ID_BLOCK } from '../virtio.ts';
import type { BlockBackend } from './backend.ts';
import { BlockBatch } from './batch.ts';
import {
  VIRTIO_BLK_F_BLK_SIZE,
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
import { BlockRequest, readRanges, writeStatus } from './request.ts';

/** Largest segment that the driver is asked to make (`size_max`). */
const SIZE_MAX = 64 * 1024;
/** Ranges in one DISCARD or WRITE_ZEROES request. */
const MAX_RANGES = 16;
/** Sectors in one such range: 1 GiB. */
const MAX_RANGE_SECTORS = 2 * 1024 * 1024;
/** Bytes after which the rest of a queue waits for the next turn of the event loop. */
const BYTES_PER_TURN = 8 * 1024 * 1024;

export interface VirtioBlockOptions {
  readonly backend: BlockBackend;
  /** What the guest sees as the disk's serial number, at most 20 ASCII characters. Default empty. */
  readonly id?: string;
  /** Logical block size: 512, 1024, 2048 or 4096, a divisor of the backend's size. Default 512. */
  readonly blockSize?: number;
  /** Number of request queues, 1 to 16. Default 1. */
  readonly queues?: number;
  /** Queue Size, a power of two from 4. Default 256. */
  readonly queueSize?: number;
  /** Refuse writes even when the backend takes them. Default: what the backend says. */
  readonly readOnly?: boolean;
  /**
   * The backend failed a request: `IO_ERROR`, with the backend's error as its cause. The guest was told; it
   * decides how often this runs. Must not throw.
   */
  readonly onError?: (error: VirtioDeviceError) => void;
}

export interface VirtioBlockStatistics {
  readonly reads: number;
  readonly readBytes: number;
  readonly writes: number;
  readonly writtenBytes: number;
  readonly flushes: number;
  /** DISCARD and WRITE_ZEROES requests. */
  readonly discards: number;
  /** Requests answered with VIRTIO_BLK_S_IOERR or VIRTIO_BLK_S_UNSUPP. */
  readonly errors: number;
}

/** Plain, versioned state of a {@link VirtioBlock}: what a restored guest relies on. */
export interface VirtioBlockState {
  readonly version: 1;
  readonly sizeBytes: number;
  readonly blockSize: number;
}

/** Block device, VIRTIO 1.3 §5.2. */
export class VirtioBlock implements VirtioDevice {
  readonly type: number = VIRTIO_ID_BLOCK;
  readonly name: string = 'block';
  readonly features: FeatureSet;
  readonly queueSizes: readonly number[];
  readonly backend: BlockBackend;
  readonly readOnly: boolean;
  readonly #blockSize: number;
  readonly #id = new Uint8Array(VIRTIO_BLK_ID_BYTES);
  readonly #config: Uint8Array;
  /** Most bytes of a request: what `size_max` and `seg_max` allow. */
  readonly #maxBytes: number;
  readonly #onError: VirtioBlockOptions['onError'];
  readonly #request = new BlockRequest();
  readonly #spareBatches: BlockBatch[] = [];
  readonly #busyBatches = new Set<BlockBatch>();
  #context: ActivateContext | undefined;
  #writeThrough = true;
  #inFlight = 0;
  #whenIdle: (() => void)[] = [];
  readonly #statistics = {
    reads: 0,
    readBytes: 0,
    writes: 0,
    writtenBytes: 0,
    flushes: 0,
    discards: 0,
    errors: 0,
  };

  /** @throws VirtioDeviceError `INVALID_OPTION` */
  constructor(options: VirtioBlockOptions) {
    const { backend } = options;
    const queues = checkOption('queues', options.queues ?? 1, 1, 16);
    const queueSize = checkOption('queueSize', options.queueSize ?? 256, 4, 32768);
    const blockSize = options.blockSize ?? VIRTIO_BLK_SECTOR_SIZE;
    if (![512, 1024, 2048, 4096].includes(blockSize) || backend.sizeBytes % blockSize !== 0) {
      throw new VirtioDeviceError(
        'INVALID_OPTION',
        `blockSize ${blockSize} must be 512, 1024, 2048 or 4096 and divide the ${backend.sizeBytes} bytes of ${backend.description}`,
      );
    }
    this.backend = backend;
    this.readOnly = options.readOnly === true || backend.readOnly;
    this.#blockSize = blockSize;
    this.#onError = options.onError;
    this.#setId(options.id ?? '');
    const segments = queueSize - 2;
    this.#maxBytes = SIZE_MAX * segments;
    this.queueSizes = new Array<number>(queues).fill(queueSize);
    const bits = [
      VIRTIO_BLK_F_SIZE_MAX,
      VIRTIO_BLK_F_SEG_MAX,
      VIRTIO_BLK_F_BLK_SIZE,
      VIRTIO_BLK_F_FLUSH,
      VIRTIO_BLK_F_TOPOLOGY,
    ];
    if (this.readOnly) bits.push(VIRTIO_BLK_F_RO);
    if (queues > 1) bits.push(VIRTIO_BLK_F_MQ);
    if (!this.readOnly && backend.discard !== undefined) bits.push(VIRTIO_BLK_F_DISCARD);
    if (!this.readOnly && backend.writeZeroes !== undefined) bits.push(VIRTIO_BLK_F_WRITE_ZEROES);
    this.features = FeatureSet.of(...bits);
    this.#config = createConfig(backend.sizeBytes, blockSize, segments, queues);
  }

  get statistics(): VirtioBlockStatistics {
    return { ...this.#statistics };
  }

  configRead(offset: number, length: 1 | 2 | 4): number {
    return readConfigSpace(this.#config, offset, length);
  }

  activate(context: ActivateContext): void {
    this.#context = context;
    // Without F_FLUSH the driver cannot ask: every write is made durable before it is answered (§5.2.6.2).
    this.#writeThrough = !context.features.has(VIRTIO_BLK_F_FLUSH);
  }

  notify(queueIndex: number): void {
    const context = this.#context;
    const queue = context?.queues[queueIndex];
    if (context === undefined || queue === undefined) return;
    const batch = this.#spareBatches.pop() ?? new BlockBatch();
    batch.begin(queue, queueIndex);
    let budget = queue.size;
    do {
      queue.disableNotifications();
      for (let chain = queue.pop(); chain !== null; chain = queue.pop()) {
        this.#accept(context, queueIndex, queue, chain, batch);
        if (--budget === 0 || batch.bytes >= BYTES_PER_TURN) {
          budget = 0;
          break;
        }
      }
      if (budget === 0) {
        context.renotify(queueIndex);
        break;
      }
    } while (queue.enableNotifications());
    this.#submit(context, queueIndex, batch);
    if (queue.needsInterrupt()) context.interrupt.queue(queueIndex);
  }

  reset(): void {
    this.#context = undefined;
    for (const batch of this.#busyBatches) batch.cancelled = true;
  }

  queueReset(queueIndex: number): void {
    for (const batch of this.#busyBatches) if (batch.queueIndex === queueIndex) batch.cancelled = true;
  }

  /** Resolves when every request that was taken is answered. */
  async pause(): Promise<void> {
    if (this.#inFlight === 0) return;
    await new Promise<void>((resolve) => this.#whenIdle.push(resolve));
  }

  save(): VirtioBlockState {
    return { version: 1, sizeBytes: this.backend.sizeBytes, blockSize: this.#blockSize };
  }

  restore(state: unknown): void {
    const reader = new StateReader('block device state', state);
    reader.version(1);
    const sizeBytes = reader.integer('sizeBytes', 0, Number.MAX_SAFE_INTEGER);
    const blockSize = reader.integer('blockSize', 512, 4096);
    if (sizeBytes !== this.backend.sizeBytes || blockSize !== this.#blockSize) {
      throw new VirtioDeviceError(
        'INVALID_STATE',
        `the guest was saved with a disk of ${sizeBytes} bytes in blocks of ${blockSize}; ${this.backend.description} has ${this.backend.sizeBytes} in blocks of ${this.#blockSize}`,
      );
    }
  }

  #accept(
    context: ActivateContext,
    queueIndex: number,
    queue: Queue,
    chain: DescriptorChain,
    batch: BlockBatch,
  ): void {
    const request = this.#request;
    if (!request.parse(chain)) {
      if (chain.writableBytes === 0) {
        context.interrupt.needsReset('a block request without room for its status (§5.2.6)');
        return;
      }
      this.#answer(queue, chain, VIRTIO_BLK_S_IOERR);
      return;
    }
    switch (request.type) {
      case VIRTIO_BLK_T_IN:
        if (!this.#fits(request.position, request.dataIn)) this.#answer(queue, chain, VIRTIO_BLK_S_IOERR);
        else batch.add(chain, false, request.position, 0, request.dataIn);
        return;
      case VIRTIO_BLK_T_OUT:
        if (this.readOnly || !this.#fits(request.position, request.dataOut)) {
          this.#answer(queue, chain, VIRTIO_BLK_S_IOERR);
        } else {
          batch.add(chain, true, request.position, VIRTIO_BLK_HEADER_SIZE, request.dataOut);
        }
        return;
      case VIRTIO_BLK_T_FLUSH:
        this.#statistics.flushes++;
        this.#run(context, queueIndex, queue, chain, () => this.backend.flush());
        return;
      case VIRTIO_BLK_T_GET_ID: {
        const length = Math.min(VIRTIO_BLK_ID_BYTES, request.dataIn);
        chain.writer.write(this.#id.subarray(0, length));
        this.#answer(queue, chain, VIRTIO_BLK_S_OK, length);
        return;
      }
      case VIRTIO_BLK_T_DISCARD:
        if (context.features.has(VIRTIO_BLK_F_DISCARD))
          this.#ranges(context, queueIndex, queue, chain, false);
        else this.#answer(queue, chain, VIRTIO_BLK_S_UNSUPP);
        return;
      case VIRTIO_BLK_T_WRITE_ZEROES:
        if (context.features.has(VIRTIO_BLK_F_WRITE_ZEROES))
          this.#ranges(context, queueIndex, queue, chain, true);
        else this.#answer(queue, chain, VIRTIO_BLK_S_UNSUPP);
        return;
      default:
        this.#answer(queue, chain, VIRTIO_BLK_S_UNSUPP);
    }
  }

  #fits(position: number, length: number): boolean {
    return (
      length % VIRTIO_BLK_SECTOR_SIZE === 0 &&
      length <= this.#maxBytes &&
      position + length <= this.backend.sizeBytes
    );
  }

  /** DISCARD and WRITE_ZEROES, §5.2.6. */
  #ranges(
    context: ActivateContext,
    queueIndex: number,
    queue: Queue,
    chain: DescriptorChain,
    zeroes: boolean,
  ): void {
    const { dataOut } = this.#request;
    const { backend } = this;
    if (
      dataOut === 0 ||
      dataOut % VIRTIO_BLK_RANGE_SIZE !== 0 ||
      dataOut > MAX_RANGES * VIRTIO_BLK_RANGE_SIZE
    ) {
      this.#answer(queue, chain, VIRTIO_BLK_S_IOERR);
      return;
    }
    const ranges = readRanges(chain);
    // A discard unmaps anyway; there the flag is reserved (§5.2.6.2).
    if (ranges.some((range) => range.reserved || (!zeroes && range.unmap))) {
      this.#answer(queue, chain, VIRTIO_BLK_S_UNSUPP);
      return;
    }
    const inside = ranges.every(
      ({ position, length }) =>
        length <= MAX_RANGE_SECTORS * VIRTIO_BLK_SECTOR_SIZE && position + length <= backend.sizeBytes,
    );
    if (!inside) {
      this.#answer(queue, chain, VIRTIO_BLK_S_IOERR);
      return;
    }
    this.#statistics.discards++;
    this.#run(context, queueIndex, queue, chain, async () => {
      for (const { position, length, unmap } of ranges) {
        if (zeroes) await backend.writeZeroes?.(position, length, unmap);
        else await backend.discard?.(position, length);
      }
      if (this.#writeThrough) await backend.flush();
    });
  }

  /** Carries out the transfers of a batch and answers them, now or later. */
  #submit(context: ActivateContext, queueIndex: number, batch: BlockBatch): void {
    if (batch.count === 0) {
      this.#spareBatches.push(batch);
      return;
    }
    let done: void | Promise<void> = undefined;
    try {
      done = this.backend.submit(batch);
    } catch (cause) {
      batch.failAll(cause);
    }
    const flush = this.#writeThrough && batch.hasWrites;
    if (done === undefined && !flush) {
      this.#finish(batch);
      return;
    }
    this.#busyBatches.add(batch);
    this.#begin();
    const settle = async (): Promise<void> => {
      try {
        await done;
        if (flush) await this.backend.flush();
      } catch (cause) {
        batch.failAll(cause);
      }
      this.#busyBatches.delete(batch);
      const { queue } = batch;
      this.#finish(batch);
      if (queue?.needsInterrupt() === true) context.interrupt.queue(queueIndex);
      this.#end();
    };
    void settle();
  }

  #finish(batch: BlockBatch): void {
    const { queue } = batch;
    for (let transfer = 0; transfer < batch.count && queue !== undefined; transfer++) {
      const error = batch.error(transfer);
      const length = batch.length(transfer);
      if (error !== undefined) this.#report(batch.isWrite(transfer) ? 'write' : 'read', error);
      else if (batch.isWrite(transfer)) {
        this.#statistics.writes++;
        this.#statistics.writtenBytes += length;
      } else {
        this.#statistics.reads++;
        this.#statistics.readBytes += length;
      }
      if (!batch.cancelled) {
        const chain = batch.chain(transfer);
        if (error !== undefined) this.#answer(queue, chain, VIRTIO_BLK_S_IOERR);
        else this.#answer(queue, chain, VIRTIO_BLK_S_OK, batch.isWrite(transfer) ? 0 : length);
      }
    }
    this.#spareBatches.push(batch);
  }

  /** A request that the backend answers in its own time. */
  #run(
    context: ActivateContext,
    queueIndex: number,
    queue: Queue,
    chain: DescriptorChain,
    work: () => void | Promise<void>,
  ): void {
    let done: void | Promise<void>;
    try {
      done = work();
    } catch (cause) {
      this.#report('request', cause);
      this.#answer(queue, chain, VIRTIO_BLK_S_IOERR);
      return;
    }
    if (done === undefined) {
      this.#answer(queue, chain, VIRTIO_BLK_S_OK);
      return;
    }
    this.#begin();
    const settle = (status: number): void => {
      if (context.queues[queueIndex] === queue) {
        this.#answer(queue, chain, status);
        if (queue.needsInterrupt()) context.interrupt.queue(queueIndex);
      }
      this.#end();
    };
    done.then(
      () => settle(VIRTIO_BLK_S_OK),
      (cause: unknown) => {
        this.#report('request', cause);
        settle(VIRTIO_BLK_S_IOERR);
      },
    );
  }

  /**
   * Stores the status and gives the chain back. The used length reaches to the status only when everything
   * before it was written, because the driver may rely on what it covers (§2.7.8.2).
   *
   * @param written bytes of data stored at the start of the writable part
   */
  #answer(queue: Queue, chain: DescriptorChain, status: number, written = 0): void {
    if (status !== VIRTIO_BLK_S_OK) this.#statistics.errors++;
    writeStatus(chain, status);
    const dataIn = chain.writableBytes - 1;
    queue.addUsed(chain, written === dataIn ? dataIn + 1 : written);
  }

  #report(what: string, cause: unknown): void {
    this.#onError?.(
      new VirtioDeviceError(
        'IO_ERROR',
        `${what} on ${this.backend.description} failed: ${messageOf(cause)}`,
        {
          cause,
        },
      ),
    );
  }

  #begin(): void {
    this.#inFlight++;
  }

  #end(): void {
    if (--this.#inFlight > 0) return;
    for (const resolve of this.#whenIdle.splice(0)) resolve();
  }

  #setId(id: string): void {
    if (id.length > VIRTIO_BLK_ID_BYTES || !/^[\x20-\x7e]*$/.test(id)) {
      throw new VirtioDeviceError('INVALID_OPTION', `id ${JSON.stringify(id)}: at most 20 ASCII characters`);
    }
    for (let i = 0; i < id.length; i++) this.#id[i] = id.charCodeAt(i);
  }
}

/** `struct virtio_blk_config`, VIRTIO 1.3 §5.2.4. */
function createConfig(sizeBytes: number, blockSize: number, segments: number, queues: number): Uint8Array {
  const bytes = new Uint8Array(60);
  const view = new DataView(bytes.buffer);
  const sectors = sizeBytes / VIRTIO_BLK_SECTOR_SIZE;
  view.setUint32(0, sectors, true);
  view.setUint32(4, Math.floor(sectors / 2 ** 32), true);
  view.setUint32(8, SIZE_MAX, true);
  view.setUint32(12, segments, true);
  view.setUint32(20, blockSize, true);
  // Topology: physical blocks of 4096 bytes, the page size of whatever caches the backend.
  view.setUint8(24, Math.log2(4096 / blockSize));
  view.setUint16(26, 4096 / blockSize, true);
  view.setUint16(34, queues, true);
  view.setUint32(36, MAX_RANGE_SECTORS, true);
  view.setUint32(40, MAX_RANGES, true);
  view.setUint32(44, blockSize / VIRTIO_BLK_SECTOR_SIZE, true);
  view.setUint32(48, MAX_RANGE_SECTORS, true);
  view.setUint32(52, MAX_RANGES, true);
  view.setUint8(56, 1);
  return bytes;
}
