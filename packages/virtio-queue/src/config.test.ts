import { GuestMemory } from '@vmm/vm-memory';
import { BASE, codeOf, makePackedRig, makeRig, popChain } from '../test/support.ts';
import { createQueue, restoreQueue, type QueueConfig } from './index.ts';

const ROM = 0x9000_0000;

function activate(change: Partial<QueueConfig>) {
  const memory = new GuestMemory([
    { guestAddress: BASE, bytes: new Uint8Array(0x20_0000) },
    { guestAddress: ROM, bytes: new Uint8Array(0x1_0000), readOnly: true },
  ]);
  return codeOf(() =>
    createQueue(memory, {
      size: 16,
      descriptorArea: BASE,
      driverArea: BASE + 0x1000,
      deviceArea: BASE + 0x2000,
      eventIdx: true,
      indirect: true,
      ...change,
    }),
  );
}

describe('activation', () => {
  it('takes sizes that are powers of 2 up to 32768 (§2.7)', () => {
    for (let size = 1; size <= 32768; size *= 2) {
      expect(activate({ size, driverArea: BASE + 0x10_0000, deviceArea: BASE + 0x18_0000 })).toBeUndefined();
    }
    for (const size of [0, 3, 17, 65536, -1, 0.5, NaN, Infinity, 2 ** 32, 2 ** 32 + 1]) {
      expect(activate({ size })).toBe('INVALID_SIZE');
    }
  });

  it('wants the descriptor area aligned to 16, the driver area to 2 and the device area to 4 (§2.7)', () => {
    expect(activate({ descriptorArea: BASE + 8 })).toBe('AREA_MISALIGNED');
    expect(activate({ driverArea: BASE + 0x1001 })).toBe('AREA_MISALIGNED');
    expect(activate({ driverArea: BASE + 0x1002 })).toBeUndefined();
    expect(activate({ deviceArea: BASE + 0x2002 })).toBe('AREA_MISALIGNED');
    expect(activate({ deviceArea: BASE + 0x2004 })).toBeUndefined();
  });

  it('wants every area inside guest memory to its last byte', () => {
    const end = BASE + 0x20_0000;
    expect(activate({ descriptorArea: end - 16 * 16 })).toBeUndefined();
    expect(activate({ descriptorArea: end - 15 * 16 })).toBe('AREA_OUT_OF_RANGE');
    expect(activate({ driverArea: end - (6 + 2 * 16) })).toBeUndefined();
    expect(activate({ driverArea: end - (4 + 2 * 16) })).toBe('AREA_OUT_OF_RANGE');
    expect(activate({ deviceArea: end - (8 + 8 * 16) })).toBeUndefined();
    expect(activate({ deviceArea: end - (4 + 8 * 16) })).toBe('AREA_OUT_OF_RANGE');
    for (const bad of [0, BASE - 16, end, -16, NaN, Infinity, 0.5, 2 ** 53, 2 ** 64 - 2 ** 32]) {
      expect(activate({ descriptorArea: bad })).toBe('AREA_OUT_OF_RANGE');
      expect(activate({ driverArea: bad })).toBe('AREA_OUT_OF_RANGE');
      expect(activate({ deviceArea: bad })).toBe('AREA_OUT_OF_RANGE');
    }
  });

  it('does not let the used ring lie in read-only memory', () => {
    expect(activate({ deviceArea: ROM })).toBe('AREA_READ_ONLY');
    expect(activate({ descriptorArea: ROM, driverArea: ROM + 0x1000 })).toBeUndefined();
  });
});

describe('activation of a packed ring', () => {
  const packed = { packed: true, driverArea: BASE + 0x18_0000, deviceArea: BASE + 0x18_0004 };

  it('takes every size up to 32768 (§2.8, §2.8.10.1)', () => {
    for (const size of [1, 2, 3, 17, 1000, 32767, 32768])
      expect(activate({ ...packed, size })).toBeUndefined();
    for (const size of [0, 32769, 65536, -1, 0.5, NaN, Infinity]) {
      expect(activate({ ...packed, size })).toBe('INVALID_SIZE');
    }
  });

  it('wants the ring aligned to 16 and both event suppression structures to 4 (§2.8.10.1)', () => {
    expect(activate({ ...packed, descriptorArea: BASE + 8 })).toBe('AREA_MISALIGNED');
    expect(activate({ ...packed, driverArea: BASE + 0x1002 })).toBe('AREA_MISALIGNED');
    expect(activate({ ...packed, deviceArea: BASE + 0x2002 })).toBe('AREA_MISALIGNED');
    expect(activate({ ...packed, driverArea: BASE + 0x1004, deviceArea: BASE + 0x2004 })).toBeUndefined();
  });

  it('wants every area inside guest memory to its last byte', () => {
    const end = BASE + 0x20_0000;
    expect(activate({ ...packed, descriptorArea: end - 16 * 16 })).toBeUndefined();
    expect(activate({ ...packed, descriptorArea: end - 15 * 16 })).toBe('AREA_OUT_OF_RANGE');
    expect(activate({ ...packed, driverArea: end - 4, deviceArea: end - 4 })).toBeUndefined();
    for (const bad of [0, BASE - 4, end, -4, NaN, Infinity, 0.5, 2 ** 53]) {
      expect(activate({ ...packed, driverArea: bad })).toBe('AREA_OUT_OF_RANGE');
      expect(activate({ ...packed, deviceArea: bad })).toBe('AREA_OUT_OF_RANGE');
    }
  });

  it('wants the ring itself and the device area writable', () => {
    expect(activate({ ...packed, descriptorArea: ROM })).toBe('AREA_READ_ONLY');
    expect(activate({ ...packed, deviceArea: ROM })).toBe('AREA_READ_ONLY');
    expect(activate({ ...packed, driverArea: ROM })).toBeUndefined();
  });
});

describe('the saved state', () => {
  it('is plain and versioned', () => {
    const { driver, queue } = makeRig({ indirect: true });
    expect(queue.save()).toEqual({
      version: 1,
      format: 'split',
      config: driver.config,
      nextAvail: 0,
      nextUsed: 0,
    });
  });

  it('is refused while chains are out', () => {
    const { driver, queue } = makeRig();
    driver.send([{ readable: 'x' }]);
    const chain = popChain(queue);
    expect(codeOf(() => queue.save())).toBe('CHAINS_OUT');
    queue.undoPop(chain);
    expect(queue.save()).toMatchObject({ nextAvail: 0 });
    queue.addUsed(popChain(queue), 0);
    expect(queue.save()).toMatchObject({ nextAvail: 1, nextUsed: 1 });
  });

  it('does not follow later changes of the configuration object', () => {
    const { memory, driver } = makeRig();
    const config = { ...driver.config };
    const queue = createQueue(memory, config);
    config.size = 1;
    config.eventIdx = true;
    expect(queue.save().config).toEqual(driver.config);
  });

  it('is checked as if it came from an enemy', () => {
    const { memory, driver, queue } = makeRig();
    const good = queue.save();
    const restore = (state: unknown) => codeOf(() => restoreQueue(memory, state));
    expect(restore(good)).toBeUndefined();
    for (const bad of [undefined, null, 1, 'x', [], {}, { ...good, config: null }, { ...good, config: {} }]) {
      expect(restore(bad)).toBe('INVALID_STATE');
    }
    expect(restore({ ...good, version: 2 })).toBe('INVALID_STATE');
    expect(restore({ ...good, format: 'packed' })).toBe('INVALID_STATE');
    for (const index of [-1, 65536, 0.5, NaN, '0', null]) {
      expect(restore({ ...good, nextAvail: index, nextUsed: index })).toBe('INVALID_STATE');
    }
    expect(restore({ ...good, nextAvail: 1 })).toBe('INVALID_STATE');
    for (const field of ['size', 'descriptorArea', 'driverArea', 'deviceArea'] as const) {
      for (const value of [undefined, '16', -16, 0.5, 2 ** 53, {}]) {
        expect(restore({ ...good, config: { ...driver.config, [field]: value } })).toBe('INVALID_STATE');
      }
    }
    for (const field of ['eventIdx', 'indirect'] as const) {
      expect(restore({ ...good, config: { ...driver.config, [field]: 1 } })).toBe('INVALID_STATE');
    }
    expect(restore({ ...good, config: { ...driver.config, size: 15 } })).toBe('INVALID_SIZE');
    expect(restore({ ...good, config: { ...driver.config, deviceArea: BASE + 2 } })).toBe('AREA_MISALIGNED');
    expect(restore({ ...good, config: { ...driver.config, driverArea: 0 } })).toBe('AREA_OUT_OF_RANGE');
  });

  it('of a packed ring has the wrap counter beside the offset, and is checked as well', () => {
    const { memory, driver, queue } = makePackedRig({ size: 3, indirect: true });
    const good = queue.save();
    expect(good).toEqual({
      version: 1,
      format: 'packed',
      config: driver.config,
      nextAvail: 0x8000,
      nextUsed: 0x8000,
    });
    const restore = (state: unknown) => codeOf(() => restoreQueue(memory, state));
    const at = (position: unknown) => restore({ ...good, nextAvail: position, nextUsed: position });
    for (const position of [0, 2, 0x8000, 0x8002]) expect(at(position)).toBeUndefined();
    for (const position of [3, 0x7fff, 0x8003, 0xffff, 0x1_0000, -1, 0.5, '0', null]) {
      expect(at(position)).toBe('INVALID_STATE');
    }
    expect(restore({ ...good, format: 'split' })).toBe('INVALID_STATE');
    for (const field of ['packed', 'inOrder'] as const) {
      expect(restore({ ...good, config: { ...driver.config, [field]: 1 } })).toBe('INVALID_STATE');
    }
    expect(restore({ ...good, config: { ...driver.config, packed: false } })).toBe('INVALID_STATE');
    expect(restore({ ...good, config: { ...driver.config, size: 0 } })).toBe('INVALID_STATE');
    expect(restore({ ...good, config: { ...driver.config, driverArea: BASE + 2 } })).toBe('AREA_MISALIGNED');
  });

  it('of a time before packed rings is a split ring without IN_ORDER', () => {
    const { memory, driver } = makeRig();
    const config = { ...driver.config, packed: undefined, inOrder: undefined };
    const queue = restoreQueue(memory, { version: 1, format: 'split', config, nextAvail: 7, nextUsed: 7 });
    expect(queue.save()).toMatchObject({ format: 'split', config: { packed: false, inOrder: false } });
  });
});
