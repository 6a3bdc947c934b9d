import type { Aarch64CoreRegister, Aarch64Vcpu, VcpuState } from '@vmm/hypervisor';
import { configureBootCpu, configureSecondaryCpu } from './index.ts';

/** A vCPU that has registers and nothing else. */
class RegisterVcpu implements Aarch64Vcpu {
  readonly id = 0;
  readonly registers = new Map<Aarch64CoreRegister, bigint>();
  poweredOff = true;

  getRegister(name: Aarch64CoreRegister): bigint {
    return this.registers.get(name) ?? 0xdeadn;
  }

  setRegister(name: Aarch64CoreRegister, value: bigint): void {
    this.registers.set(name, value);
  }

  getSystemRegister(): bigint {
    throw new Error('not part of this test');
  }

  setSystemRegister(): void {
    throw new Error('not part of this test');
  }

  run(): never {
    throw new Error('not part of this test');
  }

  kick(): void {}
  start(): Promise<void> {
    return Promise.resolve();
  }
  pause(): Promise<void> {
    return Promise.resolve();
  }
  resume(): void {}
  stop(): Promise<void> {
    return Promise.resolve();
  }
  save(): VcpuState {
    throw new Error('not part of this test');
  }
  restore(): void {}
  [Symbol.dispose](): void {}
}

describe('boot state (booting.rst §4)', () => {
  it('is the device tree in x0, x1 to x3 zero, EL1 with SP_EL1 and all exceptions masked', () => {
    const vcpu = configureBootCpu(new RegisterVcpu(), { entry: 0x8_0000, deviceTree: 0x3fe0_0000 });
    expect(Object.fromEntries(vcpu.registers)).toEqual({
      x0: 0x3fe0_0000n,
      x1: 0n,
      x2: 0n,
      x3: 0n,
      pc: 0x8_0000n,
      pstate: 0b1111_00_0101n,
    });
    expect(vcpu.poweredOff).toBe(false);
  });

  it('of other CPUs is powered off, for PSCI CPU_ON', () => {
    const vcpu = new RegisterVcpu();
    vcpu.poweredOff = false;
    expect(configureSecondaryCpu(vcpu).poweredOff).toBe(true);
    expect(vcpu.registers.size).toBe(0);
  });
});
