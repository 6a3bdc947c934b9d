import fc from 'fast-check';
import type { GsiRoute } from '@vmm/hypervisor';
import { IoApic } from '../src/index.ts';
import { IoApicModel, type ModelMessage } from './ioapic-model.ts';

const INPUTS = 4;
const SELECT = 0x00;
const WINDOW = 0x10;
const EOI = 0x40;

class Rig {
  readonly sent: ModelMessage[] = [];
  routes: readonly GsiRoute[] = [];
  routeChanges = 0;
  accepting = true;
  readonly ioApic: IoApic = new IoApic({
    inputs: INPUTS,
    send: ({ address, data }) => {
      this.sent.push({ address, data });
      return this.accepting;
    },
    onRoutesChanged: (routes) => {
      this.routes = routes;
      this.routeChanges++;
    },
  });

  get(index: number): number {
    this.ioApic.write(SELECT, 4, index);
    return this.ioApic.read(WINDOW, 4);
  }

  set(index: number, value: number): void {
    this.ioApic.write(SELECT, 4, index);
    this.ioApic.write(WINDOW, 4, value);
  }

  entry(input: number): bigint {
    return (BigInt(this.get(0x11 + 2 * input)) << 32n) | BigInt(this.get(0x10 + 2 * input));
  }
}

interface Step {
  readonly name: string;
  run(rig: Rig, model: IoApicModel): void;
}

function step<T extends unknown[]>(
  name: string,
  values: fc.Arbitrary<T>,
  run: (rig: Rig, model: IoApicModel, ...values: T) => void,
): fc.Arbitrary<Step> {
  return values.map((v) => ({
    name: `${name}(${v.join(', ')})`,
    run: (rig, model) => run(rig, model, ...v),
  }));
}

const input = fc.integer({ min: 0, max: INPUTS - 1 });
/** Few, so that inputs share them. */
const vector = fc.constantFrom(0x0f, 0x30, 0x31);
const low = fc.oneof(
  fc.integer({ min: 0, max: 0xffff_ffff }),
  fc
    .tuple(vector, fc.constantFrom(0, 0, 0, 1, 4, 7), fc.boolean(), fc.boolean())
    .map(([v, mode, level, masked]) => v | (mode << 8) | (level ? 0x8000 : 0) | (masked ? 0x1_0000 : 0)),
);

const steps = fc.oneof(
  step('low', fc.tuple(input, low), (rig, model, i, value) => {
    rig.set(0x10 + 2 * i, value);
    model.writeLow(i, value);
  }),
  step('high', fc.tuple(input, fc.integer({ min: 0, max: 0xffff_ffff })), (rig, model, i, value) => {
    rig.set(0x11 + 2 * i, value);
    model.writeHigh(i, value);
  }),
  step('line', fc.tuple(input, fc.boolean()), (rig, model, i, asserted) => {
    rig.ioApic.setLine(i, asserted);
    model.setLine(i, asserted);
  }),
  step('pulse', fc.tuple(input), (rig, model, i) => {
    rig.ioApic.pulse(i);
    model.pulse(i);
  }),
  step('end', fc.tuple(vector, fc.boolean()), (rig, model, v, byRegister) => {
    if (byRegister) rig.ioApic.write(EOI, 4, v);
    else rig.ioApic.endOfInterrupt(v);
    model.end(v);
  }),
  step('accept', fc.tuple(fc.boolean()), (rig, model, accepting) => {
    rig.accepting = accepting;
    model.accepting = accepting;
  }),
);

function expectSame(rig: Rig, model: IoApicModel): void {
  expect(rig.sent).toEqual(model.sent);
  const routes: ModelMessage[] = [];
  for (let i = 0; i < INPUTS; i++) {
    expect(rig.entry(i)).toBe(model.inputs[i]!.entry);
    const route = model.route(i);
    if (route !== undefined) routes.push(route);
  }
  expect(rig.routes.map((route) => route.kind === 'msi' && { ...route.message })).toEqual(
    routes.map((route) => ({ ...route, addressHigh: 0 })),
  );
}

describe('I/O APIC against a model of the 82093AA', () => {
  it('sends the same messages and shows the same registers and routes', () => {
    fc.assert(
      fc.property(fc.array(steps, { maxLength: 60 }), (sequence) => {
        const rig = new Rig();
        const model = new IoApicModel(INPUTS);
        for (const one of sequence) {
          one.run(rig, model);
          expectSame(rig, model);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('goes on from a saved state as the original does', () => {
    fc.assert(
      fc.property(fc.array(steps, { maxLength: 40 }), fc.array(steps, { maxLength: 40 }), (before, after) => {
        const model = new IoApicModel(INPUTS);
        const original = new Rig();
        for (const one of before) one.run(original, model);
        const copy = new Rig();
        copy.accepting = original.accepting;
        const state = structuredClone(original.ioApic.save());
        copy.ioApic.restore(state);
        expect(copy.ioApic.save()).toEqual(state);
        model.sent.length = 0;
        for (const one of after) {
          one.run(copy, model);
          expectSame(copy, model);
        }
      }),
    );
  });

  it('answers any access within its width and never throws', () => {
    const access = fc.record({
      offset: fc.oneof(fc.constantFrom(SELECT, WINDOW, EOI), fc.integer({ min: 0, max: 0xfff })),
      length: fc.constantFrom(1 as const, 2 as const, 4 as const),
      value: fc.oneof(fc.integer({ min: 0, max: 0xffff_ffff }), fc.integer({ min: 0, max: 0x20 })),
    });
    fc.assert(
      fc.property(fc.array(access), (accesses) => {
        const { ioApic } = new Rig();
        for (const { offset, length, value } of accesses) {
          ioApic.write(offset, length, value);
          const answer = ioApic.read(offset, length);
          expect(Number.isInteger(answer) && answer >= 0 && answer < 2 ** (8 * length)).toBe(true);
        }
      }),
    );
  });
});
