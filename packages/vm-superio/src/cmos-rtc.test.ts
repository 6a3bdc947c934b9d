import fc from 'fast-check';
import { CmosRtc } from './cmos-rtc.ts';

const A = 0x0a;
const B = 0x0b;
const C = 0x0c;
const D = 0x0d;
const UIP = 0x80;
const SET = 0x80;
const UIE = 0x10;
const BINARY = 0x04;
const HOURS_24 = 0x02;
const TIME = [0, 2, 4, 6, 7, 8, 9, 0x32] as const;

interface Rig {
  readonly rtc: CmosRtc;
  clock: { now: number };
  get(index: number): number;
  set(index: number, value: number): void;
  time(): number[];
}

function rig(iso = '2026-11-21T13:04:05Z', memory?: { below4G: number; above4G: number }): Rig {
  const clock = { now: Date.parse(iso) / 1000 };
  const rtc = new CmosRtc({ clock: () => clock.now, ...(memory === undefined ? {} : { memory }) });
  const get = (index: number): number => {
    rtc.write(0, 1, index);
    return rtc.read(1, 1);
  };
  return {
    rtc,
    clock,
    get,
    set: (index, value) => {
      rtc.write(0, 1, index);
      rtc.write(1, 1, value);
    },
    time: () => TIME.map(get),
  };
}

describe('MC146818 time', () => {
  it('tells the time of the clock in BCD, Sunday being day 1', () => {
    expect(rig().time()).toEqual([0x05, 0x04, 0x13, 7, 0x21, 0x11, 0x26, 0x20]);
  });

  it('tells it in binary and by twelve hours where register B says so', () => {
    const r = rig();
    r.set(B, BINARY | HOURS_24);
    expect(r.time()).toEqual([5, 4, 13, 7, 21, 11, 26, 20]);
    r.set(B, 0);
    expect(r.get(4)).toBe(0x81);
    for (const [iso, hour] of [
      ['2026-01-01T00:00:00Z', 0x12],
      ['2026-01-01T11:00:00Z', 0x11],
      ['2026-01-01T12:00:00Z', 0x92],
    ] as const) {
      r.clock.now = Date.parse(iso) / 1000;
      expect(r.get(4)).toBe(hour);
    }
  });

  it('goes with the clock', () => {
    const r = rig('1999-12-31T23:59:59Z');
    r.clock.now += 1;
    expect(r.time()).toEqual([0, 0, 0, 7, 1, 1, 0, 0x20]);
  });

  it('has the update in progress before the second changes, and only then', () => {
    const r = rig();
    expect(r.get(A)).toBe(0x26);
    r.clock.now += 0.999;
    expect(r.get(A)).toBe(0x26 | UIP);
    r.clock.now += 0.0015;
    expect([r.get(A), r.get(0)]).toEqual([0x26, 0x06]);
  });

  it('stands still under SET and goes on from what the guest has set', () => {
    const r = rig();
    r.set(B, SET | HOURS_24);
    r.clock.now += 10;
    expect(r.get(0)).toBe(0x05);
    expect(r.get(A) & UIP).toBe(0);
    for (const [index, value] of [
      [0, 0x30],
      [2, 0x59],
      [4, 0x23],
      [7, 0x28],
      [8, 0x02],
      [9, 0x28],
      [0x32, 0x20],
    ] as const) {
      r.set(index, value);
    }
    r.set(B, HOURS_24);
    expect(r.time()).toEqual([0x30, 0x59, 0x23, 2, 0x28, 0x02, 0x28, 0x20]);
    r.clock.now += 30;
    expect(r.time()).toEqual([0, 0, 0, 3, 0x29, 0x02, 0x28, 0x20]);
  });

  it('takes a register that is set without SET at once', () => {
    const r = rig();
    r.set(2, 0x40);
    expect(r.time()).toEqual([0x05, 0x40, 0x13, 7, 0x21, 0x11, 0x26, 0x20]);
  });

  it('reads back any time that is set, in every format', () => {
    fc.assert(
      fc.property(
        fc.date({
          min: new Date('1970-01-01T00:00:00Z'),
          max: new Date('2199-12-31T23:59:59Z'),
          noInvalidDate: true,
        }),
        fc.constantFrom(0, BINARY, HOURS_24, BINARY | HOURS_24),
        (date, format) => {
          const other = rig(date.toISOString());
          other.set(B, format);
          const r = rig();
          r.set(B, SET | format);
          TIME.forEach((index) => r.set(index, other.get(index)));
          r.set(B, format);
          expect(r.time()).toEqual(other.time());
        },
      ),
    );
  });
});

describe('MC146818 registers', () => {
  it('has valid RAM that it keeps, and read-only registers C and D', () => {
    const r = rig();
    r.set(0x0f, 0x0a);
    r.set(C, 0xff);
    r.set(D, 0);
    expect([r.get(0x0f), r.get(C), r.get(D)]).toEqual([0x0a, 0, 0x80]);
  });

  it('ignores the NMI mask in the index, and tells the index', () => {
    const r = rig();
    r.rtc.write(0, 1, 0x8d);
    expect([r.rtc.read(0, 1), r.rtc.read(1, 1), r.rtc.read(0, 2)]).toEqual([0x0d, 0x80, 0x800d]);
  });

  it('flags each second that has passed once, with IRQF if the guest asked for interrupts', () => {
    const r = rig();
    expect(r.get(C)).toBe(0);
    r.clock.now += 3;
    expect([r.get(C), r.get(C)]).toEqual([0x10, 0]);
    r.set(B, HOURS_24 | UIE);
    r.clock.now += 1;
    expect(r.get(C)).toBe(0x90);
    r.rtc.reset();
    expect(r.get(B)).toBe(HOURS_24);
  });

  it.each([
    [512 * 2 ** 20, 0, [0x80, 0x02, 0xff, 0xff, 0x00, 0x1f, 0, 0, 0]],
    [8 * 2 ** 20, 0, [0x80, 0x02, 0x00, 0x1c, 0, 0, 0, 0, 0]],
    [3 * 2 ** 30, 5 * 2 ** 30, [0x80, 0x02, 0xff, 0xff, 0x00, 0xbf, 0x00, 0x40, 0x01]],
    [0, 0, [0, 0, 0, 0, 0, 0, 0, 0, 0]],
  ])('tells of %d bytes of memory below 4 GiB and %d above', (below4G, above4G, bytes) => {
    const r = rig(undefined, { below4G, above4G });
    expect([0x15, 0x16, 0x30, 0x31, 0x34, 0x35, 0x5b, 0x5c, 0x5d].map(r.get)).toEqual(bytes);
    expect([r.get(0x17), r.get(0x18)]).toEqual([r.get(0x30), r.get(0x31)]);
  });

  it.each([-1, 0.5, NaN])('refuses %d bytes of memory', (bytes) => {
    expect(() => rig(undefined, { below4G: bytes, above4G: 0 })).toThrow(
      expect.objectContaining({ name: 'VmSuperioError', code: 'INVALID_ARGUMENT' }),
    );
  });
});

describe('MC146818 under any accesses', () => {
  it('answers two digits of a century that has more', () => {
    const r = rig();
    r.set(0x32, 0xfa);
    expect(r.get(0x32)).toBe(0x00);
  });

  const access = fc.record({
    index: fc.oneof(fc.integer({ min: 0, max: 255 }), fc.constantFrom(...TIME, A, B, C)),
    value: fc.oneof(fc.constant(undefined), fc.integer({ min: 0, max: 255 })),
    seconds: fc.integer({ min: 0, max: 100_000 }),
  });

  function apply(r: Rig, one: typeof access extends fc.Arbitrary<infer T> ? T : never): number {
    r.clock.now += one.seconds;
    if (one.value !== undefined) r.set(one.index, one.value);
    return r.get(one.index);
  }

  it('answers bytes, and goes on from a saved state as the original does', () => {
    fc.assert(
      fc.property(fc.array(access), fc.array(access), (before, after) => {
        const original = rig();
        for (const one of before) {
          const value = apply(original, one);
          expect(Number.isInteger(value) && value >= 0 && value < 256).toBe(true);
        }
        const copy = rig();
        copy.clock.now = original.clock.now;
        const state = structuredClone(original.rtc.save());
        copy.rtc.restore(state);
        expect(copy.rtc.save()).toEqual(state);
        for (const one of after) expect(apply(copy, one)).toBe(apply(original, one));
      }),
    );
  });

  it('refuses a broken state as a whole', () => {
    const r = rig();
    r.set(0x40, 7);
    const state = r.rtc.save();
    const broken: [string, unknown][] = [
      ['version', 0],
      ['index', 128],
      ['ram', new Uint8Array(127)],
      ['ram', new Uint8Array(129)],
      ['ram', undefined],
      ['offset', 0.5],
      ['offset', 1e13],
      ['lastUpdate', NaN],
    ];
    for (const [field, value] of broken) {
      expect(() => r.rtc.restore({ ...state, [field]: value })).toThrow(
        expect.objectContaining({ code: 'INVALID_STATE' }),
      );
      expect(r.rtc.save()).toEqual(state);
    }
  });
});
