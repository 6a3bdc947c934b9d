import { Assembler } from './assembler.ts';
import { CODE, DATA, Machine } from './machine.ts';

describe('run()', () => {
  it('ends a program with the reason that PSCI SYSTEM_OFF stands for', () => {
    const machine = new Machine();
    machine.execute((code) => code.mov(1, 0x1234_5678_9abc_def0n));
    expect(machine.x(1)).toBe(0x1234_5678_9abc_def0n);
  });

  it.each(['loop', 'self'])('comes back after its budget from an endless loop (%s)', (kind) => {
    const machine = new Machine();
    const code = new Assembler(CODE).label('loop');
    if (kind === 'loop') code.add(1, 1, 1);
    machine.load(code.b('loop'));
    machine.start(CODE);
    const { reason } = machine.run(10_000);
    expect(reason).toBe(machine.offset('EXIT_INTERRUPTED'));
    const count = machine.engine.instructionCount(0);
    expect(count).toBeGreaterThanOrEqual(10_000);
    expect(count).toBeLessThan(10_002);
    if (kind === 'loop') expect(Number(machine.x(1))).toBe(Math.ceil(count / 2));
  });

  it('counts every instruction of a run once, whatever form it was decoded to', () => {
    const machine = new Machine();
    // 3 + 5 rounds of (subs, nop, nop, cmp, b.ne) + what ends the program.
    machine.execute((code) =>
      code
        .word(0xd28000a1) // mov x1, #5
        .nop()
        .nop()
        .label('again')
        .add(1, 1, -1)
        .nop()
        .nop()
        .cmp(1, 0)
        .bcond('ne', 'again'),
    );
    expect(machine.engine.instructionCount(0)).toBe(3 + 5 * 5 + 5);
  });

  it('counts instructions across pages and calls', () => {
    const machine = new Machine();
    const code = new Assembler(CODE);
    code.word(0xd2800061); // mov x1, #3
    code.label('again').bl('far').add(1, 1, -1).cbnz(1, 'again').off();
    code
      .until(CODE + 0x1ff8)
      .label('far')
      .nop()
      .nop()
      .nop()
      .ret();
    machine.load(code);
    machine.start(CODE);
    machine.runToEnd();
    expect(machine.engine.instructionCount(0)).toBe(1 + 3 * 7 + 5);
  });

  it('answers a kick with EXIT_INTERRUPTED, once', () => {
    const machine = new Machine();
    machine.load(new Assembler(CODE).label('loop').b('loop'));
    machine.start(CODE);
    machine.view.setInt32(machine.vcpu('CPU_KICK'), 1, true);
    machine.view.setInt32(machine.vcpu('CPU_ATTENTION'), 1, true);
    expect(machine.run(1_000_000).reason).toBe(machine.offset('EXIT_INTERRUPTED'));
    expect(machine.engine.instructionCount(0)).toBe(0);
    machine.run(1000);
    expect(machine.engine.instructionCount(0)).toBeGreaterThanOrEqual(1000);
  });

  it('comes back though every instruction fetch aborts, the vectors included', () => {
    const machine = new Machine();
    machine.start(0x7000_0000);
    expect(machine.run(5000).reason).toBe(machine.offset('EXIT_INTERRUPTED'));
  });

  it('stops with EXIT_POWERED_OFF while the vCPU is off', () => {
    const machine = new Machine();
    machine.view.setUint32(machine.vcpu('CPU_POWER'), 1, true);
    expect(machine.run().reason).toBe(machine.offset('EXIT_POWERED_OFF'));
  });
});

describe('instruction cache', () => {
  /** Calls a function, replaces its first instruction, and calls it again. */
  function patched(maintain: (code: Assembler) => unknown): bigint {
    const machine = new Machine();
    const target = CODE + 0x3040;
    machine.load(new Assembler(target).word(0xd2800020).ret()); // mov x0, #1
    machine.execute((code) => {
      code.mov(20, target).movReg(21, 30);
      code.word(0xd63f0280).movReg(22, 0); // blr x20
      code.mov(1, 0xd2800040).str(1, 20, 0, 2); // mov x0, #2
      maintain(code.sys(DC_CVAU, 20).dsb());
      code.dsb().isb();
      code.word(0xd63f0280).movReg(23, 0); // blr x20
    });
    expect(machine.x(22)).toBe(1n);
    return machine.x(23);
  }
  const DC_CVAU = (1 << 14) | (3 << 11) | (7 << 7) | (11 << 3) | 1;

  it('sees a store to code after IC IVAU', () => {
    expect(patched((code) => code.sys((1 << 14) | (3 << 11) | (7 << 7) | (5 << 3) | 1, 20))).toBe(2n);
  });

  it('sees a store to code after IC IALLU', () => {
    expect(patched((code) => code.sys((1 << 14) | (7 << 7) | (5 << 3)))).toBe(2n);
  });

  it('drops what was decoded together with an instruction of the next line', () => {
    const machine = new Machine();
    const target = CODE + 0x3000;
    const function_ = new Assembler(target).until(target + 0x3c);
    // cmp at the end of a line, its branch at the beginning of the next.
    function_.cmp(1, 5).bcond('eq', 'equal').mov(0, 1).ret().label('equal').mov(0, 2).ret();
    machine.load(function_);
    machine.execute((code) =>
      code
        .mov(1, 5)
        .mov(20, target + 0x3c)
        .mov(24, target + 0x40)
        .word(0xd63f0280) // blr x20
        .movReg(22, 0)
        .mov(2, 0xd503201f) // nop
        .str(2, 24, 0, 2)
        .sys((1 << 14) | (3 << 11) | (7 << 7) | (5 << 3) | 1, 24)
        .dsb()
        .isb()
        .word(0xd63f0280)
        .movReg(23, 0),
    );
    expect([machine.x(22), machine.x(23)]).toEqual([2n, 1n]);
  });

  it('finds new code after the host has replaced memory and said so', () => {
    const machine = new Machine();
    machine.execute((code) => code.mov(1, 1));
    machine.execute((code) => code.mov(1, 2));
    expect(machine.x(1)).toBe(2n);
  });

  it('goes on when more pages are executed than can be kept decoded', () => {
    const machine = new Machine();
    // 300 pages, run through 40 times in an order that is never the same: more than the decoder's 8192 in all only
    // if pages were kept twice, so the count of pages in use stays that of the program.
    const first = 0x4_0000;
    for (let page = 0; page < 300; page++) {
      machine.load(new Assembler(first + page * 0x1000).add(1, 1, 1).ret());
    }
    machine.execute((code) =>
      code
        .mov(1, 0)
        .mov(3, 40)
        .label('round')
        .mov(20, first)
        .mov(4, 300)
        .label('page')
        .word(0xd63f0280) // blr x20
        .word(0x91400694) // add x20, x20, #0x1000
        .add(4, 4, -1)
        .cbnz(4, 'page')
        .add(3, 3, -1)
        .cbnz(3, 'round'),
    );
    expect(machine.x(1)).toBe(12000n);
    const used = machine.view.getUint32(
      machine.offset('HEADER') + machine.offset('HEADER_DECODE_USED'),
      true,
    );
    expect(used).toBe(301);
  });
});

describe('DC ZVA', () => {
  it('clears the 64 bytes around its address', () => {
    const machine = new Machine();
    for (let i = 0; i < 24; i++) machine.write64(DATA + i * 8, -1);
    machine.execute((code) =>
      code.mov(1, DATA + 0x47).sys((1 << 14) | (3 << 11) | (7 << 7) | (4 << 3) | 1, 1),
    );
    const words = Array.from({ length: 24 }, (_, i) => machine.read64(DATA + i * 8) === 0n);
    expect(words).toEqual(Array.from({ length: 24 }, (_, i) => i >= 8 && i < 16));
  });
});
