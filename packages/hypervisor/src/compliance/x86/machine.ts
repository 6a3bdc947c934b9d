import type { IoExit, VcpuExit } from '../../exit.ts';
import type {
  X86Hypervisor,
  X86IrqChip,
  X86IrqChipConfig,
  X86IrqChipState,
  X86Vcpu,
  X86Vm,
} from '../../x86.ts';
import type { InputSetup, MachineInterrupts, MachineOptions } from '../machine.ts';
import { describeExit, Machine, RAM, RAM_SIZE } from '../machine.ts';
import type { GuestProgram, GuestRegister } from '../program.ts';
import type { Assertions, ComplianceContext } from '../suite.ts';
import { X86Assembler } from './assembler.ts';
import { interruptGuest, loadHandlers, VECTOR_OF_GSI } from './interrupt-guest.ts';
import { IDT, IDT_LIMIT, longModeRegisters, STACK, writeTables } from './long-mode.ts';
import { REGISTER, X86Program } from './program.ts';

/** RFLAGS after reset: bit 1 is always set. */
const RFLAGS = 2n;

/** How a machine of this architecture is made. */
export interface X86MachineOptions extends MachineOptions {
  /** The interrupt controllers, when they are to be others than `kernel` without PIT. */
  readonly irqChip?: X86IrqChipConfig;
}

/** A machine of {@link X86Vcpu}s. */
export class X86Machine extends Machine<X86Vcpu, X86Vm> {
  readonly endReason = 'shutdown';
  readonly #irqChip: X86IrqChip | undefined;

  private constructor(assert: Assertions, vm: X86Vm, irqChip: X86IrqChip | undefined) {
    super(assert, vm);
    this.#irqChip = irqChip;
  }

  static async create(
    context: ComplianceContext<X86Hypervisor>,
    options: X86MachineOptions = {},
  ): Promise<X86Machine> {
    const { interrupts = false, irqChip, ...config } = options;
    const vm = await context.hypervisor.createVm({ vcpus: 1, maxMemory: 4 * RAM_SIZE, ...config });
    const chip = irqChip ?? (interrupts ? { mode: 'kernel' as const } : undefined);
    return new X86Machine(context.assert, vm, chip === undefined ? undefined : vm.createIrqChip(chip));
  }

  /** A machine whose vCPU 0 is about to run what `write` assembles at RAM. */
  static async running(
    context: ComplianceContext<X86Hypervisor>,
    write: (a: X86Assembler) => void,
    options: X86MachineOptions = {},
  ): Promise<X86Machine> {
    const machine = await X86Machine.create(context, options);
    machine.assemble(write);
    return machine;
  }

  assemble(write: (a: X86Assembler) => void): void {
    const a = new X86Assembler();
    write(a);
    this.#start(a.bytes());
  }

  load(write: (program: GuestProgram) => void): void {
    const program = new X86Program();
    write(program);
    this.#start(program.assembler.bytes());
  }

  /** Assembles a guest with an interrupt table; `handler` is called before an interrupt ends. */
  assembleWithInterrupts(write: (a: X86Assembler) => void, handler?: (a: X86Assembler) => void): void {
    const a = new X86Assembler();
    write(a);
    const handlers = loadHandlers(a, handler);
    this.#start(a.bytes(), handlers);
  }

  loadInterruptGuest(inputs: readonly InputSetup[]): void {
    this.assembleWithInterrupts((a) => interruptGuest(a, inputs));
  }

  #start(code: Uint8Array, handlers?: readonly number[]): void {
    this.ram.bytes.set(code);
    writeTables(this.ram.bytes, handlers);
    this.begin(this.vcpu, RAM);
    if (handlers !== undefined) {
      this.vcpu.setSpecialRegisters({ idt: { base: BigInt(IDT), limit: IDT_LIMIT } });
    }
  }

  reported(gsi: number): number {
    return VECTOR_OF_GSI + gsi;
  }

  begin(vcpu: X86Vcpu, address: number): void {
    vcpu.setSpecialRegisters(longModeRegisters());
    vcpu.setRegister('rip', BigInt(address));
    vcpu.setRegister('rsp', BigInt(STACK - 0x1000 * vcpu.id));
    vcpu.setRegister('rflags', RFLAGS);
  }

  registerName(register: GuestRegister): 'rax' | 'rbx' | 'rcx' | 'rdx' {
    return REGISTER[register];
  }

  getRegister(register: GuestRegister, vcpu: X86Vcpu = this.vcpu): bigint {
    return vcpu.getRegister(REGISTER[register]);
  }

  setRegister(register: GuestRegister, value: bigint, vcpu: X86Vcpu = this.vcpu): void {
    vcpu.setRegister(REGISTER[register], value);
  }

  get irqChip(): X86IrqChip {
    if (this.#irqChip === undefined) throw new Error('the machine was made without interrupt controllers');
    return this.#irqChip;
  }

  get interrupts(): MachineInterrupts {
    const chip = this.irqChip;
    return {
      setLine: (gsi, level) => chip.setLine(gsi, level),
      pulse: (gsi) => chip.pulseLine(gsi),
      save: () => chip.save(),
      // Tests hand over what is no state at all.
      restore: (state) => chip.restore(state as X86IrqChipState),
    };
  }

  /** `run()`, which must come back because of port I/O. */
  runToIo(): IoExit {
    return this.io(this.vcpu.run());
  }

  /** Asserts that the exit is one of port I/O. */
  io(exit: VcpuExit): IoExit {
    if (exit.reason === 'io') return exit;
    this.assert.equal(describeExit(exit), 'io', 'why the vCPU came back');
    throw new Error('an assertion that must fail did not');
  }
}
