import { Assembler } from './assembler.ts';
import { CODE, DATA, DEVICE, Machine, READ_ONLY, type Exit } from './machine.ts';

function started(write: (code: Assembler) => unknown): Machine {
  const machine = new Machine();
  const code = new Assembler(CODE);
  write(code);
  machine.load(code.off());
  machine.start(CODE);
  return machine;
}

/** Runs to the end, answering reads from `answers` in order; all accesses that the host saw. */
function accesses(machine: Machine, answers: readonly bigint[] = []): Omit<Exit, 'reason'>[] {
  const seen: Omit<Exit, 'reason'>[] = [];
  const rest = [...answers];
  for (let exits = 0; exits < 100; exits++) {
    const { reason, ...access } = machine.run();
    if (reason === machine.offset('EXIT_SHUTDOWN')) return seen;
    if (reason !== machine.offset('EXIT_MMIO')) throw new Error(`exit ${reason}`);
    seen.push(access.write ? access : { ...access, value: 0n });
    if (!access.write) machine.answer(rest.shift() ?? 0n);
  }
  throw new Error('the program does not end');
}

const read = (address: number, length: number): Omit<Exit, 'reason'> => ({
  address,
  length,
  write: false,
  value: 0n,
});
const write = (address: number, length: number, value: bigint): Omit<Exit, 'reason'> => ({
  address,
  length,
  write: true,
  value,
});

describe('MMIO', () => {
  it.each([
    [0, 1, 0xf0n],
    [1, 2, 0xdef0n],
    [2, 4, 0x9abc_def0n],
    [3, 8, 0x1234_5678_9abc_def0n],
  ])('exits with the width and the bytes of a store (size %i)', (size, length, value) => {
    const machine = started((code) =>
      code
        .mov(1, DEVICE + 0x100)
        .mov(2, 0x1234_5678_9abc_def0n)
        .str(2, 1, 0, size),
    );
    expect(accesses(machine)).toEqual([write(DEVICE + 0x100, length, value)]);
  });

  it.each([
    [0, 0xf0n],
    [1, 0xdef0n],
    [2, 0x9abc_def0n],
    [3, 0x1234_5678_9abc_def0n],
  ])('gives a load as much of the answer as it is wide (size %i)', (size, value) => {
    const machine = started((code) => code.mov(1, DEVICE).ldr(2, 1, 0, size));
    expect(accesses(machine, [0x1234_5678_9abc_def0n])).toEqual([read(DEVICE, 1 << size)]);
    expect(machine.x(2)).toBe(value);
  });

  it('sign-extends an answer', () => {
    const machine = started((code) => code.mov(1, DEVICE).word(0x39800022)); // ldrsb x2, [x1]
    accesses(machine, [0x80n]);
    expect(machine.x(2)).toBe(0xffff_ffff_ffff_ff80n);
  });

  it('shows the host each access of a pair once, and completes the pair', () => {
    const machine = started((code) => code.mov(1, DEVICE).ldp(2, 3, 1).stp(3, 2, 1));
    expect(accesses(machine, [11n, 22n])).toEqual([
      read(DEVICE, 8),
      read(DEVICE + 8, 8),
      write(DEVICE, 8, 22n),
      write(DEVICE + 8, 8, 11n),
    ]);
    expect([machine.x(2), machine.x(3)]).toEqual([11n, 22n]);
  });

  it('completes an instruction whose two accesses read and write back', () => {
    const machine = started((code) => code.mov(1, DEVICE + 16).word(0xa8c10c22)); // ldp x2, x3, [x1], #16
    expect(accesses(machine, [1n, 2n])).toEqual([read(DEVICE + 16, 8), read(DEVICE + 24, 8)]);
    expect(machine.x(1)).toBe(BigInt(DEVICE + 32));
  });

  it('writes the base back once, after the access', () => {
    const machine = started((code) => code.mov(1, DEVICE).mov(2, 5).word(0xb8004422)); // str w2, [x1], #4
    machine.run();
    expect([machine.x(1), machine.pc]).toEqual([BigInt(DEVICE), CODE + 32]);
    machine.run();
    expect(machine.x(1)).toBe(BigInt(DEVICE + 4));
  });

  it('makes two accesses of a 128-bit store, and of a structure load one for each element', () => {
    const machine = started((code) => {
      code.mov(1, DEVICE).word(0x3d800020); // str q0, [x1]
      code.word(0x0c408420); // ld2 {v0.4h, v1.4h}, [x1]
    });
    machine.setSys((3 << 14) | (1 << 7) | 2, 3 << 20); // CPACR_EL1.FPEN
    machine.setX(64, 0x11n);
    machine.setX(65, 0x22n);
    const seen = accesses(machine, [1n, 2n, 3n, 4n, 5n, 6n, 7n, 8n]);
    expect(seen).toEqual([
      write(DEVICE, 8, 0x11n),
      write(DEVICE + 8, 8, 0x22n),
      ...Array.from({ length: 8 }, (_, i) => read(DEVICE + 2 * i, 2)),
    ]);
    expect([machine.x(64), machine.x(66)]).toEqual([0x0007_0005_0003_0001n, 0x0008_0006_0004_0002n]);
  });

  it('raises an alignment fault for a misaligned access, which no device could answer', () => {
    const machine = new Machine();
    machine.vectors();
    expect(machine.execute((code) => code.mov(1, DEVICE + 2).ldr(2, 1, 0, 2))).toBe(0x200);
    expect(machine.sys((3 << 14) | (5 << 7) | (2 << 3)) & 0x3fn).toBe(0x21n);
  });

  it('exits for stores to read-only memory, whose loads are ordinary', () => {
    const machine = started((code) =>
      code
        .mov(1, READ_ONLY + 8)
        .ldr(2, 1)
        .str(2, 1)
        .ldr(3, 1),
    );
    machine.write64(READ_ONLY + 8, 77);
    expect(accesses(machine)).toEqual([write(READ_ONLY + 8, 8, 77n)]);
    expect([machine.x(3), machine.read64(READ_ONLY + 8)]).toEqual([77n, 77n]);
  });

  it('takes no interrupt between the accesses of an instruction', () => {
    const machine = new Machine({ gic: true });
    machine.vectors();
    const code = new Assembler(CODE);
    machine.load(code.mov(1, DEVICE).ldp(2, 3, 1).off());
    machine.start(CODE);
    machine.run();
    machine.answer(1);
    machine.view.setInt32(machine.vcpu('CPU_KICK'), 1, true);
    machine.view.setInt32(machine.vcpu('CPU_ATTENTION'), 1, true);
    const second = machine.run();
    expect([second.reason, second.address]).toEqual([machine.offset('EXIT_MMIO'), DEVICE + 8]);
    machine.answer(2);
    machine.run();
    expect([machine.x(2), machine.x(3)]).toEqual([1n, 2n]);
  });
});

describe('accesses that need no exit', () => {
  function doorbell(
    machine: Machine,
    index: number,
    address: number,
    length: number,
    flags: number,
    match = 0,
  ): void {
    const at =
      machine.offset('HEADER') +
      machine.offset('HEADER_DOORBELLS') +
      index * machine.offset('DOORBELL_STRIDE');
    machine.view.setBigUint64(at + machine.offset('DOORBELL_ADDRESS'), BigInt(address), true);
    machine.view.setUint32(at + machine.offset('DOORBELL_LENGTH'), length, true);
    machine.view.setUint32(at + machine.offset('DOORBELL_MATCH'), match, true);
    machine.view.setUint32(at + machine.offset('DOORBELL_FLAGS'), flags, true);
  }
  const word = (machine: Machine, name: string): number =>
    machine.view.getUint32(machine.offset('HEADER') + machine.offset(name), true);

  it('a store to a doorbell sets its bit and wakes the owner, once until the bit is taken', () => {
    const machine = started((code) =>
      code
        .mov(1, DEVICE + 0x50)
        .mov(2, 9)
        .str(2, 1, 0, 2)
        .str(2, 1, 0, 2),
    );
    doorbell(machine, 33, DEVICE + 0x50, 4, 1);
    expect(accesses(machine)).toEqual([]);
    const pending = machine.offset('HEADER') + machine.offset('HEADER_DOORBELL_PENDING');
    expect([machine.view.getUint32(pending, true), machine.view.getUint32(pending + 4, true)]).toEqual([
      0, 2,
    ]);
    expect(word(machine, 'HEADER_OWNER_WAKE')).toBe(1);
  });

  it('stores of another width, value or address exit', () => {
    const machine = started((code) =>
      code
        .mov(1, DEVICE)
        .mov(2, 3)
        .str(2, 1, 0, 1)
        .mov(2, 4)
        .str(2, 1, 0, 2)
        .mov(2, 3)
        .str(2, 1, 0, 2)
        .str(2, 1, 4, 2),
    );
    doorbell(machine, 0, DEVICE, 4, 3, 3);
    expect(accesses(machine)).toEqual([write(DEVICE, 2, 3n), write(DEVICE, 4, 4n), write(DEVICE + 4, 4, 3n)]);
    expect(word(machine, 'HEADER_DOORBELL_PENDING')).toBe(1);
  });

  it('rings once for a store that belongs to an instruction with an exit', () => {
    const machine = started(
      (code) => code.mov(1, DEVICE).mov(2, 1).mov(3, 2).word(0x29000c22), // stp w2, w3, [x1]
    );
    doorbell(machine, 0, DEVICE, 4, 1);
    expect(accesses(machine)).toEqual([write(DEVICE + 4, 4, 2n)]);
    expect(word(machine, 'HEADER_OWNER_WAKE')).toBe(1);
  });

  function coalesce(machine: Machine): void {
    const at = machine.offset('HEADER') + machine.offset('HEADER_COALESCED');
    machine.view.setBigUint64(at + machine.offset('COALESCED_ADDRESS'), BigInt(DEVICE), true);
    machine.view.setUint32(at + machine.offset('COALESCED_LENGTH'), 0x10, true);
    machine.view.setUint32(at + machine.offset('COALESCED_FLAGS'), 1, true);
  }

  it('queues stores to a coalesced range in order', () => {
    const machine = started((code) =>
      code.mov(1, DEVICE).mov(2, 0x41).str(2, 1, 0, 0).mov(2, 0x4242).str(2, 1, 0xc, 2).str(2, 1, 0x10, 2),
    );
    coalesce(machine);
    expect(accesses(machine)).toEqual([write(DEVICE + 0x10, 4, 0x4242n)]);
    expect(word(machine, 'HEADER_COALESCED_HEAD')).toBe(2);
    const ring = machine.offset('HEADER') + machine.offset('HEADER_COALESCED_RING');
    const entries = [0, 1].map((i) => [
      Number(machine.view.getBigUint64(ring + i * 16, true)),
      machine.view.getUint32(ring + i * 16 + 8, true),
      machine.view.getUint32(ring + i * 16 + 12, true),
    ]);
    expect(entries).toEqual([
      [DEVICE, 1, 0x41],
      [DEVICE + 0xc, 4, 0x4242],
    ]);
  });

  it('exits for an 8-byte store, and when the ring is full', () => {
    const machine = started((code) =>
      code.mov(1, DEVICE).mov(2, 1).str(2, 1).str(2, 1, 0, 2).str(2, 1, 0, 2),
    );
    coalesce(machine);
    machine.header('HEADER_COALESCED_TAIL', 2);
    machine.header('HEADER_COALESCED_HEAD', 0);
    expect(accesses(machine)).toEqual([write(DEVICE, 8, 1n), write(DEVICE, 4, 1n)]);
  });

  it('answers loads of up to 4 bytes from a shadow', () => {
    const machine = started((code) =>
      code.mov(1, DEVICE).ldr(2, 1, 0x60, 2).ldr(3, 1, 0x60, 0).ldr(4, 1, 0x60),
    );
    const at = machine.offset('HEADER') + machine.offset('HEADER_SHADOWS');
    machine.view.setBigUint64(at + machine.offset('SHADOW_ADDRESS'), BigInt(DEVICE + 0x60), true);
    machine.view.setUint32(at + machine.offset('SHADOW_VALUE'), 0xcafe, true);
    machine.view.setUint32(at + machine.offset('SHADOW_FLAGS'), 1, true);
    expect(accesses(machine, [5n])).toEqual([read(DEVICE + 0x60, 8)]);
    expect([machine.x(2), machine.x(3), machine.x(4)]).toEqual([0xcafen, 0xfen, 5n]);
  });
});

describe('memory', () => {
  it('is accessed across a page boundary at any alignment', () => {
    const machine = new Machine();
    machine.write64(DATA + 0xff8, 0x1122_3344_5566_7788n);
    machine.write64(DATA + 0x1000, 0x99aa_bbcc_ddee_ff00n);
    machine.execute((code) =>
      code
        .mov(1, DATA + 0xffd)
        .ldr(2, 1)
        .mov(3, 0x0102_0304_0506_0708n)
        .str(3, 1),
    );
    expect(machine.x(2)).toBe(0xccdd_eeff_0011_2233n);
    expect([machine.read64(DATA + 0xff8), machine.read64(DATA + 0x1000)]).toEqual([
      0x0607_0844_5566_7788n,
      0x99aa_bb01_0203_0405n,
    ]);
  });
});
