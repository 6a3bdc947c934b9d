import fc from 'fast-check';
import { GuestMemory, VmMemoryError } from './index.ts';

/** One entry for each byte of guest memory; what is not in the map is no memory. */
type Model = Map<number, { value: number; readOnly: boolean; dirty: boolean }>;

const BASE = 0x7fff_ff80;
const PAGE = 4096;

const regionsArbitrary = fc
  .array(
    fc.record({
      gap: fc.integer({ min: 0, max: 3 }),
      words: fc.integer({ min: 1, max: 6 }),
      readOnly: fc.boolean(),
      shared: fc.boolean(),
      tail: fc.nat(7),
    }),
    {
      minLength: 1,
      maxLength: 5,
    },
  )
  .map((parts) => {
    let next = BASE;
    return parts.map(({ gap, words, readOnly, shared, tail }) => {
      const guestAddress = next + gap * 8;
      // A tail that is no multiple of 8 leaves a gap before the next region.
      const size = words * 8 - (gap === 0 ? 0 : tail);
      next = guestAddress + words * 8;
      const buffer = shared ? new SharedArrayBuffer(size + 16) : new ArrayBuffer(size + 16);
      return { guestAddress, readOnly, bytes: new Uint8Array(buffer, 8, size) };
    });
  });

const address = fc.oneof(
  { weight: 20, arbitrary: fc.integer({ min: BASE - 8, max: BASE + 280 }) },
  { weight: 1, arbitrary: fc.constantFrom(-1, 0.5, NaN, 2 ** 53, BASE + 0.5) },
);
const length = fc.oneof(
  { weight: 20, arbitrary: fc.integer({ min: 0, max: 80 }) },
  { weight: 1, arbitrary: fc.constantFrom(-1, 0.5, NaN, 2 ** 53, Infinity) },
);
const data = fc.uint8Array({ maxLength: 80 });
const operation = fc.oneof(
  fc.record({ op: fc.constant('write' as const), address, data }),
  fc.record({ op: fc.constant('read' as const), address, size: fc.nat(80) }),
  fc.record({ op: fc.constant('fill' as const), address, length, value: fc.nat(255) }),
  fc.record({ op: fc.constant('slice' as const), address, length }),
  fc.record({ op: fc.constant('contains' as const), address, length }),
  fc.record({ op: fc.constant('iovecs' as const), address, length }),
  fc.record({
    op: fc.constant('scalar' as const),
    address,
    width: fc.constantFrom(1, 2, 4, 8),
    value: fc.maxSafeNat(),
  }),
);

function isRange(at: number, size: number): boolean {
  return (
    Number.isSafeInteger(at) && at >= 0 && Number.isSafeInteger(size) && size >= 0 && at + size < 2 ** 53
  );
}

function readNumber(memory: GuestMemory, at: number, width: number): number {
  switch (width) {
    case 1:
      return memory.readUint8(at);
    case 2:
      return memory.readUint16(at);
    case 4:
      return memory.readUint32(at);
    default:
      return memory.readUint64(at);
  }
}

function writeNumber(memory: GuestMemory, at: number, width: number, value: number): void {
  switch (width) {
    case 1:
      memory.writeUint8(at, value);
      break;
    case 2:
      memory.writeUint16(at, value);
      break;
    case 4:
      memory.writeUint32(at, value);
      break;
    default:
      memory.writeUint64(at, value);
  }
}

/** The result, or undefined when it threw a VmMemoryError. */
function attempt<T>(action: () => T): { readonly result: T } | undefined {
  try {
    return { result: action() };
  } catch (error) {
    if (error instanceof VmMemoryError) return undefined;
    throw error;
  }
}

describe('guest memory behaves like a map from addresses to bytes', () => {
  it('for any regions and any accesses', () => {
    fc.assert(
      fc.property(
        regionsArbitrary,
        fc.array(operation, { maxLength: 40 }),
        fc.boolean(),
        (regions, operations, track) => {
          const memory = new GuestMemory(regions);
          const model: Model = new Map();
          for (const { guestAddress, bytes, readOnly } of memory.regions) {
            bytes.fill(0);
            for (let i = 0; i < bytes.length; i++)
              model.set(guestAddress + i, { value: 0, readOnly, dirty: false });
          }
          if (track) memory.enableDirtyTracking();
          const has = (at: number, size: number) =>
            isRange(at, size) && Array.from({ length: size }, (_, i) => at + i).every((a) => model.has(a));
          const canWrite = (at: number, size: number) =>
            has(at, size) &&
            Array.from({ length: size }, (_, i) => at + i).every((a) => !model.get(a)!.readOnly);
          const put = (at: number, values: ArrayLike<number>) => {
            for (let i = 0; i < values.length; i++)
              Object.assign(model.get(at + i)!, { value: values[i], dirty: true });
          };
          const get = (at: number, size: number) =>
            Array.from({ length: size }, (_, i) => model.get(at + i)!.value);
          const regionOf = (at: number) =>
            memory.regions.findIndex((r) => at >= r.guestAddress && at < r.end);

          for (const step of operations) {
            const at = step.address;
            switch (step.op) {
              case 'write': {
                const done = attempt(() => memory.write(at, step.data));
                expect(done !== undefined).toBe(canWrite(at, step.data.length));
                if (done) put(at, step.data);
                break;
              }
              case 'read': {
                const target = new Uint8Array(step.size);
                const done = attempt(() => memory.read(at, target));
                expect(done !== undefined).toBe(has(at, step.size));
                if (done) expect([...target]).toEqual(get(at, step.size));
                break;
              }
              case 'fill': {
                const done = attempt(() => memory.fill(at, step.length, step.value));
                expect(done !== undefined).toBe(canWrite(at, step.length));
                if (done) put(at, new Uint8Array(step.length).fill(step.value));
                break;
              }
              case 'slice': {
                const done = attempt(() => memory.slice(at, step.length));
                const inOne = step.length === 0 || regionOf(at) === regionOf(at + step.length - 1);
                expect(done !== undefined).toBe(has(at, step.length) && inOne);
                if (done) expect([...done.result]).toEqual(get(at, step.length));
                break;
              }
              case 'contains':
                expect(memory.contains(at, step.length)).toBe(has(at, step.length));
                break;
              case 'iovecs': {
                const out = new Float64Array(64);
                const done = attempt(() => memory.iovecs(at, step.length, out));
                expect(done !== undefined).toBe(has(at, step.length));
                if (done) {
                  const parts = Array.from(
                    { length: done.result / 2 },
                    (_, i) => [out[2 * i]!, out[2 * i + 1]!] as const,
                  );
                  expect(
                    parts.flatMap(([start, size]) => Array.from({ length: size }, (_, i) => start + i)),
                  ).toEqual(Array.from({ length: step.length }, (_, i) => at + i));
                  for (const [start, size] of parts) expect(regionOf(start)).toBe(regionOf(start + size - 1));
                }
                break;
              }
              case 'scalar': {
                const value = step.width === 8 ? step.value : step.value % 2 ** (8 * step.width);
                const done = attempt(() => {
                  writeNumber(memory, at, step.width, step.value);
                });
                expect(done !== undefined).toBe(canWrite(at, step.width));
                if (!done) break;
                put(
                  at,
                  Array.from({ length: step.width }, (_, i) => Math.floor(value / 256 ** i) % 256),
                );
                expect(readNumber(memory, at, step.width)).toBe(value);
                break;
              }
            }
          }
          for (const { guestAddress, bytes } of memory.regions)
            expect([...bytes]).toEqual(get(guestAddress, bytes.length));
          if (!track) return;
          memory.takeDirty().forEach(({ guestAddress, pageCount, bits }, index) => {
            const region = memory.regions[index]!;
            for (let page = 0; page < pageCount; page++) {
              const start = guestAddress + page * PAGE;
              const expected = [...model].some(
                ([a, { dirty }]) =>
                  dirty && a >= start && a < start + PAGE && a >= region.guestAddress && a < region.end,
              );
              expect(((bits[page >>> 5]! >>> (page & 31)) & 1) === 1).toBe(expected);
            }
          });
        },
      ),
      { numRuns: 400 },
    );
  });
});
