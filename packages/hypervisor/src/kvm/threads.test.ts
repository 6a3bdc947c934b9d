import { bare, io, mmio } from '../../test/kvm/exits-of-fake.ts';
import { FakeKvm, type FakeVcpu, type Step } from '../../test/kvm/fake-native.ts';
import { HypervisorError } from '../errors.ts';
import type { VcpuExit } from '../exit.ts';
import { createKvmX86Hypervisor, type X86KvmVcpu, type X86KvmVm } from './index.ts';
import { KVM_EXIT } from './uapi.ts';

interface Fixture {
  readonly vm: X86KvmVm;
  readonly vcpu: X86KvmVcpu;
  readonly native: FakeVcpu;
}

async function threadDoing(...steps: Step[]): Promise<Fixture> {
  const kvm = new FakeKvm();
  kvm.steps = steps;
  const vm = await createKvmX86Hypervisor({ native: kvm }).createVm({ vcpus: 1, maxMemory: 4096 });
  const vcpu = vm.createVcpu(0);
  return { vm, vcpu, native: kvm.vm.vcpus[0]! };
}

async function codeOf(action: () => unknown): Promise<string> {
  try {
    await action();
  } catch (error) {
    return error instanceof HypervisorError ? error.code : String(error);
  }
  return 'nothing';
}

async function turns(count = 5): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
}

function portOf(exit: VcpuExit): number {
  return exit.reason === 'io' ? exit.port : -1;
}

describe('a vCPU thread of KVM', () => {
  it('tells all accesses of a string instruction before the guest goes on', async () => {
    const { vcpu, native } = await threadDoing(io(0x60, 1, 3), io(0x80, 1, 1, [9]));
    const seen: number[] = [];
    await vcpu.start((exit) => {
      if (exit.reason === 'io' && !exit.write) exit.value = seen.length + 1;
      seen.push(portOf(exit));
      if (seen.length === 3) expect(native.entered).toBe(1);
      return portOf(exit) === 0x80 ? 'stop' : 'resume';
    });
    expect(seen).toEqual([0x60, 0x60, 0x60, 0x80]);
  });

  it('stops inside of a string instruction, and run() tells the rest', async () => {
    const { vcpu, native } = await threadDoing(io(0x80, 1, 3, [1, 2, 3]), bare(KVM_EXIT.HLT));
    await vcpu.start(() => 'stop');
    expect(await codeOf(() => vcpu.save())).toBe('WRONG_STATE');
    const values = [vcpu.run(), vcpu.run()].map((exit) => exit.reason);
    expect(values).toEqual(['io', 'io']);
    expect(native.entered).toBe(1);
    expect(vcpu.run().reason).toBe('halt');
  });

  it('begins with the accesses that run() has not told', async () => {
    const { vcpu } = await threadDoing(io(0x80, 1, 3, [1, 2, 3]), io(0x81, 1, 1, [4]));
    vcpu.run();
    const seen: number[] = [];
    await vcpu.start((exit) => {
      if (exit.reason === 'io') seen.push(exit.value);
      return portOf(exit) === 0x81 ? 'stop' : 'resume';
    });
    expect(seen).toEqual([2, 3, 4]);
  });

  it('completes the last access when the handler stops it, so that its state can be saved', async () => {
    const { vcpu, native } = await threadDoing(mmio(0x1000, 4));
    await vcpu.start((exit) => {
      if (exit.reason === 'mmio') exit.value = 5;
      return 'stop';
    });
    expect(native.entered).toBe(2);
    expect(native.view.getUint32(40, true)).toBe(5);
    expect(vcpu.save().arch).toBe('x86_64');
    expect(native.entered).toBe(2);
  });

  it('handles and completes the exit that comes while it is told to stop', async () => {
    let told = 0;
    let stopped: Promise<void> | undefined;
    const fixture = await threadDoing((native) => {
      stopped = fixture.vcpu.stop();
      return mmio(0, 4)(native);
    });
    await fixture.vcpu.start(() => {
      told++;
      return 'resume';
    });
    await stopped;
    expect([told, fixture.native.entered]).toEqual([1, 2]);
    fixture.vcpu.save();
    expect(fixture.native.entered).toBe(2);
  });

  it('pauses with its access completed, and goes on when resumed', async () => {
    const { vcpu, native } = await threadDoing(mmio(0, 4));
    let paused: Promise<void> | undefined;
    const thread = vcpu.start(() => {
      paused = vcpu.pause();
      return 'resume';
    });
    while (paused === undefined) await turns();
    await paused;
    expect(native.entered).toBe(2);
    expect(vcpu.save().version).toBe(1);
    expect(await codeOf(() => vcpu.run())).toBe('WRONG_STATE');
    vcpu.resume();
    await turns();
    expect(native.entered).toBe(3);
    await vcpu.stop();
    await thread;
  });

  it('waits in HLT without an interrupt controller until it is kicked, paused or stopped', async () => {
    const { vcpu, native } = await threadDoing(bare(KVM_EXIT.HLT), bare(KVM_EXIT.HLT), bare(KVM_EXIT.HLT));
    const seen: string[] = [];
    const thread = vcpu.start((exit) => {
      seen.push(exit.reason);
      return 'resume';
    });
    await turns();
    expect(native.entered).toBe(1);
    vcpu.kick();
    await turns();
    expect(native.entered).toBe(2);
    await vcpu.pause();
    expect(vcpu.getRegister('rax')).toBe(0n);
    vcpu.resume();
    await turns();
    expect(native.entered).toBe(3);
    await vcpu.stop();
    await thread;
    expect(seen).toEqual([]);
  });

  it('ends with an internal error when KVM_RUN fails', async () => {
    const { vcpu } = await threadDoing(() => 14);
    const seen: string[] = [];
    await vcpu.start((exit) => {
      seen.push(exit.reason === 'internalError' ? exit.message : exit.reason);
      return 'resume';
    });
    expect(seen).toHaveLength(1);
    expect(seen[0]).toMatch(/EFAULT/);
  });

  it('goes on after kicks and signals, which no handler sees', async () => {
    const { vcpu, native } = await threadDoing(
      () => 4,
      () => 11,
      () => 4,
      mmio(0, 4),
    );
    const seen: string[] = [];
    await vcpu.start((exit) => {
      seen.push(exit.reason);
      return 'stop';
    });
    expect(seen).toEqual(['mmio']);
    expect(native.entered).toBe(5);
  });

  it('ends when its environment does', async () => {
    const { vcpu } = await threadDoing(() => 125);
    await vcpu.start(() => 'resume');
    const { vcpu: other } = await threadDoing(() => 125);
    expect(await codeOf(() => other.run())).toBe('DISPOSED');
  });

  it('leaves an exit that came while the handler of another vCPU threw for run()', async () => {
    const kvm = new FakeKvm();
    kvm.steps = [mmio(0x10, 4), mmio(0x20, 4)];
    const vm = await createKvmX86Hypervisor({ native: kvm }).createVm({ vcpus: 2, maxMemory: 4096 });
    const vcpus = [vm.createVcpu(0), vm.createVcpu(1)];
    const error = new Error('of the handler');
    const told: number[] = [];
    const ends = vcpus.map((vcpu) =>
      vcpu
        .start((exit) => {
          if (exit.reason === 'mmio') told.push(exit.address);
          throw error;
        })
        .catch((thrown: unknown) => thrown),
    );
    expect(await Promise.all(ends)).toEqual([error, error]);
    expect(told).toEqual([0x10]);
    const exit = vcpus[1]!.run();
    expect(exit.reason === 'mmio' ? exit.address : -1).toBe(0x20);
  });

  it('is ended by disposal without another call of its handler', async () => {
    const { vm, vcpu, native } = await threadDoing(mmio(0, 4), mmio(0, 4), mmio(0, 4));
    let calls = 0;
    let disposed: PromiseLike<void> | undefined;
    await vcpu.start(() => {
      calls++;
      disposed ??= vm[Symbol.asyncDispose]();
      return 'resume';
    });
    await disposed;
    expect([calls, native.closed]).toEqual([1, true]);
  });
});

describe('run() of KVM', () => {
  it('comes back for a kick that came before, without entering the guest', async () => {
    const { vcpu, native } = await threadDoing(mmio(0, 4));
    vcpu.kick();
    vcpu.kick();
    expect([vcpu.run().reason, native.entered]).toEqual(['interrupted', 0]);
    expect(vcpu.run().reason).toBe('mmio');
  });

  it('saves a vCPU between two instructions: the read is completed with its answer', async () => {
    const { vcpu, native } = await threadDoing(io(0x60, 1, 1));
    const exit = vcpu.run();
    if (exit.reason === 'io') exit.value = 0x5a;
    vcpu.save();
    expect([native.entered, native.view.getUint8(4096)]).toEqual([2, 0x5a]);
    vcpu.save();
    expect(native.entered).toBe(2);
  });
});
