import fc from 'fast-check';
import { Pl031, type Pl031State } from './pl031.ts';

const DR = 0x00;
const MR = 0x04;
const LR = 0x08;
const CR = 0x0c;
const IMSC = 0x10;
const RIS = 0x14;
const MIS = 0x18;
const ICR = 0x1c;
const START = 1_700_000_000.25;

interface Timer {
  at: number;
  callback: () => void;
}

/** A clock that a test moves, with its timers. */
class Clock {
  now = START;
  timers: Timer[] = [];
  armed = 0;

  readonly setTimer = (seconds: number, callback: () => void): Disposable => {
    const timer = { at: this.now + seconds, callback };
    this.timers.push(timer);
    this.armed++;
    return { [Symbol.dispose]: () => void (this.timers = this.timers.filter((t) => t !== timer)) };
  };

  advance(seconds: number): void {
    const end = this.now + seconds;
    for (;;) {
      const next = this.timers.reduce<Timer | undefined>(
        (a, b) => (a === undefined || b.at < a.at ? b : a),
        undefined,
      );
      if (next === undefined || next.at > end) break;
      this.timers = this.timers.filter((t) => t !== next);
      this.now = Math.max(this.now, next.at);
      next.callback();
    }
    this.now = end;
  }
}

function rig(clock = new Clock()): {
  clock: Clock;
  rtc: Pl031;
  line: { level: boolean };
  read(offset: number): number;
  write(offset: number, value: number): void;
} {
  const line = { level: false };
  const rtc = new Pl031({
    interrupt: { trigger: () => {}, setLevel: (high) => (line.level = high) },
    clock: () => clock.now,
    setTimer: clock.setTimer,
  });
  return { clock, rtc, line, read: (o) => rtc.read(o, 4), write: (o, v) => rtc.write(o, 4, v) };
}

describe('PL031 (DDI 0224)', () => {
  it('is on after reset and tells the time of the clock in whole seconds', () => {
    const r = rig();
    expect([r.read(DR), r.read(MR), r.read(LR), r.read(CR), r.read(IMSC), r.read(RIS), r.read(MIS)]).toEqual([
      1_700_000_000, 0, 0, 1, 0, 0, 0,
    ]);
    r.clock.advance(0.5);
    expect(r.read(DR)).toBe(1_700_000_000);
    r.clock.advance(0.5);
    expect(r.read(DR)).toBe(1_700_000_001);
  });

  it('identifies itself as part 0x031 by Arm', () => {
    const r = rig();
    const ids = [0xfe0, 0xfe4, 0xfe8, 0xfec, 0xff0, 0xff4, 0xff8, 0xffc].map(r.read);
    expect(ids).toEqual([0x31, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1]);
  });

  it('counts from what is loaded, through 2^32', () => {
    const r = rig();
    r.write(LR, 0xffff_fffe);
    expect([r.read(DR), r.read(LR)]).toEqual([0xffff_fffe, 0xffff_fffe]);
    r.clock.advance(3);
    expect(r.read(DR)).toBe(1);
  });

  it('cannot be disabled or set through RTCDR', () => {
    const r = rig();
    r.write(CR, 0);
    r.write(DR, 5);
    expect([r.read(CR), r.read(DR)]).toEqual([1, 1_700_000_000]);
  });

  it('interrupts when the match comes, until ICR', () => {
    const r = rig();
    r.write(IMSC, 1);
    r.write(MR, 1_700_000_010);
    r.clock.advance(9);
    expect([r.line.level, r.read(RIS)]).toEqual([false, 0]);
    r.clock.advance(1);
    expect([r.line.level, r.read(RIS), r.read(MIS)]).toEqual([true, 1, 1]);
    r.write(ICR, 1);
    expect([r.line.level, r.read(RIS)]).toEqual([false, 0]);
    r.clock.advance(100);
    expect(r.line.level).toBe(false);
  });

  it('records a match without the interrupt enabled, and needs no timer for it', () => {
    const r = rig();
    r.write(MR, 1_700_000_010);
    expect(r.clock.timers).toEqual([]);
    r.clock.advance(20);
    expect([r.read(RIS), r.read(MIS), r.line.level]).toEqual([1, 0, false]);
    r.write(IMSC, 1);
    expect([r.read(MIS), r.line.level]).toEqual([1, true]);
  });

  it('matches at once when the match is the time', () => {
    const r = rig();
    r.write(IMSC, 1);
    r.write(MR, 1_700_000_000);
    expect(r.line.level).toBe(true);
  });

  it('matches again one turn of the counter later', () => {
    const r = rig();
    r.write(MR, 1_700_000_010);
    r.clock.now += 20;
    r.write(ICR, 1);
    r.clock.now += 2 ** 32 - 11;
    expect(r.read(RIS)).toBe(0);
    r.clock.now += 1;
    expect(r.read(RIS)).toBe(1);
  });

  it('follows the match when the time is set', () => {
    const r = rig();
    r.write(IMSC, 1);
    r.write(MR, 1000);
    r.write(LR, 900);
    r.clock.advance(99);
    expect(r.line.level).toBe(false);
    r.clock.advance(1);
    expect(r.line.level).toBe(true);
  });

  it('asks for timers of at most a day, and one at a time', () => {
    const r = rig();
    r.write(IMSC, 1);
    r.write(MR, 1_700_000_000 + 10 * 86_400);
    const before = r.clock.armed;
    r.clock.advance(10 * 86_400 - 1);
    expect([r.clock.timers.length, r.line.level]).toEqual([1, false]);
    expect(r.clock.armed - before).toBeLessThan(12);
    r.clock.advance(1);
    expect([r.clock.timers.length, r.line.level]).toEqual([0, true]);
  });

  it('bears timers that come early', () => {
    const r = rig();
    r.write(IMSC, 1);
    r.write(MR, 1_700_000_002);
    r.clock.timers[0]!.callback();
    expect([r.line.level, r.clock.timers.length]).toEqual([false, 2]);
    r.clock.advance(2);
    expect(r.line.level).toBe(true);
  });

  it('gives its timer back', () => {
    const r = rig();
    r.write(IMSC, 1);
    expect(r.clock.timers.length).toBe(1);
    r.rtc[Symbol.dispose]();
    expect(r.clock.timers).toEqual([]);
  });

  it('resets', () => {
    const r = rig();
    r.write(IMSC, 1);
    r.write(LR, 5);
    r.write(MR, 5);
    expect(r.line.level).toBe(true);
    r.rtc.reset();
    expect([r.line.level, r.read(DR), r.read(IMSC), r.read(RIS), r.clock.timers.length]).toEqual([
      false,
      1_700_000_000,
      0,
      0,
      0,
    ]);
  });

  it('keeps the guest time against the clock and a pending match over save and restore', () => {
    const a = rig();
    a.write(IMSC, 1);
    a.write(LR, 100);
    a.write(MR, 200);
    const state = structuredClone(a.rtc.save());
    const b = rig();
    b.clock.now = START + 50;
    b.rtc.restore(state);
    expect([b.read(DR), b.read(LR), b.line.level]).toEqual([150, 100, false]);
    b.clock.advance(50);
    expect(b.line.level).toBe(true);
    const c = rig();
    c.clock.now = START + 500;
    c.rtc.restore(state);
    expect([c.read(DR), c.line.level]).toEqual([600, true]);
  });

  it('refuses a broken state as a whole', () => {
    const good = rig().rtc.save();
    const broken: [keyof Pl031State, unknown][] = [
      ['version', 0],
      ['mr', 2 ** 32],
      ['mr', -1],
      ['lr', 0.5],
      ['imsc', 2],
      ['ris', 3],
      ['offset', NaN],
      ['offset', 2 ** 53],
      ['match', Infinity],
      ['match', undefined],
    ];
    for (const [field, value] of broken) {
      const r = rig();
      r.write(MR, 77);
      expect(() => r.rtc.restore({ ...good, [field]: value })).toThrow(
        expect.objectContaining({ code: 'INVALID_STATE' }),
      );
      expect(r.read(MR)).toBe(77);
    }
  });

  it('answers any access within its width and keeps RTCINTR equal to RTCMIS', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.tuple(
            fc.boolean(),
            fc.oneof(
              fc.constantFrom(DR, MR, LR, CR, IMSC, RIS, MIS, ICR),
              fc.integer({ min: 0, max: 0xfff }),
            ),
            fc.constantFrom(1 as const, 2 as const, 4 as const),
            fc.oneof(
              fc.integer({ min: 0, max: 0xffff_ffff }),
              fc.integer({ min: 1_700_000_000, max: 1_700_000_200 }),
            ),
            fc.integer({ min: 0, max: 50 }),
          ),
          { maxLength: 80 },
        ),
        (accesses) => {
          const r = rig();
          for (const [write, offset, length, value, pass] of accesses) {
            if (write) r.rtc.write(offset, length, value);
            else {
              const answer = r.rtc.read(offset, length);
              expect(answer >= 0 && answer < 2 ** (8 * length)).toBe(true);
            }
            expect(r.line.level).toBe(r.read(MIS) === 1);
            r.clock.advance(pass);
            expect(r.line.level).toBe((r.read(RIS) & r.read(IMSC)) === 1);
            expect(r.clock.timers.length).toBeLessThanOrEqual(1);
          }
        },
      ),
    );
  });
});
