import { brokenChains } from '@vmm/virtio-queue/mock';
import { pattern, ranges, TestDisk } from '../../test/block/test-disk.ts';
import { DRIVER_COMBINATIONS } from '../mock/index.ts';
import * as blk from './constants.ts';
import { MemoryBlockBackend } from './memory-backend.ts';

const SECTORS = 64;

describe.each([...DRIVER_COMBINATIONS, { ...DRIVER_COMBINATIONS[1]!, inOrder: true }])('with %o', (how) => {
  it('requests of every type are carried out', async () => {
    const backend = new MemoryBlockBackend(SECTORS * 512);
    const disk = new TestDisk(backend, how, { id: 'serial-7' });
    await disk.write(3, pattern(1024));
    expect(await disk.read(3, 2)).toEqual(pattern(1024));
    await disk.flush();
    const id = await disk.request(blk.VIRTIO_BLK_T_GET_ID, 0, undefined, 20);
    expect(new TextDecoder().decode(id.data)).toBe('serial-7' + '\0'.repeat(12));
    expect((await disk.request(blk.VIRTIO_BLK_T_WRITE_ZEROES, 0, ranges([4, 1, 0]))).status).toBe(0);
    expect(await disk.read(3, 2)).toEqual(
      Uint8Array.from([...pattern(1024).subarray(0, 512), ...new Uint8Array(512)]),
    );
    expect((await disk.request(blk.VIRTIO_BLK_T_DISCARD, 0, ranges([0, 8, 0]))).status).toBe(0);
    expect((await disk.request(99, 0)).status).toBe(blk.VIRTIO_BLK_S_UNSUPP);
    expect(disk.device.statistics).toMatchObject({ reads: 2, writes: 1, flushes: 1, discards: 2, errors: 1 });
  });

  it('a request beyond the disk is answered with IOERR, and the next one works', async () => {
    const disk = new TestDisk(new MemoryBlockBackend(SECTORS * 512), how);
    expect((await disk.request(blk.VIRTIO_BLK_T_OUT, SECTORS, pattern(512))).status).toBe(
      blk.VIRTIO_BLK_S_IOERR,
    );
    await disk.write(SECTORS - 1, pattern(512));
  });

  it('each queue has its own requests', async () => {
    const disk = new TestDisk(new MemoryBlockBackend(SECTORS * 512), how, { queues: 4 });
    for (let queue = 0; queue < 4; queue++)
      disk.add(blk.VIRTIO_BLK_T_OUT, queue, pattern(512, queue), 0, queue);
    for (let queue = 0; queue < 4; queue++) disk.kick(queue);
    for (let queue = 0; queue < 4; queue++) expect((await disk.answers(1, queue))[0]!.status).toBe(0);
    for (let queue = 0; queue < 4; queue++) expect(await disk.read(queue)).toEqual(pattern(512, queue));
  });

  it('a chain without room for a status puts the device into DEVICE_NEEDS_RESET, and a reset heals it', async () => {
    const disk = new TestDisk(new MemoryBlockBackend(SECTORS * 512), how);
    disk.driver.rings[0]!.add([{ readable: new Uint8Array(16) }]);
    disk.kick();
    expect(disk.driver.needsReset).toBe(true);
    disk.driver.start();
    await disk.write(0, pattern(512));
  });

  describe.each([true, false])('indirect descriptors: %s', (indirect) => {
    it.each(
      brokenChains({ packed: how.ring === 'packed', indirect }).filter(
        ({ code }) => code !== 'INDIRECT_NOT_NEGOTIATED',
      ),
    )('$name: DEVICE_NEEDS_RESET, nothing written, and a reset heals it', async ({ add }) => {
      const backend = new MemoryBlockBackend(SECTORS * 512);
      const disk = new TestDisk(backend, how);
      add(disk.driver.rings[0]!);
      disk.kick();
      expect(disk.driver.needsReset).toBe(true);
      expect(disk.driver.errors[0]!.code).toBe('DRIVER_FAULT');
      expect(backend.bytes.every((byte) => byte === 0)).toBe(true);
      disk.driver.start();
      await disk.write(0, pattern(512));
      expect(await disk.read(0)).toEqual(pattern(512));
    });
  });

  it('goes on with the saved state, at the same place of the ring', async () => {
    const backend = new MemoryBlockBackend(SECTORS * 512);
    const disk = new TestDisk(backend, how);
    await disk.write(0, pattern(512));
    await disk.driver.transport.pause();
    const state = structuredClone(disk.driver.transport.save());
    disk.driver.status = 0;
    disk.driver.transport.restore(state);
    disk.driver.transport.resume();
    expect(await disk.read(0)).toEqual(pattern(512));
  });
});

describe('the write cache, §5.2.4 and §5.2.6.2', () => {
  class CountingBackend extends MemoryBlockBackend {
    flushes = 0;
    override flush(): void {
      this.flushes++;
    }
  }
  const WRITEBACK = 32;

  it('is on at first, and with it off every write is flushed before it is answered', async () => {
    const backend = new CountingBackend(SECTORS * 512);
    const disk = new TestDisk(backend);
    expect(disk.driver.readConfig(WRITEBACK, 1)).toBe(1);
    await disk.write(0, pattern(512));
    expect(backend.flushes).toBe(0);
    disk.driver.writeConfig(WRITEBACK, 1, 0);
    expect(disk.driver.readConfig(WRITEBACK, 1)).toBe(0);
    await disk.write(0, pattern(512));
    expect(backend.flushes).toBe(1);
    disk.driver.writeConfig(WRITEBACK, 1, 1);
    await disk.write(0, pattern(512));
    expect(backend.flushes).toBe(1);
  });

  it('is on again after a reset', () => {
    const disk = new TestDisk(new CountingBackend(SECTORS * 512));
    disk.driver.writeConfig(WRITEBACK, 1, 0);
    disk.driver.start();
    expect(disk.driver.readConfig(WRITEBACK, 1)).toBe(1);
  });

  it('keeps its mode in a saved state', async () => {
    const backend = new CountingBackend(SECTORS * 512);
    const disk = new TestDisk(backend);
    disk.driver.writeConfig(WRITEBACK, 1, 0);
    const state = structuredClone(disk.device.save());
    disk.driver.writeConfig(WRITEBACK, 1, 1);
    disk.device.restore(state);
    expect(disk.driver.readConfig(WRITEBACK, 1)).toBe(0);
    await disk.write(0, pattern(512));
  });

  it('no other field of the configuration can be written', () => {
    const disk = new TestDisk(new CountingBackend(SECTORS * 512));
    const read = (): number[] => Array.from({ length: 60 }, (_, offset) => disk.driver.readConfig(offset, 1));
    const before = read();
    for (let offset = 0; offset < 60; offset += 1) {
      if (offset !== WRITEBACK) disk.driver.writeConfig(offset, 1, 0x5a);
    }
    disk.driver.writeConfig(0, 4, 1);
    expect(read()).toEqual(before);
  });
});

describe('topology, §5.2.4', () => {
  const fields = (disk: TestDisk): number[] => [
    disk.driver.readConfig(24, 1),
    disk.driver.readConfig(25, 1),
    disk.driver.readConfig(26, 2),
    disk.driver.readConfig(28, 4),
  ];

  it('says physical blocks of 4 KiB unless told otherwise', () => {
    expect(fields(new TestDisk(new MemoryBlockBackend(SECTORS * 512)))).toEqual([3, 0, 8, 0]);
  });

  it('is what the options say, in logical blocks', () => {
    const disk = new TestDisk(
      new MemoryBlockBackend(SECTORS * 512),
      {},
      {
        blockSize: 1024,
        topology: {
          physicalBlockSize: 8192,
          alignmentOffset: 2048,
          minimumIoSize: 16384,
          optimalIoSize: 65536,
        },
      },
    );
    expect(fields(disk)).toEqual([3, 2, 16, 64]);
  });

  it.each([
    { physicalBlockSize: 3072 },
    { physicalBlockSize: 512, minimumIoSize: 100 },
    { alignmentOffset: 4096 },
    { optimalIoSize: 1000 },
  ])('refuses %o', (topology) => {
    expect(() => new TestDisk(new MemoryBlockBackend(SECTORS * 512), {}, { topology })).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION' }),
    );
  });
});
