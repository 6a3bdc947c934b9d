import type { Aarch64Hypervisor, Aarch64Vcpu, Aarch64Vm, GicState, HypervisorGic } from '../../aarch64.ts';
import type { InputSetup, MachineInterrupts, MachineOptions } from '../machine.ts';
import { DATA, Machine, MMIO, RAM, RAM_SIZE } from '../machine.ts';
import type { GuestProgram, GuestRegister } from '../program.ts';
import type { ComplianceContext } from '../suite.ts';
import { Assembler } from './assembler.ts';
import { interruptGuest } from './interrupt-guest.ts';
import { FIRST_SPI, GIC_CPU_INTERFACE, GIC_DISTRIBUTOR, GIC_IRQS, GIC_REDISTRIBUTOR } from './map.ts';
import { X_DATA, X_MMIO } from './map.ts';
import { Aarch64Program, REGISTER } from './program.ts';

/** EL1h with D, A, I and F masked: the state in which a boot loader hands over. */
export const PSTATE_EL1H = 0x3c5n;

/** A machine of {@link Aarch64Vcpu}s. */
export class Aarch64Machine extends Machine<Aarch64Vcpu, Aarch64Vm> {
  readonly endReason = 'systemEvent';
  #gic: HypervisorGic | undefined;

  static async create(
    context: ComplianceContext<Aarch64Hypervisor>,
    options: MachineOptions = {},
  ): Promise<Aarch64Machine> {
    const { interrupts = false, ...config } = options;
    const vm = await context.hypervisor.createVm({ vcpus: 1, maxMemory: 4 * RAM_SIZE, ...config });
    const machine = new Aarch64Machine(context.assert, vm);
    if (interrupts) machine.createGic();
    return machine;
  }

  /** A machine whose vCPU 0 is about to run what `write` assembles at RAM, with X_MMIO and X_DATA set. */
  static async running(
    context: ComplianceContext<Aarch64Hypervisor>,
    write: (a: Assembler, machine: Aarch64Machine) => void,
    options: MachineOptions = {},
  ): Promise<Aarch64Machine> {
    const machine = await Aarch64Machine.create(context, options);
    machine.assemble(write);
    return machine;
  }

  assemble(write: (a: Assembler, machine: Aarch64Machine) => void): void {
    const a = new Assembler();
    a.movImmediate(X_MMIO, MMIO).movImmediate(X_DATA, DATA);
    write(a, this);
    this.ram.bytes.set(a.bytes());
    this.begin(this.vcpu, RAM);
  }

  load(write: (program: GuestProgram) => void): void {
    const program = new Aarch64Program();
    write(program);
    this.ram.bytes.set(program.assembler.bytes());
    this.begin(this.vcpu, RAM);
  }

  loadInterruptGuest(inputs: readonly InputSetup[]): void {
    this.assemble((a) => interruptGuest(a, this.gicVersion, inputs));
  }

  reported(gsi: number): number {
    return FIRST_SPI + gsi;
  }

  begin(vcpu: Aarch64Vcpu, address: number): void {
    vcpu.setRegister('pc', BigInt(address));
    vcpu.setRegister('pstate', PSTATE_EL1H);
  }

  registerName(register: GuestRegister): `x${number}` {
    return `x${REGISTER[register]}`;
  }

  getRegister(register: GuestRegister, vcpu: Aarch64Vcpu = this.vcpu): bigint {
    return vcpu.getRegister(this.registerName(register));
  }

  setRegister(register: GuestRegister, value: bigint, vcpu: Aarch64Vcpu = this.vcpu): void {
    vcpu.setRegister(this.registerName(register), value);
  }

  /** The version that {@link createGic} makes: the highest that there is. */
  get gicVersion(): 2 | 3 {
    return this.vm.gicVersions.includes(3) ? 3 : 2;
  }

  createGic(): HypervisorGic {
    const common = { distributor: GIC_DISTRIBUTOR, irqs: GIC_IRQS };
    this.#gic =
      this.gicVersion === 3
        ? this.vm.createGicV3({ ...common, redistributor: GIC_REDISTRIBUTOR })
        : this.vm.createGicV2({ ...common, cpuInterface: GIC_CPU_INTERFACE });
    return this.#gic;
  }

  get interrupts(): MachineInterrupts {
    const gic = this.#gic;
    if (gic === undefined) throw new Error('the machine was made without an interrupt controller');
    return {
      setLine: (gsi, level) => gic.setSpi(FIRST_SPI + gsi, level),
      pulse: (gsi) => gic.pulseSpi(FIRST_SPI + gsi),
      save: () => gic.save(),
      // Tests hand over what is no state at all.
      restore: (state) => gic.restore(state as GicState),
    };
  }
}
