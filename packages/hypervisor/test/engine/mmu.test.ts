import {
  AT_S1E0R,
  AT_S1E1R,
  AT_S1E1W,
  ESR_EL1,
  FAR_EL1,
  MAIR_EL1,
  PAR_EL1,
  SCTLR_EL1,
  TCR_EL1,
  TLBI_ASIDE1,
  TLBI_VAE1,
  TLBI_VMALLE1,
  TTBR0_EL1,
  TTBR1_EL1,
} from './assembler.ts';
import {
  type Attributes,
  DATA,
  DEVICE_MEMORY,
  descriptorBits,
  EL0T,
  Machine,
  SCTLR_MMU,
  Tables,
  tcr,
  translated,
} from './machine.ts';

/** Free virtual addresses of the low half. */
const VA = 0x2812_3456_7000n;
const DATA_ABORT_EL1 = 0x25n;
const NONE = 0xffff;

/** Vector or NONE, and class and status of the exception. */
function access(machine: Machine, va: bigint, kind: 'load' | 'store'): { fault: string; value: bigint } {
  const vector = machine.execute((code) => {
    code.mov(1, va).mov(2, 0x77);
    if (kind === 'load') code.ldr(2, 1);
    else code.str(2, 1);
  });
  const esr = machine.sys(ESR_EL1);
  const fault = vector === NONE ? 'none' : `${(esr >> 26n).toString(16)}:${(esr & 0x7fn).toString(16)}`;
  return { fault, value: machine.x(2) };
}

describe('translation (Arm ARM D8.2)', () => {
  it('maps a page of four levels', () => {
    const { machine, tables, root } = translated();
    tables.map(root, 0, VA, DATA);
    machine.write64(DATA + 0x128, 0x55);
    expect(access(machine, VA + 0x128n, 'load')).toEqual({ fault: 'none', value: 0x55n });
  });

  it.each([
    [25, 1, 0x1_2345_6000n],
    [34, 2, 0x1234_5000n],
    [39, 2, 0x123_4000n],
    [20, 0, 0x123_4567_8000n],
  ])('begins where TCR_EL1.T0SZ %i says', (size, first, va) => {
    const machine = new Machine();
    const base = 0xffff_0000_0000_0000n;
    machine.vectors(base);
    const tables = new Tables(machine);
    const root = tables.table();
    const high = tables.table();
    // The program runs in the high half, so that the low half can be as small as it likes.
    tables.map(high, 0, base, 0, { uxn: true }, 2);
    tables.map(root, first, va, DATA);
    machine.write64(DATA, 0x99);
    machine.setSys(MAIR_EL1, 0xff);
    machine.setSys(TCR_EL1, tcr(size, 16));
    machine.setSys(TTBR0_EL1, root);
    machine.setSys(TTBR1_EL1, high);
    machine.setSys(SCTLR_EL1, SCTLR_MMU);
    const load = (address: bigint): number =>
      machine.execute((code) => code.mov(1, address).ldr(2, 1), undefined, base);
    expect([load(va), machine.x(2)]).toEqual([NONE, 0x99n]);
    // The first address that is too large.
    expect(load(va | (1n << BigInt(64 - size)))).toBe(0x200);
    expect(machine.sys(ESR_EL1) & 0x3fn).toBe(4n);
  });

  it.each([
    [1, 0x4000_0000n],
    [2, 0x20_0000n],
  ])('maps blocks of level %i', (level, size) => {
    const { machine, tables, root } = translated();
    const base = 0x80_0000_0000n;
    tables.map(root, 0, base, 0, {}, level);
    machine.write64(DATA, 0x66);
    expect(access(machine, base + BigInt(DATA), 'load')).toEqual({ fault: 'none', value: 0x66n });
    expect(access(machine, base + size, 'load').fault).toBe(`25:${(4 + level).toString(16)}`);
  });

  it.each([0, 1, 2, 3])('faults with the level where the walk ends: %i', (level) => {
    const { machine, tables, root } = translated();
    const place = tables.map(root, 0, VA, DATA, {}, 3);
    if (level === 3) machine.write64(place, 0);
    else if (level === 0) machine.write64(root + Number((VA >> 39n) & 511n) * 8, 0);
    const va = level === 1 ? VA ^ 0x40_0000_0000n : level === 2 ? VA ^ 0x1000_0000n : VA;
    expect(access(machine, va, 'store').fault).toBe(`25:${(0x44 | level).toString(16)}`);
    expect(machine.sys(FAR_EL1)).toBe(va);
  });

  it.each([
    [1n, 0n],
    [0n, 1n],
  ])('a level 3 entry that is no page, and a level 0 entry that is a block, are invalid', (page, block) => {
    const { machine, tables, root } = translated();
    const place = tables.map(root, 0, VA, DATA);
    if (page !== 0n) machine.write64(place, machine.read64(place) & ~2n);
    if (block !== 0n) machine.write64(root + Number((VA >> 39n) & 511n) * 8, 0x401n);
    expect(access(machine, VA, 'load').fault).toBe(page !== 0n ? '25:7' : '25:4');
  });

  it('raises an access flag fault, and an address size fault, by level', () => {
    const { machine, tables, root } = translated();
    const place = tables.map(root, 0, VA, DATA, { accessed: false });
    expect(access(machine, VA, 'load').fault).toBe('25:b');
    machine.write64(place, (1n << 41n) | 0x403n);
    expect(access(machine, VA, 'load').fault).toBe('25:3');
    const level2 = tables.map(root, 0, VA + 0x4000_0000n, DATA, { accessed: false }, 2);
    machine.write64(level2, 0x1n);
    expect(access(machine, VA + 0x4000_0000n, 'load').fault).toBe('25:a');
  });

  it('raises a synchronous external abort for a table that is not memory', () => {
    const { machine, root } = translated();
    machine.write64(root + Number((VA >> 39n) & 511n) * 8, 0x70_0000_0003n);
    expect(access(machine, VA, 'load').fault).toBe('25:15');
  });

  it('ignores the top byte when TCR_EL1.TBI0 is set, and else faults for it', () => {
    const { machine, tables, root } = translated();
    tables.map(root, 0, VA, DATA);
    machine.write64(DATA, 5);
    const tagged = VA | (0xabn << 56n);
    expect(access(machine, tagged, 'load').fault).toBe('25:4');
    machine.setSys(TCR_EL1, tcr(16, 16, 1n << 37n));
    expect(access(machine, tagged, 'load')).toEqual({ fault: 'none', value: 5n });
    // A branch drops the tag.
    machine.execute((code) =>
      code
        .mov(1, BigInt(code.here + 20) | (0x12n << 56n))
        .br(1)
        .bl('here')
        .label('here'),
    );
    expect(machine.x(30) >> 56n).toBe(0n);
  });

  it('translates the high half by TTBR1_EL1, and neither half when its EPD bit is set', () => {
    const { machine, tables } = translated();
    const high = tables.table();
    const va = 0xffff_8000_1234_5000n;
    tables.map(high, 0, va, DATA);
    machine.setSys(TTBR1_EL1, high);
    machine.write64(DATA + 8, 8);
    expect(access(machine, va + 8n, 'load')).toEqual({ fault: 'none', value: 8n });
    expect(access(machine, va & ~(1n << 60n), 'load').fault).toBe('25:4');
    machine.setSys(TCR_EL1, tcr(16, 16, 1n << 23n));
    expect(access(machine, va + 8n, 'load').fault).toBe('25:4');
  });
});

describe('permissions (Arm ARM D8.4)', () => {
  const cases: readonly { a: Attributes; el1: string; el0: string }[] = [
    { a: {}, el1: 'rwx', el0: '--x' },
    { a: { el0: true }, el1: 'rw-', el0: 'rwx' },
    { a: { readOnly: true }, el1: 'r-x', el0: '--x' },
    { a: { readOnly: true, el0: true }, el1: 'r-x', el0: 'r-x' },
    { a: { el0: true, uxn: true }, el1: 'rw-', el0: 'rw-' },
    { a: { pxn: true, uxn: true }, el1: 'rw-', el0: '---' },
    { a: { readOnly: true, el0: true, pxn: true }, el1: 'r--', el0: 'r-x' },
  ];

  /** What an exception level may do at VA, found out by doing it. */
  function permissions(machine: Machine, el: 0 | 1): string {
    const perform = (write: 'r' | 'w' | 'x'): string => {
      const vector = machine.execute(
        (code) => {
          code.mov(1, VA).mov(2, 0xd4000001);
          if (write === 'r') code.ldr(3, 1);
          else if (write === 'w') code.str(2, 1, 8);
          else code.br(1);
          code.svc();
        },
        el === 0 ? EL0T : undefined,
      );
      expect(vector).toBe(el === 0 ? 0x400 : 0x200);
      const exceptionClass = machine.sys(ESR_EL1) >> 26n;
      if (exceptionClass === 0x15n) return write;
      expect(machine.sys(ESR_EL1) & 0x3fn).toBe(0xfn);
      expect(exceptionClass).toBe((write === 'x' ? 0x20n : 0x24n) + BigInt(el));
      return '-';
    };
    return perform('r') + perform('w') + perform('x');
  }

  /** EL0 runs the same program from a mapping of its own. */
  function machineFor(a: Attributes, hierarchy = 0n): Machine {
    const { machine, tables, root } = translated();
    machine.write64(root, 0);
    tables.map(root, 0, 0n, 0, { el0: true, readOnly: true }, 2);
    tables.map(root, 0, VA, DATA, a, 3, hierarchy);
    machine.view.setUint32(machine.ram(DATA), 0xd4000001, true); // svc
    return machine;
  }

  it.each(cases)('$a: EL1 $el1, EL0 $el0', ({ a, el1, el0 }) => {
    const machine = machineFor(a);
    expect([permissions(machine, 1), permissions(machine, 0)]).toEqual([el1, el0]);
  });

  it.each([
    ['APTable[0]: nothing for EL0', 1n << 61n, { el0: true, uxn: true }, 'rwx', '---'],
    ['APTable[1]: no stores', 1n << 62n, {}, 'r-x', '--x'],
    ['PXNTable', 1n << 59n, {}, 'rw-', '--x'],
    ['UXNTable', 1n << 60n, {}, 'rwx', '---'],
  ] as const)('%s', (_name, hierarchy, a, el1, el0) => {
    const machine = machineFor(a, hierarchy);
    expect([permissions(machine, 1), permissions(machine, 0)]).toEqual([el1, el0]);
  });

  it('SCTLR_EL1.WXN: what is writable is not executable', () => {
    const machine = machineFor({});
    machine.setSys(SCTLR_EL1, SCTLR_MMU | (1n << 19n));
    expect(permissions(machine, 1)).toBe('rw-');
  });

  it('LDTR and STTR have the permissions of EL0', () => {
    const { machine, tables, root } = translated();
    tables.map(root, 0, VA, DATA, { pxn: true, uxn: true });
    expect(machine.execute((code) => code.mov(1, VA).ldr(2, 1).word(0xf8400822))).toBe(0x200); // ldtr x2, [x1]
    expect(machine.sys(ESR_EL1)).toBe((DATA_ABORT_EL1 << 26n) | (1n << 25n) | 0xfn);
    tables.map(root, 0, VA, DATA, { el0: true, uxn: true });
    expect(machine.execute((code) => code.mov(1, VA).word(0xf8400822))).toBe(NONE);
  });
});

describe('device memory', () => {
  it('wants aligned accesses (Arm ARM B2.7.2), also where it maps RAM', () => {
    const { machine, tables, root } = translated();
    tables.map(root, 0, VA, DATA, { index: DEVICE_MEMORY });
    expect(access(machine, VA + 8n, 'store').fault).toBe('none');
    expect(access(machine, VA + 4n, 'store').fault).toBe('25:61');
  });

  it('SCTLR_EL1.A asks the same of all memory', () => {
    const { machine, tables, root } = translated();
    tables.map(root, 0, VA, DATA);
    expect(access(machine, VA + 1n, 'load').fault).toBe('none');
    machine.setSys(SCTLR_EL1, SCTLR_MMU | 2n);
    expect(access(machine, VA + 1n, 'load').fault).toBe('25:21');
    expect(access(machine, VA, 'load').fault).toBe('none');
  });
});

describe('AT', () => {
  it('answers in PAR_EL1 with the address and attributes, or the fault', () => {
    const { machine, tables, root } = translated();
    tables.map(root, 0, VA, DATA, { readOnly: true });
    const par = (instruction: number, va: bigint): bigint => {
      machine.execute((code) => code.mov(1, va).sys(instruction, 1));
      return machine.sys(PAR_EL1);
    };
    expect(par(AT_S1E1R, VA + 0x123n) & 0xff00_ffff_ffff_f001n).toBe((0xffn << 56n) | BigInt(DATA));
    expect(par(AT_S1E1W, VA) & 0x7fn).toBe((0xfn << 1n) | 1n);
    expect(par(AT_S1E0R, VA) & 0x7fn).toBe((0xfn << 1n) | 1n);
    expect(par(AT_S1E1R, VA + 0x1000n) & 0x7fn).toBe((7n << 1n) | 1n);
  });
});

describe('TLB maintenance', () => {
  const OTHER = DATA + 0x1000;

  /** Loads from VA, changes its descriptor, performs the maintenance, and loads again. */
  function reloaded(
    setup: { level?: number; attributes?: Attributes },
    maintenance: (code: import('./assembler.ts').Assembler) => unknown,
    va = VA,
  ): bigint {
    const { machine, tables, root } = translated();
    const level = setup.level ?? 3;
    const base = level === 2 ? va & ~0x1fffffn : va;
    const place = tables.map(root, 0, base, level === 2 ? 0 : DATA, setup.attributes, level);
    const offset = Number(va - base);
    machine.write64(DATA, 1);
    machine.write64(level === 2 ? offset : OTHER, 2);
    // For a block: it is replaced by a table with one page.
    const table = tables.table();
    if (level === 2) {
      machine.write64(offset, 1);
      machine.write64(OTHER, 2);
      machine.write64(
        table + Number((va >> 12n) & 511n) * 8,
        BigInt(OTHER) | 3n | descriptorBits(setup.attributes ?? {}),
      );
    }
    const descriptor =
      level === 2 ? BigInt(table) | 3n : BigInt(OTHER) | 3n | descriptorBits(setup.attributes ?? {});
    machine.execute((code) => {
      code.mov(1, va).ldr(2, 1).mov(3, place).mov(4, descriptor).str(4, 3).dsb();
      maintenance(code);
      code.dsb().isb().ldr(5, 1);
    });
    expect([machine.x(28), machine.x(2)]).toEqual([0xffffn, 1n]);
    return machine.x(5);
  }
  const operand = (va: bigint, asid = 0n): bigint => ((va >> 12n) & 0xfff_ffff_ffffn) | (asid << 48n);

  it.each([
    ['VAE1', TLBI_VAE1, operand(VA)],
    ['VMALLE1', TLBI_VMALLE1, 0n],
  ])('TLBI %s makes a changed page seen', (_name, instruction, value) => {
    expect(reloaded({}, (code) => code.mov(6, value).sys(instruction, 6))).toBe(2n);
  });

  it('TLBI VAE1 of another address of a block drops the block', () => {
    const va = 0x2812_3460_0000n + 0x6_0000n;
    expect(reloaded({ level: 2 }, (code) => code.mov(6, operand(va + 0x5000n)).sys(TLBI_VAE1, 6), va)).toBe(
      2n,
    );
  });

  it('TLBI ASIDE1 drops the pages of its address space', () => {
    expect(reloaded({ attributes: { nonGlobal: true } }, (code) => code.mov(6, 0).sys(TLBI_ASIDE1, 6))).toBe(
      2n,
    );
  });

  it('address spaces of different ASIDs do not see each other, without any maintenance', () => {
    const { machine, tables, root } = translated();
    const second = tables.table();
    for (let i = 0; i < 16; i += 8) machine.write64(second + i, machine.read64(root + i));
    tables.map(root, 0, VA, DATA, { el0: true, nonGlobal: true });
    tables.map(second, 0, VA, OTHER, { el0: true, nonGlobal: true });
    machine.write64(DATA, 1);
    machine.write64(OTHER, 2);
    const first = BigInt(root) | (7n << 48n);
    const other = BigInt(second) | (8n << 48n);
    machine.execute((code) => {
      code.mov(1, VA).mov(10, 0);
      for (const ttbr of [first, other, first, other]) {
        // Loads by EL1 and, as LDTR, by EL0.
        code.mov(3, ttbr).msr(TTBR0_EL1, 3).isb().ldr(4, 1).word(0xf8400825);
        for (const rn of [4, 5])
          code.word(0xd37cec00 | (10 << 5) | 10, 0xaa000000 | (rn << 16) | (10 << 5) | 10);
      }
    });
    expect(machine.x(10)).toBe(0x1122_1122n);
  });

  it('turning the MMU off and on again leaves nothing behind', () => {
    const { machine, tables, root } = translated();
    tables.map(root, 0, VA, DATA);
    machine.write64(DATA, 3);
    expect(access(machine, VA, 'load').value).toBe(3n);
    machine.setSys(SCTLR_EL1, SCTLR_MMU & ~1n);
    expect(access(machine, 0x900_0000_0000n | VA, 'load').fault).toBe('25:0');
    machine.setSys(SCTLR_EL1, SCTLR_MMU);
    expect(access(machine, VA, 'load').value).toBe(3n);
  });
});
