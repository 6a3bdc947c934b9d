import { ACKCTL, CBPR, EOIMODE, FIQEN, GICC, GICD, NONE, Rig } from './gicv2-rig.ts';

function booted(cpus = 1, control = 3, irqs = 64): Rig {
  const r = new Rig(cpus, irqs);
  r.boot(control);
  return r;
}

describe('GICv2: life of an interrupt (IHI 0048 §3.2)', () => {
  it('signals nothing after reset', () => {
    const r = new Rig();
    r.line(40).setLevel(true);
    r.gic.setPpi(0, 11, true);
    expect([r.irqLines[0], r.get(GICC.IAR), r.get(GICC.RPR)]).toEqual([false, NONE, 0xff]);
  });

  it('takes a level-sensitive SPI from pending to active, and to pending again while the line stays high', () => {
    const r = booted();
    r.setBit('ISENABLER', 40);
    r.line(40).setLevel(true);
    expect([r.irqLines[0], r.bit('ISPENDR', 40)]).toEqual([true, true]);
    expect(r.get(GICC.IAR)).toBe(40);
    expect([r.irqLines[0], r.bit('ISPENDR', 40), r.bit('ISACTIVER', 40), r.get(GICC.RPR)]).toEqual([
      false,
      true,
      true,
      0xa0,
    ]);
    r.set(GICC.EOIR, 40);
    expect([r.irqLines[0], r.bit('ISACTIVER', 40)]).toEqual([true, false]);
    r.line(40).setLevel(false);
    expect([r.irqLines[0], r.get(GICC.IAR)]).toEqual([false, NONE]);
  });

  it('latches an edge until it is acknowledged, and another while it is active', () => {
    const r = booted();
    r.setEdge(40, true);
    r.setBit('ISENABLER', 40);
    r.line(40).trigger();
    expect(r.get(GICC.IAR)).toBe(40);
    r.line(40).trigger();
    expect([r.irqLines[0], r.bit('ISPENDR', 40)]).toEqual([false, true]);
    r.set(GICC.EOIR, 40);
    expect(r.get(GICC.IAR)).toBe(40);
    r.set(GICC.EOIR, 40);
    expect(r.get(GICC.IAR)).toBe(NONE);
  });

  it('takes a rising level as an edge where it is configured so, and ignores a pulse where it is not', () => {
    const r = booted();
    r.setEdge(40, true);
    r.setBit('ISENABLER', 40);
    r.setBit('ISENABLER', 41);
    r.line(40).setLevel(true);
    r.line(41).trigger();
    expect(r.get(GICC.IAR)).toBe(40);
    r.set(GICC.EOIR, 40);
    expect(r.irqLines[0]).toBe(false);
  });

  it('pends by GICD_ISPENDR and is cleared by GICD_ICPENDR, which does not lower a line', () => {
    const r = booted();
    r.setBit('ISENABLER', 40);
    r.setBit('ISPENDR', 40);
    expect(r.irqLines[0]).toBe(true);
    r.setBit('ICPENDR', 40);
    expect(r.irqLines[0]).toBe(false);
    r.line(40).setLevel(true);
    r.setBit('ICPENDR', 40);
    expect(r.irqLines[0]).toBe(true);
  });

  it('drops the priority only with EOImode 1, until GICC_DIR', () => {
    const r = booted(1, 3 | EOIMODE);
    r.setBit('ISENABLER', 40);
    r.line(40).setLevel(true);
    r.get(GICC.IAR);
    r.set(GICC.EOIR, 40);
    expect([r.get(GICC.RPR), r.bit('ISACTIVER', 40), r.irqLines[0]]).toEqual([0xff, true, false]);
    r.set(GICC.DIR, 40);
    expect([r.bit('ISACTIVER', 40), r.irqLines[0]]).toEqual([false, true]);
  });

  it('ignores GICC_DIR with EOImode 0, and ends of special or impossible interrupts', () => {
    const r = booted();
    r.setBit('ISENABLER', 40);
    r.line(40).setLevel(true);
    r.get(GICC.IAR);
    r.set(GICC.DIR, 40);
    for (const intid of [1020, 1021, 1022, 1023]) r.set(GICC.EOIR, intid);
    expect([r.get(GICC.RPR), r.bit('ISACTIVER', 40)]).toEqual([0xa0, true]);
    r.set(GICC.EOIR, 500);
    expect([r.get(GICC.RPR), r.bit('ISACTIVER', 40)]).toEqual([0xff, true]);
  });
});

describe('GICv2: priorities (IHI 0048 §3.3)', () => {
  it('offers the lowest priority value first, and of equal ones the lowest INTID', () => {
    const r = booted();
    for (const [intid, priority] of [
      [40, 0x80],
      [41, 0x40],
      [34, 0x80],
    ] as const) {
      r.setPriority(intid, priority);
      r.setBit('ISENABLER', intid);
      r.line(intid).setLevel(true);
    }
    const taken: number[] = [];
    for (let i = 0; i < 3; i++) {
      const intid = r.get(GICC.IAR);
      taken.push(intid);
      r.line(intid).setLevel(false);
      r.set(GICC.EOIR, intid);
    }
    expect(taken).toEqual([41, 34, 40]);
  });

  it('masks by GICC_PMR, which has five bits', () => {
    const r = booted();
    expect(r.get(GICC.PMR)).toBe(0xf8);
    r.setBit('ISENABLER', 40);
    r.line(40).setLevel(true);
    r.set(GICC.PMR, 0xa0);
    expect([r.irqLines[0], r.get(GICC.IAR), r.get(GICC.HPPIR)]).toEqual([false, NONE, 40]);
    r.set(GICC.PMR, 0xa8);
    expect(r.irqLines[0]).toBe(true);
  });

  it('preempts with a higher group priority, as far as the binary point says', () => {
    const r = booted();
    r.set(GICC.BPR, 0);
    expect(r.get(GICC.BPR)).toBe(2);
    for (const [intid, priority] of [
      [40, 0x80],
      [41, 0x40],
    ] as const) {
      r.setPriority(intid, priority);
      r.setBit('ISENABLER', intid);
    }
    r.set(GICC.BPR, 7);
    r.line(40).setLevel(true);
    expect([r.get(GICC.IAR), r.get(GICC.RPR)]).toEqual([40, 0]);
    r.line(41).setLevel(true);
    expect(r.irqLines[0]).toBe(false);
    r.set(GICC.EOIR, 40);
    r.line(41).setLevel(false);
    r.set(GICC.BPR, 2);
    expect(r.get(GICC.IAR)).toBe(40);
    r.line(41).setLevel(true);
    expect(r.irqLines[0]).toBe(true);
    expect(r.get(GICC.IAR)).toBe(41);
    expect([r.get(GICC.RPR), r.get(GICC.APR0)]).toEqual([0x40, (1 << 8) | (1 << 16)]);
    r.set(GICC.EOIR, 41);
    expect(r.get(GICC.RPR)).toBe(0x80);
  });
});

describe('GICv2: groups (IHI 0048 §4.4)', () => {
  it('signals group 0 as FIQ with FIQEn, and group 1 always as IRQ', () => {
    const r = booted(1, 3 | FIQEN);
    r.setBit('ISENABLER', 40);
    r.line(40).setLevel(true);
    expect([r.irqLines[0], r.fiqLines[0]]).toEqual([false, true]);
    r.setGroup(40, 1);
    expect([r.irqLines[0], r.fiqLines[0]]).toEqual([true, false]);
    r.setGroup(40, 0);
    r.set(GICC.CTLR, 3);
    expect([r.irqLines[0], r.fiqLines[0]]).toEqual([true, false]);
  });

  it('acknowledges group 1 through the alias, and through GICC_IAR with AckCtl', () => {
    const r = booted();
    r.setGroup(40, 1);
    r.setBit('ISENABLER', 40);
    r.line(40).setLevel(true);
    expect([r.get(GICC.IAR), r.get(GICC.HPPIR), r.get(GICC.AHPPIR)]).toEqual([1022, 1022, 40]);
    expect(r.get(GICC.AIAR)).toBe(40);
    expect(r.get(GICC.NSAPR0)).toBe(1 << 20);
    r.set(GICC.EOIR, 40);
    expect(r.bit('ISACTIVER', 40)).toBe(true);
    r.set(GICC.AEOIR, 40);
    expect(r.bit('ISACTIVER', 40)).toBe(false);
    r.set(GICC.CTLR, 3 | ACKCTL);
    expect(r.get(GICC.IAR)).toBe(40);
    r.set(GICC.EOIR, 40);
    expect(r.get(GICC.RPR)).toBe(0xff);
  });

  it('answers 1023 through the alias for group 0', () => {
    const r = booted();
    r.setBit('ISENABLER', 40);
    r.line(40).setLevel(true);
    expect([r.get(GICC.AIAR), r.get(GICC.AHPPIR), r.get(GICC.IAR)]).toEqual([NONE, NONE, 40]);
    r.set(GICC.AEOIR, 40);
    expect(r.bit('ISACTIVER', 40)).toBe(true);
  });

  it('forwards nothing of a group that the distributor or the interface has disabled', () => {
    const r = booted();
    r.setBit('ISENABLER', 40);
    r.line(40).setLevel(true);
    r.d().write(GICD.CTLR, 4, 2);
    expect(r.irqLines[0]).toBe(false);
    r.d().write(GICD.CTLR, 4, 3);
    expect(r.irqLines[0]).toBe(true);
    r.set(GICC.CTLR, 2);
    expect([r.irqLines[0], r.get(GICC.IAR)]).toEqual([false, NONE]);
  });

  it('uses GICC_ABPR for group 1, and GICC_BPR with CBPR', () => {
    const r = booted();
    r.set(GICC.ABPR, 0);
    expect(r.get(GICC.ABPR)).toBe(3);
    r.set(GICC.ABPR, 7);
    for (const intid of [40, 41]) {
      r.setGroup(intid, 1);
      r.setBit('ISENABLER', intid);
    }
    r.setPriority(40, 0x70);
    r.setPriority(41, 0x10);
    r.line(40).setLevel(true);
    expect(r.get(GICC.AIAR)).toBe(40);
    r.line(41).setLevel(true);
    expect(r.irqLines[0]).toBe(false);
    r.set(GICC.AEOIR, 40);
    r.line(40).setLevel(false);
    expect(r.get(GICC.AIAR)).toBe(41);
    r.set(GICC.AEOIR, 41);
    r.line(41).setLevel(false);
    r.set(GICC.CTLR, 3 | CBPR);
    r.line(40).setLevel(true);
    expect(r.get(GICC.AIAR)).toBe(40);
    r.line(41).setLevel(true);
    expect(r.irqLines[0]).toBe(true);
  });
});

describe('GICv2: several CPUs', () => {
  it('signals an SPI to all its targets, and the first to acknowledge has it', () => {
    const r = booted(3);
    r.setTargets(40, 0b101);
    r.setBit('ISENABLER', 40);
    r.line(40).setLevel(true);
    expect(r.irqLines).toEqual([true, false, true]);
    expect(r.get(GICC.IAR, 2)).toBe(40);
    expect(r.irqLines).toEqual([false, false, false]);
    expect(r.get(GICC.IAR, 0)).toBe(NONE);
    r.set(GICC.EOIR, 40, 2);
    expect(r.irqLines).toEqual([true, false, true]);
  });

  it('sends SGIs to the listed, to the others and to itself, and says who sent them', () => {
    const r = booted(3);
    for (let cpu = 0; cpu < 3; cpu++) r.d(cpu).write(GICD.ISENABLER, 4, 0xffff);
    r.d(1).write(GICD.SGIR, 4, (0b101 << 16) | 7);
    expect(r.irqLines).toEqual([true, false, true]);
    expect(r.get(GICC.IAR, 0)).toBe((1 << 10) | 7);
    r.set(GICC.EOIR, (1 << 10) | 7, 0);
    expect(r.get(GICC.IAR, 2)).toBe((1 << 10) | 7);
    r.set(GICC.EOIR, (1 << 10) | 7, 2);
    r.d(2).write(GICD.SGIR, 4, (1 << 24) | 3);
    expect(r.irqLines).toEqual([true, true, false]);
    r.d(2).write(GICD.SGIR, 4, (2 << 24) | 3);
    expect(r.irqLines).toEqual([true, true, true]);
    r.d(2).write(GICD.SGIR, 4, (3 << 24) | (0xff << 16) | 4);
    expect(r.get(GICC.IAR, 2)).toBe((2 << 10) | 3);
  });

  it('keeps an SGI for each sender', () => {
    const r = booted(3);
    r.setBit('ISENABLER', 2);
    r.d(1).write(GICD.SGIR, 4, (1 << 16) | 2);
    r.d(2).write(GICD.SGIR, 4, (1 << 16) | 2);
    expect(r.d().read(GICD.SPENDSGIR + 2, 1)).toBe(0b110);
    expect(r.get(GICC.IAR)).toBe((1 << 10) | 2);
    r.set(GICC.EOIR, (1 << 10) | 2);
    expect(r.get(GICC.IAR)).toBe((2 << 10) | 2);
    r.set(GICC.EOIR, (2 << 10) | 2);
    expect(r.get(GICC.IAR)).toBe(NONE);
  });

  it('pends and clears SGIs by GICD_SPENDSGIR and GICD_CPENDSGIR, not by GICD_ISPENDR and GICD_ICPENDR', () => {
    const r = booted(2);
    r.setBit('ISENABLER', 5);
    r.setBit('ISPENDR', 5);
    expect(r.irqLines[0]).toBe(false);
    r.d().write(GICD.SPENDSGIR + 4, 4, 0x0000_ff00);
    expect([r.irqLines[0], r.d().read(GICD.CPENDSGIR + 5, 1)]).toEqual([true, 0b11]);
    r.setBit('ICPENDR', 5);
    expect(r.irqLines[0]).toBe(true);
    r.d().write(GICD.CPENDSGIR + 5, 1, 0b01);
    expect(r.irqLines[0]).toBe(true);
    r.d().write(GICD.CPENDSGIR + 5, 1, 0b10);
    expect(r.irqLines[0]).toBe(false);
  });

  it('has private interrupts by CPU', () => {
    const r = booted(2);
    for (const cpu of [0, 1]) r.setBit('ISENABLER', 27, cpu);
    r.gic.setPpi(1, 11, true);
    expect(r.irqLines).toEqual([false, true]);
    expect(r.get(GICC.IAR, 1)).toBe(27);
    r.gic.setPpi(1, 11, false);
    r.set(GICC.EOIR, 27, 1);
    expect(r.irqLines).toEqual([false, false]);
  });
});

describe('GICv2: registers (IHI 0048 chapter 4)', () => {
  it('says how many CPUs and interrupts it has, and what it is', () => {
    const r = new Rig(4, 96);
    expect(r.d().read(GICD.TYPER, 4)).toBe(2 | (3 << 5));
    expect((r.d().read(0xfe8, 4) >> 4) & 15).toBe(2);
    expect((r.get(GICC.IIDR) >> 16) & 15).toBe(2);
    expect([0xff0, 0xff4, 0xff8, 0xffc].map((o) => r.d().read(o, 4))).toEqual([0x0d, 0xf0, 0x05, 0xb1]);
  });

  it('shows each CPU its own number in the targets of private interrupts, which cannot be written', () => {
    const r = new Rig(3);
    for (const cpu of [0, 1, 2]) {
      r.d(cpu).write(GICD.ITARGETSR, 4, 0xffff_ffff);
      expect(r.d(cpu).read(GICD.ITARGETSR, 4)).toBe(0x0101_0101 * (1 << cpu));
    }
    r.d().write(GICD.ITARGETSR + 32, 4, 0xffff_ffff);
    expect(r.d().read(GICD.ITARGETSR + 32, 4)).toBe(0x0707_0707);
  });

  it('has no targets with one CPU, and delivers to it', () => {
    const r = booted();
    r.d().write(GICD.ITARGETSR + 40, 1, 0);
    expect(r.d().read(GICD.ITARGETSR + 40, 1)).toBe(0);
    r.setBit('ISENABLER', 40);
    r.line(40).setLevel(true);
    expect(r.irqLines[0]).toBe(true);
  });

  it('takes priorities and targets by byte and by word, other registers by word only', () => {
    const r = new Rig(2);
    r.d().write(GICD.IPRIORITYR + 32, 4, 0x1020_3040);
    r.d().write(GICD.IPRIORITYR + 33, 1, 0xff);
    expect(r.d().read(GICD.IPRIORITYR + 32, 4)).toBe(0x1020_f840);
    r.d().write(GICD.IPRIORITYR + 32, 2, 0);
    r.d().write(GICD.IPRIORITYR + 33, 4, 0);
    expect([r.d().read(GICD.IPRIORITYR + 32, 2), r.d().read(GICD.IPRIORITYR + 35, 1)]).toEqual([0, 0x10]);
    r.d().write(GICD.ISENABLER + 4, 1, 0xff);
    r.d().write(GICD.ISENABLER + 4, 2, 0xff);
    r.d().write(GICD.ISENABLER + 5, 4, 0xff);
    expect([r.d().read(GICD.ISENABLER + 4, 4), r.d().read(GICD.TYPER, 1)]).toEqual([0, 0]);
    r.gic.cpuInterface(0).write(GICC.PMR, 1, 0xf8);
    expect([r.get(GICC.PMR), r.gic.cpuInterface(0).read(GICC.IIDR, 2)]).toEqual([0, 0]);
  });

  it('keeps SGIs edge-triggered and configures the others', () => {
    const r = new Rig();
    r.d().write(GICD.ICFGR, 4, 0);
    expect(r.d().read(GICD.ICFGR, 4)).toBe(0xaaaa_aaaa);
    r.d().write(GICD.ICFGR + 8, 4, 0xffff_ffff);
    expect([r.d().read(GICD.ICFGR + 8, 4), r.d().read(GICD.ICFGR + 12, 4)]).toEqual([0xaaaa_aaaa, 0]);
  });

  it('has nothing for interrupts beyond the last', () => {
    const r = booted(2, 3, 1020);
    r.d().write(GICD.ISENABLER + 31 * 4, 4, 0xffff_ffff);
    expect(r.d().read(GICD.ISENABLER + 31 * 4, 4)).toBe(0x0fff_ffff);
    for (const offset of [GICD.IPRIORITYR + 1020, GICD.ITARGETSR + 1020]) {
      r.d().write(offset, 4, 0xffff_ffff);
      expect(r.d().read(offset, 4)).toBe(0);
    }
    const small = booted(1, 3, 64);
    small.d().write(GICD.ISENABLER + 8, 4, 0xffff_ffff);
    expect(small.d().read(GICD.ISENABLER + 8, 4)).toBe(0);
  });

  it('resets, keeping the lines', () => {
    const r = booted();
    r.setBit('ISENABLER', 40);
    r.line(40).setLevel(true);
    r.gic.reset();
    expect([r.irqLines[0], r.get(GICC.PMR), r.bit('ISENABLER', 40), r.bit('ISPENDR', 40)]).toEqual([
      false,
      0,
      false,
      true,
    ]);
  });
});

describe('GICv2: the controller itself', () => {
  const options = { distributor: 0, cpuInterface: 0x1_0000, onIrq: () => {} };

  it.each([
    { cpus: 0 },
    { cpus: 9 },
    { cpus: 1.5 },
    { cpus: 1, irqs: 32 },
    { cpus: 1, irqs: 65 },
    { cpus: 1, irqs: 1024 },
    { cpus: 1, irqs: 1000 },
  ])('refuses %o', async (wrong) => {
    const { GicV2 } = await import('../src/index.ts');
    expect(() => new GicV2({ ...options, ...wrong })).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
    );
  });

  it('describes itself for a device tree', () => {
    const { gic } = new Rig(2);
    expect(gic.description).toMatchObject({
      version: 2,
      compatible: ['arm,cortex-a15-gic'],
      reg: [
        { address: 0x4000_0000, size: 0x1000 },
        { address: 0x4001_0000, size: 0x2000 },
      ],
      interruptCells: 3,
    });
    expect(gic.ppiSpecifier(11, 'level')).toEqual({ type: 1, number: 11, flags: 0x304 });
    expect(gic.createLine(3, 'edge').specifier).toEqual({ type: 0, number: 3, flags: 1 });
  });

  it('refuses CPUs and private interrupts that do not exist', () => {
    const { gic } = new Rig(2);
    for (const wrong of [
      () => gic.distributor(2),
      () => gic.cpuInterface(-1),
      () => gic.setPpi(2, 0, true),
      () => gic.setPpi(0, 16, true),
      () => gic.setPpi(0, -1, true),
      () => gic.ppiSpecifier(16, 'edge'),
    ]) {
      expect(wrong).toThrow(expect.objectContaining({ name: 'IrqChipError', code: 'INVALID_ARGUMENT' }));
    }
  });
});
