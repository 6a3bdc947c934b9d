import fc from 'fast-check';
import { Pl011, type Pl011State } from './pl011.ts';
import * as R from './pl011-registers.ts';

interface Line {
  level: boolean;
}

function make(line: Line = { level: false }, sent: number[] = []): Pl011 {
  return new Pl011({
    interrupt: { trigger: () => {}, setLevel: (high) => (line.level = high) },
    output: (bytes) => void sent.push(...bytes),
    inputLimit: 300,
  });
}

const offset = fc.oneof(
  fc.constantFrom(0, 4, 0x18, 0x2c, 0x30, 0x34, 0x38, 0x3c, 0x40, 0x44, 0x48),
  fc.integer({ min: 0, max: 0xfff }),
);
const access = fc.oneof(
  fc.record({
    kind: fc.constant('read' as const),
    offset,
    length: fc.constantFrom(1 as const, 2 as const, 4 as const),
  }),
  fc.record({
    kind: fc.constant('write' as const),
    offset,
    length: fc.constantFrom(1 as const, 2 as const, 4 as const),
    value: fc.oneof(
      fc.integer({ min: 0, max: 0xffff_ffff }),
      fc.constantFrom(0x301, 0x381, 0x10, 0x70, 0x7ff),
    ),
  }),
  fc.record({ kind: fc.constant('input' as const), count: fc.integer({ min: 0, max: 100 }) }),
  fc.record({
    kind: fc.constantFrom('break' as const, 'block' as const, 'resume' as const, 'reset' as const),
  }),
);
type Access = typeof access extends fc.Arbitrary<infer T> ? T : never;

/** What an access answers: the value of a read, or undefined. */
function apply(uart: Pl011, one: Access): number | undefined {
  switch (one.kind) {
    case 'read':
      return uart.read(one.offset, one.length);
    case 'write':
      uart.write(one.offset, one.length, one.value);
      return undefined;
    case 'input':
      return uart.enqueueInput(Uint8Array.from({ length: one.count }, (_, i) => i));
    case 'break':
      return Number(uart.sendBreak());
    case 'block':
      uart.blockOutput();
      return undefined;
    case 'resume':
      uart.resumeOutput();
      return undefined;
    case 'reset':
      uart.reset();
      return undefined;
  }
}

describe('PL011 under any accesses', () => {
  it('answers within the width of the access, and keeps its flags and line consistent', () => {
    fc.assert(
      fc.property(fc.array(access, { maxLength: 150 }), (accesses) => {
        const line = { level: false };
        const uart = make(line);
        for (const one of accesses) {
          const answer = apply(uart, one);
          if (one.kind === 'read') {
            expect(answer).toBeGreaterThanOrEqual(0);
            expect(answer).toBeLessThan(2 ** (8 * one.length));
          }
          const flags = uart.read(R.UARTFR, 4);
          expect(flags).toBe(uart.flags);
          expect((flags & R.FR_RXFE) !== 0 && (flags & R.FR_RXFF) !== 0).toBe(false);
          expect((flags & R.FR_TXFE) !== 0).toBe((flags & R.FR_TXFF) === 0);
          expect(uart.read(R.UARTMIS, 4)).toBe(uart.read(R.UARTRIS, 4) & uart.read(R.UARTIMSC, 4));
          expect(line.level).toBe(uart.read(R.UARTMIS, 4) !== 0);
        }
      }),
    );
  });

  it('delivers input in order and without loss to a driver that reads on interrupts', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 90, size: 'max' }), { maxLength: 12 }),
        fc.integer({ min: 0, max: 7 }),
        fc.boolean(),
        fc.integer({ min: 1, max: 40 }),
        (chunks, select, fifos, batch) => {
          const line = { level: false };
          const uart = make(line);
          uart.write(R.UARTLCR_H, 4, fifos ? R.LCR_H_FEN : 0);
          uart.write(R.UARTIFLS, 4, select << 3);
          uart.write(R.UARTCR, 4, R.CR_UARTEN | R.CR_RXE);
          uart.write(R.UARTIMSC, 4, R.INT_RX | R.INT_RT);
          const expected: number[] = [];
          const received: number[] = [];
          for (const chunk of chunks) {
            const accepted = uart.enqueueInput(chunk);
            expected.push(...chunk.subarray(0, accepted));
            for (let i = 0; i < batch && line.level; i++) received.push(uart.read(R.UARTDR, 4));
          }
          for (let i = 0; i < 2000 && line.level; i++) received.push(uart.read(R.UARTDR, 4));
          expect(received).toEqual(expected);
        },
      ),
    );
  });

  it('goes on from a saved state as the original does', () => {
    fc.assert(
      fc.property(
        fc.array(access, { maxLength: 60 }),
        fc.array(access, { maxLength: 60 }),
        (before, after) => {
          const lines = [{ level: false }, { level: false }] as const;
          const original = make(lines[0]);
          // A blocked sink is the host's state, not the device's.
          for (const one of [...before, { kind: 'resume' as const }]) apply(original, one);
          const state = structuredClone(original.save());
          const copy = make(lines[1]);
          copy.restore(state);
          expect(copy.save()).toEqual(state);
          expect(lines[1].level).toBe(lines[0].level);
          for (const one of after) expect(apply(copy, one)).toBe(apply(original, one));
          expect(copy.flags).toBe(original.flags);
          expect(lines[1].level).toBe(lines[0].level);
        },
      ),
    );
  });

  it('refuses a broken state as a whole', () => {
    const good: Pl011State = make().save();
    const broken: [string, unknown][] = [
      ['version', 2],
      ['cr', 0x8],
      ['cr', -1],
      ['imsc', 0x800],
      ['ris', 1.5],
      ['rsr', 0x10],
      ['lcrH', '0'],
      ['overrun', 1],
      ['fifo', new Array(33).fill(0)],
      ['fifo', [0x1000]],
      ['fifo', 'abc'],
      ['input', new Uint8Array(301)],
      ['input', []],
      ['output', new Uint8Array(4097)],
      ['ibrd', undefined],
    ];
    for (const [field, value] of broken) {
      const uart = make();
      uart.write(R.UARTIBRD, 4, 7);
      expect(() => uart.restore({ ...good, [field]: value })).toThrow(
        expect.objectContaining({ name: 'VmSuperioError', code: 'INVALID_STATE' }),
      );
      expect(uart.read(R.UARTIBRD, 4)).toBe(7);
    }
    for (const nothing of [null, undefined, 7, 'state']) {
      expect(() => make().restore(nothing as unknown as Pl011State)).toThrow(
        expect.objectContaining({ code: 'INVALID_STATE' }),
      );
    }
  });
});
