import type { MmioExit, VcpuExit } from '../exit.ts';
import type { Aarch64Vcpu, Aarch64Vm } from '../aarch64.ts';
import type { HypervisorGic } from '../aarch64.ts';
import type { GuestMemoryRegion, Vm, VmConfig } from '../vm.ts';
import { Assembler } from './assembler.ts';
import type { ComplianceContext } from './suite.ts';

/** Memory map of the compliance guests. */
export const RAM = 0x8000_0000;
export const RAM_SIZE = 0x10_0000;
/** Guest data, away from the code. */
export const DATA: number = RAM + 0x8_0000;
export const MMIO = 0x1000_0000;
export const GIC_DISTRIBUTOR = 0x0800_0000;
export const GIC_REDISTRIBUTOR = 0x080a_0000;
export const GIC_IRQS = 128;

/** Register that holds {@link MMIO} in every guest. */
export const X_MMIO = 20;
/** Register that holds {@link DATA} in every guest. */
export const X_DATA = 21;

/** EL1h with D, A, I and F masked: the state in which a boot loader hands over. */
export const PSTATE_EL1H = 0x3c5n;

/** A VM with one region of memory at {@link RAM} and its vCPUs. */
export class Machine implements AsyncDisposable {
  readonly vm: Aarch64Vm;
  readonly vcpu: Aarch64Vcpu;
  readonly ram: GuestMemoryRegion;
  readonly #context: ComplianceContext;

  private constructor(context: ComplianceContext, vm: Aarch64Vm) {
    this.#context = context;
    this.vm = vm;
    this.ram = vm.mapMemory(RAM, RAM_SIZE);
    this.vcpu = vm.createVcpu(0);
  }

  static async create(context: ComplianceContext, config: Partial<VmConfig> = {}): Promise<Machine> {
    const vm = await context.hypervisor.createVm({ vcpus: 1, maxMemory: 4 * RAM_SIZE, ...config });
    return new Machine(context, vm);
  }

  /** A machine whose vCPU 0 is about to run what `write` assembles at {@link RAM}. */
  static async running(
    context: ComplianceContext,
    write: (a: Assembler) => void,
    config: Partial<VmConfig> = {},
  ): Promise<Machine> {
    const machine = await Machine.create(context, config);
    machine.load(write);
    return machine;
  }

  /** Assembles at {@link RAM} and lets vCPU 0 begin there. */
  load(write: (a: Assembler) => void): void {
    const a = new Assembler();
    a.movImmediate(X_MMIO, MMIO).movImmediate(X_DATA, DATA);
    write(a);
    this.ram.bytes.set(a.bytes());
    this.vcpu.setRegister('pc', BigInt(RAM));
    this.vcpu.setRegister('pstate', PSTATE_EL1H);
  }

  createGic(): HypervisorGic {
    return this.vm.createGicV3({
      distributor: GIC_DISTRIBUTOR,
      redistributor: GIC_REDISTRIBUTOR,
      irqs: GIC_IRQS,
    });
  }

  /** `run()`, which must come back because of MMIO. */
  runToMmio(): MmioExit {
    return this.mmio(this.vcpu.run());
  }

  /** Asserts that the exit is one of MMIO. */
  mmio(exit: VcpuExit): MmioExit {
    const { assert } = this.#context;
    if (exit.reason === 'mmio') return exit;
    assert.equal(describe(exit), 'mmio', 'why the vCPU came back');
    throw new Error('an assertion that must fail did not');
  }

  /** Unsigned word of guest memory. */
  word(address: number): number {
    const { buffer, byteOffset } = this.ram.bytes;
    return new DataView(buffer, byteOffset).getUint32(address - RAM, true);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.vm[Symbol.asyncDispose]();
  }
}

function describe(exit: VcpuExit): string {
  return exit.reason === 'internalError' ? `internalError: ${exit.message}` : exit.reason;
}
