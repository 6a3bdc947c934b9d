import fc from 'fast-check';
import { GICD, GICR, GICR_STRIDE, GicMachine, ICC, SGI_BASE } from './machine.ts';

describe('GICv3 of the engine: distributor registers (IHI 0069, 12.9)', () => {
  it('says what it is', () => {
    const m = new GicMachine({ irqs: 128 });
    expect(m.read(GICD)).toBe(0x50n);
    const typer = Number(m.read(GICD + 4));
    expect({
      lines: typer & 31,
      security: (typer >> 10) & 1,
      lpis: (typer >> 17) & 1,
      a3v: (typer >> 24) & 1,
    }).toEqual({ lines: 3, security: 0, lpis: 0, a3v: 1 });
    expect((Number(m.read(GICD + 0xffe8)) >> 4) & 15).toBe(3);
    expect(m.read(GICD + 8)).not.toBe(0n);
  });

  it('keeps ARE and DS whatever is written to GICD_CTLR', () => {
    const m = new GicMachine();
    m.write(GICD, 0);
    expect(m.read(GICD)).toBe(0x50n);
    m.write(GICD, 0xffff_ffff);
    expect(m.read(GICD)).toBe(0x53n);
  });

  it('has no words for SGIs and PPIs, which belong to the redistributors', () => {
    const m = new GicMachine();
    for (const offset of [0x80, 0x100, 0x200, 0x300, 0x400, 0x41c, 0xc00, 0xc04]) {
      m.write(GICD + offset, 0xffff_ffff);
      expect([offset, m.read(GICD + offset)]).toEqual([offset, 0n]);
    }
  });

  it('sets and clears by ones in ISENABLER and ICENABLER', () => {
    const m = new GicMachine();
    m.write(GICD + 0x104, 0x0f0f);
    m.write(GICD + 0x104, 0xf000_0000);
    expect(m.read(GICD + 0x184)).toBe(0xf000_0f0fn);
    m.write(GICD + 0x184, 0x0f00);
    expect(m.read(GICD + 0x104)).toBe(0xf000_000fn);
  });

  it('takes priorities by byte and by word, and refuses other widths', () => {
    const m = new GicMachine();
    m.write(GICD + 0x420, 0x1020_3040);
    m.write(GICD + 0x421, 0x88, 1);
    expect(m.read(GICD + 0x420)).toBe(0x1020_8840n);
    expect(m.read(GICD + 0x423, 1)).toBe(0x10n);
    m.write(GICD + 0x420, 0, 2);
    m.write(GICD + 0x420, 0, 8);
    expect(m.read(GICD + 0x420)).toBe(0x1020_8840n);
    expect([m.read(GICD + 0x420, 2), m.read(GICD + 0x420, 8)]).toEqual([0n, 0n]);
  });

  it('refuses bytes and halfwords of word registers', () => {
    const m = new GicMachine();
    m.write(GICD + 0x104, 0xff, 1);
    m.write(GICD + 0x104, 0xff, 2);
    expect(m.read(GICD + 0x104)).toBe(0n);
    expect([m.read(GICD + 4, 1), m.read(GICD + 4, 2)]).toEqual([0n, 0n]);
  });

  it('configures two bits for each interrupt, of which the upper counts', () => {
    const m = new GicMachine();
    m.write(GICD + 0xc08, 0xffff_ffff);
    expect(m.read(GICD + 0xc08)).toBe(0xaaaa_aaaan);
    m.write(GICD + 0xc0c, 0x0000_0008);
    expect([m.read(GICD + 0xc08), m.read(GICD + 0xc0c)]).toEqual([0xaaaa_aaaan, 8n]);
  });

  it('takes GICD_IROUTER as a doubleword or two words, and keeps its fields only', () => {
    const m = new GicMachine();
    m.write(GICD + 0x6000 + 40 * 8, 0xffff_ffff_ffff_ffffn, 8);
    expect(m.read(GICD + 0x6000 + 40 * 8, 8)).toBe(0xff_80ff_ffffn);
    m.write(GICD + 0x6000 + 40 * 8, 7);
    expect(m.read(GICD + 0x6000 + 40 * 8, 8)).toBe(0xff_0000_0007n);
    m.write(GICD + 0x6004 + 40 * 8, 0);
    expect(m.read(GICD + 0x6000 + 40 * 8, 8)).toBe(7n);
    expect(m.read(GICD + 0x6004 + 40 * 8)).toBe(0n);
  });

  it('has no registers for interrupts beyond the last', () => {
    const m = new GicMachine({ irqs: 1020 });
    m.write(GICD + 0x100 + 31 * 4, 0xffff_ffff);
    expect(m.read(GICD + 0x100 + 31 * 4)).toBe(0x0fff_ffffn);
    m.write(GICD + 0x400 + 1020, 0xff, 1);
    expect(m.read(GICD + 0x400 + 1020, 1)).toBe(0n);
    m.write(GICD + 0x6000 + 1020 * 8, 1, 8);
    expect(m.read(GICD + 0x6000 + 1020 * 8, 8)).toBe(0n);
    const small = new GicMachine({ irqs: 64 });
    small.write(GICD + 0x108, 0xffff_ffff);
    small.write(GICD + 0x6000 + 64 * 8, 1, 8);
    expect([small.read(GICD + 0x108), small.read(GICD + 0x6000 + 64 * 8, 8)]).toEqual([0n, 0n]);
  });
});

describe('GICv3 of the engine: redistributor registers (IHI 0069, 12.10)', () => {
  it('has an affinity and a number for each vCPU, and Last for the last', () => {
    const m = new GicMachine({ vcpus: 3 });
    const typers = [0, 1, 2].map((cpu) => m.read(GICR + cpu * GICR_STRIDE + 8, 8));
    expect(typers).toEqual([0n, 0x1_0000_0100n, 0x2_0000_0210n]);
    expect(m.read(GICR + 2 * GICR_STRIDE + 8)).toBe(0x210n);
    expect(m.read(GICR + 2 * GICR_STRIDE + 12)).toBe(2n);
    expect((Number(m.read(GICR + 0xffe8)) >> 4) & 15).toBe(3);
  });

  it('starts asleep; ChildrenAsleep follows ProcessorSleep', () => {
    const m = new GicMachine();
    expect(m.read(GICR + 0x14)).toBe(6n);
    m.write(GICR + 0x14, 4);
    expect(m.read(GICR + 0x14)).toBe(0n);
  });

  it('keeps SGIs edge-triggered and lets PPIs be configured', () => {
    const m = new GicMachine();
    const sgi = GICR + SGI_BASE;
    m.write(sgi + 0xc00, 0);
    expect(m.read(sgi + 0xc00)).toBe(0xaaaa_aaaan);
    m.write(sgi + 0xc04, 0x0080_0000);
    expect(m.read(sgi + 0xc04)).toBe(0x0080_0000n);
    m.write(sgi + 0xc08, 0xffff_ffff);
    expect(m.read(sgi + 0xc08)).toBe(0n);
  });

  it('banks the words by redistributor, whichever vCPU makes the access', () => {
    const m = new GicMachine({ vcpus: 2 });
    m.write(GICR + GICR_STRIDE + SGI_BASE + 0x100, 0x10, 4, 0);
    expect(m.read(GICR + SGI_BASE + 0x100, 4, 1)).toBe(0n);
    expect(m.read(GICR + GICR_STRIDE + SGI_BASE + 0x100, 4, 1)).toBe(0x10n);
    m.write(GICR + SGI_BASE + 0x104, 0xffff_ffff);
    expect(m.read(GICD + 0x104)).toBe(0n);
  });
});

describe('GICv3 of the engine: system registers (IHI 0069, 12.2)', () => {
  it('knows its registers and which way they can be accessed', () => {
    const m = new GicMachine();
    const access = (name: keyof typeof ICC): number => m.exports.gicSystemAccess(ICC[name]);
    for (const name of ['IAR0', 'IAR1', 'HPPIR0', 'HPPIR1', 'RPR'] as const)
      expect([name, access(name)]).toEqual([name, 1]);
    for (const name of ['EOIR0', 'EOIR1', 'DIR', 'SGI0R', 'SGI1R', 'ASGI1R'] as const) {
      expect([name, access(name)]).toEqual([name, 2]);
    }
    for (const name of [
      'PMR',
      'BPR0',
      'BPR1',
      'AP0R0',
      'AP1R0',
      'CTLR',
      'SRE',
      'IGRPEN0',
      'IGRPEN1',
    ] as const) {
      expect([name, access(name)]).toEqual([name, 3]);
    }
    const known = new Set<number>(Object.values(ICC));
    const unexpected: number[] = [];
    for (let encoding = 0; encoding < 0x10000; encoding++) {
      if (!known.has(encoding) && m.exports.gicSystemAccess(encoding) !== 0) unexpected.push(encoding);
    }
    expect(unexpected).toEqual([]);
  });

  it('has the system register interface only, five bits of priority and A3V', () => {
    const m = new GicMachine();
    m.set('SRE', 0);
    expect(m.get('SRE')).toBe(7);
    m.set('CTLR', 0xffff_ffff);
    expect(m.get('CTLR')).toBe(0x8000 | (4 << 8) | 3);
  });

  it('reads back active priorities as written', () => {
    const m = new GicMachine();
    m.set('AP1R0', 0x8000_0001);
    expect([m.get('AP1R0'), m.get('RPR')]).toEqual([0x8000_0001, 0]);
    m.set('AP1R0', 0x8000_0000);
    expect(m.get('RPR')).toBe(0xf8);
  });

  it('resets the interface of one vCPU and leaves the other and the distributor', () => {
    const m = new GicMachine({ vcpus: 2 });
    m.boot();
    m.enable(40);
    m.setSpi(40, true);
    m.exports.gicCpuReset(m.block(0));
    expect([m.irq(0), m.get('PMR', 0), m.get('IGRPEN1', 0), m.get('PMR', 1)]).toEqual([false, 0, 0, 0xf8]);
    expect(m.bit('ISENABLER', 40)).toBe(true);
  });
});

describe('GICv3 of the engine: placement and hostile accesses', () => {
  it('contains the distributor and one redistributor for each vCPU, and nothing when off', () => {
    const m = new GicMachine({ vcpus: 2 });
    const contains = (address: number): boolean => m.exports.gicContains(BigInt(address)) !== 0;
    expect([GICD - 1, GICD, GICD + 0xffff, GICD + 0x10000].map(contains)).toEqual([false, true, true, false]);
    const end = GICR + 2 * GICR_STRIDE;
    expect([GICR - 1, GICR, end - 1, end].map(contains)).toEqual([false, true, true, false]);
    new DataView(m.memory.buffer).setUint32(m.constant('HEADER') + m.constant('HEADER_GIC_ENABLED'), 0, true);
    expect(contains(GICD)).toBe(false);
  });

  it('answers any access, and never touches memory outside its state and the attention words', () => {
    const m = new GicMachine({ vcpus: 2, irqs: 1020 });
    const attention = [0, 1].map((cpu) => m.block(cpu) + m.constant('CPU_ATTENTION'));
    const snapshot = (): Uint8Array => {
      const copy = new Uint8Array(new Uint8Array(m.memory.buffer).slice());
      copy.fill(0, m.constant('GIC'), m.constant('GIC') + m.constant('GIC_STATE_SIZE'));
      for (const at of attention) copy.fill(0, at, at + 4);
      return copy;
    };
    const before = snapshot();
    const address = fc.oneof(
      fc.integer({ min: GICD - 16, max: GICD + 0x10010 }),
      fc.integer({ min: GICR - 16, max: GICR + 2 * GICR_STRIDE + 16 }),
    );
    const value = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });
    fc.assert(
      fc.property(
        fc.array(
          fc.oneof(
            fc.tuple(
              fc.constant('mmio' as const),
              address,
              fc.constantFrom(1, 2, 4, 8),
              value,
              fc.integer({ min: 0, max: 1 }),
            ),
            fc.tuple(
              fc.constant('system' as const),
              fc.oneof(fc.constantFrom(...Object.values(ICC)), fc.integer({ min: 0, max: 0xffff })),
              fc.constant(8),
              value,
              fc.integer({ min: 0, max: 1 }),
            ),
          ),
          { maxLength: 60 },
        ),
        (accesses) => {
          for (const [kind, where, length, what, cpu] of accesses) {
            const block = m.block(cpu);
            if (kind === 'mmio') {
              m.exports.gicMmioWrite(block, BigInt(where), length, what);
              const r = BigInt.asUintN(64, m.exports.gicMmioRead(block, BigInt(where), length));
              expect(r >> BigInt(length * 8)).toBe(0n);
            } else {
              m.exports.gicSystemWrite(block, where, what);
              m.exports.gicSystemRead(block, where);
            }
          }
        },
      ),
      { numRuns: 300 },
    );
    expect(Buffer.compare(snapshot(), before)).toBe(0);
  });
});

describe('GICv3 of the engine: saved state', () => {
  it('goes on from copied bytes', () => {
    const a = new GicMachine({ vcpus: 2 });
    a.boot();
    a.enable(40, { priority: 0x80 });
    a.enable(41, { priority: 0x40 });
    a.setRoute(41, 1n);
    a.setSpi(40, true);
    a.setSpi(41, true);
    expect(a.get('IAR1', 1)).toBe(41);

    const b = new GicMachine({ vcpus: 2 });
    b.state().set(a.state());
    // The owner's lines are part of a saved state too.
    for (const intid of [40, 41]) b.setSpi(intid, true, { sample: false });
    b.exports.gicRestored();
    expect([b.irq(0), b.irq(1), b.get('RPR', 1), b.bit('ISACTIVER', 41)]).toEqual([true, false, 0x40, true]);
    expect(b.takeAttention(0)).toBe(true);
    b.set('EOIR1', 41, 1);
    expect(b.irq(1)).toBe(true);
    expect(b.get('IAR1', 0)).toBe(40);
  });

  it('makes any bytes a state that registers could have', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 64, maxLength: 64 }),
        fc.integer({ min: 0, max: 255 }),
        (pattern, seed) => {
          const m = new GicMachine({ vcpus: 2, irqs: 64 });
          const state = m.state();
          for (let i = 0; i < state.length; i++) state[i] = pattern[(i * 7 + seed) & 63]!;
          m.exports.gicRestored();
          expect(Number(m.read(GICD)) & ~0x53).toBe(0);
          expect(m.read(GICD + 0x108)).toBe(0n);
          for (let i = 32; i < 64; i++) expect(m.read(GICD + 0x400 + i, 1) & 7n).toBe(0n);
          for (const cpu of [0, 1]) {
            expect(m.get('BPR0', cpu)).toBeGreaterThanOrEqual(2);
            expect(m.get('BPR1', cpu)).toBeGreaterThanOrEqual(3);
            expect(m.get('PMR', cpu) & 7).toBe(0);
            const intid = m.get('IAR1', cpu);
            expect(intid === 1023 || intid < 64).toBe(true);
          }
        },
      ),
      { numRuns: 50 },
    );
  });
});
