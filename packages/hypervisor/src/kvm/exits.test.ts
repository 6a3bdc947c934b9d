import fc from 'fast-check';
import { bare, io, mmio, systemEvent } from '../../test/kvm/exits-of-fake.ts';
import { FakeKvm, PAGE, type FakeVcpu, type Step } from '../../test/kvm/fake-native.ts';
import type { VcpuExit } from '../exit.ts';
import type { X86KvmVcpu } from './index.ts';
import { createKvmX86Hypervisor } from './index.ts';
import {
  KVM_EXIT,
  RUN_EMULATION_FLAGS,
  RUN_EMULATION_INSN_BYTES,
  RUN_EMULATION_INSN_SIZE,
  RUN_EOI_VECTOR,
  RUN_HARDWARE_REASON,
  RUN_INTERNAL_NDATA,
  RUN_INTERNAL_SUBERROR,
} from './uapi.ts';

async function vcpuDoing(...steps: Step[]): Promise<{ vcpu: X86KvmVcpu; native: FakeVcpu }> {
  const native = new FakeKvm();
  native.steps = steps;
  const vm = await createKvmX86Hypervisor({ native }).createVm({ vcpus: 1, maxMemory: 1 << 20 });
  const vcpu = vm.createVcpu(0);
  return { vcpu, native: native.vm.vcpus[0]! };
}

function copy(exit: VcpuExit): VcpuExit {
  return { ...exit };
}

describe('exits of KVM', () => {
  it('tells string I/O as single accesses, one after the other, without entering the guest', async () => {
    const { vcpu, native } = await vcpuDoing(io(0x3f8, 2, 3, [1, 2, 3, 4, 5, 6]), bare(KVM_EXIT.HLT));
    for (let element = 0; element < 3; element++) expect(vcpu.run().reason).toBe('io');
    expect(native.entered).toBe(1);
    expect(vcpu.run().reason).toBe('halt');
    expect(native.entered).toBe(2);
  });

  it('gives each element of string output its value', async () => {
    const { vcpu } = await vcpuDoing(io(0x3f8, 2, 3, [1, 2, 3, 4, 5, 6]));
    const told = [copy(vcpu.run()), copy(vcpu.run()), copy(vcpu.run())];
    expect(told).toEqual(
      [0x0201, 0x0403, 0x0605].map((value) => ({
        reason: 'io',
        port: 0x3f8,
        length: 2,
        write: true,
        value,
      })),
    );
  });

  it('stores the answers of string input in place', async () => {
    const { vcpu, native } = await vcpuDoing(io(0x60, 4, 3), bare(KVM_EXIT.HLT));
    for (const value of [0x1111_1111, 0xffff_fffe, 0x3333_3333]) {
      const exit = vcpu.run();
      if (exit.reason !== 'io') throw new Error(exit.reason);
      expect([exit.write, exit.value]).toEqual([false, 0]);
      exit.value = value;
    }
    vcpu.run();
    const data = [0, 4, 8].map((offset) => native.view.getUint32(PAGE + offset, true));
    expect(data).toEqual([0x1111_1111, 0xffff_fffe, 0x3333_3333]);
  });

  it('tells an MMIO access of any width as accesses of 1, 2, 4 and 8 bytes', () =>
    fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ minLength: 1, maxLength: 8 }),
        fc.integer({ min: 0, max: 2 ** 40 }),
        async (data, address) => {
          const { vcpu } = await vcpuDoing(mmio(address, data.length, [...data]), bare(KVM_EXIT.HLT));
          const seen: number[] = [];
          for (let exit = vcpu.run(); exit.reason === 'mmio'; exit = vcpu.run()) {
            expect(exit.address).toBe(address + seen.length);
            expect([1, 2, 4, 8]).toContain(exit.length);
            const bytes = new DataView(new ArrayBuffer(8));
            bytes.setUint32(0, exit.value, true);
            bytes.setUint32(4, exit.valueHigh, true);
            seen.push(...new Uint8Array(bytes.buffer).subarray(0, exit.length));
          }
          expect(seen).toEqual([...data]);
        },
      ),
      { numRuns: 50 },
    ));

  it('puts the answers to an MMIO read of 3 bytes together', async () => {
    const { vcpu, native } = await vcpuDoing(mmio(0xfff, 3), bare(KVM_EXIT.HLT));
    for (const value of [0x2211, 0xff_ff33]) {
      const exit = vcpu.run();
      if (exit.reason !== 'mmio') throw new Error(exit.reason);
      exit.value = value;
    }
    vcpu.run();
    expect([...new Uint8Array(native.runPage, 40, 4)]).toEqual([0x11, 0x22, 0x33, 0xee]);
  });

  it('answers 0 to a read that nobody answers', async () => {
    const { vcpu, native } = await vcpuDoing(mmio(0, 8), bare(KVM_EXIT.HLT));
    vcpu.run();
    vcpu.run();
    expect(native.view.getBigUint64(40, true)).toBe(0n);
  });

  it('refuses accesses that cannot be', async () => {
    const impossible = [mmio(0, 0), mmio(0, 9), io(0, 3, 1), io(0, 1, 0), io(0, 4, 0x1000_0000)];
    for (const step of impossible) {
      const { vcpu } = await vcpuDoing(step);
      expect(vcpu.run().reason).toBe('internalError');
    }
  });

  it('tells shutdown, reset, triple faults and the end of interrupts', async () => {
    const eoi: Step = (vcpu) => {
      vcpu.view.setUint8(RUN_EOI_VECTOR, 0x61);
      vcpu.exit(KVM_EXIT.IOAPIC_EOI);
      return 0;
    };
    const { vcpu } = await vcpuDoing(systemEvent(1), systemEvent(2), bare(KVM_EXIT.SHUTDOWN), eoi);
    const told = [copy(vcpu.run()), copy(vcpu.run()), copy(vcpu.run()), copy(vcpu.run())];
    expect(told).toEqual([
      { reason: 'systemEvent', event: 'shutdown' },
      { reason: 'systemEvent', event: 'reset' },
      { reason: 'shutdown' },
      { reason: 'eoi', vector: 0x61 },
    ]);
  });

  it('goes on after exits that need nothing', async () => {
    const { vcpu, native } = await vcpuDoing(
      bare(KVM_EXIT.INTR),
      bare(KVM_EXIT.IRQ_WINDOW_OPEN),
      bare(KVM_EXIT.HLT),
    );
    expect(vcpu.run().reason).toBe('halt');
    expect(native.entered).toBe(3);
  });

  it('names suberror, place and instruction of an internal error', async () => {
    const failing: Step = (vcpu) => {
      vcpu.exit(KVM_EXIT.INTERNAL_ERROR);
      vcpu.view.setUint32(RUN_INTERNAL_SUBERROR, 1, true);
      vcpu.view.setUint32(RUN_INTERNAL_NDATA, 3, true);
      vcpu.view.setBigUint64(RUN_EMULATION_FLAGS, 1n, true);
      vcpu.view.setUint8(RUN_EMULATION_INSN_SIZE, 3);
      [0x0f, 0xc7, 0x0e].forEach((byte, index) => vcpu.view.setUint8(RUN_EMULATION_INSN_BYTES + index, byte));
      return 0;
    };
    const { vcpu } = await vcpuDoing(failing);
    const exit = vcpu.run();
    expect(exit.reason === 'internalError' ? exit.message : '').toMatch(
      /KVM_INTERNAL_ERROR_EMULATION, suberror 1.*bytes 0f c7 0e.*rip 0x0/,
    );
  });

  it('names the reason of a refused entry, of unknown exits and of a failing KVM_RUN', async () => {
    const refused: Step = (vcpu) => {
      vcpu.exit(KVM_EXIT.FAIL_ENTRY);
      vcpu.view.setBigUint64(RUN_HARDWARE_REASON, 0x8000_0021n, true);
      return 0;
    };
    for (const [step, expected] of [
      [refused, /hardware reason 0x80000021/],
      [bare(KVM_EXIT.NMI), /exit 16 of KVM/],
      [systemEvent(3), /KVM_SYSTEM_EVENT_CRASH/],
      [() => 14, /KVM_RUN failed: EFAULT/],
    ] as const) {
      const { vcpu } = await vcpuDoing(step);
      const exit = vcpu.run();
      expect(exit.reason === 'internalError' ? exit.message : exit.reason).toMatch(expected);
    }
  });
});
