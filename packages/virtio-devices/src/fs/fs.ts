import type { DescriptorChain, Queue } from '@vmm/virtio-queue';
import { readConfigSpace } from '../config-space.ts';
import type { ActivateContext, VirtioDevice } from '../device.ts';
import { checkOption, messageOf, VirtioDeviceError } from '../errors.ts';
import { FeatureSet } from '../features.ts';
import { StateReader } from '../state.ts';
import { VIRTIO_ID_FS } from '../virtio.ts';
import { FuseCall } from './call.ts';
import { now } from '../clock.ts';
import { VIRTIO_FS_TAG_BYTES } from './constants.ts';
import type { FuseHandler } from './handler.ts';
import { encodeName, putString } from './names.ts';
import { FuseServer, type FuseSession, type FuseServerStatistics, restoreSession } from './server.ts';

/** Bytes of READ and WRITE, and milliseconds, after which the rest of a queue waits for the next turn of the event loop. */
const BYTES_PER_TURN = 4 * 1024 * 1024;
const TIME_PER_TURN = 5;
/**
 * Requests of drivers that are gone that the handler may still have: with as many, no more are taken. A driver that
 * resets the device again and again would fill the host's queues otherwise.
 */
const MAX_STALE = 64;
/** Pages of the largest transfer, of 4096 bytes. */
const MAX_TRANSFER = 1024 * 1024;

export interface VirtioFsOptions {
  /** What the guest mounts it by: 1 to 36 bytes of UTF-8, without NUL. */
  readonly tag: string;
  readonly handler: FuseHandler;
  /** Number of request queues, 1 to 16. Default 1: Linux before 6.11 uses only the first. */
  readonly queues?: number;
  /** Queue Size, a power of two from 16 to 1024. Default 1024: Linux makes transfers of at most so many pages, less 4. */
  readonly queueSize?: number;
  /** Bytes of the largest READ or WRITE, 4096 to 1048576, a multiple of 4096. Default 1048576. */
  readonly maxTransfer?: number;
  /**
   * The handler threw or rejected: `IO_ERROR`; the guest got EIO, and decides how often this runs. Must not throw.
   */
  readonly onError?: (error: VirtioDeviceError) => void;
}

export interface VirtioFsStatistics extends FuseServerStatistics {
  /** Requests that wait for the handler. */
  readonly inFlight: number;
}

/** Plain, versioned state of a {@link VirtioFs}. */
export interface VirtioFsState {
  readonly version: 1;
  readonly tag: string;
  readonly session: FuseSession;
  /** What the handler saved; undefined: it does not. */
  readonly handler?: unknown;
}

/** File system device, VIRTIO 1.3 §5.11: a FUSE session between the driver and a {@link FuseHandler}. */
export class VirtioFs implements VirtioDevice {
  readonly type: number = VIRTIO_ID_FS;
  readonly name: string = 'fs';
  readonly features: FeatureSet = FeatureSet.EMPTY;
  readonly queueSizes: readonly number[];
  readonly tag: string;
  readonly handler: FuseHandler;
  readonly #config: Uint8Array;
  readonly #server: FuseServer;
  readonly #spareCalls: FuseCall[] = [];
  #context: ActivateContext | undefined;
  /** Calls whose promise has not settled, those that a reset cancelled among them. */
  #inFlight = 0;
  /** Those of them whose driver is gone. */
  readonly #stale = new Set<FuseCall>();
  /** Queues that were notified while there were too many of these. */
  readonly #waiting = new Set<number>();
  #whenIdle: (() => void)[] = [];

  /** @throws VirtioDeviceError `INVALID_OPTION` */
  constructor(options: VirtioFsOptions) {
    const queues = checkOption('queues', options.queues ?? 1, 1, 16);
    const queueSize = checkOption('queueSize', options.queueSize ?? 1024, 16, 1024);
    const maxTransfer = checkOption('maxTransfer', options.maxTransfer ?? MAX_TRANSFER, 4096, MAX_TRANSFER);
    if ((queueSize & (queueSize - 1)) !== 0 || maxTransfer % 4096 !== 0) {
      throw new VirtioDeviceError(
        'INVALID_OPTION',
        `queueSize ${queueSize} must be a power of two, and maxTransfer ${maxTransfer} a multiple of 4096`,
      );
    }
    this.tag = options.tag;
    this.handler = options.handler;
    this.#config = createConfig(options.tag, queues);
    this.queueSizes = new Array<number>(queues + 1).fill(queueSize);
    const { onError } = options;
    this.#server = new FuseServer(options.handler, maxTransfer, (opcode, cause) => {
      onError?.(
        new VirtioDeviceError(
          'IO_ERROR',
          `request ${opcode} on ${this.handler.description} failed: ${messageOf(cause)}`,
          { cause },
        ),
      );
    });
  }

  get statistics(): VirtioFsStatistics {
    return { ...this.#server.statistics, inFlight: this.#server.busy.size };
  }

  configRead(offset: number, length: 1 | 2 | 4): number {
    return readConfigSpace(this.#config, offset, length);
  }

  activate(context: ActivateContext): void {
    this.#context = context;
  }

  notify(queueIndex: number): void {
    const context = this.#context;
    const queue = context?.queues[queueIndex];
    if (context === undefined || queue === undefined) return;
    if (this.#stale.size >= MAX_STALE) {
      this.#waiting.add(queueIndex);
      return;
    }
    let budget = queue.size;
    let bytes = 0;
    const end = now() + TIME_PER_TURN;
    do {
      queue.disableNotifications();
      for (let chain = queue.pop(); chain !== null; chain = queue.pop()) {
        bytes += chain.readableBytes + chain.writableBytes;
        this.#accept(context, queueIndex, queue, chain);
        if (--budget === 0 || bytes >= BYTES_PER_TURN || now() >= end) {
          budget = 0;
          break;
        }
      }
      if (budget === 0) {
        context.renotify(queueIndex);
        break;
      }
    } while (queue.enableNotifications());
    if (queue.needsInterrupt()) context.interrupt.queue(queueIndex);
  }

  reset(): void {
    this.#context = undefined;
    this.#waiting.clear();
    this.#cancel();
    this.#server.end();
  }

  queueReset(queueIndex: number): void {
    this.#cancel(queueIndex);
  }

  /** Resolves when every request that was taken is answered. */
  async pause(): Promise<void> {
    if (this.#inFlight === 0) return;
    await new Promise<void>((resolve) => this.#whenIdle.push(resolve));
  }

  save(): VirtioFsState {
    const { handler } = this;
    return {
      version: 1,
      tag: this.tag,
      session: this.#server.save(),
      ...(handler.save === undefined ? {} : { handler: handler.save() }),
    };
  }

  restore(state: unknown): void {
    const reader = new StateReader('fs device state', state);
    reader.version(1);
    const tag = reader.unknown('tag');
    if (tag !== this.tag) {
      throw new VirtioDeviceError(
        'INVALID_STATE',
        `the guest was saved with the tag ${JSON.stringify(tag)}, and this is ${JSON.stringify(this.tag)}`,
      );
    }
    const session = restoreSession(reader.unknown('session'));
    const handler = reader.unknown('handler');
    if (handler !== undefined) this.handler.restore?.(handler);
    this.#server.restore(session);
  }

  #accept(context: ActivateContext, queueIndex: number, queue: Queue, chain: DescriptorChain): void {
    const call = this.#spareCalls.pop() ?? new FuseCall();
    call.queueIndex = queueIndex;
    const used = this.#server.start(call, chain);
    if (used === undefined) {
      context.interrupt.needsReset('a FUSE request without a whole header, or room for its answer (§5.11.6)');
    } else if (typeof used === 'number') {
      queue.addUsed(chain, used);
      this.#spareCalls.push(call);
    } else {
      this.#inFlight++;
      void used.then((bytes) => {
        if (!call.cancelled) {
          queue.addUsed(chain, bytes);
          if (queue.needsInterrupt()) context.interrupt.queue(queueIndex);
        }
        this.#spareCalls.push(call);
        this.#end(call);
      });
    }
  }

  #cancel(queueIndex?: number): void {
    for (const call of this.#server.busy) {
      if (queueIndex !== undefined && call.queueIndex !== queueIndex) continue;
      call.cancelled = true;
      this.#stale.add(call);
    }
  }

  #end(call: FuseCall): void {
    if (this.#stale.delete(call)) {
      for (const queueIndex of this.#waiting) this.#context?.renotify(queueIndex);
      this.#waiting.clear();
    }
    if (--this.#inFlight > 0) return;
    for (const resolve of this.#whenIdle.splice(0)) resolve();
  }
}

/** `struct virtio_fs_config`, VIRTIO 1.3 §5.11.4. */
function createConfig(tag: string, queues: number): Uint8Array {
  const name = encodeName(tag);
  if (name.length === 0 || name.length > VIRTIO_FS_TAG_BYTES || name.includes('\0')) {
    throw new VirtioDeviceError(
      'INVALID_OPTION',
      `tag ${JSON.stringify(tag)}: 1 to ${VIRTIO_FS_TAG_BYTES} bytes of UTF-8 without NUL`,
    );
  }
  const bytes = new Uint8Array(VIRTIO_FS_TAG_BYTES + 4);
  putString(name, bytes, 0);
  new DataView(bytes.buffer).setUint32(VIRTIO_FS_TAG_BYTES, queues, true);
  return bytes;
}
