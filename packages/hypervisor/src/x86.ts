import type { Hypervisor } from './hypervisor.ts';
import type { Vcpu } from './vcpu.ts';
import type { Vm } from './vm.ts';

/** Names of the general registers (Intel SDM Vol. 1 §3.4), 64 bits each. */
export type X86Register =
  | 'rax'
  | 'rbx'
  | 'rcx'
  | 'rdx'
  | 'rsi'
  | 'rdi'
  | 'rsp'
  | 'rbp'
  | 'r8'
  | 'r9'
  | 'r10'
  | 'r11'
  | 'r12'
  | 'r13'
  | 'r14'
  | 'r15'
  | 'rip'
  | 'rflags';

/** A segment register with its hidden part (Intel SDM Vol. 3 §3.4.3). */
export interface X86Segment {
  readonly base: bigint;
  /** Bytes minus one, after the granularity bit was applied. */
  readonly limit: number;
  readonly selector: number;
  /** Descriptor type, 0…15. */
  readonly type: number;
  readonly present: boolean;
  /** Descriptor privilege level, 0…3. */
  readonly dpl: number;
  /** D/B bit. */
  readonly db: boolean;
  /** S bit: code or data rather than system. */
  readonly s: boolean;
  /** L bit: 64-bit code. */
  readonly l: boolean;
  /** G bit. */
  readonly g: boolean;
  readonly avl: boolean;
  readonly unusable: boolean;
}

/** GDTR or IDTR. */
export interface X86DescriptorTable {
  readonly base: bigint;
  /** Bytes minus one. */
  readonly limit: number;
}

/** Segment, descriptor table and control registers, read and written together. */
export interface X86SpecialRegisters {
  readonly cs: X86Segment;
  readonly ds: X86Segment;
  readonly es: X86Segment;
  readonly fs: X86Segment;
  readonly gs: X86Segment;
  readonly ss: X86Segment;
  readonly tr: X86Segment;
  readonly ldt: X86Segment;
  readonly gdt: X86DescriptorTable;
  readonly idt: X86DescriptorTable;
  readonly cr0: bigint;
  readonly cr2: bigint;
  readonly cr3: bigint;
  readonly cr4: bigint;
  readonly cr8: bigint;
  readonly efer: bigint;
  readonly apicBase: bigint;
}

/** One leaf of CPUID (Intel SDM Vol. 2, CPUID); values are unsigned 32-bit numbers. */
export interface CpuidEntry {
  readonly function: number;
  readonly index: number;
  /** The leaf depends on ECX. */
  readonly significantIndex: boolean;
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

/** What a processor does next (KVM_SET_MP_STATE). */
export type X86MpState = 'runnable' | 'uninitialized' | 'initReceived' | 'halted' | 'sipiReceived';

/** An x86-64 virtual CPU. */
export interface X86Vcpu extends Vcpu {
  /** @throws HypervisorError `INVALID_ARGUMENT` for an unknown name. */
  getRegister(name: X86Register): bigint;
  setRegister(name: X86Register, value: bigint): void;

  getSpecialRegisters(): X86SpecialRegisters;
  /** Registers that are not given stay as they are. */
  setSpecialRegisters(registers: Partial<X86SpecialRegisters>): void;

  /** Once, before the vCPU runs. */
  setCpuid(entries: readonly CpuidEntry[]): void;
  getCpuid(): readonly CpuidEntry[];

  /** @throws HypervisorError `INVALID_ARGUMENT` for an MSR that the vCPU does not have. */
  getMsr(index: number): bigint;
  setMsr(index: number, value: bigint): void;

  /** x87 control word and MXCSR; everything else of the FPU is cleared. */
  resetFpu(fcw: number, mxcsr: number): void;

  /** The local APIC's register page, 1024 bytes (Intel SDM Vol. 3 §11.4.1). Needs the interrupt controller. */
  getLocalApic(): Uint8Array;
  setLocalApic(registers: Uint8Array): void;

  mpState: X86MpState;
}

/** Which interrupt controllers the hypervisor has. */
export interface X86IrqChipConfig {
  /**
   * `kernel`: PIC, IOAPIC and local APICs. `split`: local APICs only; the IOAPIC is a model in user space, which sends
   * its interrupts as messages and is told of the end of level-triggered ones.
   */
  readonly mode: 'kernel' | 'split';
  /** An i8254 at ports 0x40-0x43 and 0x61; `kernel` only. */
  readonly pit?: boolean;
  /** IOAPIC inputs to reserve; `split` only. Default 24. */
  readonly inputs?: number;
}

/** A message-signalled interrupt (Intel SDM Vol. 3 §11.11). */
export interface MsiMessage {
  readonly address: number;
  /** Bits 63:32 of the address. */
  readonly addressHigh: number;
  readonly data: number;
}

/** Where a global system interrupt goes. */
export type GsiRoute =
  | {
      readonly gsi: number;
      readonly kind: 'irqchip';
      readonly chip: 'pic-master' | 'pic-slave' | 'ioapic';
      readonly pin: number;
    }
  | { readonly gsi: number; readonly kind: 'msi'; readonly message: MsiMessage };

/** Plain, versioned state of {@link X86IrqChip}. */
export interface X86IrqChipState {
  readonly version: number;
  readonly mode: 'kernel' | 'split';
  readonly opaque: Uint8Array;
}

/** The interrupt controllers beside the vCPUs. */
export interface X86IrqChip {
  readonly mode: 'kernel' | 'split';
  /** Level of a GSI that is routed to an irqchip pin (KVM_IRQ_LINE). */
  setLine(gsi: number, level: boolean): void;
  /** A rising edge. */
  pulseLine(gsi: number): void;
  /**
   * Sends a message at once (KVM_SIGNAL_MSI).
   *
   * @returns whether a local APIC took it; false when the guest blocks it or it is meant for nobody
   */
  signalMsi(message: MsiMessage): boolean;
  /** Replaces the whole table (KVM_SET_GSI_ROUTING). */
  setRoutes(routes: readonly GsiRoute[]): void;
  /** Only while no vCPU runs. Local APICs are part of the vCPUs' state. */
  save(): X86IrqChipState;
  /**
   * Comes after the states of the vCPUs.
   *
   * @throws HypervisorError `INVALID_ARGUMENT`
   */
  restore(state: X86IrqChipState): void;
}

/** A VM of {@link X86Vcpu}s. */
export interface X86Vm<V extends X86Vcpu = X86Vcpu> extends Vm<V> {
  /**
   * Once for each VM, before its first vCPU is created.
   *
   * @throws HypervisorError `WRONG_STATE`, `UNSUPPORTED`, `INVALID_ARGUMENT`
   */
  createIrqChip(config: X86IrqChipConfig): X86IrqChip;

  /**
   * Port stores to this range are queued as {@link Vm.coalesceWrites} does for memory (KVM_CAP_COALESCED_PIO). Where
   * the hypervisor has no such thing they exit as usual.
   */
  coalescePortWrites(
    port: number,
    length: number,
    onWrite: (port: number, length: number, value: number) => void,
  ): Disposable;

  /** A port doorbell: as {@link Vm.createDoorbell}, for port stores. */
  createPortDoorbell(
    port: number,
    length: 1 | 2 | 4,
    match: number | undefined,
    onRing: () => void,
  ): Disposable;

  /** Nanoseconds of the paravirtual clock (KVM_GET_CLOCK). */
  getClock(): bigint;
  setClock(nanoseconds: bigint): void;
}

/** A hypervisor for x86-64 guests. */
export interface X86Hypervisor extends Hypervisor<X86Vcpu, X86Vm> {
  readonly arch: 'x86_64';
  /** What the host's CPUs and the hypervisor can offer a guest (KVM_GET_SUPPORTED_CPUID). */
  supportedCpuid(): Promise<readonly CpuidEntry[]>;
}
