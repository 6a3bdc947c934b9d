import {
  Assembler,
  CNTFRQ_EL0,
  CNTP_CTL_EL0,
  CNTP_CVAL_EL0,
  CNTV_CTL_EL0,
  CNTV_CVAL_EL0,
  CNTV_TVAL_EL0,
  CNTVCT_EL0,
  ICC_IAR1_EL1,
  ICC_IGRPEN1_EL1,
  ICC_PMR_EL1,
  system,
} from './assembler.ts';
import { CODE, Machine } from './machine.ts';

const ISR_EL1 = system(3, 0, 12, 1, 0);
const IRQ_VECTOR = 0x280;
const IMASK = 2;

/** Enables the private interrupts of both timers at the redistributor and the CPU interface. */
function enableTimers(code: Assembler): void {
  code
    .mov(1, 0x4801_0000) // GICR SGI frame
    .mov(2, 0x4800_0000)
    .ldr(3, 2, 0x14, 2) // GICR_WAKER
    .mov(4, ~2)
    .word(0x0a040063) // and w3, w3, w4
    .str(3, 2, 0x14, 2)
    .mov(3, -1)
    .str(3, 1, 0x80, 2) // GICR_IGROUPR0
    .mov(3, (1 << 27) | (1 << 30))
    .str(3, 1, 0x100, 2) // GICR_ISENABLER0
    .mov(1, 0x4000_0000)
    .mov(3, 0x12)
    .str(3, 1, 0, 2) // GICD_CTLR: ARE, group 1
    .mov(3, 0xff)
    .msr(ICC_PMR_EL1, 3)
    .mov(3, 1)
    .msr(ICC_IGRPEN1_EL1, 3);
}

describe('generic timer (Arm ARM D11)', () => {
  it('counts 62.5 MHz: with the instruction clock one tick in two instructions', () => {
    const machine = new Machine();
    machine.execute((code) => {
      code.mrs(1, CNTVCT_EL0);
      for (let i = 0; i < 9; i++) code.nop();
      code.mrs(2, CNTVCT_EL0).mrs(3, CNTFRQ_EL0);
    });
    expect([machine.x(2) - machine.x(1), machine.x(3)]).toEqual([5n, 62_500_000n]);
  });

  it('counts nanoseconds of the host otherwise', () => {
    const machine = new Machine({ clock: 'host' });
    machine.now = 16_000;
    machine.execute((code) => code.mrs(1, CNTVCT_EL0));
    expect(machine.x(1)).toBe(1000n);
  });

  it.each([
    ['virtual', CNTV_CTL_EL0, CNTV_CVAL_EL0, 27],
    ['physical', CNTP_CTL_EL0, CNTP_CVAL_EL0, 30],
  ])('the %s timer interrupts at its compare value', (_name, ctl, cval, intid) => {
    const machine = new Machine({ gic: true });
    machine.vectors();
    const vector = machine.execute((code) => {
      enableTimers(code);
      code.mov(3, 1000).msr(cval, 3).mov(3, 1).msr(ctl, 3).daifClr(2).label('loop').b('loop');
    });
    expect(vector).toBe(IRQ_VECTOR);
    // The vector's own four instructions and the program's end follow.
    const ticks = machine.engine.instructionCount(0) / 2;
    expect(ticks).toBeGreaterThanOrEqual(1000);
    expect(ticks).toBeLessThan(1010);
    machine.execute((code) => code.mrs(5, ICC_IAR1_EL1).mrs(6, ctl));
    expect([machine.x(5), machine.x(6)]).toEqual([BigInt(intid), 5n]);
  });

  it('keeps quiet while disabled or masked, and says in ISTATUS what it would do', () => {
    const machine = new Machine({ gic: true });
    machine.vectors();
    const vector = machine.execute((code) => {
      enableTimers(code);
      code.mov(3, 0).msr(CNTV_CVAL_EL0, 3).mrs(4, CNTV_CTL_EL0);
      code
        .mov(3, 1 | IMASK)
        .msr(CNTV_CTL_EL0, 3)
        .mrs(5, CNTV_CTL_EL0)
        .daifClr(2)
        .nop()
        .mrs(6, ISR_EL1);
    });
    expect([vector, machine.x(4), machine.x(5), machine.x(6)]).toEqual([0xffff, 0n, 7n, 0n]);
  });

  it('an interrupt that is masked by PSTATE.I is taken as soon as it is unmasked', () => {
    const machine = new Machine({ gic: true });
    machine.vectors();
    const vector = machine.execute((code) => {
      enableTimers(code);
      code.mov(3, 0).msr(CNTV_CVAL_EL0, 3).mov(3, 1).msr(CNTV_CTL_EL0, 3).mrs(6, ISR_EL1).mov(5, 0);
      code.daifClr(2).mov(5, 1);
    });
    expect([vector, machine.x(5), machine.x(6)]).toEqual([IRQ_VECTOR, 0n, 0x80n]);
  });

  it('TVAL is a signed 32-bit distance to the counter', () => {
    const machine = new Machine();
    machine.execute((code) =>
      code
        .mov(3, 100)
        .msr(CNTV_TVAL_EL0, 3)
        .mrs(4, CNTV_CVAL_EL0)
        .mov(3, -4)
        .msr(CNTV_TVAL_EL0, 3)
        .mrs(5, CNTV_TVAL_EL0)
        .mrs(6, CNTV_CVAL_EL0),
    );
    expect([machine.x(4), machine.x(5), machine.x(6)]).toEqual([102n, 0xffff_fffcn, 1n]);
  });

  it('tells the host how long nothing will fire', () => {
    const machine = new Machine();
    expect(machine.engine.timerDelay(0)).toBe(Infinity);
    machine.setSys(CNTV_CVAL_EL0, 1000);
    machine.setSys(CNTP_CVAL_EL0, 400);
    machine.setSys(CNTV_CTL_EL0, 1);
    machine.setSys(CNTP_CTL_EL0, 1 | IMASK);
    expect(machine.engine.timerDelay(0)).toBe(16_000);
    machine.setSys(CNTP_CTL_EL0, 1);
    expect(machine.engine.timerDelay(0)).toBe(6400);
    machine.engine.advanceClock(6401);
    expect(machine.engine.timerDelay(0)).toBe(0);
  });

  it('a counter set by the host goes on from there', () => {
    const machine = new Machine();
    machine.setSys(CNTVCT_EL0, 0x1_0000_0000);
    machine.execute((code) => code.mrs(1, CNTVCT_EL0));
    expect(machine.x(1)).toBe(0x1_0000_0000n);
  });
});

describe('WFI', () => {
  it('halts until time is let go on to the next timer, and then takes its interrupt', () => {
    const machine = new Machine({ gic: true });
    machine.vectors();
    const code = new Assembler(CODE);
    enableTimers(code);
    code
      .mov(3, 1_000_000)
      .msr(CNTV_CVAL_EL0, 3)
      .mov(3, 1)
      .msr(CNTV_CTL_EL0, 3)
      .daifClr(2)
      .wfi()
      .mov(5, 1)
      .off();
    machine.load(code);
    machine.start(CODE);
    expect(machine.run().reason).toBe(machine.offset('EXIT_HALT'));
    const delay = machine.engine.timerDelay(0);
    expect(delay).toBeLessThan(16_000_000);
    machine.engine.advanceClock(delay);
    machine.runToEnd();
    expect([machine.x(28), machine.x(5)]).toEqual([BigInt(IRQ_VECTOR), 0n]);
    expect(machine.sys(CNTVCT_EL0)).toBeLessThan(1_000_010n);
  });

  it('does not halt while an interrupt is pending, though masked', () => {
    const machine = new Machine({ gic: true });
    machine.vectors();
    machine.execute((code) => {
      enableTimers(code);
      code.mov(3, 0).msr(CNTV_CVAL_EL0, 3).mov(3, 1).msr(CNTV_CTL_EL0, 3).wfi().mov(5, 7);
    });
    expect([machine.x(28), machine.x(5)]).toEqual([0xffffn, 7n]);
  });
});

describe('interrupt inputs', () => {
  it('an SPI that the owner raises is taken after attention', () => {
    const machine = new Machine({ gic: true });
    machine.vectors();
    const code = new Assembler(CODE);
    enableTimers(code);
    code
      .mov(1, 0x4000_0000)
      .mov(3, 1 << 3)
      .str(3, 1, 0x84, 2) // GICD_IGROUPR1
      .str(3, 1, 0x104, 2) // GICD_ISENABLER1
      .daifClr(2)
      .label('loop')
      .b('loop');
    machine.load(code);
    machine.start(CODE);
    expect(machine.run(10_000).reason).toBe(machine.offset('EXIT_INTERRUPTED'));
    machine.view.setUint32(machine.offset('HEADER') + machine.offset('HEADER_SPI_LEVEL') + 4, 1 << 3, true);
    machine.view.setInt32(machine.vcpu('CPU_ATTENTION'), 1, true);
    machine.runToEnd();
    expect(machine.x(28)).toBe(BigInt(IRQ_VECTOR));
    machine.execute((acknowledge) => acknowledge.mrs(5, ICC_IAR1_EL1));
    expect(machine.x(5)).toBe(35n);
  });
});
