import type { AbortSignalLike } from '../abort.ts';
import { checkOption, VirtioDeviceError } from '../errors.ts';
import type { BlockBackend } from './backend.ts';
import type { BlockBatch } from './batch.ts';
import { VIRTIO_BLK_SECTOR_SIZE } from './constants.ts';

/** The host's AbortSignal where its types are known, so that it can be handed on to `fetch` and the like. */
export type BlockSignal = typeof globalThis extends { AbortSignal: { prototype: infer Signal } }
  ? Signal
  : AbortSignalLike;

/**
 * A disk made of functions. Offsets and lengths are bytes, multiples of 512 and inside the disk. Several calls
 * run at a time; they may be for parts that overlap only if the guest asks for that.
 */
export interface BlockSource {
  /** A multiple of 512, fixed. */
  readonly sizeBytes: number;
  /** Where it is, for messages. Default 'a source'. */
  readonly description?: string;
  /** Most calls of `read` and `write` at a time, 1 to 1024. Default 16. */
  readonly concurrency?: number;

  /**
   * Answers exactly `length` bytes.
   *
   * @param signal aborted when nobody waits for the bytes any more
   */
  read(offset: number, length: number, signal: BlockSignal): Uint8Array | Promise<Uint8Array>;
  /** Absent: the disk is read-only. `bytes` are the source's to keep. */
  write?(offset: number, bytes: Uint8Array): void | Promise<void>;
  /** Makes every write that was done before durable. Absent: they are. */
  flush?(): void | Promise<void>;
  discard?(offset: number, length: number): void | Promise<void>;
  writeZeroes?(offset: number, length: number, unmap: boolean): void | Promise<void>;
  close?(): void | Promise<void>;
}

/**
 * A block backend over a source of one's own.
 *
 * @throws VirtioDeviceError `INVALID_SIZE`, `INVALID_OPTION`
 */
export function createBlockBackend(source: BlockSource): BlockBackend {
  return new AsyncBlockBackend(source);
}

/** What {@link createBlockBackend} makes. */
export class AsyncBlockBackend implements BlockBackend {
  readonly readOnly: boolean;
  readonly sizeBytes: number;
  readonly description: string;
  readonly discard?: (offset: number, length: number) => void | Promise<void>;
  readonly writeZeroes?: (offset: number, length: number, unmap: boolean) => void | Promise<void>;
  readonly #source: BlockSource;
  #free: number;
  readonly #waiting: (() => void)[] = [];
  #closed = false;

  /** @throws VirtioDeviceError `INVALID_SIZE`, `INVALID_OPTION` */
  constructor(source: BlockSource) {
    const { sizeBytes } = source;
    this.description = source.description ?? 'a source';
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0 || sizeBytes % VIRTIO_BLK_SECTOR_SIZE !== 0) {
      throw new VirtioDeviceError(
        'INVALID_SIZE',
        `${this.description} has ${sizeBytes} bytes: it must be a multiple of 512 above 0`,
      );
    }
    this.#source = source;
    this.#free = checkOption('concurrency', source.concurrency ?? 16, 1, 1024);
    this.sizeBytes = sizeBytes;
    this.readOnly = source.write === undefined;
    if (source.discard !== undefined) this.discard = (offset, length) => source.discard?.(offset, length);
    if (source.writeZeroes !== undefined) {
      this.writeZeroes = (offset, length, unmap) => source.writeZeroes?.(offset, length, unmap);
    }
  }

  async submit(batch: BlockBatch): Promise<void> {
    if (this.#closed) throw new VirtioDeviceError('WRONG_STATE', `${this.description} is closed`);
    const controller = createAbortController();
    batch.onCancel = () => controller.abort();
    const transfers: Promise<void>[] = [];
    for (let transfer = 0; transfer < batch.count; transfer++) {
      transfers.push(this.#transfer(batch, transfer, controller.signal));
    }
    await Promise.all(transfers);
  }

  flush(): void | Promise<void> {
    return this.#source.flush?.();
  }

  close(): void | Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    return this.#source.close?.();
  }

  /** Never rejects. */
  async #transfer(batch: BlockBatch, transfer: number, signal: BlockSignal): Promise<void> {
    const position = batch.position(transfer);
    const length = batch.length(transfer);
    // Before the first wait, because the memory is the guest's again once the batch is cancelled.
    const data = batch.isWrite(transfer) ? gather(batch, transfer, length) : undefined;
    await this.#enter();
    try {
      if (data !== undefined) await this.#source.write?.(position, data);
      else if (length > 0 && !batch.cancelled) {
        const bytes = await this.#source.read(position, length, signal);
        if (bytes.length !== length) {
          throw new VirtioDeviceError(
            'IO_ERROR',
            `${this.description} answered ${bytes.length} bytes instead of ${length} from ${position}`,
          );
        }
        scatter(batch, transfer, bytes);
      }
    } catch (cause) {
      batch.fail(transfer, cause);
    } finally {
      this.#leave();
    }
    batch.complete(transfer);
  }

  async #enter(): Promise<void> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  #leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free++;
    else next();
  }
}

function gather(batch: BlockBatch, transfer: number, length: number): Uint8Array {
  const data = new Uint8Array(length);
  const end = batch.endSegment(transfer);
  let at = 0;
  for (let segment = batch.firstSegment(transfer); segment < end; segment++) {
    const offset = batch.segmentOffset(segment);
    const size = batch.segmentSize(segment);
    data.set(batch.segmentBytes(segment).subarray(offset, offset + size), at);
    at += size;
  }
  return data;
}

function scatter(batch: BlockBatch, transfer: number, bytes: Uint8Array): void {
  if (batch.cancelled) return;
  const end = batch.endSegment(transfer);
  let at = 0;
  for (let segment = batch.firstSegment(transfer); segment < end; segment++) {
    const size = batch.segmentSize(segment);
    batch.segmentBytes(segment).set(bytes.subarray(at, at + size), batch.segmentOffset(segment));
    at += size;
  }
}

/** What hosts have and ECMAScript has not. */
interface HostAbort {
  readonly AbortController: new () => { readonly signal: BlockSignal; abort(): void };
}

function createAbortController(): { readonly signal: BlockSignal; abort(): void } {
  return new (globalThis as unknown as HostAbort).AbortController();
}
