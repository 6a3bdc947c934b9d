import {
  CNTKCTL_EL1,
  CNTVCT_EL0,
  CPACR_EL1,
  CTR_EL0,
  DC_CVAC,
  DC_ZVA,
  ELR_EL1,
  ESR_EL1,
  FAR_EL1,
  SCTLR_EL1,
  SP_EL0,
  SPSR_EL1,
  TCR_EL1,
  TTBR0_EL1,
  system,
  type Assembler,
} from './assembler.ts';
import {
  CODE,
  DATA,
  EL0T,
  EL1H,
  Machine,
  PSTATE,
  SCTLR_RESET,
  SP_EL0_ID,
  SP_EL1_ID,
  TABLES,
  Tables,
  tcr,
} from './machine.ts';

const SYNC_EL0 = 0x400;
const SYNC_EL1 = 0x200;
const IL = 1n << 25n;
const FPEN = 3n << 20n;

function withVectors(): Machine {
  const machine = new Machine();
  machine.vectors();
  machine.setSys(CPACR_EL1, FPEN);
  return machine;
}

/** Vector, ESR_EL1 and the distance of ELR_EL1 from the last instruction of the program. */
function raised(
  machine: Machine,
  pstate: bigint,
  write: (code: Assembler) => unknown,
): { vector: number; esr: bigint; offset: number } {
  let last = 0;
  const vector = machine.execute((code) => {
    write(code);
    last = code.here - 4;
  }, pstate);
  return { vector, esr: machine.sys(ESR_EL1), offset: Number(machine.sys(ELR_EL1)) - last };
}

describe('synchronous exceptions (Arm ARM D1.3)', () => {
  it('SVC goes to the vector of its exception level, returns behind itself, and masks interrupts', () => {
    const machine = withVectors();
    machine.setX(SP_EL0_ID, 0x1000);
    machine.setX(SP_EL1_ID, 0x2000);
    const { vector, esr, offset } = raised(machine, 0xa0000000n, (code) => code.svc(0x1234));
    expect([vector, esr, offset]).toEqual([SYNC_EL0, (0x15n << 26n) | IL | 0x1234n, 4]);
    expect(machine.sys(SPSR_EL1)).toBe(0xa0000000n);
    expect(machine.x(PSTATE) & 0x3ffn).toBe(EL1H & 0x3ffn);
    expect([machine.x(SP_EL0_ID), machine.x(SP_EL1_ID)]).toEqual([0x1000n, 0x2000n]);
  });

  it('BRK returns to itself', () => {
    expect(raised(withVectors(), EL1H, (code) => code.brk(7))).toEqual({
      vector: SYNC_EL1,
      esr: (0x3cn << 26n) | IL | 7n,
      offset: 0,
    });
  });

  it('EL1t has vectors of its own', () => {
    expect(raised(withVectors(), 0x3c4n, (code) => code.svc()).vector).toBe(0);
  });

  it.each([
    ['a reserved word', 0x00000000, EL1H],
    ['SMC without EL3', 0xd4000003, EL1H],
    ['HLT without a debugger', 0xd4400000, EL1H],
    ['CASP (FEAT_LSE)', 0x08207c00, EL1H],
    ['an atomic of FEAT_LSE', 0xb8200000, EL1H],
    ['an unallocated system register', 0xd53cff00, EL1H],
  ] as const)('%s is undefined, and the host is told', (_name, word, pstate) => {
    const machine = withVectors();
    expect(raised(machine, pstate, (code) => code.word(word))).toEqual({
      vector: SYNC_EL1,
      esr: IL,
      offset: 0,
    });
    expect(machine.undefined).toEqual([word]);
  });

  it.each([
    ['HVC', 0xd4000002],
    ['ERET', 0xd69f03e0],
    ['MSR TTBR0_EL1', 0xd5182000],
    ['MRS MIDR_EL1', 0xd5380000],
    ['MSR SPSel', 0xd50041bf],
    ['TLBI VMALLE1', 0xd508871f],
    ['IC IALLU', 0xd508751f],
    ['MSR TPIDRRO_EL0', 0xd51bd060],
  ] as const)('%s is undefined at EL0, which is no news for the host', (_name, word) => {
    const machine = withVectors();
    expect(raised(machine, EL0T, (code) => code.word(word))).toEqual({
      vector: SYNC_EL0,
      esr: IL,
      offset: 0,
    });
    expect(machine.undefined).toEqual([]);
  });

  it.each([
    ['CTR_EL0', 0xd53b0020 | 3, 0x18n, (3n << 20n) | (1n << 17n) | (3n << 14n) | (3n << 5n) | 1n],
    [
      'CNTVCT_EL0',
      0xd53be040 | 4,
      0x18n,
      (3n << 20n) | (2n << 17n) | (3n << 14n) | (14n << 10n) | (4n << 5n) | 1n,
    ],
    [
      'DC ZVA',
      0xd50b7420 | 5,
      0x18n,
      (1n << 20n) | (1n << 17n) | (3n << 14n) | (7n << 10n) | (5n << 5n) | (4n << 1n),
    ],
    [
      'DC CVAC',
      0xd50b7a20 | 5,
      0x18n,
      (1n << 20n) | (1n << 17n) | (3n << 14n) | (7n << 10n) | (5n << 5n) | (10n << 1n),
    ],
    ['MSR DAIFSet', 0xd50342df, 0x18n, (6n << 17n) | (3n << 14n) | (4n << 10n) | (31n << 5n) | (2n << 1n)],
    ['WFI', 0xd503207f, 0x01n, 0x1e0_0000n],
  ] as const)('%s is trapped at EL0 unless EL1 allows it', (_name, word, exceptionClass, iss) => {
    const machine = withVectors();
    expect(raised(machine, EL0T, (code) => code.word(word))).toEqual({
      vector: SYNC_EL0,
      esr: (exceptionClass << 26n) | IL | iss,
      offset: 0,
    });
  });

  it('EL0 reads what EL1 allows', () => {
    const machine = withVectors();
    machine.setSys(SCTLR_EL1, SCTLR_RESET | (1n << 26n) | (1n << 15n) | (1n << 14n));
    machine.setSys(CNTKCTL_EL1, 2);
    const vector = machine.execute(
      (code) => code.mov(5, DATA).mrs(3, CTR_EL0).mrs(4, CNTVCT_EL0).sys(DC_ZVA, 5).sys(DC_CVAC, 5).svc(),
      EL0T,
    );
    expect([vector, machine.sys(ESR_EL1) >> 26n]).toEqual([SYNC_EL0, 0x15n]);
    // 64-byte lines; DIC clear: the guest must invalidate instructions.
    expect(machine.x(3) & 0x200f000fn).toBe((0x4n << 0n) | ((0x4n << 16n) & 0x200f000fn));
  });

  it.each([
    [0n, EL1H, true],
    [0n, EL0T, true],
    [1n, EL1H, false],
    [1n, EL0T, true],
    [3n, EL0T, false],
  ])('CPACR_EL1.FPEN %i traps floating point at PSTATE %i: %s', (fpen, pstate, traps) => {
    const machine = withVectors();
    machine.setSys(CPACR_EL1, fpen << 20n);
    for (const word of [0x1e602820, 0xbd400020, 0x4c407020, 0xd53b4400]) {
      const vector = machine.execute((code) => code.mov(1, DATA).word(word).svc(), pstate);
      expect(vector).toBe(pstate === EL0T ? SYNC_EL0 : SYNC_EL1);
      expect(machine.sys(ESR_EL1)).toBe(traps ? (7n << 26n) | IL | 0x1e0_0000n : (0x15n << 26n) | IL);
    }
  });

  it('a branch to a misaligned address faults there, with FAR_EL1', () => {
    const machine = withVectors();
    expect(machine.execute((code) => code.mov(1, CODE + 2).br(1))).toBe(SYNC_EL1);
    expect([machine.sys(ESR_EL1), machine.sys(ELR_EL1), machine.sys(FAR_EL1)]).toEqual([
      (0x22n << 26n) | IL,
      BigInt(CODE + 2),
      BigInt(CODE + 2),
    ]);
  });

  it('a misaligned stack pointer faults where it is used, and only as a base', () => {
    const machine = withVectors();
    machine.setSys(SCTLR_EL1, SCTLR_RESET | (1n << 3n));
    machine.setX(SP_EL1_ID, DATA);
    const { vector, esr, offset } = raised(machine, EL1H, (code) =>
      code
        .word(0x910023ff) // add sp, sp, #8
        .mov(1, DATA)
        .ldr(2, 1)
        .word(0x910003e3) // mov x3, sp
        .ldr(2, 31),
    );
    expect([vector, esr, offset]).toEqual([SYNC_EL1, (0x26n << 26n) | IL, 0]);
    expect(machine.x(3)).toBe(BigInt(DATA + 8));
  });

  it('goes on as usual once the stack pointer is aligned again', () => {
    const machine = withVectors();
    machine.setSys(SCTLR_EL1, SCTLR_RESET | (1n << 3n));
    machine.setX(SP_EL1_ID, DATA);
    machine.execute((code) =>
      code
        .word(0x910023ff) // add sp, sp, #8
        .mov(1, 3)
        .label('loop')
        .add(2, 2, 5)
        .subs(1, 1, 1)
        .bcond('ne', 'loop')
        .word(0xd10023ff) // sub sp, sp, #8
        .str(2, 31),
    );
    expect([machine.x(28), machine.read64(DATA)]).toEqual([0xffffn, 15n]);
  });

  it('without SCTLR_EL1.SA a misaligned stack pointer is no fault', () => {
    const machine = withVectors();
    machine.setX(SP_EL1_ID, DATA + 8);
    expect(machine.execute((code) => code.str(1, 31))).toBe(0xffff);
  });
});

describe('ERET', () => {
  it('returns to EL0 with its stack pointer, flags and masks, and drops the exclusive monitor', () => {
    const machine = withVectors();
    machine.setX(SP_EL0_ID, 0x5550);
    machine.setX(SP_EL1_ID, 0x6660);
    machine.execute((code) =>
      code
        .mov(1, 0x60000000)
        .msr(SPSR_EL1, 1)
        .word(0x10000101) // adr x1, to the instruction behind ERET
        .msr(ELR_EL1, 1)
        .mov(2, DATA)
        .ldxr(3, 2)
        .eret()
        .nop()
        .word(0x910003e4) // mov x4, sp
        .cset(5, 'eq')
        .stxr(6, 3, 2)
        .svc(),
    );
    expect([machine.x(4), machine.x(5), machine.x(6)]).toEqual([0x5550n, 1n, 1n]);
    expect(machine.x(SP_EL1_ID)).toBe(0x6660n);
  });

  it.each([
    ['AArch32', 0x1d0n],
    ['EL2', 0x3c9n],
    ['a reserved mode', 0x3c1n],
  ])(
    'to %s sets PSTATE.IL, and the next instruction is an Illegal Execution State exception',
    (_name, spsr) => {
      const machine = withVectors();
      const vector = machine.execute((code) =>
        code
          .mov(1, spsr)
          .msr(SPSR_EL1, 1)
          .mov(1, CODE + 0x100)
          .msr(ELR_EL1, 1)
          .eret(),
      );
      expect([vector, machine.sys(ESR_EL1), machine.sys(ELR_EL1)]).toEqual([
        SYNC_EL1,
        (0xen << 26n) | IL,
        BigInt(CODE + 0x100),
      ]);
      expect(machine.sys(SPSR_EL1) & 0x10000fn).toBe(0x100005n);
      expect(machine.x(PSTATE) & 0x100000n).toBe(0n);
    },
  );
});

describe('stack pointers', () => {
  it('SPSel switches between them, and SP_EL0 cannot be named while in use', () => {
    const machine = withVectors();
    machine.setX(SP_EL0_ID, 0x10);
    machine.setX(SP_EL1_ID, 0x20);
    machine.execute((code) =>
      code
        .word(0x910003e1) // mov x1, sp
        .mrs(2, SP_EL0)
        .word(0xd50040bf) // msr spsel, #0
        .word(0x910003e3)
        .word(0xd50041bf) // msr spsel, #1
        .word(0x910003e4),
    );
    expect([1, 2, 3, 4].map((n) => machine.x(n))).toEqual([0x20n, 0x10n, 0x10n, 0x20n]);
    expect(raised(machine, 0x3c4n, (code) => code.mrs(2, SP_EL0)).esr).toBe(IL);
  });
});

describe('system registers', () => {
  it('SCTLR_EL1 keeps the bits that read as one, and drops those that do not exist', () => {
    const machine = new Machine();
    machine.execute((code) => code.mov(1, -1).mov(2, 0).msr(CPACR_EL1, 1).mrs(3, CPACR_EL1));
    expect(machine.x(3)).toBe(3n << 20n);
    machine.setSys(SCTLR_EL1, 0);
    expect(machine.sys(SCTLR_EL1)).toBe(SCTLR_RESET);
  });

  it('the host can ask for, read and set what the guest can', () => {
    const { engine } = new Machine();
    expect(engine.hasSystemRegister(TCR_EL1)).toBe(1);
    expect(engine.hasSystemRegister(system(3, 4, 1, 0, 0))).toBe(0);
    expect(engine.setSystemRegister(0, TTBR0_EL1, 0x1234_0000_0000_1000n)).toBe(1);
    expect(engine.getSystemRegister(0, TTBR0_EL1)).toBe(0x1234_0000_0000_1000n);
    const MIDR_EL1 = system(3, 0, 0, 0, 0);
    const midr = engine.getSystemRegister(0, MIDR_EL1);
    expect(engine.setSystemRegister(0, MIDR_EL1, midr)).toBe(1);
    expect(engine.setSystemRegister(0, MIDR_EL1, midr + 1n)).toBe(0);
  });

  it('reserved identification registers read as zero', () => {
    const machine = new Machine();
    const vector = machine.execute((code) => code.mov(1, 5).mrs(1, system(3, 0, 0, 7, 7)));
    expect([vector, machine.x(1)]).toEqual([0xffff, 0n]);
  });
});

describe('instruction abort', () => {
  it('is taken from EL0 to a page that EL0 may not execute', () => {
    const machine = withVectors();
    const tables = new Tables(machine);
    const root = tables.table();
    tables.map(root, 0, 0n, 0, { uxn: true }, 2);
    machine.setSys(TCR_EL1, tcr(16));
    machine.setSys(TTBR0_EL1, TABLES);
    machine.setSys(SCTLR_EL1, SCTLR_RESET | 1n);
    expect(machine.execute((code) => code.nop(), EL0T)).toBe(SYNC_EL0);
    expect(machine.sys(ESR_EL1)).toBe((0x20n << 26n) | IL | 0xen);
    expect(machine.sys(FAR_EL1)).toBe(BigInt(CODE));
  });
});
