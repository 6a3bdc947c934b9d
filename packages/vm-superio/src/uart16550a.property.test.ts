import fc from 'fast-check';
import { Uart16550A } from './uart16550a.ts';
import type { Uart16550AState } from './uart16550a-state.ts';
import * as R from './uart16550a-registers.ts';

interface Line {
  level: boolean;
}

function make(line: Line = { level: false }, sent: number[] = []): Uart16550A {
  return new Uart16550A({
    interrupt: { trigger: () => {}, setLevel: (high) => (line.level = high) },
    trigger: 'level',
    output: (bytes) => void sent.push(...bytes),
    inputLimit: 300,
  });
}

const offset = fc.integer({ min: 0, max: 7 });
const length = fc.constantFrom(1 as const, 1 as const, 2 as const, 4 as const);
const access = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('read' as const), offset, length }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('write' as const),
      offset,
      length,
      value: fc.oneof(
        fc.integer({ min: 0, max: 0xffff_ffff }),
        fc.constantFrom(0, 1, 0x0f, 0x10, 0x80, 0xc1),
      ),
    }),
  },
  fc.record({ kind: fc.constant('input' as const), count: fc.integer({ min: 0, max: 40 }) }),
  fc.record({
    kind: fc.constantFrom('break' as const, 'block' as const, 'resume' as const, 'reset' as const),
  }),
);
type Access = typeof access extends fc.Arbitrary<infer T> ? T : never;

/** What an access answers: the value of a read, or undefined. */
function apply(uart: Uart16550A, one: Access): number | undefined {
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

describe('16550A under any accesses', () => {
  it('answers within the width of the access, and its line is what IIR says', () => {
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
          const level = line.level;
          expect((uart.read(R.IIR, 1) & R.IIR_NONE) === 0).toBe(level);
        }
      }),
    );
  });

  it('delivers input in order and without loss to a driver that waits for edges', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 90, size: 'max' }), { maxLength: 12 }),
        fc.integer({ min: 0, max: 3 }),
        fc.boolean(),
        (chunks, select, fifos) => {
          let edges = 0;
          const uart = new Uart16550A({
            interrupt: { trigger: () => (edges += 1), setLevel: () => {} },
            output: () => {},
            inputLimit: 300,
          });
          const received: number[] = [];
          const expected: number[] = [];
          uart.write(R.FCR, 1, (fifos ? R.FCR_ENABLE : 0) | (select << R.FCR_TRIGGER_SHIFT));
          uart.write(R.IER, 1, R.IER_ERBFI);
          for (const chunk of chunks) {
            const accepted = uart.enqueueInput(chunk);
            expected.push(...chunk.subarray(0, accepted));
            // One fill of the FIFO for each edge, no more.
            for (; edges > 0; edges--) {
              for (let i = 0; i < 16 && (uart.read(R.LSR, 1) & R.LSR_DR) !== 0; i++) {
                received.push(uart.read(R.RBR, 1));
              }
            }
          }
          expect(received).toEqual(expected);
        },
      ),
    );
  });

  it('sends what a driver writes on transmitter edges, in order, whether or not it reads IIR', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ maxLength: 200, size: 'max' }),
        fc.integer({ min: 1, max: 16 }),
        fc.boolean(),
        async (bytes, burst, readsIir) => {
          let edges = 0;
          const sent: number[] = [];
          const uart = new Uart16550A({
            interrupt: { trigger: () => (edges += 1), setLevel: () => {} },
            output: (out) => void sent.push(...out),
          });
          uart.write(R.IER, 1, R.IER_ETBEI);
          let next = 0;
          while (next < bytes.length) {
            expect(edges).toBeGreaterThan(0);
            edges = 0;
            if (readsIir) uart.read(R.IIR, 1);
            for (let i = 0; i < burst && next < bytes.length; i++) uart.write(R.THR, 1, bytes[next++]!);
            await Promise.resolve();
            await Promise.resolve();
          }
          uart.flush();
          expect(sent).toEqual([...bytes]);
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
          expect(lines[1].level).toBe(lines[0].level);
        },
      ),
    );
  });

  it('refuses a broken state as a whole', () => {
    const good = make().save();
    const broken: [string, unknown][] = [
      ['version', 2],
      ['ier', 0x10],
      ['fcr', 0x2],
      ['lcr', -1],
      ['mcr', 0x20],
      ['scr', 1.5],
      ['dll', 256],
      ['dlm', '0'],
      ['delta', 0x10],
      ['overrun', 1],
      ['thrEmpty', undefined],
      ['fifo', new Array(17).fill(0)],
      ['fifo', [0x101]],
      ['input', new Uint8Array(301)],
      ['output', new Uint8Array(4097)],
    ];
    for (const [field, value] of broken) {
      const uart = make();
      uart.write(R.SCR, 1, 7);
      expect(() => uart.restore({ ...good, [field]: value })).toThrow(
        expect.objectContaining({ name: 'VmSuperioError', code: 'INVALID_STATE' }),
      );
      expect(uart.read(R.SCR, 1)).toBe(7);
    }
    for (const nothing of [null, undefined, 7, 'state']) {
      expect(() => make().restore(nothing as unknown as Uart16550AState)).toThrow(
        expect.objectContaining({ code: 'INVALID_STATE' }),
      );
    }
  });
});
