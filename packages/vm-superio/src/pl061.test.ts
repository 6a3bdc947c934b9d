import fc from 'fast-check';
import { PL061_PINS, Pl061 } from './pl061.ts';

const DATA = 0x3fc;
const DIR = 0x400;
const IS = 0x404;
const IBE = 0x408;
const IEV = 0x40c;
const IE = 0x410;
const RIS = 0x414;
const MIS = 0x418;
const IC = 0x41c;
const AFSEL = 0x420;

function rig(): {
  gpio: Pl061;
  line: { level: boolean };
  read(offset: number): number;
  write(offset: number, value: number): void;
} {
  const line = { level: false };
  const gpio = new Pl061({ interrupt: { trigger: () => {}, setLevel: (high) => (line.level = high) } });
  return {
    gpio,
    line,
    read: (offset) => gpio.read(offset, 4),
    write: (offset, value) => gpio.write(offset, 4, value),
  };
}

describe('Pl061', () => {
  it('reads the pins that the address masks (DDI 0190B §3.3.1)', () => {
    const { gpio, read } = rig();
    gpio.setPin(0, true);
    gpio.setPin(7, true);
    expect([read(DATA), read(0x01 << 2), read(0x80 << 2), read(0x7e << 2)]).toEqual([0x81, 0x01, 0x80, 0]);
    gpio.setPin(0, false);
    expect(read(DATA)).toBe(0x80);
  });

  it('drives what it has as outputs, by mask, and never what is an input', () => {
    const { gpio, read, write } = rig();
    write(DIR, 0x0f);
    write(DATA, 0xff);
    expect(read(DATA)).toBe(0x0f);
    write(0x03 << 2, 0x02);
    expect(read(DATA)).toBe(0x0e);
    // Seen from outside an output is not driven.
    gpio.setPin(0, true);
    expect(read(DATA)).toBe(0x0e);
    write(DIR, 0);
    expect(read(DATA)).toBe(0x01);
  });

  it.each<[string, number, number, readonly number[]]>([
    ['the falling edge', 0, 0, [0, 0x04]],
    ['the rising edge', 0, 0x04, [0x04, 0]],
    ['both edges', 0x04, 0, [0x04, 0x04]],
  ])('latches %s until it is cleared', (_, ibe, iev, seen) => {
    const { gpio, line, read, write } = rig();
    write(IBE, ibe);
    write(IEV, iev);
    write(IE, 0x04);
    const after = [true, false].map((high) => {
      gpio.setPin(2, high);
      const status = read(RIS);
      expect([read(MIS), line.level]).toEqual([status, status !== 0]);
      write(IC, 0x04);
      expect([read(RIS), line.level]).toEqual([0, false]);
      return status;
    });
    expect(after).toEqual(seen);
  });

  it('keeps an edge that is masked, and raises its line when it is not any more', () => {
    const { gpio, line, read, write } = rig();
    write(IEV, 0xff);
    gpio.setPin(3, true);
    gpio.setPin(3, false);
    expect([read(RIS), read(MIS), line.level]).toEqual([0x08, 0, false]);
    write(IE, 0x08);
    expect([read(MIS), line.level]).toEqual([0x08, true]);
  });

  it('follows a level, which cannot be cleared', () => {
    const { gpio, line, read, write } = rig();
    write(IS, 0x02);
    write(IEV, 0x02);
    write(IE, 0x02);
    gpio.setPin(1, true);
    write(IC, 0xff);
    expect([read(MIS), line.level]).toEqual([0x02, true]);
    gpio.setPin(1, false);
    expect([read(MIS), line.level]).toEqual([0, false]);
    write(IEV, 0);
    expect(line.level).toBe(true);
  });

  it('says what it is (DDI 0190B §3.3.11, §3.3.12)', () => {
    const { read } = rig();
    const identification = Array.from({ length: 8 }, (_, index) => read(0xfe0 + 4 * index));
    expect(identification).toEqual([0x61, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1]);
  });

  it('takes bytes, and nothing at odd places', () => {
    const { gpio, read } = rig();
    gpio.write(DIR, 1, 0x1ff);
    expect(read(DIR)).toBe(0xff);
    gpio.write(DIR + 1, 1, 0);
    expect([read(DIR), gpio.read(DIR, 1), gpio.read(DIR + 1, 1), gpio.read(DIR + 2, 4)]).toEqual([
      0xff, 0xff, 0, 0,
    ]);
  });

  it('has its registers back at reset, and pins as they are', () => {
    const { gpio, line, read, write } = rig();
    for (const register of [IBE, IE, AFSEL]) write(register, 0xff);
    gpio.setPin(5, true);
    expect(line.level).toBe(true);
    gpio.reset();
    expect([line.level, read(DATA), read(IE), read(RIS), read(AFSEL)]).toEqual([false, 0x20, 0, 0, 0]);
  });

  it('goes on from a saved state, and refuses a broken one', () => {
    const { gpio, write } = rig();
    write(IEV, 0x01);
    write(IE, 0x01);
    gpio.setPin(0, true);
    const copy = rig();
    copy.gpio.restore(structuredClone(gpio.save()));
    expect([copy.line.level, copy.read(RIS), copy.read(DATA)]).toEqual([true, 1, 1]);
    const state = gpio.save();
    for (const field of Object.keys(state)) {
      for (const value of [-1, 0x100, 0.5, '1', undefined]) {
        const broken = { ...state, [field]: value };
        expect(() => copy.gpio.restore(broken)).toThrow(expect.objectContaining({ code: 'INVALID_STATE' }));
      }
    }
    expect(copy.gpio.save()).toEqual(state);
  });

  it('has eight pins', () => {
    for (const pin of [-1, PL061_PINS, 0.5, NaN]) {
      expect(() => rig().gpio.setPin(pin, true)).toThrow(
        expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
      );
    }
  });

  it('answers with bytes and keeps its line where the masked status is, whatever a guest does', () => {
    const access = fc.record({
      offset: fc.oneof(
        fc.integer({ min: 0, max: 0xfff }),
        fc.integer({ min: 0x100, max: 0x108 }).map((n) => 4 * n),
      ),
      length: fc.constantFrom(1 as const, 2 as const, 4 as const),
      value: fc.integer({ min: 0, max: 0xffff_ffff }),
      pin: fc.option(fc.integer({ min: 0, max: 7 })),
    });
    fc.assert(
      fc.property(fc.array(access, { maxLength: 60 }), (accesses) => {
        const { gpio, line } = rig();
        for (const { offset, length, value, pin } of accesses) {
          if (pin !== null) gpio.setPin(pin, (value & 1) !== 0);
          gpio.write(offset, length, value);
          const read = gpio.read(offset, length);
          expect(read >= 0 && read <= 0xff).toBe(true);
          expect(line.level).toBe(gpio.read(MIS, 4) !== 0);
        }
        const copy = rig();
        copy.gpio.restore(gpio.save());
        expect([copy.gpio.save(), copy.line.level]).toEqual([gpio.save(), line.level]);
      }),
    );
  });
});
