import { VirtioDeviceError } from '../errors.ts';
import type { BlockBackend } from './backend.ts';
import { BlockBatch } from './batch.ts';
import { VIRTIO_BLK_SECTOR_SIZE } from './constants.ts';
import { MemoryOverlayStore, type OverlayStore } from './overlay-store.ts';
import { SectorBitmap } from './sector-bitmap.ts';
import { SharedFlush } from './shared-flush.ts';

export interface OverlayBlockBackendOptions {
  /** Where writes go. Default: memory. */
  readonly store?: OverlayStore;
}

/** The parts of one batch: a batch for the base, one for the store, and whose parts they are. */
interface Split {
  readonly base: BlockBatch;
  readonly baseSources: number[];
  readonly store: BlockBatch;
  readonly storeSources: number[];
}

/**
 * A copy-on-write disk: reads of sectors that were never written come from a base, which is never written to;
 * writes go to a store, sector by sector, so that nothing is copied from the base.
 *
 * After a flush everything that was written before it survives a crash, if the store is durable: a sector is
 * marked as written only when its data is.
 */
export class OverlayBlockBackend implements BlockBackend {
  readonly readOnly: boolean = false;
  readonly sizeBytes: number;
  readonly description: string;
  readonly discard?: (offset: number, length: number) => void | Promise<void>;
  readonly writeZeroes?: (offset: number, length: number) => void | Promise<void>;
  readonly #base: BlockBackend;
  readonly #store: OverlayStore;
  readonly #bitmap = new SectorBitmap();
  readonly #flush = new SharedFlush(() => this.#persist());
  readonly #spare: Split[] = [];

  /**
   * @param base this object's from now on: `close` closes it
   * @throws VirtioDeviceError `INVALID_SIZE` when base and store are of different size
   */
  constructor(base: BlockBackend, options: OverlayBlockBackendOptions = {}) {
    const store = options.store ?? new MemoryOverlayStore(base.sizeBytes);
    if (store.sizeBytes !== base.sizeBytes) {
      throw new VirtioDeviceError(
        'INVALID_SIZE',
        `the overlay ${store.description} is for a disk of ${store.sizeBytes} bytes, and ${base.description} has ${base.sizeBytes}`,
      );
    }
    this.#base = base;
    this.#store = store;
    this.sizeBytes = base.sizeBytes;
    this.description = `${base.description} with overlay in ${store.description}`;
    for (const page of store.load()) this.#bitmap.load(page);
    if (store.writeZeroes !== undefined) {
      this.writeZeroes = (offset, length) => this.#writeZeroes(offset, length);
      this.discard = this.writeZeroes;
    }
  }

  /** Bytes that come from the overlay. */
  get writtenBytes(): number {
    return this.#bitmap.count * VIRTIO_BLK_SECTOR_SIZE;
  }

  submit(batch: BlockBatch): void | Promise<void> {
    const split = this.#split(batch);
    const fromBase = split.base.count === 0 ? undefined : this.#base.submit(split.base);
    let fromStore: void | Promise<void> = undefined;
    try {
      fromStore = split.store.count === 0 ? undefined : this.#store.submit(split.store);
    } catch (cause) {
      split.store.failAll(cause);
    }
    if (fromBase === undefined && fromStore === undefined) {
      this.#finish(batch, split);
      return;
    }
    batch.onCancel = () => {
      split.base.cancel();
      split.store.cancel();
    };
    return this.#settle(batch, split, fromBase, fromStore);
  }

  flush(): void | Promise<void> {
    return this.#flush.run();
  }

  /** Stores what is written, and closes store and base. */
  async close(): Promise<void> {
    await this.#flush.run().catch(() => undefined);
    await this.#store.close();
    await this.#base.close();
  }

  #split(batch: BlockBatch): Split {
    const split = this.#spare.pop() ?? {
      base: new BlockBatch(),
      baseSources: [],
      store: new BlockBatch(),
      storeSources: [],
    };
    split.base.begin();
    split.store.begin();
    split.baseSources.length = 0;
    split.storeSources.length = 0;
    const { dataOffset } = this.#store;
    for (let transfer = 0; transfer < batch.count; transfer++) {
      const position = batch.position(transfer);
      const length = batch.length(transfer);
      if (batch.isWrite(transfer)) {
        split.store.addPart(batch, transfer, 0, length, dataOffset + position);
        split.storeSources.push(transfer);
        continue;
      }
      const end = (position + length) / VIRTIO_BLK_SECTOR_SIZE;
      for (let sector = position / VIRTIO_BLK_SECTOR_SIZE; sector < end;) {
        const written = this.#bitmap.has(sector);
        const stop = this.#bitmap.endOfRun(sector, end, written);
        const from = sector * VIRTIO_BLK_SECTOR_SIZE;
        const size = (stop - sector) * VIRTIO_BLK_SECTOR_SIZE;
        if (written) {
          split.store.addPart(batch, transfer, from - position, size, dataOffset + from);
          split.storeSources.push(transfer);
        } else {
          split.base.addPart(batch, transfer, from - position, size, from);
          split.baseSources.push(transfer);
        }
        sector = stop;
      }
    }
    return split;
  }

  async #settle(
    batch: BlockBatch,
    split: Split,
    fromBase: void | Promise<void>,
    fromStore: void | Promise<void>,
  ): Promise<void> {
    // Both have to come to their end: what was cancelled or failed may still be under way on the other side.
    await Promise.all([
      Promise.resolve(fromBase).catch((cause: unknown) => split.base.failAll(cause)),
      Promise.resolve(fromStore).catch((cause: unknown) => split.store.failAll(cause)),
    ]);
    this.#finish(batch, split);
  }

  #finish(batch: BlockBatch, split: Split): void {
    fail(batch, split.base, split.baseSources);
    fail(batch, split.store, split.storeSources);
    const { dataOffset } = this.#store;
    const { store } = split;
    for (let part = 0; part < store.count; part++) {
      if (!store.isWrite(part) || store.error(part) !== undefined) continue;
      this.#bitmap.set(
        (store.position(part) - dataOffset) / VIRTIO_BLK_SECTOR_SIZE,
        store.length(part) / VIRTIO_BLK_SECTOR_SIZE,
      );
    }
    this.#spare.push(split);
  }

  #writeZeroes(offset: number, length: number): void | Promise<void> {
    const mark = (): void =>
      this.#bitmap.set(offset / VIRTIO_BLK_SECTOR_SIZE, length / VIRTIO_BLK_SECTOR_SIZE);
    const done = this.#store.writeZeroes?.(offset, length);
    if (done === undefined) mark();
    else return done.then(mark);
  }

  async #persist(): Promise<void> {
    // Of writes that are done, so that their data is among what the store makes durable first.
    const pages = this.#bitmap.takeDirty();
    try {
      await this.#store.persist(pages);
    } catch (cause) {
      this.#bitmap.putBack(pages);
      throw cause;
    }
  }
}

function fail(batch: BlockBatch, parts: BlockBatch, sources: readonly number[]): void {
  for (let part = 0; part < parts.count; part++) {
    const error = parts.error(part);
    const source = sources[part];
    if (error !== undefined && source !== undefined) batch.fail(source, error);
  }
}
