import fc from 'fast-check';
import { GicV2, IrqChipError, type GicV2State } from '../src/index.ts';
import { ACKCTL, CBPR, EOIMODE, FIQEN, GICC, GICD, Rig } from './gicv2-rig.ts';
import { GicV2Model } from './gicv2-model.ts';

const IRQS = 64;
/** Few interrupts and few priorities, so that they meet. */
const INTIDS = [0, 5, 15, 16, 27, 31, 32, 33, 40, 63];
const PRIORITIES = [0x00, 0x08, 0x40, 0x48, 0x80, 0x88, 0xa0, 0xf0, 0xf8];

interface Step {
  readonly name: string;
  run(rig: Rig, model: GicV2Model): void;
}

/** CPU numbers come modulo the number of CPUs of the run. */
const cpu = fc.integer({ min: 0, max: 5 });
const intid = fc.constantFrom(...INTIDS);
const spi = fc.constantFrom(...INTIDS.filter((i) => i >= 32));
const sgi = fc.constantFrom(...INTIDS.filter((i) => i < 16));
const priority = fc.constantFrom(...PRIORITIES);
const flag = fc.boolean();

function step<T extends unknown[]>(
  name: string,
  values: fc.Arbitrary<T>,
  run: (rig: Rig, model: GicV2Model, ...values: T) => void,
): fc.Arbitrary<Step> {
  return values.map((v) => ({
    name: `${name}(${v.join(', ')})`,
    run: (rig, model) => run(rig, model, ...v),
  }));
}

const steps = fc.oneof(
  step('enable', fc.tuple(cpu, intid, flag), (rig, model, c, i, on) => {
    rig.setBit(on ? 'ISENABLER' : 'ICENABLER', i, c % rig.cpus);
    model.interrupt(c % rig.cpus, i).enabled = on;
  }),
  step('pend', fc.tuple(cpu, intid, flag), (rig, model, c, i, on) => {
    rig.setBit(on ? 'ISPENDR' : 'ICPENDR', i, c % rig.cpus);
    if (i >= 16) model.interrupt(c % rig.cpus, i).latch = on;
  }),
  step('activate', fc.tuple(cpu, intid, flag), (rig, model, c, i, on) => {
    rig.setBit(on ? 'ISACTIVER' : 'ICACTIVER', i, c % rig.cpus);
    model.interrupt(c % rig.cpus, i).active = on;
  }),
  step('group', fc.tuple(cpu, intid, fc.integer({ min: 0, max: 1 })), (rig, model, c, i, g) => {
    rig.setGroup(i, g, c % rig.cpus);
    model.interrupt(c % rig.cpus, i).group = g;
  }),
  step('priority', fc.tuple(cpu, intid, priority), (rig, model, c, i, p) => {
    rig.setPriority(i, p, c % rig.cpus);
    model.interrupt(c % rig.cpus, i).priority = p;
  }),
  step('targets', fc.tuple(spi, fc.integer({ min: 0, max: 255 })), (rig, model, i, targets) => {
    rig.setTargets(i, targets);
    if (rig.cpus > 1) model.interrupt(0, i).targets = targets & (2 ** rig.cpus - 1);
  }),
  step('edge', fc.tuple(cpu, intid, flag), (rig, model, c, i, edge) => {
    rig.setEdge(i, edge, c % rig.cpus);
    if (i >= 16) model.interrupt(c % rig.cpus, i).edge = edge;
  }),
  step('line', fc.tuple(cpu, intid, flag), (rig, model, c, i, level) => {
    if (i < 16) return;
    if (i < 32) rig.gic.setPpi(c % rig.cpus, i - 16, level);
    else rig.line(i).setLevel(level);
    model.setLine(model.interrupt(c % rig.cpus, i), level);
  }),
  step('pulse', fc.tuple(spi), (rig, model, i) => {
    rig.line(i).trigger();
    if (model.interrupt(0, i).edge) model.interrupt(0, i).latch = true;
  }),
  step('distributor', fc.tuple(flag, flag), (rig, model, g0, g1) => {
    rig.d().write(GICD.CTLR, 4, Number(g0) | (Number(g1) << 1));
    model.groups = [g0, g1];
  }),
  step(
    'interface',
    fc.tuple(cpu, flag, flag, flag, flag, flag, flag),
    (rig, model, c, g0, g1, ack, fiq, cbpr, eoi) => {
      const bits = [
        Number(g0),
        g1 ? 2 : 0,
        ack ? ACKCTL : 0,
        fiq ? FIQEN : 0,
        cbpr ? CBPR : 0,
        eoi ? EOIMODE : 0,
      ];
      rig.set(
        GICC.CTLR,
        bits.reduce((a, b) => a | b),
        c % rig.cpus,
      );
      Object.assign(model.cpus[c % rig.cpus]!, {
        groups: [g0, g1],
        ackCtl: ack,
        fiqEn: fiq,
        cbpr,
        eoiMode: eoi,
      });
    },
  ),
  step('mask', fc.tuple(cpu, priority), (rig, model, c, p) => {
    rig.set(GICC.PMR, p, c % rig.cpus);
    model.cpus[c % rig.cpus]!.pmr = p;
  }),
  step('binary point', fc.tuple(cpu, flag, fc.integer({ min: 0, max: 7 })), (rig, model, c, alias, point) => {
    rig.set(alias ? GICC.ABPR : GICC.BPR, point, c % rig.cpus);
    if (alias) model.cpus[c % rig.cpus]!.abpr = Math.max(point, 3);
    else model.cpus[c % rig.cpus]!.bpr = Math.max(point, 2);
  }),
  step('acknowledge', fc.tuple(cpu, flag), (rig, model, c, alias) => {
    expect(rig.get(alias ? GICC.AIAR : GICC.IAR, c % rig.cpus)).toBe(model.acknowledge(c % rig.cpus, alias));
  }),
  step('end', fc.tuple(cpu, flag, intid), (rig, model, c, alias, i) => {
    rig.set(alias ? GICC.AEOIR : GICC.EOIR, i, c % rig.cpus);
    model.end(c % rig.cpus, alias, i);
  }),
  step('deactivate', fc.tuple(cpu, intid), (rig, model, c, i) => {
    rig.set(GICC.DIR, i, c % rig.cpus);
    if (model.cpus[c % rig.cpus]!.eoiMode) model.interrupt(c % rig.cpus, i).active = false;
  }),
  step(
    'send',
    fc.tuple(cpu, sgi, fc.integer({ min: 0, max: 255 }), fc.integer({ min: 0, max: 3 })),
    (rig, model, c, i, list, filter) => {
      const source = c % rig.cpus;
      rig.d(source).write(GICD.SGIR, 4, (filter << 24) | (list << 16) | i);
      for (let t = 0; t < rig.cpus; t++) {
        const chosen = [((list >> t) & 1) === 1, t !== source, t === source, false][filter];
        if (chosen) model.interrupt(t, i).sources.add(source);
      }
    },
  ),
  step(
    'set senders',
    fc.tuple(cpu, sgi, fc.integer({ min: 0, max: 255 }), flag),
    (rig, model, c, i, senders, on) => {
      rig.d(c % rig.cpus).write((on ? GICD.SPENDSGIR : GICD.CPENDSGIR) + i, 1, senders);
      const { sources } = model.interrupt(c % rig.cpus, i);
      for (let s = 0; s < rig.cpus; s++) {
        if (((senders >> s) & 1) === 0) continue;
        if (on) sources.add(s);
        else sources.delete(s);
      }
    },
  ),
);

/** Everything that a guest or a board can see, as text: one comparison for each step keeps the test quick. */
function compare(rig: Rig, model: GicV2Model, after: string): void {
  const seen = [after];
  const expected = [after];
  for (let c = 0; c < rig.cpus; c++) {
    const signal = rig.irqLines[c]! ? 'irq' : rig.fiqLines[c]! ? 'fiq' : 'none';
    const { gic } = rig;
    seen.push(
      `CPU ${c}: ${signal} ${rig.get(GICC.RPR, c)} ${gic.irq(c) ? 'irq' : gic.fiq(c) ? 'fiq' : 'none'}`,
    );
    const signalled = model.signal(c) ?? 'none';
    expected.push(`CPU ${c}: ${signalled} ${model.running(c)} ${signalled}`);
    for (const i of INTIDS) {
      const interrupt = model.interrupt(c, i);
      seen.push(`${i}: ${String(rig.bit('ISPENDR', i, c))} ${String(rig.bit('ISACTIVER', i, c))}`);
      expected.push(`${i}: ${String(model.pending(interrupt))} ${String(interrupt.active)}`);
    }
  }
  expect(seen.join('\n')).toBe(expected.join('\n'));
}

function start(cpus: number, booted: boolean): { rig: Rig; model: GicV2Model } {
  const rig = new Rig(cpus, IRQS);
  const model = new GicV2Model(cpus, IRQS);
  if (!booted) return { rig, model };
  rig.boot();
  model.groups = [true, true];
  for (const [c, state] of model.cpus.entries()) {
    state.groups = [true, true];
    state.pmr = 0xf8;
    for (const interrupt of [...state.banked, ...model.spis]) {
      interrupt.priority = 0xa0;
      interrupt.targets = 1;
    }
    for (const i of INTIDS) {
      rig.setBit('ISENABLER', i, c);
      model.interrupt(c, i).enabled = true;
    }
  }
  return { rig, model };
}

describe('GICv2 against a model of IHI 0048', () => {
  it.each([1, 3])('signals, acknowledges and ends as the model does with %i CPUs', (cpus) => {
    fc.assert(
      fc.property(
        fc.boolean(),
        fc.array(steps, { minLength: 1, maxLength: 80, size: 'max' }),
        (booted, sequence) => {
          const { rig, model } = start(cpus, booted);
          for (const one of sequence) {
            one.run(rig, model);
            compare(rig, model, one.name);
          }
        },
      ),
    );
  });
});

const access = fc.tuple(
  fc.integer({ min: 0, max: 1 }),
  fc.boolean(),
  fc.oneof(
    fc.integer({ min: 0, max: 0x1fff }),
    fc.constantFrom(0, 4, 0xc, 0x10, 0x100, 0x1000, 0xf00, 0xf20),
  ),
  fc.constantFrom(1 as const, 2 as const, 4 as const),
  fc.integer({ min: 0, max: 0xffff_ffff }),
);

/** Makes arbitrary accesses to both frames, and answers what was read. */
function drive(
  rig: Rig,
  accesses: readonly (readonly [number, boolean, number, 1 | 2 | 4, number])[],
): number[] {
  return accesses.map(([c, distributor, offset, length, value]) => {
    const frame = distributor ? rig.gic.distributor(c) : rig.gic.cpuInterface(c);
    frame.write(offset, length, value);
    return frame.read(offset, length);
  });
}

describe('GICv2 under any accesses', () => {
  it('answers within the width of the access', () => {
    fc.assert(
      fc.property(fc.array(access, { maxLength: 100, size: 'max' }), (accesses) => {
        const answers = drive(new Rig(2, 1020), accesses);
        for (const [i, answer] of answers.entries()) {
          expect(answer >= 0 && answer < 2 ** (8 * accesses[i]![3])).toBe(true);
        }
      }),
    );
  });

  it('goes on from a saved state as the original does', () => {
    fc.assert(
      fc.property(
        fc.array(access, { maxLength: 60, size: 'max' }),
        fc.array(access, { maxLength: 60, size: 'max' }),
        (before, after) => {
          const original = new Rig(2);
          original.boot();
          drive(original, before);
          const state = structuredClone(original.gic.save());
          const copy = new Rig(2);
          copy.gic.restore(state);
          expect(copy.gic.save()).toEqual(state);
          expect(copy.irqLines).toEqual(original.irqLines);
          expect(drive(copy, after)).toEqual(drive(original, after));
        },
      ),
    );
  });
});

describe('GICv2: saved state of unknown origin', () => {
  const good = new Rig(2).gic.save();

  it.each<[string, unknown]>([
    ['version', 2],
    ['model', 'gicv3'],
    ['cpus', 1],
    ['irqs', 96],
    ['control', 4],
    ['control', -1],
    ['control', '1'],
    ['group', new Uint32Array(2)],
    ['enable', new Uint8Array(good.enable.length)],
    ['latch', [0, 0, 0]],
    ['latch', Uint32Array.of(1, 0, 0)],
    ['line', Uint32Array.of(1, 0, 0)],
    ['edge', new Uint32Array(3)],
    ['priority', good.priority.map(() => 1)],
    ['targets', good.targets.map(() => 4)],
    ['sgiSources', good.sgiSources.map(() => 4)],
    ['interfaceControl', Uint32Array.of(0x400, 0)],
    ['priorityMask', Uint8Array.of(1, 0)],
    ['binaryPoint', Uint8Array.of(1, 2)],
    ['binaryPoint', Uint8Array.of(8, 2)],
    ['aliasedBinaryPoint', Uint8Array.of(2, 3)],
    ['activePriorities0', undefined],
  ])('refuses %s = %p and stays as it was', (field, value) => {
    const rig = new Rig(2);
    rig.boot();
    const before = rig.gic.save();
    expect(() => rig.gic.restore({ ...good, [field]: value })).toThrow(
      expect.objectContaining({ name: 'IrqChipError', code: 'INVALID_STATE' }),
    );
    expect(rig.gic.save()).toEqual(before);
  });

  it.each([null, undefined, 7, 'state'])('refuses %p', (nothing) => {
    expect(() => new Rig(2).gic.restore(nothing as unknown as GicV2State)).toThrow(IrqChipError);
  });

  it('refuses the state of a GICv2 with another number of interrupts', () => {
    const other = new GicV2({ cpus: 2, irqs: 96, distributor: 0, cpuInterface: 0, onIrq: () => {} }).save();
    expect(() => new Rig(2).gic.restore(other)).toThrow(expect.objectContaining({ code: 'INVALID_STATE' }));
  });
});
