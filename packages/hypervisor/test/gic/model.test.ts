import fc from 'fast-check';
import { GICD, GicMachine, NONE } from './machine.ts';
import { GicModel } from './model.ts';

const VCPUS = 3;
const IRQS = 64;
/** Few interrupts and few priorities, so that they meet. */
const INTIDS = [0, 5, 15, 16, 27, 31, 32, 33, 40, 63];
const PRIORITIES = [0x00, 0x08, 0x40, 0x48, 0x80, 0x88, 0xa0, 0xf0, 0xf8];

interface Step {
  readonly name: string;
  run(machine: GicMachine, model: GicModel): void;
}

const cpu = fc.integer({ min: 0, max: VCPUS - 1 });
const intid = fc.constantFrom(...INTIDS);
const spi = fc.constantFrom(...INTIDS.filter((i) => i >= 32));
const group = fc.integer({ min: 0, max: 1 });
const priority = fc.constantFrom(...PRIORITIES);
const flag = fc.boolean();

function step<T extends unknown[]>(
  name: string,
  values: fc.Arbitrary<T>,
  run: (machine: GicMachine, model: GicModel, ...values: T) => void,
): fc.Arbitrary<Step> {
  return values.map((v) => ({
    name: `${name}(${v.join(', ')})`,
    run: (machine, model) => run(machine, model, ...v),
  }));
}

function eoir(g: number): 'EOIR0' | 'EOIR1' {
  return g === 1 ? 'EOIR1' : 'EOIR0';
}

const steps = fc.oneof(
  step('enable', fc.tuple(cpu, intid, flag), (machine, model, c, i, on) => {
    machine.setBit(on ? 'ISENABLER' : 'ICENABLER', i, c);
    model.interrupt(c, i).enabled = on;
  }),
  step('pend', fc.tuple(cpu, intid, flag), (machine, model, c, i, on) => {
    machine.setBit(on ? 'ISPENDR' : 'ICPENDR', i, c);
    model.interrupt(c, i).latch = on;
  }),
  step('activate', fc.tuple(cpu, intid, flag), (machine, model, c, i, on) => {
    machine.setBit(on ? 'ISACTIVER' : 'ICACTIVER', i, c);
    model.interrupt(c, i).active = on;
  }),
  step('group', fc.tuple(cpu, intid, group), (machine, model, c, i, g) => {
    machine.setGroup(i, g, c);
    model.interrupt(c, i).group = g;
  }),
  step('priority', fc.tuple(cpu, intid, priority), (machine, model, c, i, p) => {
    machine.setPriority(i, p, c);
    model.interrupt(c, i).priority = p;
  }),
  step('edge', fc.tuple(cpu, intid, flag), (machine, model, c, i, edge) => {
    machine.setEdge(i, edge, c);
    if (i >= 16) model.interrupt(c, i).edge = edge;
  }),
  step('route', fc.tuple(spi, fc.oneof(cpu, fc.constant('any' as const))), (machine, model, i, target) => {
    machine.setRoute(i, target === 'any' ? 0x8000_0000n : BigInt(target));
    model.interrupt(0, i).target = target;
  }),
  step('line', fc.tuple(cpu, intid, flag), (machine, model, c, i, level) => {
    if (i < 16) return;
    if (i < 32) machine.setPpi(i, level, c);
    else machine.setSpi(i, level);
    model.setLine(model.interrupt(c, i), level);
  }),
  step('pulse', fc.tuple(spi), (machine, model, i) => {
    machine.pulseSpi(i);
    const interrupt = model.interrupt(0, i);
    if (interrupt.edge) interrupt.latch = true;
  }),
  step('distributor', fc.tuple(flag, flag), (machine, model, g0, g1) => {
    machine.write(GICD, Number(g0) | (Number(g1) << 1));
    model.groupEnabled = [g0, g1];
  }),
  step('interface', fc.tuple(cpu, group, flag), (machine, model, c, g, on) => {
    machine.set(g === 1 ? 'IGRPEN1' : 'IGRPEN0', Number(on), c);
    model.cpus[c]!.groupEnabled[g as 0 | 1] = on;
  }),
  step('waker', fc.tuple(cpu, flag), (machine, model, c, asleep) => {
    machine.setWaker(asleep, c);
    model.cpus[c]!.asleep = asleep;
  }),
  step('mask', fc.tuple(cpu, priority), (machine, model, c, p) => {
    machine.set('PMR', p, c);
    model.cpus[c]!.pmr = p;
  }),
  step(
    'binary point',
    fc.tuple(cpu, group, fc.integer({ min: 0, max: 7 })),
    (machine, model, c, g, point) => {
      machine.set(g === 1 ? 'BPR1' : 'BPR0', point, c);
      const state = model.cpus[c]!;
      if (g === 0) state.bpr[0] = Math.max(point, 2);
      else if (!state.cbpr) state.bpr[1] = Math.max(point, 3);
    },
  ),
  step('control', fc.tuple(cpu, flag, flag), (machine, model, c, cbpr, split) => {
    machine.set('CTLR', Number(cbpr) | (Number(split) << 1), c);
    model.cpus[c]!.cbpr = cbpr;
    model.cpus[c]!.eoiMode = Number(split);
  }),
  step('acknowledge', fc.tuple(cpu, group), (machine, model, c, g) => {
    expect(machine.get(g === 1 ? 'IAR1' : 'IAR0', c)).toBe(model.acknowledge(c, g));
  }),
  step('end', fc.tuple(cpu, group, intid), (machine, model, c, g, i) => {
    machine.set(eoir(g), i, c);
    model.end(c, g, i);
  }),
  step('deactivate', fc.tuple(cpu, intid), (machine, model, c, i) => {
    machine.set('DIR', i, c);
    if (model.cpus[c]!.eoiMode === 1) model.interrupt(c, i).active = false;
  }),
  step(
    'sgi',
    fc.tuple(cpu, fc.constantFrom(0, 5, 15), fc.integer({ min: 0, max: 7 }), flag, flag),
    (machine, model, c, i, list, others, group0) => {
      const value = (BigInt(others) << 40n) | (BigInt(i) << 24n) | BigInt(list);
      machine.set(group0 ? 'SGI0R' : 'SGI1R', value, c);
      for (let t = 0; t < VCPUS; t++) {
        const interrupt = model.interrupt(t, i);
        const chosen = others ? t !== c : ((list >> t) & 1) === 1;
        if (chosen && !(group0 && interrupt.group === 1)) interrupt.latch = true;
      }
    },
  ),
);

/** Everything that a guest can see, as text: one comparison for each step keeps the test quick. */
function compare(machine: GicMachine, model: GicModel, after: string): void {
  const seen = [after];
  const expected = [after];
  for (let c = 0; c < VCPUS; c++) {
    const highest = model.highest(c);
    const signal = machine.irq(c) ? 'irq' : machine.fiq(c) ? 'fiq' : 'none';
    const hppi = [machine.get('HPPIR0', c), machine.get('HPPIR1', c)];
    seen.push(`vCPU ${c}: ${signal} ${machine.get('RPR', c)} ${hppi.join(' ')}`);
    const best = [0, 1].map((g) => (highest?.group === g ? highest.intid : NONE));
    expected.push(`vCPU ${c}: ${model.signal(c) ?? 'none'} ${model.running(c)} ${best.join(' ')}`);
    for (const i of INTIDS) {
      const interrupt = model.interrupt(c, i);
      seen.push(`${i}: ${String(machine.bit('ISPENDR', i, c))} ${String(machine.bit('ISACTIVER', i, c))}`);
      expected.push(`${i}: ${String(model.pending(interrupt))} ${String(interrupt.active)}`);
    }
  }
  expect(seen.join('\n')).toBe(expected.join('\n'));
}

/** Brings both to the state after a kernel's boot, or leaves them as reset does. */
function start(booted: boolean): { machine: GicMachine; model: GicModel } {
  const machine = new GicMachine({ vcpus: VCPUS, irqs: IRQS });
  const model = new GicModel(VCPUS, IRQS);
  if (!booted) return { machine, model };
  machine.boot();
  model.groupEnabled = [true, true];
  for (const [c, state] of model.cpus.entries()) {
    state.asleep = false;
    state.pmr = 0xf8;
    state.groupEnabled = [true, true];
    for (const interrupt of [...state.banked, ...model.spis]) {
      interrupt.group = 1;
      interrupt.priority = 0xa0;
    }
    for (const i of INTIDS) {
      machine.setBit('ISENABLER', i, c);
      model.interrupt(c, i).enabled = true;
    }
  }
  return { machine, model };
}

describe('GICv3 of the engine against a model of IHI 0069', () => {
  it('signals, acknowledges and ends as the model does, after any sequence of accesses and lines', () => {
    fc.assert(
      fc.property(
        fc.boolean(),
        fc.array(steps, { minLength: 1, maxLength: 80, size: 'max' }),
        (booted, sequence) => {
          const { machine, model } = start(booted);
          for (const one of sequence) {
            one.run(machine, model);
            compare(machine, model, one.name);
          }
        },
      ),
      { numRuns: 100 },
    );
  });

  it('notices every new signal of a vCPU by its attention word', () => {
    fc.assert(
      fc.property(fc.array(steps, { minLength: 1, maxLength: 80, size: 'max' }), (sequence) => {
        const { machine, model } = start(true);
        for (const one of sequence) {
          const before = Array.from({ length: VCPUS }, (_, c) => model.signal(c) !== undefined);
          for (let c = 0; c < VCPUS; c++) machine.takeAttention(c);
          one.run(machine, model);
          for (let c = 0; c < VCPUS; c++) {
            if (model.signal(c) !== undefined && !before[c]) expect(machine.takeAttention(c)).toBe(true);
          }
        }
      }),
      { numRuns: 100 },
    );
  });
});
