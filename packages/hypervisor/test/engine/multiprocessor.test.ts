import { Worker } from 'node:worker_threads';
import {
  Assembler,
  ESR_EL1,
  IC_IALLUIS,
  IC_IVAU,
  MAIR_EL1,
  SCTLR_EL1,
  TCR_EL1,
  TLBI_VAE1IS,
  TTBR0_EL1,
} from './assembler.ts';
import {
  CODE,
  DATA,
  DEVICE,
  ENGINE_FILE,
  Machine,
  PC,
  PSTATE,
  SCTLR_MMU,
  tcr,
  translated,
} from './machine.ts';

const VERSION = 0x8400_0000;
const CPU_OFF = 0x8400_0002;
const CPU_ON_64 = 0xc400_0003;
const AFFINITY_INFO_64 = 0xc400_0004;
const MIGRATE_INFO_TYPE = 0x8400_0006;
const SYSTEM_OFF = 0x8400_0008;
const SYSTEM_RESET = 0x8400_0009;
const FEATURES = 0x8400_000a;
const SYSTEM_RESET2_64 = 0xc400_0012;

/** Result of a PSCI call from EL1. */
function call(machine: Machine, id: number, ...args: number[]): number {
  machine.execute((code) => {
    args.forEach((value, i) => code.mov(1 + i, value));
    code.mov(0, id).hvc().movReg(20, 0);
  });
  return Number(BigInt.asIntN(64, machine.x(20)));
}

describe('PSCI 1.1 (Arm DEN 0022)', () => {
  it('answers with its version, features, and that nothing needs migration', () => {
    const machine = new Machine();
    expect([
      call(machine, VERSION),
      call(machine, FEATURES, CPU_ON_64),
      call(machine, FEATURES, SYSTEM_RESET2_64),
      call(machine, FEATURES, 0x8400_0001),
      call(machine, MIGRATE_INFO_TYPE),
    ]).toEqual([0x1_0001, 0, 0, -1, 2]);
  });

  it.each([0, 0x8000_0000, 0x8400_0001, 0xc600_0001])('does not know function %i', (id) => {
    expect(call(new Machine(), id)).toBe(-1);
  });

  it.each([
    [SYSTEM_OFF, 'EXIT_SHUTDOWN'],
    [SYSTEM_RESET, 'EXIT_RESET'],
    [SYSTEM_RESET2_64, 'EXIT_RESET'],
  ])('function %i leaves the engine with %s', (id, reason) => {
    const machine = new Machine();
    machine.load(new Assembler(CODE).mov(0, id).hvc());
    machine.start(CODE);
    expect(machine.run().reason).toBe(machine.offset(reason));
  });

  it('CPU_ON starts a vCPU that is off, with its entry point and context, in reset state', () => {
    const machine = new Machine({ vcpus: 2 });
    machine.view.setUint32(machine.vcpu('CPU_POWER', 1), 1, true);
    machine.setX(5, 0x5555, 1);
    machine.setSys(TTBR0_EL1, 0x1000, 1);
    expect(call(machine, AFFINITY_INFO_64, 1, 0)).toBe(1);
    expect(call(machine, CPU_ON_64, 1, 0x5000, 0xabcd)).toBe(0);
    expect(call(machine, AFFINITY_INFO_64, 1, 0)).toBe(0);
    expect(call(machine, CPU_ON_64, 1, 0x6000, 0)).toBe(-4);
    expect(machine.view.getUint32(machine.vcpu('CPU_ATTENTION', 1), true)).toBe(1);
    const engine = machine.engine;
    expect([machine.x(PC, 1), machine.x(0, 1), machine.x(5, 1), machine.sys(TTBR0_EL1, 1)]).toEqual([
      0x5000n,
      0xabcdn,
      0n,
      0n,
    ]);
    expect(engine.getRegister(1, PSTATE)).toBe(0x3c5n);
  });

  it('refuses vCPUs that do not exist', () => {
    const machine = new Machine({ vcpus: 2 });
    expect([call(machine, CPU_ON_64, 2, 0, 0), call(machine, AFFINITY_INFO_64, 0x100, 0)]).toEqual([-2, -2]);
  });

  it('CPU_OFF ends the run until CPU_ON', () => {
    const machine = new Machine({ vcpus: 2 });
    machine.load(new Assembler(CODE).mov(0, CPU_OFF).hvc());
    machine.start(CODE, undefined, 1);
    expect(machine.run(1000, 1).reason).toBe(machine.offset('EXIT_POWERED_OFF'));
    expect(machine.run(1000, 1).reason).toBe(machine.offset('EXIT_POWERED_OFF'));
    expect(call(machine, AFFINITY_INFO_64, 1, 0)).toBe(1);
  });
});

describe('exclusive accesses (Arm ARM B2.9)', () => {
  it.each([
    ['nothing in between', (): void => undefined, 0n],
    ['CLREX', (code: Assembler): unknown => code.clrex(), 1n],
    ['another address', (code: Assembler): unknown => code.add(1, 1, 8), 1n],
    ['an exception return', (code: Assembler): unknown => code.svc(), 1n],
  ] as const)('STXR after LDXR with %s', (_name, between, status) => {
    const machine = new Machine();
    const vectors = new Assembler(0x2_0000).until(0x2_0200).eret();
    machine.load(vectors);
    machine.setSys((3 << 14) | (12 << 7), 0x2_0000); // VBAR_EL1
    machine.execute((code) => {
      code.mov(1, DATA).mov(2, 5).mov(5, 9).ldxr(3, 1);
      between(code);
      code.stxr(5, 2, 1);
    });
    expect([machine.x(5), machine.read64(DATA)]).toEqual([status, status === 0n ? 5n : 0n]);
  });

  it('a store by another vCPU lets STXR fail', () => {
    const machine = new Machine({ vcpus: 2 });
    const code = new Assembler(CODE)
      .mov(1, DATA)
      .mov(2, 5)
      .mov(4, DEVICE)
      .ldxr(3, 1)
      .ldr(6, 4)
      .stxr(5, 2, 1)
      .off();
    machine.load(code);
    const other = new Assembler(CODE + 0x1000).mov(1, DATA).mov(2, 1).str(2, 1).off();
    machine.load(other);
    machine.start(CODE);
    machine.start(CODE + 0x1000, undefined, 1);
    // Between the two, the first vCPU waits for the host.
    expect(machine.run().reason).toBe(machine.offset('EXIT_MMIO'));
    machine.run(1000, 1);
    machine.runToEnd();
    expect([machine.x(5), machine.read64(DATA)]).toEqual([1n, 1n]);
  });

  it('misaligned exclusive and ordered accesses fault', () => {
    const machine = new Machine();
    machine.vectors();
    for (const word of [0xc85f7c23, 0xc8047c23, 0xc8dffc23, 0xc89ffc23, 0xc87f1023]) {
      expect(machine.execute((code) => code.mov(1, DATA + 4).word(word))).toBe(0x200);
      expect(machine.sys(ESR_EL1) & 0x3fn).toBe(0x21n);
    }
  });
});

describe('TLB maintenance between vCPUs', () => {
  it('TLBI VAE1IS of one is seen by the other', () => {
    const { machine, tables, root } = translated({ vcpus: 2 });
    machine.setSys(MAIR_EL1, 0x04ff, 1);
    machine.setSys(TCR_EL1, tcr(16), 1);
    machine.setSys(TTBR0_EL1, root, 1);
    machine.setSys(SCTLR_EL1, SCTLR_MMU, 1);
    const va = 0x2812_3456_7000n;
    const place = tables.map(root, 0, va, DATA);
    machine.write64(DATA, 1);
    machine.write64(DATA + 0x1000, 2);
    const reader = new Assembler(CODE + 0x1000).mov(1, va).mov(4, DEVICE).ldr(2, 1).ldr(6, 4).ldr(3, 1).off();
    machine.load(reader);
    machine.start(CODE + 0x1000, undefined, 1);
    expect(machine.run(1000, 1).reason).toBe(machine.offset('EXIT_MMIO'));
    machine.execute((code) =>
      code
        .mov(3, place)
        .mov(4, BigInt(DATA + 0x1000) | 0x403n)
        .str(4, 3)
        .dsb()
        .mov(6, (va >> 12n) & 0xfff_ffff_ffffn)
        .sys(TLBI_VAE1IS, 6)
        .dsb(),
    );
    machine.run(1000, 1);
    expect([machine.x(2, 1), machine.x(3, 1)]).toEqual([1n, 2n]);
  });
});

describe('vCPUs on threads', () => {
  const ROUNDS = 20_000;

  /** Runs vCPU `index` of a machine on a thread until the program ends. */
  function thread(machine: Machine, index: number): Promise<void> {
    const source = `
      const { readFileSync } = require('node:fs');
      const { workerData, parentPort } = require('node:worker_threads');
      const module = new WebAssembly.Module(readFileSync(new URL(workerData.file)));
      const { exports } = new WebAssembly.Instance(module, { env: {
        memory: workerData.memory, hostNanoseconds: () => 0, undefinedInstruction: () => {} } });
      parentPort.postMessage(exports.run(workerData.index, 0));`;
    return new Promise((resolve, reject) => {
      const worker = new Worker(source, {
        eval: true,
        workerData: { file: ENGINE_FILE.href, memory: machine.memory, index },
      });
      worker.on('message', (reason) => {
        if (reason === machine.offset('EXIT_SHUTDOWN')) resolve();
        else reject(new Error(`vCPU ${index}: exit ${String(reason)}`));
      });
      worker.on('error', reject);
    });
  }

  it.each([
    ['LDAXR and STLXR', 0xc85ffc22, 0xc804fc22, 0],
    ['LDAXP and STLXP of words', 0x887f8c22, 0x88248c22, 0],
    ['LDAXP and STLXP of doublewords', 0xc87f8c22, 0xc8248c22, 0],
  ])('lose no increment made with %s', async (_name, load, store) => {
    const machine = new Machine({ vcpus: 2 });
    machine.load(
      new Assembler(CODE)
        .mov(1, DATA)
        .mov(5, ROUNDS)
        .label('again')
        .word(load)
        .add(2, 2, 1)
        .word(store)
        .cbnz(4, 'again')
        .subs(5, 5, 1)
        .bcond('ne', 'again')
        .off(),
    );
    for (const index of [0, 1]) machine.start(CODE, undefined, index);
    await Promise.all([thread(machine, 0), thread(machine, 1)]);
    expect(machine.read64(DATA) & 0xffff_ffffn).toBe(BigInt(2 * ROUNDS));
  });

  it('wait at DSB until the other one has dropped its translation', async () => {
    const { machine, tables, root } = translated({ vcpus: 2 });
    machine.setSys(MAIR_EL1, 0x04ff, 1);
    machine.setSys(TCR_EL1, tcr(16), 1);
    machine.setSys(TTBR0_EL1, root, 1);
    machine.setSys(SCTLR_EL1, SCTLR_MMU, 1);
    // One vCPU remaps a page between two that hold different values, and after TLBI and DSB publishes which it is;
    // the other one reads what is published, then the page, then again: unchanged, it must have read that page.
    const va = 0x2812_3456_7000n;
    const place = tables.map(root, 0, va, DATA);
    const published = DATA + 0x2000;
    const finished = DATA + 0x2040;
    for (const page of [0, 1]) machine.write64(DATA + page * 0x1000, page);
    machine.load(
      new Assembler(CODE)
        .mov(1, place)
        .mov(2, published)
        .mov(3, BigInt(DATA) | 0x403n)
        .mov(6, (va >> 12n) & 0xfff_ffff_ffffn)
        .mov(7, 2000)
        .mov(8, 0)
        .label('again')
        .mov(9, -1)
        .str(9, 2) // unstable
        .dsb()
        .word(0xd2740063) // eor x3, x3, #0x1000
        .word(0xd2400108) // eor x8, x8, #1
        .str(3, 1)
        .dsb()
        .sys(TLBI_VAE1IS, 6)
        .dsb()
        .str(8, 2)
        .dsb()
        .mov(10, 50)
        .label('pause')
        .subs(10, 10, 1)
        .bcond('ne', 'pause')
        .subs(7, 7, 1)
        .bcond('ne', 'again')
        .mov(9, 1)
        .mov(2, finished)
        .str(9, 2)
        .dsb()
        .off(),
    );
    machine.load(
      new Assembler(CODE + 0x1000)
        .mov(1, va)
        .mov(2, published)
        .mov(3, finished)
        .mov(20, 0)
        .label('again')
        .word(0xc8dffc44) // ldar x4, [x2]
        .word(0xc8dffc25) // ldar x5, [x1]
        .word(0xc8dffc46) // ldar x6, [x2]
        .word(0xeb06009f) // cmp x4, x6
        .bcond('ne', 'next')
        .word(0xb100049f) // cmn x4, #1
        .bcond('eq', 'next')
        .word(0xeb05009f) // cmp x4, x5
        .bcond('eq', 'next')
        .add(20, 20, 1)
        .label('next')
        .ldr(7, 3)
        .cbz(7, 'again')
        .off(),
    );
    machine.start(CODE);
    machine.start(CODE + 0x1000, undefined, 1);
    await Promise.all([thread(machine, 0), thread(machine, 1)]);
    expect(machine.x(20, 1)).toBe(0n);
  });

  // What a vCPU executes while another one makes it decode anew: sums of registers that nothing else writes.
  const OTHER = CODE + 0x1000;
  const FINISHED = DATA + 0x2000;

  /** Adds 1 to X20 for every round that goes wrong, until the other vCPU has finished. */
  function checker(page: (code: Assembler) => unknown): Assembler {
    const code = new Assembler(OTHER).mov(3, FINISHED).mov(0, 0x5555).mov(19, 0x5555).mov(20, 0);
    code.label('again');
    for (let round = 0; round < 8; round++) {
      code.mov(9, 0x1234_5678_9abcn).movReg(10, 9).add(10, 10, 0x321).add(10, 10, -0x321).word(0xcb09_014b); // sub x11, x10, x9
      page(code);
      code
        .word(0xcb13_000c) // sub x12, x0, x19
        .word(0xaa0c_016b) // orr x11, x11, x12
        .cbz(11, `right ${round}`)
        .add(20, 20, 1)
        .mov(0, 0x5555)
        .label(`right ${round}`);
    }
    return code.ldr(7, 3).cbz(7, 'again').off();
  }

  const finish = (code: Assembler): Assembler => code.mov(2, FINISHED).mov(9, 1).str(9, 2).dsb().off();

  it.each([
    ['IC IALLUIS', (code: Assembler): Assembler => code.sys(IC_IALLUIS)],
    ['IC IVAU', (code: Assembler): Assembler => code.mov(1, OTHER + 0x80).sys(IC_IVAU, 1)],
  ])('execute whole instructions while another one invalidates them by %s', async (_name, invalidate) => {
    const machine = new Machine({ vcpus: 2 });
    const program = new Assembler(CODE).mov(7, 30_000).label('again');
    invalidate(program).dsb().subs(7, 7, 1).bcond('ne', 'again');
    machine.load(finish(program));
    machine.load(checker(() => undefined));
    machine.start(CODE);
    machine.start(OTHER, undefined, 1);
    await Promise.all([thread(machine, 0), thread(machine, 1)]);
    expect(machine.x(20, 1)).toBe(0n);
  });

  it('execute their own pages while others make room for new ones, also when they wait at a DSB', async () => {
    const machine = new Machine({ vcpus: 2 });
    machine.header('HEADER_DECODE_LIMIT', 3);
    const pages = [0x8000, 0x9000, 0xa000, 0xb000];
    for (const page of pages) machine.load(new Assembler(CODE + page).add(8, 8, 1).ret());
    const program = new Assembler(CODE).mov(7, 5000).mov(8, 0).label('again');
    for (const page of pages) program.mov(5, CODE + page).word(0xd63f00a0); // blr x5
    machine.load(finish(program.subs(7, 7, 1).bcond('ne', 'again')));
    machine.load(checker((code) => code.sys(TLBI_VAE1IS, 31).dsb()));
    machine.start(CODE);
    machine.start(OTHER, undefined, 1);
    await Promise.all([thread(machine, 0), thread(machine, 1)]);
    expect([machine.x(8), machine.x(20, 1)]).toEqual([20_000n, 0n]);
  });
});
