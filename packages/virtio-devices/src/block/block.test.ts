import { FeatureSet } from '../features.ts';
import { MockMmioDriver } from '../mock/index.ts';
import type { MockMmioDriverOptions } from '../mock/index.ts';
import type { BlockBackend } from './backend.ts';
import type { BlockBatch } from './batch.ts';
import { VirtioBlock } from './block.ts';
import type { VirtioBlockOptions } from './block.ts';
import * as blk from './constants.ts';
import { MemoryBlockBackend } from './memory-backend.ts';

const SECTORS = 64;

/** An asynchronous disk that works when the test says so. */
class SlowBackend implements BlockBackend {
  readonly readOnly = false;
  readonly sizeBytes = SECTORS * 512;
  readonly description = 'slow';
  readonly log: string[] = [];
  readonly memory = new MemoryBlockBackend(SECTORS * 512);
  readonly #waiting: {
    readonly run: () => void;
    readonly resolve: () => void;
    readonly reject: (error: Error) => void;
  }[] = [];

  submit(batch: BlockBatch): Promise<void> {
    return this.#later(`submit ${batch.count}`, () => {
      if (batch.cancelled) this.log.push('cancelled');
      else this.memory.submit(batch);
    });
  }

  flush(): Promise<void> {
    return this.#later('flush', () => undefined);
  }

  close(): void {
    this.log.push('close');
  }

  /** Finishes the oldest call. */
  async finish(error?: Error): Promise<void> {
    const { run, resolve, reject } = this.#waiting.shift()!;
    if (error === undefined) {
      run();
      resolve();
    } else {
      reject(error);
    }
    for (let i = 0; i < 6; i++) await Promise.resolve();
  }

  #later(what: string, run: () => void): Promise<void> {
    this.log.push(what);
    return new Promise((resolve, reject) => this.#waiting.push({ run, resolve, reject }));
  }
}

class Disk {
  readonly device: VirtioBlock;
  readonly driver: MockMmioDriver;
  readonly errors: string[] = [];

  constructor(
    backend: BlockBackend = new MemoryBlockBackend(SECTORS * 512),
    options: Partial<VirtioBlockOptions> = {},
    driverOptions: MockMmioDriverOptions = {},
  ) {
    this.device = new VirtioBlock({
      backend,
      onError: (error) => this.errors.push(error.message),
      ...options,
    });
    this.driver = new MockMmioDriver(this.device, driverOptions).start();
  }

  add(type: number, sector: number, out: Uint8Array | undefined, room: number, queue = 0): void {
    this.driver.rings[queue]!.add([
      { readable: header(type, sector) },
      ...(out === undefined ? [] : [{ readable: out }]),
      { writable: room + 1 },
    ]);
  }

  /** One request; answers its status (-1: the driver may not rely on it), data and used length. */
  request(
    type: number,
    sector: number,
    out?: Uint8Array,
    room = 0,
  ): { status: number; data: Uint8Array; length: number } {
    this.add(type, sector, out, room);
    this.driver.kick(0);
    return this.collect(room)[0]!;
  }

  collect(room: number, queue = 0): { status: number; data: Uint8Array; length: number }[] {
    const ring = this.driver.rings[queue]!;
    return ring.collect().map(({ written, length }) => ({
      status: length === room + 1 ? written[room]! : -1,
      data: written.subarray(0, room),
      length,
    }));
  }
}

function header(type: number, sector: number | bigint): Uint8Array {
  const view = new DataView(new ArrayBuffer(16));
  view.setUint32(0, type, true);
  view.setBigUint64(8, BigInt(sector), true);
  return new Uint8Array(view.buffer);
}

function ranges(...list: readonly (readonly [sector: number, count: number, flags: number])[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(16 * list.length));
  list.forEach(([sector, count, flags], index) => {
    view.setBigUint64(index * 16, BigInt(sector), true);
    view.setUint32(index * 16 + 8, count, true);
    view.setUint32(index * 16 + 12, flags, true);
  });
  return new Uint8Array(view.buffer);
}

const pattern = (length: number, seed = 1): Uint8Array =>
  Uint8Array.from({ length }, (_, index) => (index * 7 + seed) & 0xff);

describe('reading and writing, VIRTIO 1.3 §5.2.6', () => {
  it('brings back what was written, sector by sector', () => {
    const disk = new Disk();
    expect(disk.request(blk.VIRTIO_BLK_T_OUT, 3, pattern(1024)).status).toBe(blk.VIRTIO_BLK_S_OK);
    const read = disk.request(blk.VIRTIO_BLK_T_IN, 2, undefined, 2048);
    expect(read.status).toBe(blk.VIRTIO_BLK_S_OK);
    expect(read.length).toBe(2049);
    expect(read.data).toEqual(
      Uint8Array.from([
        ...new Array<number>(512).fill(0),
        ...pattern(1024),
        ...new Array<number>(512).fill(0),
      ]),
    );
    expect(disk.device.statistics).toMatchObject({
      reads: 1,
      readBytes: 2048,
      writes: 1,
      writtenBytes: 1024,
    });
  });

  it('takes any split of a request into descriptors (§2.7.4.1)', () => {
    const backend = new MemoryBlockBackend(SECTORS * 512);
    const disk = new Disk(backend);
    const ring = disk.driver.rings[0]!;
    const out = Uint8Array.from([...header(blk.VIRTIO_BLK_T_OUT, 1), ...pattern(512)]);
    ring.add([
      { readable: out.subarray(0, 3) },
      { readable: out.subarray(3, 9) },
      { readable: out.subarray(9, 100) },
      { readable: out.subarray(100) },
      { writable: 1 },
    ]);
    const data = header(blk.VIRTIO_BLK_T_IN, 1);
    ring.add([{ readable: data }, { writable: 1 }, { writable: 500 }, { writable: 12 }], 'indirect');
    disk.driver.kick(0);
    const [write, read] = ring.collect();
    expect(write!.written).toEqual(Uint8Array.of(0));
    expect(backend.bytes.subarray(512, 1024)).toEqual(pattern(512));
    expect(read!.written).toEqual(Uint8Array.from([...pattern(512), 0]));
  });

  it('takes an empty read or write', () => {
    const disk = new Disk();
    expect(disk.request(blk.VIRTIO_BLK_T_IN, 0).status).toBe(blk.VIRTIO_BLK_S_OK);
    expect(disk.request(blk.VIRTIO_BLK_T_OUT, SECTORS).status).toBe(blk.VIRTIO_BLK_S_OK);
  });

  it.each([
    ['a read at the end', blk.VIRTIO_BLK_T_IN, SECTORS, undefined, 512],
    ['a read across the end', blk.VIRTIO_BLK_T_IN, SECTORS - 1, undefined, 1024],
    ['a read of half a sector', blk.VIRTIO_BLK_T_IN, 0, undefined, 100],
    ['a write at the end', blk.VIRTIO_BLK_T_OUT, SECTORS, 512, 0],
    ['a write across the end', blk.VIRTIO_BLK_T_OUT, SECTORS - 1, 1024, 0],
    ['a write of half a sector', blk.VIRTIO_BLK_T_OUT, 0, 700, 0],
  ])('answers %s with IOERR and touches nothing', (_what, type, sector, out, room) => {
    const backend = new MemoryBlockBackend(SECTORS * 512);
    const disk = new Disk(backend);
    disk.driver.rings[0]!.add([
      { readable: header(type, sector) },
      ...(out === undefined ? [] : [{ readable: pattern(out) }]),
      ...(room === 0 ? [] : [{ writable: room }]),
      { writable: 1 },
    ]);
    const status = disk.driver.rings[0]!.readDescriptor(room === 0 && out === undefined ? 1 : 2).address;
    disk.driver.memory.writeUint8(Number(status), 0xff);
    disk.driver.kick(0);
    const [used] = disk.driver.rings[0]!.collect();
    expect(disk.driver.memory.readUint8(Number(status))).toBe(blk.VIRTIO_BLK_S_IOERR);
    // The used length may not cover data that was not written (§2.7.8.2).
    expect(used!.length).toBe(room === 0 ? 1 : 0);
    expect(backend.bytes.every((byte) => byte === 0)).toBe(true);
    expect(disk.device.statistics.errors).toBe(1);
  });

  it('answers a request of more than SEG_MAX times SIZE_MAX bytes with IOERR', () => {
    const disk = new Disk(new MemoryBlockBackend(1024 * 1024), { queueSize: 4 }, { queueSize: 4 });
    const limit = disk.driver.read(0x108) * disk.driver.read(0x10c);
    expect(limit).toBe(128 * 1024);
    expect(disk.request(blk.VIRTIO_BLK_T_OUT, 0, new Uint8Array(limit)).status).toBe(blk.VIRTIO_BLK_S_OK);
    expect(disk.request(blk.VIRTIO_BLK_T_OUT, 0, new Uint8Array(limit + 512)).status).toBe(
      blk.VIRTIO_BLK_S_IOERR,
    );
  });

  it('hands a backend segments without the header, joined where they touch, none of them empty', () => {
    const backend = new MemoryBlockBackend(SECTORS * 512);
    const segments: [address: number, size: number][] = [];
    const submit = backend.submit.bind(backend);
    backend.submit = (batch): void => {
      for (let at = batch.firstSegment(0); at < batch.endSegment(0); at++) {
        segments.push([batch.segmentAddress(at), batch.segmentSize(at)]);
        expect(batch.segmentOffset(at)).toBe(batch.segmentAddress(at) - 0x8000_0000);
        expect(batch.segmentBytes(at)).toBe(disk.driver.memory.regions[0]!.bytes);
      }
      submit(batch);
    };
    const disk = new Disk(backend);
    const base = 0x8000_0000 + 0x10_0000;
    disk.driver.memory.write(base, header(blk.VIRTIO_BLK_T_OUT, 0));
    const part = (offset: number, size: number): { address: number; size: number; isWritable: boolean } => ({
      address: base + offset,
      size,
      isWritable: false,
    });
    disk.driver.rings[0]!.add([
      part(0, 16),
      part(0x1000, 100),
      part(0x1064, 156),
      part(0x2000, 256),
      { writable: 1 },
    ]);
    disk.driver.kick(0);
    expect(segments).toEqual([
      [base + 0x1000, 256],
      [base + 0x2000, 256],
    ]);
  });

  it('answers a sector number beyond 2^53 with IOERR', () => {
    const disk = new Disk();
    const ring = disk.driver.rings[0]!;
    ring.add([
      { readable: header(blk.VIRTIO_BLK_T_OUT, 2n ** 64n - 1n) },
      { readable: pattern(512) },
      { writable: 1 },
    ]);
    disk.driver.kick(0);
    expect(ring.collect()[0]!.written).toEqual(Uint8Array.of(blk.VIRTIO_BLK_S_IOERR));
  });

  it('answers unknown requests with UNSUPP', () => {
    const disk = new Disk();
    for (const type of [2, 5, 10, 14, 0xffff_ffff]) {
      expect(disk.request(type, 0).status).toBe(blk.VIRTIO_BLK_S_UNSUPP);
    }
  });

  it('answers a request without a whole header with IOERR', () => {
    const disk = new Disk();
    disk.driver.rings[0]!.add([{ readable: new Uint8Array(15) }, { writable: 1 }]);
    disk.driver.kick(0);
    expect(disk.driver.rings[0]!.collect()[0]!.written).toEqual(Uint8Array.of(blk.VIRTIO_BLK_S_IOERR));
  });

  it('needs a reset after a request without room for a status, and works again then', () => {
    const disk = new Disk();
    disk.driver.rings[0]!.add([{ readable: header(blk.VIRTIO_BLK_T_OUT, 0) }]);
    disk.driver.kick(0);
    expect(disk.driver.needsReset).toBe(true);
    expect(disk.driver.errors[0]!.message).toContain('without room for its status');
    disk.driver.start();
    expect(disk.request(blk.VIRTIO_BLK_T_IN, 0, undefined, 512).status).toBe(0);
  });

  it('gives its identifier, padded with zeroes', () => {
    const disk = new Disk(undefined, { id: 'disk-0' });
    const { status, data } = disk.request(blk.VIRTIO_BLK_T_GET_ID, 0, undefined, 20);
    expect(status).toBe(0);
    expect(new TextDecoder().decode(data)).toBe('disk-0' + '\0'.repeat(14));
  });

  it('answers many requests of one notification with one interrupt', () => {
    const disk = new Disk();
    for (let sector = 0; sector < 5; sector++) disk.add(blk.VIRTIO_BLK_T_IN, sector, undefined, 512);
    disk.driver.kick(0);
    expect(disk.collect(512).map(({ status }) => status)).toEqual([0, 0, 0, 0, 0]);
    expect(disk.driver.interrupt.take()).toBe(1);
  });

  it('works on several queues', () => {
    const disk = new Disk(undefined, { queues: 3 });
    expect(disk.driver.transport.read(0x122, 2)).toBe(3);
    disk.add(blk.VIRTIO_BLK_T_IN, 0, undefined, 512, 2);
    disk.driver.kick(2);
    expect(disk.collect(512, 2)[0]!.status).toBe(0);
  });
});

describe('a read-only disk', () => {
  it('says so, and answers writes with IOERR', () => {
    const disk = new Disk(new MemoryBlockBackend(SECTORS * 512, { readOnly: true }));
    const features = disk.driver.readFeatures();
    expect([features.has(blk.VIRTIO_BLK_F_RO), features.has(blk.VIRTIO_BLK_F_DISCARD)]).toEqual([
      true,
      false,
    ]);
    expect(disk.request(blk.VIRTIO_BLK_T_OUT, 0, pattern(512)).status).toBe(blk.VIRTIO_BLK_S_IOERR);
    expect(disk.request(blk.VIRTIO_BLK_T_WRITE_ZEROES, 0, ranges([0, 1, 0])).status).toBe(
      blk.VIRTIO_BLK_S_UNSUPP,
    );
    expect(disk.request(blk.VIRTIO_BLK_T_IN, 0, undefined, 512).status).toBe(0);
  });

  it('is made of a writable backend by an option', () => {
    const disk = new Disk(undefined, { readOnly: true });
    expect(disk.request(blk.VIRTIO_BLK_T_OUT, 0, pattern(512)).status).toBe(blk.VIRTIO_BLK_S_IOERR);
  });
});

describe('DISCARD and WRITE_ZEROES, §5.2.6', () => {
  const run = async (
    type: number,
    data: Uint8Array,
  ): Promise<{ status: number; backend: MemoryBlockBackend }> => {
    const backend = new MemoryBlockBackend(new Uint8Array(SECTORS * 512).fill(0xaa));
    const disk = new Disk(backend);
    disk.add(type, 0, data, 0);
    disk.driver.kick(0);
    for (let i = 0; i < 20; i++) await Promise.resolve();
    return { status: disk.collect(0)[0]!.status, backend };
  };

  it('clear the ranges', async () => {
    const { status, backend } = await run(blk.VIRTIO_BLK_T_WRITE_ZEROES, ranges([1, 1, 0], [3, 2, 1]));
    expect(status).toBe(0);
    const cleared = Array.from({ length: 6 }, (_, sector) => backend.bytes[sector * 512] === 0);
    expect(cleared).toEqual([false, true, false, true, true, false]);
    expect((await run(blk.VIRTIO_BLK_T_DISCARD, ranges([0, SECTORS, 0]))).status).toBe(0);
  });

  it.each([
    ['a discard with the unmap flag', blk.VIRTIO_BLK_T_DISCARD, ranges([0, 1, 1]), blk.VIRTIO_BLK_S_UNSUPP],
    ['reserved flags', blk.VIRTIO_BLK_T_WRITE_ZEROES, ranges([0, 1, 2]), blk.VIRTIO_BLK_S_UNSUPP],
    ['a range across the end', blk.VIRTIO_BLK_T_DISCARD, ranges([0, SECTORS + 1, 0]), blk.VIRTIO_BLK_S_IOERR],
    [
      'a second range beyond the end',
      blk.VIRTIO_BLK_T_DISCARD,
      ranges([0, 1, 0], [SECTORS, 1, 0]),
      blk.VIRTIO_BLK_S_IOERR,
    ],
    ['no range', blk.VIRTIO_BLK_T_DISCARD, new Uint8Array(0), blk.VIRTIO_BLK_S_IOERR],
    ['a torn range', blk.VIRTIO_BLK_T_DISCARD, new Uint8Array(17), blk.VIRTIO_BLK_S_IOERR],
    ['too many ranges', blk.VIRTIO_BLK_T_DISCARD, new Uint8Array(16 * 17), blk.VIRTIO_BLK_S_IOERR],
  ])('refuse %s and change nothing', async (_what, type, data, expected) => {
    const { status, backend } = await run(type, data);
    expect(status).toBe(expected);
    expect(backend.bytes.every((byte) => byte === 0xaa)).toBe(true);
  });

  it('are unsupported when the driver did not take the feature', () => {
    const disk = new Disk(undefined, {}, { without: FeatureSet.of(blk.VIRTIO_BLK_F_DISCARD) });
    expect(disk.request(blk.VIRTIO_BLK_T_DISCARD, 0, ranges([0, 1, 0])).status).toBe(blk.VIRTIO_BLK_S_UNSUPP);
  });
});

describe('a backend that answers later', () => {
  it('gets all requests of a notification in one call, and the driver one interrupt at the end', async () => {
    const backend = new SlowBackend();
    const disk = new Disk(backend);
    for (let sector = 0; sector < 4; sector++) disk.add(blk.VIRTIO_BLK_T_IN, sector, undefined, 512);
    disk.driver.kick(0);
    expect(backend.log).toEqual(['submit 4']);
    expect(disk.collect(512)).toEqual([]);
    await backend.finish();
    expect(disk.collect(512).map(({ status }) => status)).toEqual([0, 0, 0, 0]);
    expect(disk.driver.interrupt.take()).toBe(1);
  });

  it('keeps the device taking requests meanwhile', async () => {
    const backend = new SlowBackend();
    const disk = new Disk(backend);
    disk.add(blk.VIRTIO_BLK_T_IN, 0, undefined, 512);
    disk.driver.kick(0);
    disk.add(blk.VIRTIO_BLK_T_IN, 1, undefined, 512);
    disk.driver.kick(0);
    expect(backend.log).toEqual(['submit 1', 'submit 1']);
    await backend.finish();
    await backend.finish();
    expect(disk.collect(512)).toHaveLength(2);
  });

  it('touches no memory that a reset gave back to the driver, and its answer is dropped', async () => {
    const backend = new SlowBackend();
    const disk = new Disk(backend);
    disk.add(blk.VIRTIO_BLK_T_IN, 0, undefined, 512);
    disk.driver.kick(0);
    disk.driver.start();
    disk.driver.interrupt.take();
    const memory = disk.driver.memory.regions[0]!.bytes;
    const before = memory.slice();
    await backend.finish();
    expect(backend.log).toContain('cancelled');
    expect(memory.every((byte, at) => byte === before[at])).toBe(true);
    expect(disk.driver.interrupt.take()).toBe(0);
  });

  it('fails requests by rejecting, and the host hears why', async () => {
    const backend = new SlowBackend();
    const disk = new Disk(backend);
    disk.add(blk.VIRTIO_BLK_T_OUT, 0, pattern(512), 0);
    disk.driver.kick(0);
    await backend.finish(new Error('no space left'));
    expect(disk.collect(0)[0]!.status).toBe(blk.VIRTIO_BLK_S_IOERR);
    expect(disk.errors).toEqual(['write on slow failed: no space left']);
  });

  it('holds pause() until nothing is in flight', async () => {
    const backend = new SlowBackend();
    const disk = new Disk(backend);
    disk.add(blk.VIRTIO_BLK_T_IN, 0, undefined, 512);
    disk.driver.kick(0);
    let paused = false;
    const pausing = disk.driver.transport.pause().then(() => (paused = true));
    await Promise.resolve();
    expect(paused).toBe(false);
    await backend.finish();
    await pausing;
    expect(disk.collect(512)).toHaveLength(1);
    expect(disk.driver.transport.save().core.queues[0]!.ring).toMatchObject({ nextAvail: 1 });
  });
});

describe('flush, §5.2.6.2', () => {
  it('is answered when the backend has flushed', async () => {
    const backend = new SlowBackend();
    const disk = new Disk(backend);
    disk.add(blk.VIRTIO_BLK_T_FLUSH, 0, undefined, 0);
    disk.driver.kick(0);
    expect(disk.collect(0)).toEqual([]);
    await backend.finish();
    expect(disk.collect(0)[0]!.status).toBe(0);
    expect(disk.driver.interrupt.take()).toBe(1);
  });

  it('that fails is IOERR', async () => {
    const backend = new SlowBackend();
    const disk = new Disk(backend);
    disk.add(blk.VIRTIO_BLK_T_FLUSH, 0, undefined, 0);
    disk.driver.kick(0);
    await backend.finish(new Error('EIO'));
    expect(disk.collect(0)[0]!.status).toBe(blk.VIRTIO_BLK_S_IOERR);
  });

  it('follows every write for a driver that did not take the feature, before the write is answered', async () => {
    const backend = new SlowBackend();
    const disk = new Disk(backend, {}, { without: FeatureSet.of(blk.VIRTIO_BLK_F_FLUSH) });
    disk.add(blk.VIRTIO_BLK_T_OUT, 0, pattern(512), 0);
    disk.driver.kick(0);
    await backend.finish();
    expect(backend.log).toEqual(['submit 1', 'flush']);
    expect(disk.collect(0)).toEqual([]);
    await backend.finish();
    expect(disk.collect(0)[0]!.status).toBe(0);
  });
});

describe('configuration space, §5.2.4', () => {
  it('describes the disk', () => {
    const { driver } = new Disk(new MemoryBlockBackend(64 * 4096), { blockSize: 4096, queueSize: 64 });
    expect([driver.read(0x100), driver.read(0x104)]).toEqual([64 * 8, 0]);
    expect([driver.read(0x108), driver.read(0x10c)]).toEqual([65536, 62]);
    expect(driver.read(0x114)).toBe(4096);
    expect(driver.transport.read(0x13c, 4)).toBe(0);
  });

  it('takes 1 MiB in pages that lie apart as one request', () => {
    const [sizeMax, segMax] = [0x108, 0x10c].map((offset) => new Disk().driver.read(offset));
    expect(sizeMax).toBeGreaterThanOrEqual(4096);
    // One more than there are pages: a buffer need not begin with one.
    expect(segMax).toBeGreaterThanOrEqual(257);
  });

  it.each<[string, Partial<VirtioBlockOptions>]>([
    ['an identifier of 21 characters', { id: 'x'.repeat(21) }],
    ['a block size that does not divide the disk', { backend: new MemoryBlockBackend(512), blockSize: 4096 }],
    ['a block size of 100', { blockSize: 100 }],
    ['no queue', { queues: 0 }],
    ['a queue of 2', { queueSize: 2 }],
  ])('refuses %s', (_what, options) => {
    expect(() => new VirtioBlock({ backend: new MemoryBlockBackend(8192), ...options })).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION' }) as Error,
    );
  });

  it.each([0, 100, -512, 1.5])('refuses a disk of %p bytes', (size) => {
    expect(() => new MemoryBlockBackend(size)).toThrow(
      expect.objectContaining({ code: 'INVALID_SIZE' }) as Error,
    );
  });
});

it('refuses to go on with a disk of another size', () => {
  const state = new VirtioBlock({ backend: new MemoryBlockBackend(1024) }).save();
  expect(() => new VirtioBlock({ backend: new MemoryBlockBackend(2048) }).restore(state)).toThrow(
    expect.objectContaining({ code: 'INVALID_STATE' }) as Error,
  );
  new VirtioBlock({ backend: new MemoryBlockBackend(1024) }).restore(structuredClone(state));
});
