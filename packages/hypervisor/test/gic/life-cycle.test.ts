import { GicMachine, GICD, NONE } from './machine.ts';

function booted(options?: { vcpus?: number; irqs?: number }): GicMachine {
  const machine = new GicMachine(options);
  machine.boot();
  return machine;
}

describe('GICv3 of the engine: life of an interrupt (IHI 0069, 4.1)', () => {
  it('signals nothing after reset, with every interrupt asserted', () => {
    const m = new GicMachine();
    for (let i = 32; i < 96; i++) m.setSpi(i, true);
    for (let i = 16; i < 32; i++) m.setPpi(i, true);
    expect([m.irq(), m.fiq(), m.get('IAR1'), m.get('IAR0')]).toEqual([false, false, NONE, NONE]);
  });

  it('takes a level-sensitive SPI from pending to active, and to pending again while the line stays high', () => {
    const m = booted();
    m.enable(40);
    m.setSpi(40, true);
    expect([m.irq(), m.bit('ISPENDR', 40), m.bit('ISACTIVER', 40)]).toEqual([true, true, false]);
    expect(m.get('IAR1')).toBe(40);
    expect([m.irq(), m.bit('ISPENDR', 40), m.bit('ISACTIVER', 40)]).toEqual([false, true, true]);
    m.set('EOIR1', 40);
    expect([m.irq(), m.bit('ISACTIVER', 40)]).toEqual([true, false]);
    m.setSpi(40, false);
    expect([m.irq(), m.bit('ISPENDR', 40)]).toEqual([false, false]);
    expect(m.get('IAR1')).toBe(NONE);
  });

  it('forgets a level-sensitive interrupt whose line falls before it is acknowledged', () => {
    const m = booted();
    m.enable(33);
    m.setSpi(33, true);
    m.setSpi(33, false);
    expect(m.get('IAR1')).toBe(NONE);
  });

  it('sees that a device has lowered its line before the guest ends or acknowledges the interrupt', () => {
    const m = booted();
    m.enable(33);
    m.setSpi(33, true);
    expect(m.get('IAR1')).toBe(33);
    m.setSpi(33, false, { sample: false });
    m.set('EOIR1', 33);
    expect(m.irq()).toBe(false);
    m.setSpi(33, true);
    m.setSpi(33, false, { sample: false });
    expect([m.irq(), m.get('IAR1')]).toEqual([true, NONE]);
  });

  it('latches an edge until it is acknowledged, though the line has fallen', () => {
    const m = booted();
    m.enable(33, { edge: true });
    m.setSpi(33, true);
    m.setSpi(33, false);
    expect(m.get('IAR1')).toBe(33);
    m.set('EOIR1', 33);
    expect([m.irq(), m.get('IAR1')]).toEqual([false, NONE]);
  });

  it('takes one edge for one interrupt, though the line stays high', () => {
    const m = booted();
    m.enable(33, { edge: true });
    m.setSpi(33, true);
    expect(m.get('IAR1')).toBe(33);
    m.set('EOIR1', 33);
    expect(m.irq()).toBe(false);
  });

  it('is active and pending when an edge comes while it is active, and is taken again after the end', () => {
    const m = booted();
    m.enable(33, { edge: true });
    m.pulseSpi(33);
    expect(m.get('IAR1')).toBe(33);
    m.pulseSpi(33);
    expect([m.bit('ISPENDR', 33), m.bit('ISACTIVER', 33), m.irq()]).toEqual([true, true, false]);
    m.set('EOIR1', 33);
    expect(m.get('IAR1')).toBe(33);
  });

  it('ignores a pulse of a level-sensitive interrupt', () => {
    const m = booted();
    m.enable(33);
    m.pulseSpi(33);
    expect(m.irq()).toBe(false);
  });

  it('keeps an edge that came while the interrupt was disabled', () => {
    const m = booted();
    m.setEdge(33, true);
    m.pulseSpi(33);
    expect(m.irq()).toBe(false);
    m.setBit('ISENABLER', 33);
    expect(m.irq()).toBe(true);
    m.setBit('ICENABLER', 33);
    expect([m.irq(), m.get('IAR1')]).toEqual([false, NONE]);
  });

  it('pends by ISPENDR and is cleared by ICPENDR, which does not lower an asserted line', () => {
    const m = booted();
    m.enable(50);
    m.setBit('ISPENDR', 50);
    expect(m.irq()).toBe(true);
    m.setBit('ICPENDR', 50);
    expect(m.irq()).toBe(false);
    m.setSpi(50, true);
    m.setBit('ICPENDR', 50);
    expect([m.irq(), m.bit('ISPENDR', 50)]).toEqual([true, true]);
  });

  it('does not signal an interrupt that ISACTIVER made active, until ICACTIVER', () => {
    const m = booted();
    m.enable(50);
    m.setBit('ISACTIVER', 50);
    m.setSpi(50, true);
    expect(m.irq()).toBe(false);
    m.setBit('ICACTIVER', 50);
    expect(m.irq()).toBe(true);
  });

  it('follows the level of a private peripheral interrupt of its vCPU only', () => {
    const m = booted({ vcpus: 2 });
    m.enable(27, { cpu: 0 });
    m.enable(27, { cpu: 1 });
    m.setPpi(27, true, 1);
    expect([m.irq(0), m.irq(1)]).toEqual([false, true]);
    expect(m.get('IAR1', 1)).toBe(27);
    m.setPpi(27, false, 1);
    m.set('EOIR1', 27, 1);
    expect(m.irq(1)).toBe(false);
  });

  it('refuses a line of an SGI or SPI as a private interrupt', () => {
    const m = booted();
    m.enable(3);
    m.enable(32);
    m.setPpi(3, true);
    m.setPpi(32, true);
    m.setPpi(0xffff_ffff, true);
    expect(m.irq()).toBe(false);
  });

  it('ignores lines of interrupts that do not exist', () => {
    const m = booted({ irqs: 64 });
    m.write(GICD + 0x108, 0xffff_ffff);
    m.setSpi(64, true);
    m.setSpi(1023, true);
    expect([m.irq(), m.get('HPPIR1')]).toEqual([false, NONE]);
  });
});

describe('GICv3 of the engine: priorities (IHI 0069, 4.8)', () => {
  it('offers the lowest priority value first, and of equal ones the lowest INTID', () => {
    const m = booted();
    m.enable(40, { priority: 0x80 });
    m.enable(41, { priority: 0x40 });
    m.enable(34, { priority: 0x80 });
    for (const intid of [40, 41, 34]) m.setSpi(intid, true);
    expect(m.get('HPPIR1')).toBe(41);
    const taken: number[] = [];
    for (let i = 0; i < 3; i++) {
      const intid = m.get('IAR1');
      taken.push(intid);
      m.setSpi(intid, false);
      m.set('EOIR1', intid);
    }
    expect(taken).toEqual([41, 34, 40]);
  });

  it('masks priorities that are not below ICC_PMR_EL1', () => {
    const m = booted();
    m.enable(40, { priority: 0x80 });
    m.setSpi(40, true);
    m.set('PMR', 0x80);
    expect([m.irq(), m.get('IAR1'), m.get('HPPIR1')]).toEqual([false, NONE, 40]);
    m.set('PMR', 0x88);
    expect([m.irq(), m.get('IAR1')]).toEqual([true, 40]);
  });

  it('implements five bits of priority', () => {
    const m = booted();
    m.setPriority(40, 0xff);
    expect(m.read(GICD + 0x400 + 40, 1)).toBe(0xf8n);
    m.set('PMR', 0xff);
    expect(m.get('PMR')).toBe(0xf8);
  });

  it('preempts with a higher group priority and returns to the first interrupt', () => {
    const m = booted();
    m.enable(40, { priority: 0x80 });
    m.enable(41, { priority: 0x40 });
    m.setSpi(40, true);
    expect(m.get('IAR1')).toBe(40);
    expect(m.get('RPR')).toBe(0x80);
    m.setSpi(41, true);
    expect(m.irq()).toBe(true);
    expect(m.get('IAR1')).toBe(41);
    expect([m.get('RPR'), m.get('AP1R0')]).toEqual([0x40, (1 << 8) | (1 << 16)]);
    m.setSpi(41, false);
    m.set('EOIR1', 41);
    expect(m.get('RPR')).toBe(0x80);
    m.setSpi(40, false);
    m.set('EOIR1', 40);
    expect([m.get('RPR'), m.get('AP1R0')]).toEqual([0xff, 0]);
  });

  it('does not preempt within a group priority set by the binary point', () => {
    const m = booted();
    m.set('BPR1', 7);
    m.enable(40, { priority: 0x78 });
    m.enable(41, { priority: 0x08 });
    m.setSpi(40, true);
    expect(m.get('IAR1')).toBe(40);
    m.setSpi(41, true);
    expect(m.irq()).toBe(false);
    m.set('BPR1', 6);
    expect(m.irq()).toBe(false);
    m.set('EOIR1', 40);
    expect(m.get('IAR1')).toBe(41);
  });

  it('has the smallest binary points that five bits allow', () => {
    const m = booted();
    m.set('BPR0', 0);
    m.set('BPR1', 0);
    expect([m.get('BPR0'), m.get('BPR1')]).toEqual([2, 3]);
  });

  it('uses ICC_BPR0_EL1 for both groups with CBPR, and shows it in ICC_BPR1_EL1', () => {
    const m = booted();
    m.set('BPR0', 5);
    m.set('CTLR', 1);
    m.set('BPR1', 3);
    expect(m.get('BPR1')).toBe(6);
    m.set('BPR0', 7);
    expect(m.get('BPR1')).toBe(7);
    m.enable(40, { priority: 0xf0 });
    m.enable(41, { priority: 0x00 });
    m.setSpi(40, true);
    expect(m.get('IAR1')).toBe(40);
    m.setSpi(41, true);
    expect(m.irq()).toBe(false);
    m.set('CTLR', 0);
    expect(m.get('BPR1')).toBe(3);
  });
});

describe('GICv3 of the engine: end of interrupt (IHI 0069, 4.1.1)', () => {
  it('drops the priority and leaves the interrupt active with EOImode 1, until ICC_DIR_EL1', () => {
    const m = booted();
    m.set('CTLR', 2);
    m.enable(40);
    m.setSpi(40, true);
    expect(m.get('IAR1')).toBe(40);
    m.set('EOIR1', 40);
    expect([m.get('RPR'), m.bit('ISACTIVER', 40), m.irq()]).toEqual([0xff, true, false]);
    m.set('DIR', 40);
    expect([m.bit('ISACTIVER', 40), m.irq()]).toEqual([false, true]);
  });

  it('ignores ICC_DIR_EL1 with EOImode 0', () => {
    const m = booted();
    m.enable(40);
    m.setSpi(40, true);
    m.get('IAR1');
    m.set('DIR', 40);
    expect(m.bit('ISACTIVER', 40)).toBe(true);
  });

  it('ignores special and impossible INTIDs', () => {
    const m = booted();
    m.enable(40);
    m.setSpi(40, true);
    m.get('IAR1');
    for (const intid of [1020, 1021, 1022, 1023]) m.set('EOIR1', intid);
    expect([m.get('RPR'), m.bit('ISACTIVER', 40)]).toEqual([0xa0, true]);
    m.set('CTLR', 2);
    for (const intid of [96, 1019, 5000, 0xff_ffff]) m.set('DIR', intid);
    expect(m.bit('ISACTIVER', 40)).toBe(true);
  });

  it('ignores an end of interrupt in the group that does not hold the running priority', () => {
    const m = booted();
    m.enable(40);
    m.setSpi(40, true);
    m.get('IAR1');
    m.set('EOIR0', 40);
    expect([m.get('RPR'), m.bit('ISACTIVER', 40)]).toEqual([0xa0, true]);
  });

  it('lets another vCPU deactivate an SPI', () => {
    const m = booted({ vcpus: 2 });
    m.set('CTLR', 2, 0);
    m.set('CTLR', 2, 1);
    m.enable(40);
    m.setSpi(40, true);
    expect(m.get('IAR1', 0)).toBe(40);
    m.set('EOIR1', 40, 0);
    m.set('DIR', 40, 1);
    expect([m.bit('ISACTIVER', 40), m.irq(0), m.irq(1)]).toEqual([false, true, false]);
  });
});

describe('GICv3 of the engine: groups (IHI 0069, 4.6)', () => {
  it('signals group 0 as FIQ and group 1 as IRQ, and acknowledges each through its own register', () => {
    const m = booted();
    m.enable(40, { group: 0 });
    m.setSpi(40, true);
    expect([m.fiq(), m.irq()]).toEqual([true, false]);
    expect([m.get('HPPIR1'), m.get('HPPIR0')]).toEqual([NONE, 40]);
    expect([m.get('IAR1'), m.get('IAR0')]).toEqual([NONE, 40]);
    expect([m.get('AP0R0'), m.get('AP1R0')]).toEqual([1 << 20, 0]);
    m.set('EOIR1', 40);
    expect(m.bit('ISACTIVER', 40)).toBe(true);
    m.set('EOIR0', 40);
    expect(m.bit('ISACTIVER', 40)).toBe(false);
  });

  it('does not let a disabled group hide an enabled one', () => {
    for (const disable of ['distributor', 'interface']) {
      const m = booted();
      m.enable(40, { group: 0, priority: 0x10 });
      m.enable(41, { priority: 0x80 });
      m.setSpi(40, true);
      m.setSpi(41, true);
      expect([m.irq(), m.fiq()]).toEqual([false, true]);
      if (disable === 'distributor') m.write(GICD, 2);
      else m.set('IGRPEN0', 0);
      expect([m.irq(), m.fiq(), m.get('IAR1')]).toEqual([true, false, 41]);
    }
  });

  it('signals nothing to a PE whose redistributor sleeps', () => {
    const m = booted();
    m.enable(40);
    m.setSpi(40, true);
    m.setWaker(true);
    expect([m.irq(), m.get('IAR1')]).toEqual([false, NONE]);
    m.setWaker(false);
    expect(m.irq()).toBe(true);
  });
});

describe('GICv3 of the engine: several vCPUs', () => {
  it('delivers an SPI to the vCPU that GICD_IROUTER names, and moves it when that changes', () => {
    const m = booted({ vcpus: 4 });
    m.enable(40);
    m.setSpi(40, true);
    expect([0, 1, 2, 3].map((c) => m.irq(c))).toEqual([true, false, false, false]);
    m.setRoute(40, 3n);
    expect([0, 1, 2, 3].map((c) => m.irq(c))).toEqual([false, false, false, true]);
    m.setRoute(40, 0x100n);
    expect([0, 1, 2, 3].map((c) => m.irq(c))).toEqual([false, false, false, false]);
    m.setRoute(40, 4n);
    expect([0, 1, 2, 3].map((c) => m.irq(c))).toEqual([false, false, false, false]);
  });

  it('delivers a 1-of-N SPI to the first vCPU that accepts its group, and to one only', () => {
    const m = booted({ vcpus: 3 });
    m.enable(40);
    m.setRoute(40, 0x8000_0000n);
    m.setSpi(40, true);
    expect([0, 1, 2].map((c) => m.irq(c))).toEqual([true, false, false]);
    m.set('IGRPEN1', 0, 0);
    expect([0, 1, 2].map((c) => m.irq(c))).toEqual([false, true, false]);
    m.setWaker(true, 1);
    expect([0, 1, 2].map((c) => m.irq(c))).toEqual([false, false, true]);
    expect(m.get('IAR1', 2)).toBe(40);
    m.setWaker(false, 1);
    expect([0, 1, 2].map((c) => m.irq(c))).toEqual([false, false, false]);
  });

  it('sends an SGI to the listed vCPUs and makes them look', () => {
    const m = booted({ vcpus: 4 });
    for (let c = 0; c < 4; c++) {
      m.enable(5, { cpu: c });
      m.takeAttention(c);
    }
    m.set('SGI1R', (5n << 24n) | 0b1010n, 0);
    expect([0, 1, 2, 3].map((c) => m.irq(c))).toEqual([false, true, false, true]);
    expect([0, 1, 2, 3].map((c) => m.takeAttention(c))).toEqual([false, true, false, true]);
    expect(m.get('IAR1', 1)).toBe(5);
    m.set('EOIR1', 5, 1);
    expect([m.irq(1), m.irq(3)]).toEqual([false, true]);
  });

  it('sends an SGI to all others with IRM', () => {
    const m = booted({ vcpus: 3 });
    for (let c = 0; c < 3; c++) m.enable(0, { cpu: c });
    m.set('SGI1R', 1n << 40n, 1);
    expect([0, 1, 2].map((c) => m.irq(c))).toEqual([true, false, true]);
  });

  it('ignores SGIs to affinities that do not exist', () => {
    const m = booted({ vcpus: 2 });
    for (let c = 0; c < 2; c++) m.enable(0, { cpu: c });
    for (const affinity of [1n << 16n, 1n << 32n, 1n << 48n, 1n << 44n]) m.set('SGI1R', affinity | 3n, 0);
    m.set('SGI1R', 0xfffcn, 0);
    expect([m.irq(0), m.irq(1)]).toEqual([false, false]);
  });

  it('sends SGIs of group 0 only through ICC_SGI0R_EL1 and ICC_ASGI1R_EL1', () => {
    for (const register of ['SGI0R', 'ASGI1R'] as const) {
      const m = booted();
      m.enable(1);
      m.enable(2, { group: 0 });
      m.set(register, (1n << 24n) | 1n);
      m.set(register, (2n << 24n) | 1n);
      expect([m.irq(), m.fiq(), m.get('IAR0')]).toEqual([false, true, 2]);
    }
  });

  it('makes a vCPU look when an SPI for it arrives, and leaves the others alone', () => {
    const m = booted({ vcpus: 2 });
    m.enable(40);
    m.setRoute(40, 1n);
    m.takeAttention(0);
    m.takeAttention(1);
    m.setSpi(40, true);
    expect([m.takeAttention(0), m.takeAttention(1)]).toEqual([false, true]);
  });
});
