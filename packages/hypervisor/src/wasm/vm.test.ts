import { jest } from '@jest/globals';
import { createFile } from '../../test/compliance-file.ts';
import { Assembler } from '../compliance/aarch64/assembler.ts';
import { HypervisorError } from '../errors.ts';
import type { HaltExit } from '../exit.ts';
import { sysreg } from '../aarch64.ts';
import type { VmConfig } from '../vm.ts';
import type { EngineHost } from './host.ts';
import { createNodeHost } from './node/host.ts';
import { readMemoryFile } from './node/read-file.ts';
import type { UndefinedInstruction, WasmVcpu, WasmVm } from './index.ts';
import { createWasmHypervisor } from './index.ts';
import { vcpuWords } from './shared.ts';

jest.setTimeout(120_000);

const RAM = 0x8000_0000;
const MMIO = 0x1000_0000;
const GIC = { distributor: 0x0800_0000, redistributor: 0x080a_0000, irqs: 96 };
const CNTV_CTL_EL0 = sysreg(3, 3, 14, 3, 1);
const CNTV_TVAL_EL0 = sysreg(3, 3, 14, 3, 0);
const GICR_ISENABLER0 = GIC.redistributor + 0x1_0100;
const NANOSECONDS_PER_TICK = 16;

interface Guest extends AsyncDisposable {
  readonly vm: WasmVm;
  readonly vcpu: WasmVcpu;
}

async function guest(
  write: (a: Assembler) => void,
  config: Partial<VmConfig> = {},
  onUndefined?: (vcpu: number, instruction: UndefinedInstruction) => void,
): Promise<Guest> {
  const hypervisor = createWasmHypervisor(onUndefined === undefined ? {} : { onUndefined });
  const vm = await hypervisor.createVm({ vcpus: 1, maxMemory: 0x1_0000, ...config });
  const a = new Assembler().movImmediate(1, MMIO);
  write(a);
  vm.mapMemory(RAM, 0x1_0000).bytes.set(a.bytes());
  const vcpu = vm.createVcpu(0);
  vcpu.setRegister('pc', BigInt(RAM));
  return { vm, vcpu, [Symbol.asyncDispose]: async () => vm[Symbol.asyncDispose]() };
}

/** Arms the virtual timer and enables its interrupt in the redistributor, but not in PSTATE. */
function armTimer(a: Assembler, ticks: number): void {
  a.movImmediate(2, GICR_ISENABLER0)
    .movImmediate(3, 1 << 27)
    .store(4, 3, 2);
  a.movImmediate(2, ticks).msr(CNTV_TVAL_EL0, 2).movz(2, 1).msr(CNTV_CTL_EL0, 2).isb();
}

describe('the thread of a vCPU that is off', () => {
  it('looks once at what it is woken for, and waits again', async () => {
    await using machine = await guest((a) => a.b('again').label('again'));
    const { vm, vcpu } = machine;
    const { words, layout } = vm.shared;
    const control = vcpuWords(layout, 0);
    vcpu.poweredOff = true;
    const ended = vcpu.start(() => 'stop');
    for (let times = 0; times < 3; times++) {
      vm.shared.wakeVcpu(control);
      while (Atomics.load(words, control.attention) !== 0)
        await new Promise((resolve) => setImmediate(resolve));
    }
    await vcpu.stop();
    await ended;
    expect(vcpu.instructionCount()).toBe(0);
  });
});

describe('run() of the software hypervisor', () => {
  it('comes back with interrupted when its budget is used up, near to it', async () => {
    await using machine = await guest((a) => a.label('again').addImmediate(0, 0, 1).cbnz(1, 'again'));
    const { vcpu } = machine;
    expect(vcpu.run(1000).reason).toBe('interrupted');
    const count = vcpu.instructionCount();
    expect(count).toBeGreaterThanOrEqual(1000);
    expect(count).toBeLessThan(1100);
    expect(vcpu.run(50_000).reason).toBe('interrupted');
    expect(vcpu.instructionCount() - count).toBeGreaterThanOrEqual(50_000);
    expect(() => vcpu.run(-1)).toThrow(HypervisorError);
  });

  it('says for how long a halted vCPU with an armed timer sleeps (host clock)', async () => {
    const hour = 3600 * 62_500_000;
    await using machine = await guest((a) => {
      armTimer(a, hour / 2);
      a.wfi();
    });
    machine.vm.createGicV3(GIC);
    const exit = machine.vcpu.run() as HaltExit;
    expect(exit.reason).toBe('halt');
    expect(exit.wakeAfterNs).toBeGreaterThan(0);
    expect(exit.wakeAfterNs).toBeLessThanOrEqual((hour / 2) * NANOSECONDS_PER_TICK);
  });

  it('does not tell a vCPU to wake for a timer that has fired and that nobody listens to', async () => {
    await using machine = await guest((a) => {
      a.movz(2, 1).msr(CNTV_TVAL_EL0, 2).msr(CNTV_CTL_EL0, 2).isb();
      a.label('again').wfi().b('again');
    });
    machine.vm.createGicV3(GIC);
    // The first WFI may come before the timer has fired.
    for (let count = 0; count < 1000; count++) machine.vcpu.run();
    expect(machine.vcpu.run()).toEqual({ reason: 'halt', wakeAfterNs: Infinity });
  });

  it('hands over an exit that came with a callback that threw, on the next call', async () => {
    await using machine = await guest((a) =>
      a.store(4, 0, 1).store(4, 0, 1, 8).movz(0, 7).store(4, 0, 1, 16),
    );
    const { vm, vcpu } = machine;
    let calls = 0;
    vm.createDoorbell(MMIO, 4, undefined, () => {
      calls++;
      throw new Error('thrown by the doorbell');
    });
    expect(() => vcpu.run()).toThrow('thrown by the doorbell');
    expect(vcpu.run()).toMatchObject({ reason: 'mmio', address: MMIO + 8 });
    expect(vcpu.run()).toMatchObject({ reason: 'mmio', address: MMIO + 16, value: 7 });
    expect(calls).toBe(1);
  });

  it('rings the other doorbells after one whose callback threw', async () => {
    await using machine = await guest((a) => a.store(4, 0, 1).store(4, 0, 1, 4).store(4, 0, 1, 8));
    const { vm, vcpu } = machine;
    let rung = 0;
    vm.createDoorbell(MMIO, 4, undefined, () => {
      throw new Error('thrown by the doorbell');
    });
    vm.createDoorbell(MMIO + 4, 4, undefined, () => rung++);
    expect(() => vcpu.run()).toThrow('thrown by the doorbell');
    expect(vcpu.run()).toMatchObject({ address: MMIO + 8 });
    vcpu.run(10);
    expect(rung).toBe(1);
  });

  it('refuses to be called from a callback of itself', async () => {
    await using machine = await guest((a) => a.store(4, 0, 1).store(4, 0, 1, 8));
    const codes: unknown[] = [];
    machine.vm.createDoorbell(MMIO, 4, undefined, () => {
      try {
        machine.vcpu.run();
      } catch (error) {
        codes.push(error instanceof HypervisorError ? error.code : error);
      }
    });
    machine.vcpu.run();
    expect(codes).toEqual(['WRONG_STATE']);
  });

  it('serves doorbells of a guest that then waits for the answer, whatever the clock', async () => {
    for (const clock of ['host', 'instructions'] as const) {
      await using machine = await guest(
        (a) => {
          armTimer(a, 1000);
          a.movImmediate(4, RAM + 0x8000).store(4, 0, 1);
          a.label('wait').load(4, 5, 4).cbnz(5, 'done').wfi().b('wait').label('done').store(4, 5, 1, 8);
        },
        { clock },
      );
      machine.vm.createGicV3(GIC);
      const ram = machine.vm.regions[0]!.bytes;
      machine.vm.createDoorbell(MMIO, 4, undefined, () => void (ram[0x8000] = 9));
      expect(machine.vcpu.run()).toMatchObject({ reason: 'mmio', address: MMIO + 8, value: 9 });
    }
  });

  it('completes an instruction that makes several accesses, each seen once', async () => {
    await using machine = await guest((a) => a.loadPair(2, 3, 1, 16).storePair(3, 2, 1, 32).store(4, 0, 1));
    const { vcpu } = machine;
    const seen: unknown[] = [];
    for (let value = 5; ; value++) {
      const exit = vcpu.run();
      if (exit.reason !== 'mmio') throw new Error(exit.reason);
      if (exit.address === MMIO) break;
      seen.push([exit.address - MMIO, exit.length, exit.write, exit.write ? exit.value : undefined]);
      if (!exit.write) exit.value = value;
    }
    expect(seen).toEqual([
      [16, 8, false, undefined],
      [24, 8, false, undefined],
      [32, 8, true, 6],
      [40, 8, true, 5],
    ]);
  });

  it('gives the same instructions and the same time for the same program (instruction clock)', async () => {
    const once = async (): Promise<unknown> => {
      await using machine = await guest(
        (a) => {
          a.movImmediate(2, 12_345).label('again').subImmediate(2, 2, 1).cbnz(2, 'again');
          a.mrs(3, sysreg(3, 3, 14, 0, 2)).store(8, 3, 1);
        },
        { clock: 'instructions' },
      );
      const exit = machine.vcpu.run();
      return [{ ...exit }, machine.vcpu.instructionCount()];
    };
    expect(await once()).toEqual(await once());
  });
});

describe('instructions that the engine does not have', () => {
  const UNDEFINED = 0x0000_dead;
  const PC = RAM + 8;

  it.each(['run', 'start'] as const)('are counted and told once, %s()', async (how) => {
    const told: unknown[] = [];
    await using machine = await guest(
      (a) => {
        // The exception leads to the vector table at 0x200 and back to the instruction.
        a.udf(UNDEFINED).store(4, 0, 1);
        while (a.offset < 0x200) a.nop();
        a.addImmediate(5, 5, 1).cmpImmediate(5, 3).bCond('eq', 'end').eret();
        a.label('end').store(4, 0, 1, 8);
      },
      {},
      (vcpu, { instruction, firstPc }) => told.push([vcpu, instruction, firstPc]),
    );
    const { vcpu } = machine;
    vcpu.setRegister('pstate', 0x3c5n);
    vcpu.setSystemRegister(sysreg(3, 0, 12, 0, 0), BigInt(RAM));
    if (how === 'run') expect(vcpu.run()).toMatchObject({ address: MMIO + 8 });
    else await vcpu.start(() => 'stop');
    expect(vcpu.undefinedInstructions()).toEqual([{ instruction: UNDEFINED, count: 3, firstPc: BigInt(PC) }]);
    expect(told).toEqual([[0, UNDEFINED, BigInt(PC)]]);
  });
});

describe('a state of the software hypervisor', () => {
  it('has the device reads of an unfinished instruction that were answered', async () => {
    const program = (a: Assembler): unknown => a.loadPair(2, 3, 1).sub(2, 2, 3).store(8, 2, 1);
    await using original = await guest(program);
    await using copy = await guest(program);
    const first = original.vcpu.run();
    expect(first).toMatchObject({ address: MMIO, length: 8, write: false });
    Object.assign(first, { value: 50, valueHigh: 0 });
    copy.vcpu.restore(structuredClone(original.vcpu.save()));
    for (const { vcpu } of [copy, original]) {
      const second = vcpu.run();
      expect(second).toMatchObject({ address: MMIO + 8, length: 8, write: false });
      Object.assign(second, { value: 8, valueHigh: 0 });
      expect(vcpu.run()).toMatchObject({ address: MMIO, write: true, value: 42 });
    }
  });
});

describe('memory of the software hypervisor', () => {
  it('is as large as the backend says', async () => {
    const hypervisor = createWasmHypervisor();
    expect(hypervisor.maxMemory).toBeGreaterThanOrEqual(3 * 2 ** 30);
    await using vm = await hypervisor.createVm({ vcpus: 1, maxMemory: hypervisor.maxMemory });
    const half = Math.floor(hypervisor.maxMemory / 2 / 4096) * 4096;
    const low = vm.mapMemory(0, half);
    const high = vm.mapMemory(half, hypervisor.maxMemory - half - (hypervisor.maxMemory % 4096));
    high.bytes[high.bytes.length - 1] = 1;
    expect(low.bytes[0]).toBe(0);
    expect(low.bytes.length + high.bytes.length).toBeGreaterThan(3.9 * 2 ** 30);
  });

  it('reaches the guest up to its last byte', async () => {
    const { maxMemory } = createWasmHypervisor();
    await using machine = await guest(
      (a) => {
        a.movImmediate(2, 0x10_0000_0000 + maxMemory - 0x2_0000 - 8).movz(3, 77);
        a.store(8, 3, 2).load(8, 4, 2).store(8, 4, 1).store(8, 3, 2, 8);
      },
      { maxMemory },
    );
    const region = machine.vm.mapMemory(0x10_0000_0000, maxMemory - 0x2_0000);
    expect(machine.vcpu.run()).toMatchObject({ address: MMIO, value: 77 });
    expect(region.bytes[region.bytes.length - 8]).toBe(77);
    expect(machine.vcpu.run()).toMatchObject({ address: 0x10_0000_0000 + maxMemory - 0x2_0000, write: true });
  });

  it('is zeroed when it is unmapped, and not given out again', async () => {
    await using machine = await guest((a) => a.nop(), { maxMemory: 0x4_0000 });
    const region = machine.vm.mapMemory(0, 0x1_0000);
    region.bytes.fill(7);
    machine.vm.unmapMemory(region);
    expect(region.bytes.every((byte) => byte === 0)).toBe(true);
    const next = machine.vm.mapMemory(0, 0x1_0000);
    region.bytes[0] = 1;
    expect(next.bytes[0]).toBe(0);
  });

  it('is read from a file where the host cannot map it, and refused where there are no files', async () => {
    using source = createFile(new Uint8Array(5000).fill(7));
    const file = { fd: source.fd, offset: 4096 };
    for (const [mapFile, expected] of [
      [readMemoryFile, [7, 7, 0]],
      [undefined, undefined],
    ] as const) {
      const host: EngineHost = { ...createNodeHost(), mapFile };
      await using vm = await createWasmHypervisor({ host }).createVm({ vcpus: 1, maxMemory: 0x4_0000 });
      if (expected === undefined) {
        expect(() => vm.mapMemory(RAM, 0x1_0000, { file })).toThrow(
          expect.objectContaining({ code: 'UNSUPPORTED' }),
        );
        continue;
      }
      const { bytes } = vm.mapMemory(RAM, 0x1_0000, { file });
      expect([bytes[0], bytes[903], bytes[904]]).toEqual(expected);
      vm.unmapMemory(vm.regions[0]!);
      expect(bytes[0]).toBe(0);
      source.close();
      expect(() => vm.mapMemory(RAM, 0x1000, { file })).toThrow(expect.objectContaining({ code: 'SYSTEM' }));
    }
  });

  it('has a dirty log that a vCPU without a thread takes no part in', async () => {
    await using machine = await guest(
      (a) => a.store(4, 0, 15).store(4, 0, 1).store(4, 0, 15).store(4, 0, 1),
      {
        maxMemory: 0x4_0000,
      },
    );
    const region = machine.vm.mapMemory(0x4000_0000, 0x1000);
    machine.vcpu.setRegister('x15', 0x4000_0000n);
    machine.vm.startDirtyLog();
    for (let round = 0; round < 2; round++) {
      expect(machine.vcpu.run().reason).toBe('mmio');
      expect([...machine.vm.takeDirtyPages(region)]).toEqual([1]);
      expect([...machine.vm.takeDirtyPages(region)]).toEqual([0]);
    }
  });

  it('stays as it is where the host cannot take it back, and says so', async () => {
    const host: EngineHost = { ...createNodeHost(), discard: undefined };
    await using vm = await createWasmHypervisor({ host }).createVm({ vcpus: 1, maxMemory: 0x1_0000 });
    const { bytes } = vm.mapMemory(RAM, 0x1_0000);
    bytes.fill(7);
    vm.discardMemory(Float64Array.of(RAM, 0x1_0000));
    expect([vm.releasesMemory, bytes.every((byte) => byte === 7)]).toEqual([false, true]);
  });
});
