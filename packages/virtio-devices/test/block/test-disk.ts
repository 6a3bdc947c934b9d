import type { BlockBackend } from '../../src/block/backend.ts';
import { VirtioBlock, type VirtioBlockOptions } from '../../src/block/block.ts';
import * as blk from '../../src/block/constants.ts';
import { startDriver, type CreateDriverOptions, type MockVirtioDriver } from '../../src/mock/index.ts';

export interface Answer {
  /** -1: the driver may not rely on it, because the used length does not reach it. */
  readonly status: number;
  readonly data: Uint8Array;
  readonly length: number;
}

/** A block device and a mock driver in front of it. */
export class TestDisk {
  readonly device: VirtioBlock;
  readonly driver: MockVirtioDriver;
  readonly errors: string[] = [];
  /** Room for data of each request that is out, by queue and head. */
  readonly #rooms = new Map<string, number>();

  constructor(
    backend: BlockBackend,
    how: CreateDriverOptions = {},
    options: Partial<VirtioBlockOptions> = {},
  ) {
    this.device = new VirtioBlock({
      backend,
      onError: (error) => this.errors.push(error.message),
      ...options,
    });
    this.driver = startDriver(this.device, how);
  }

  /** Makes a request available without telling the device. */
  add(type: number, sector: number, out?: Uint8Array, room = 0, queue = 0): void {
    const head = this.driver.rings[queue]!.add([
      { readable: header(type, sector) },
      ...(out === undefined ? [] : [{ readable: out }]),
      { writable: room + 1 },
    ]);
    this.#rooms.set(`${queue} ${head}`, room);
  }

  kick(queue = 0): void {
    this.driver.kick(queue);
  }

  /** What the device has answered since the last call. */
  collect(queue = 0): Answer[] {
    return this.driver.rings[queue]!.collect().map(({ head, written, length }) => {
      const room = this.#rooms.get(`${queue} ${head}`)!;
      return {
        status: length === room + 1 ? written[room]! : -1,
        data: written.subarray(0, room),
        length,
      };
    });
  }

  /** One request from start to end, however long the backend takes. */
  async request(type: number, sector: number, out?: Uint8Array, room = 0, queue = 0): Promise<Answer> {
    this.add(type, sector, out, room, queue);
    this.kick(queue);
    return (await this.answers(1, queue))[0]!;
  }

  /** Waits for so many answers. */
  async answers(count: number, queue = 0): Promise<Answer[]> {
    const answers = this.collect(queue);
    while (answers.length < count) {
      await new Promise((resolve) => setImmediate(resolve));
      answers.push(...this.collect(queue));
    }
    return answers;
  }

  async read(sector: number, count = 1): Promise<Uint8Array> {
    const { status, data } = await this.request(blk.VIRTIO_BLK_T_IN, sector, undefined, count * 512);
    if (status !== blk.VIRTIO_BLK_S_OK) throw new Error(`read of sector ${sector}: status ${status}`);
    return data;
  }

  async write(sector: number, data: Uint8Array): Promise<void> {
    const { status } = await this.request(blk.VIRTIO_BLK_T_OUT, sector, data);
    if (status !== blk.VIRTIO_BLK_S_OK) throw new Error(`write of sector ${sector}: status ${status}`);
  }

  async flush(): Promise<void> {
    const { status } = await this.request(blk.VIRTIO_BLK_T_FLUSH, 0);
    if (status !== blk.VIRTIO_BLK_S_OK) throw new Error(`flush: status ${status}`);
  }
}

export function header(type: number, sector: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(16));
  view.setUint32(0, type, true);
  view.setBigUint64(8, BigInt(sector), true);
  return new Uint8Array(view.buffer);
}

/** The data of a DISCARD or WRITE_ZEROES request. */
export function ranges(
  ...list: readonly (readonly [sector: number, count: number, flags: number])[]
): Uint8Array {
  const view = new DataView(new ArrayBuffer(16 * list.length));
  list.forEach(([sector, count, flags], index) => {
    view.setBigUint64(index * 16, BigInt(sector), true);
    view.setUint32(index * 16 + 8, count, true);
    view.setUint32(index * 16 + 12, flags, true);
  });
  return new Uint8Array(view.buffer);
}

/** Bytes that are different from place to place. */
export function pattern(length: number, seed = 1): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (index * 7 + (index >> 8) * 13 + seed) & 0xff);
}
