import fc from 'fast-check';
import { AddressAllocator, IdAllocator } from './allocator.ts';
import type { AddressRange } from './allocator.ts';
import { VmDeviceError } from './errors.ts';
import type { VmDeviceErrorCode } from './errors.ts';

const withCode = (code: VmDeviceErrorCode): Error => expect.objectContaining({ code }) as Error;

describe('AddressAllocator', () => {
  it('gives the lowest address that fits, also in a gap', () => {
    const space = new AddressAllocator(0x1000, 0x4000);
    const first = space.allocate(0x1000);
    const second = space.allocate(0x1000);
    expect(space.allocate(0x1000).address).toBe(0x3000);
    space.free(first);
    space.free(second);
    expect(space.allocate(0x1800).address).toBe(0x1000);
    expect(space.allocate(0x1000).address).toBe(0x4000);
  });

  it('aligns addresses', () => {
    const space = new AddressAllocator(0x1004, 0x10000);
    expect(space.allocate(4, { alignment: 4 }).address).toBe(0x1004);
    expect(space.allocate(16, { alignment: 0x1000 }).address).toBe(0x2000);
    expect(space.allocate(4).address).toBe(0x1008);
  });

  it('says when nothing is left, and works again after a range was freed', () => {
    const space = new AddressAllocator(0, 0x2000);
    const low = space.allocate(0x1000);
    space.allocate(0x1000);
    expect(() => space.allocate(1)).toThrow(withCode('EXHAUSTED'));
    space.free(low);
    expect(space.allocate(0x1000)).toEqual(low);
  });

  it('gives a chosen address, refuses it while in use', () => {
    const space = new AddressAllocator(0x1000, 0x3000);
    expect(space.allocate(0x1000, { at: 0x2000 }).address).toBe(0x2000);
    for (const at of [0x2000, 0x1001, 0x2fff]) {
      expect(() => space.allocate(0x1000, { at })).toThrow(withCode('OVERLAP'));
    }
    expect(space.allocate(0x1000, { at: 0x1000 }).address).toBe(0x1000);
  });

  it.each([
    [0, {}],
    [1.5, {}],
    [1, { alignment: 3 }],
    [1, { alignment: 0 }],
    [1, { at: 0xfff }],
    [0x1001, { at: 0x1000 }],
    [4, { at: 0x1002, alignment: 4 }],
  ])('refuses size %p with %p', (size, options) => {
    const space = new AddressAllocator(0x1000, 0x1000);
    expect(() => space.allocate(size, options)).toThrow(withCode('INVALID_ARGUMENT'));
    expect(space.allocated).toEqual([]);
  });

  it('frees only what it gave out', () => {
    const space = new AddressAllocator(0, 0x1000);
    const range = space.allocate(0x100);
    expect(() => space.free({ address: 0, size: 0x80 })).toThrow(withCode('NOT_ALLOCATED'));
    space.free(range);
    expect(() => space.free(range)).toThrow(withCode('NOT_ALLOCATED'));
  });

  it('never gives out overlapping or misaligned ranges, and fails only when no gap fits', () => {
    const step = fc.oneof(
      fc.record({ size: fc.integer({ min: 1, max: 60 }), shift: fc.integer({ min: 0, max: 6 }) }),
      fc.record({ free: fc.nat(30) }),
    );
    fc.assert(
      fc.property(fc.nat(50), fc.array(step, { maxLength: 60 }), (base, steps) => {
        const space = new AddressAllocator(base, 256);
        const model: AddressRange[] = [];
        const isFree = (address: number, size: number): boolean =>
          model.every((range) => address + size <= range.address || range.address + range.size <= address);
        for (const action of steps) {
          if ('free' in action) {
            if (model.length === 0) continue;
            space.free(model.splice(action.free % model.length, 1)[0]!);
            continue;
          }
          const alignment = 2 ** action.shift;
          let lowest: number | undefined;
          for (let at = base; at + action.size <= base + 256 && lowest === undefined; at++) {
            if (at % alignment === 0 && isFree(at, action.size)) lowest = at;
          }
          if (lowest === undefined) {
            expect(() => space.allocate(action.size, { alignment })).toThrow(withCode('EXHAUSTED'));
          } else {
            const range = space.allocate(action.size, { alignment });
            expect(range).toEqual({ address: lowest, size: action.size });
            model.push(range);
          }
        }
        expect(space.allocated).toEqual([...model].sort((a, b) => a.address - b.address));
      }),
    );
  });
});

describe('IdAllocator', () => {
  it('gives the lowest free number and says when none is left', () => {
    const lines = new IdAllocator(32, 34);
    expect([lines.allocate(), lines.allocate(), lines.allocate()]).toEqual([32, 33, 34]);
    expect(() => lines.allocate()).toThrow(withCode('EXHAUSTED'));
    lines.free(33);
    expect(lines.allocate()).toBe(33);
    expect(lines.used).toBe(3);
  });

  it('gives a chosen number once', () => {
    const lines = new IdAllocator(0, 3);
    expect(lines.allocate(0)).toBe(0);
    expect(() => lines.allocate(0)).toThrow(withCode('OVERLAP'));
    expect(() => lines.allocate(4)).toThrow(withCode('INVALID_ARGUMENT'));
    expect(lines.allocate()).toBe(1);
  });

  it('refuses to free what is not in use', () => {
    expect(() => new IdAllocator(0, 3).free(0)).toThrow(withCode('NOT_ALLOCATED'));
  });

  it.each([
    [-1, 4],
    [4, 3],
    [0, 1.5],
  ])('refuses the range %p to %p', (first, last) => {
    expect(() => new IdAllocator(first, last)).toThrow(VmDeviceError);
  });

  it('agrees with a set for any sequence of calls', () => {
    const step = fc.oneof(fc.constant('next' as const), fc.nat(9), fc.record({ free: fc.nat(9) }));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const lines = new IdAllocator(2, 9);
        const model = new Set<number>();
        for (const action of steps) {
          if (action === 'next') {
            const free = [2, 3, 4, 5, 6, 7, 8, 9].find((id) => !model.has(id));
            if (free === undefined) expect(() => lines.allocate()).toThrow(withCode('EXHAUSTED'));
            else {
              expect(lines.allocate()).toBe(free);
              model.add(free);
            }
          } else if (typeof action === 'number') {
            if (action < 2 || model.has(action)) expect(() => lines.allocate(action)).toThrow(VmDeviceError);
            else model.add(lines.allocate(action));
          } else if (model.delete(action.free)) {
            lines.free(action.free);
          } else {
            expect(() => lines.free(action.free)).toThrow(withCode('NOT_ALLOCATED'));
          }
          expect(lines.used).toBe(model.size);
        }
      }),
    );
  });
});
