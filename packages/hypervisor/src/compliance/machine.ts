import type { MmioExit, VcpuExit } from '../exit.ts';
import type { Vcpu } from '../vcpu.ts';
import type { GuestMemoryRegion, Vm, VmConfig } from '../vm.ts';
import type { GuestProgram, GuestRegister } from './program.ts';
import type { Assertions } from './suite.ts';

/** Memory map of the compliance guests. */
export const RAM = 0x8000_0000;
export const RAM_SIZE = 0x10_0000;
/** Guest data, away from the code. */
export const DATA: number = RAM + 0x8_0000;
export const MMIO = 0x1000_0000;

/** Interrupt inputs of the guests: all are in a GIC of 64 interrupts and in an IOAPIC of 24 pins. */
export const INPUTS = { edge: 5, level: 10, high: 23 } as const;

/** MMIO offsets by which an interrupt guest tells the host what happens to it. */
export const REPORT = {
  READY: 0x00,
  /** Number of an interrupt that was taken, before its end. */
  IRQ: 0x04,
  /** The interrupt's handler is about to return. */
  END: 0x08,
  /** An exception that should not be. */
  UNEXPECTED: 0x100,
} as const;

/** How an interrupt guest configures an input. */
export interface InputSetup {
  readonly gsi: number;
  readonly edge: boolean;
}

/** The interrupt controller of a machine, of whichever kind. */
export interface MachineInterrupts {
  setLine(gsi: number, level: boolean): void;
  pulse(gsi: number): void;
  save(): unknown;
  restore(state: unknown): void;
}

/** How a machine is made. */
export interface MachineOptions extends Partial<VmConfig> {
  /** The machine has an interrupt controller. Default false. */
  readonly interrupts?: boolean;
}

/** A VM with one region of memory at {@link RAM} and vCPU 0. */
export abstract class Machine<V extends Vcpu = Vcpu, M extends Vm<V> = Vm<V>> implements AsyncDisposable {
  readonly vm: M;
  readonly vcpu: V;
  readonly ram: GuestMemoryRegion;
  readonly assert: Assertions;

  constructor(assert: Assertions, vm: M) {
    this.assert = assert;
    this.vm = vm;
    this.ram = vm.mapMemory(RAM, RAM_SIZE);
    this.vcpu = vm.createVcpu(0);
  }

  /** @throws Error when the machine was made without. */
  abstract readonly interrupts: MachineInterrupts;
  /** The exit that {@link GuestProgram.end} makes. */
  abstract readonly endReason: VcpuExit['reason'];

  /** Assembles at {@link RAM} and lets vCPU 0 begin there. */
  abstract load(write: (program: GuestProgram) => void): void;
  /**
   * Loads a guest that configures the inputs, reports {@link REPORT}.READY and waits for interrupts for ever, reporting
   * each with the number that {@link reported} gives.
   */
  abstract loadInterruptGuest(inputs: readonly InputSetup[]): void;
  abstract reported(gsi: number): number;
  /** Lets a vCPU begin at an address, in the state in which {@link load} starts vCPU 0. */
  abstract begin(vcpu: V, address: number): void;
  /** The name of a register in a saved state. */
  abstract registerName(register: GuestRegister): string;
  abstract getRegister(register: GuestRegister, vcpu?: V): bigint;
  abstract setRegister(register: GuestRegister, value: bigint, vcpu?: V): void;

  /** `run()`, which must come back because of MMIO. */
  runToMmio(): MmioExit {
    return this.mmio(this.vcpu.run());
  }

  /** Asserts that the exit is one of MMIO. */
  mmio(exit: VcpuExit): MmioExit {
    if (exit.reason === 'mmio') return exit;
    this.assert.equal(describeExit(exit), 'mmio', 'why the vCPU came back');
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

/** What {@link describeExit} says of an exit. */
export function describeExit(exit: VcpuExit): string {
  return exit.reason === 'internalError' ? `internalError: ${exit.message}` : exit.reason;
}
