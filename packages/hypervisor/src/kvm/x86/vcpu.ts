import { HypervisorError } from '../../errors.ts';
import type { EoiExit, HaltExit, ShutdownExit, VcpuExit } from '../../exit.ts';
import { checkRegisterValue, checkUnsigned } from '../../validate.ts';
import type { VcpuState } from '../../vcpu.ts';
import type { CpuidEntry, X86MpState, X86Register, X86SpecialRegisters, X86Vcpu } from '../../x86.ts';
import type { Mutable } from '../exits.ts';
import { hexBytes } from '../exits.ts';
import type { NativeVcpu } from '../native.ts';
import { KVM_EXIT, KVM_GET_MP_STATE, KVM_SET_MP_STATE, RUN_EOI_VECTOR } from '../uapi.ts';
import type { VcpuOwner } from '../vcpu.ts';
import { KvmVcpu, wrongState } from '../vcpu.ts';
import { decodeCpuid, emptyCpuid, encodeCpuid, sameCpuid } from './cpuid.ts';
import type { MsrValue } from './msrs.ts';
import { decodeMsrs, encodeMsrs, readMsrs, writeMsrs } from './msrs.ts';
import { decodeSpecialRegisters, encodeSpecialRegisters, registerOffset } from './registers.ts';
import type { X86VcpuParts } from './state.ts';
import { decodeVcpuState, encodeVcpuState } from './state.ts';
import {
  CPUID_ENTRY_SIZE,
  CPUID_HEADER_SIZE,
  DEBUGREGS_SIZE,
  EVENTS_SIZE,
  FPU_FCW,
  FPU_MXCSR,
  FPU_SIZE,
  KVM_GET_CPUID2,
  KVM_GET_DEBUGREGS,
  KVM_GET_LAPIC,
  KVM_GET_REGS,
  KVM_GET_SREGS,
  KVM_GET_VCPU_EVENTS,
  KVM_GET_XCRS,
  KVM_GET_XSAVE,
  KVM_GET_XSAVE2,
  KVM_SET_CPUID2,
  KVM_SET_DEBUGREGS,
  KVM_SET_FPU,
  KVM_SET_LAPIC,
  KVM_SET_REGS,
  KVM_SET_SREGS,
  KVM_SET_VCPU_EVENTS,
  KVM_SET_XCRS,
  KVM_SET_XSAVE,
  KVM_TRANSLATE,
  LAPIC_SIZE,
  MP_STATES,
  REGS_SIZE,
  SREGS_SIZE,
  TRANSLATION_PHYSICAL,
  TRANSLATION_SIZE,
  TRANSLATION_VALID,
  XCRS_SIZE,
  XSAVE_FCW,
  XSAVE_MXCSR,
  XSAVE_SIZE,
  XSAVE_XSTATE_BV,
} from './uapi.ts';

/** A value that the kernel refuses. */
const REFUSED = { EINVAL: 'INVALID_ARGUMENT' } as const;

/** x87 and SSE state (Intel SDM Vol. 1 §13.1). */
const XSTATE_X87_SSE = 3n;

/** Longest x86 instruction (Intel SDM Vol. 2 §2.3.11). */
const INSTRUCTION_BYTES = 15;

/** What an {@link X86KvmVcpu} needs of its VM. */
export interface X86VcpuOwner {
  /** Whether there are local APICs. */
  readonly hasLapic: boolean;
  /** Bytes of struct kvm_xsave; {@link XSAVE_SIZE} where there is no KVM_CAP_XSAVE2. */
  readonly xsaveSize: number;
  /** MSRs that a state consists of. */
  readonly stateMsrs: readonly number[];
  /** At most `length` bytes of guest memory, or undefined where there is none. */
  readGuest(address: number, length: number): Uint8Array | undefined;
}

/** A vCPU of KVM on x86-64. */
export class X86KvmVcpu extends KvmVcpu implements X86Vcpu {
  readonly #vm: X86VcpuOwner;
  readonly #regs = new DataView(new ArrayBuffer(REGS_SIZE));
  readonly #sregs = new DataView(new ArrayBuffer(SREGS_SIZE));
  readonly #halt: HaltExit = { reason: 'halt', wakeAfterNs: Infinity };
  readonly #shutdown: ShutdownExit = { reason: 'shutdown' };
  readonly #eoi: Mutable<EoiExit> = { reason: 'eoi', vector: 0 };

  constructor(owner: VcpuOwner, vm: X86VcpuOwner, native: NativeVcpu, id: number) {
    super(owner, native, id);
    this.#vm = vm;
  }

  protected override decodeExit(reason: number, run: DataView): VcpuExit | undefined | 'unknown' {
    switch (reason) {
      case KVM_EXIT.HLT:
        return this.#halt;
      case KVM_EXIT.SHUTDOWN:
        return this.#shutdown;
      case KVM_EXIT.IOAPIC_EOI:
        this.#eoi.vector = run.getUint8(RUN_EOI_VECTOR);
        return this.#eoi;
      case KVM_EXIT.IRQ_WINDOW_OPEN:
      case KVM_EXIT.SET_TPR:
        return undefined;
      default:
        return 'unknown';
    }
  }

  protected override describePlace(): string {
    try {
      const rip = this.#readRegs().getBigUint64(registerOffset('rip'), true);
      const { cs } = decodeSpecialRegisters(this.#readSregs());
      const bytes = this.#bytesAt(BigInt.asUintN(64, cs.base + rip));
      const code = bytes === undefined ? 'no readable code there' : `code ${bytes}`;
      return `cs 0x${cs.selector.toString(16)}, rip 0x${rip.toString(16)}, ${code}`;
    } catch (error) {
      return `where it is cannot be read: ${String(error)}`;
    }
  }

  #bytesAt(linear: bigint): string | undefined {
    const translation = new DataView(new ArrayBuffer(TRANSLATION_SIZE));
    translation.setBigUint64(0, linear, true);
    this.ioctl('KVM_TRANSLATE', KVM_TRANSLATE, bytesOf(translation));
    if (translation.getUint8(TRANSLATION_VALID) === 0) return undefined;
    const physical = Number(translation.getBigUint64(TRANSLATION_PHYSICAL, true));
    // Not beyond the page: the next one may be anywhere.
    const bytes = this.#vm.readGuest(physical, Math.min(INSTRUCTION_BYTES, 4096 - (physical % 4096)));
    if (bytes === undefined) return undefined;
    return hexBytes(new DataView(bytes.buffer, bytes.byteOffset), 0, bytes.length);
  }

  #readRegs(): DataView {
    this.ioctl('KVM_GET_REGS', KVM_GET_REGS, bytesOf(this.#regs));
    return this.#regs;
  }

  #readSregs(): DataView {
    this.ioctl('KVM_GET_SREGS', KVM_GET_SREGS, bytesOf(this.#sregs));
    return this.#sregs;
  }

  getRegister(name: X86Register): bigint {
    this.checkReadable('registers can be read');
    const offset = registerOffset(name);
    return this.#readRegs().getBigUint64(offset, true);
  }

  setRegister(name: X86Register, value: bigint): void {
    this.checkStill('registers can be written');
    const offset = registerOffset(name);
    checkRegisterValue(name, value, 64);
    const regs = this.#readRegs();
    regs.setBigUint64(offset, value, true);
    this.ioctl('KVM_SET_REGS', KVM_SET_REGS, bytesOf(regs), REFUSED);
  }

  getSpecialRegisters(): X86SpecialRegisters {
    this.checkReadable('registers can be read');
    return decodeSpecialRegisters(this.#readSregs());
  }

  setSpecialRegisters(registers: Partial<X86SpecialRegisters>): void {
    this.checkStill('registers can be written');
    const sregs = this.#readSregs();
    encodeSpecialRegisters(sregs, registers);
    this.ioctl('KVM_SET_SREGS', KVM_SET_SREGS, bytesOf(sregs), REFUSED);
  }

  setCpuid(entries: readonly CpuidEntry[]): void {
    this.checkStill('CPUID can be set');
    this.ioctl('KVM_SET_CPUID2', KVM_SET_CPUID2, encodeCpuid(entries), REFUSED);
  }

  getCpuid(): readonly CpuidEntry[] {
    this.checkReadable('CPUID can be read');
    return decodeCpuid(this.#readCpuid());
  }

  #readCpuid(): Uint8Array {
    const bytes = emptyCpuid();
    this.ioctl('KVM_GET_CPUID2', KVM_GET_CPUID2, bytes);
    const count = new DataView(bytes.buffer).getUint32(0, true);
    return bytes.slice(0, CPUID_HEADER_SIZE + count * CPUID_ENTRY_SIZE);
  }

  getMsr(index: number): bigint {
    this.checkReadable('MSRs can be read');
    checkUnsigned('number of an MSR', index, 4);
    const [found] = readMsrs(this.native, [index]);
    if (found === undefined) throw unknownMsr(index);
    return found[1];
  }

  setMsr(index: number, value: bigint): void {
    this.checkStill('MSRs can be written');
    checkUnsigned('number of an MSR', index, 4);
    checkRegisterValue(msrName(index), value, 64);
    if (writeMsrs(this.native, [[index, value]]) !== undefined) throw unknownMsr(index);
  }

  resetFpu(fcw: number, mxcsr: number): void {
    this.checkStill('the FPU can be reset');
    checkUnsigned('x87 control word', fcw, 2);
    checkUnsigned('MXCSR', mxcsr, 4);
    const fpu = new DataView(new ArrayBuffer(FPU_SIZE));
    fpu.setUint16(FPU_FCW, fcw, true);
    fpu.setUint32(FPU_MXCSR, mxcsr, true);
    this.ioctl('KVM_SET_FPU', KVM_SET_FPU, bytesOf(fpu), REFUSED);
    // Components that XSTATE_BV does not name get their initial values (Intel SDM Vol. 1 §13.8).
    const xsave = new DataView(new ArrayBuffer(this.#vm.xsaveSize));
    xsave.setUint16(XSAVE_FCW, fcw, true);
    xsave.setUint32(XSAVE_MXCSR, mxcsr, true);
    xsave.setBigUint64(XSAVE_XSTATE_BV, XSTATE_X87_SSE, true);
    this.ioctl('KVM_SET_XSAVE', KVM_SET_XSAVE, bytesOf(xsave), REFUSED);
  }

  getLocalApic(): Uint8Array {
    this.checkReadable('the local APIC can be read');
    this.#checkLapic();
    return this.#read('KVM_GET_LAPIC', KVM_GET_LAPIC, LAPIC_SIZE);
  }

  setLocalApic(registers: Uint8Array): void {
    this.checkStill('the local APIC can be written');
    this.#checkLapic();
    if (!(registers instanceof Uint8Array) || registers.length !== LAPIC_SIZE) {
      throw new HypervisorError('INVALID_ARGUMENT', `the local APIC has ${LAPIC_SIZE} bytes`);
    }
    this.ioctl('KVM_SET_LAPIC', KVM_SET_LAPIC, registers, REFUSED);
  }

  #checkLapic(): void {
    if (!this.#vm.hasLapic) throw wrongState('without an interrupt controller there is no local APIC');
  }

  get mpState(): X86MpState {
    this.checkReadable('the state of the processor can be read');
    const value = new DataView(this.#readMpState().buffer).getUint32(0, true);
    const name = MP_STATES[value];
    if (name === undefined) throw new HypervisorError('SYSTEM', `KVM's MP state ${value} has no name here`);
    return name;
  }

  set mpState(name: X86MpState) {
    this.checkStill('the state of the processor can be changed');
    const value = MP_STATES.indexOf(name);
    if (value < 0) {
      throw new HypervisorError('INVALID_ARGUMENT', `there is no processor state '${name}'`);
    }
    const state = new DataView(new ArrayBuffer(4));
    state.setUint32(0, value, true);
    // Without local APICs KVM knows of running processors only.
    this.ioctl('KVM_SET_MP_STATE', KVM_SET_MP_STATE, bytesOf(state), REFUSED);
  }

  #readMpState(): Uint8Array {
    return this.#read('KVM_GET_MP_STATE', KVM_GET_MP_STATE, 4);
  }

  save(): VcpuState {
    this.checkStill('the state can be saved');
    this.settle();
    return encodeVcpuState(this.#capture());
  }

  #capture(): X86VcpuParts {
    const { hasLapic, xsaveSize, stateMsrs } = this.#vm;
    const xsaveRequest = xsaveSize > XSAVE_SIZE ? KVM_GET_XSAVE2 : KVM_GET_XSAVE;
    // KVM_GET_MP_STATE first: it may take in an INIT or SIPI that has arrived.
    const mpState = this.#readMpState();
    return {
      mpState,
      regs: bytesOf(this.#readRegs()).slice(),
      sregs: bytesOf(this.#readSregs()).slice(),
      cpuid: this.#readCpuid(),
      xsave: this.#read('KVM_GET_XSAVE', xsaveRequest, xsaveSize),
      xcrs: this.#read('KVM_GET_XCRS', KVM_GET_XCRS, XCRS_SIZE),
      debugRegs: this.#read('KVM_GET_DEBUGREGS', KVM_GET_DEBUGREGS, DEBUGREGS_SIZE),
      lapic: hasLapic ? this.#read('KVM_GET_LAPIC', KVM_GET_LAPIC, LAPIC_SIZE) : undefined,
      msrs: encodeMsrs(readMsrs(this.native, stateMsrs)),
      events: this.#read('KVM_GET_VCPU_EVENTS', KVM_GET_VCPU_EVENTS, EVENTS_SIZE),
    };
  }

  #read(what: string, request: number, size: number): Uint8Array {
    const bytes = new Uint8Array(size);
    this.ioctl(what, request, bytes);
    return bytes;
  }

  restore(state: VcpuState): void {
    this.checkStill('a state can be restored');
    const parts = decodeVcpuState(state, this.#vm.hasLapic, this.#vm.xsaveSize);
    this.settle();
    const before = this.#capture();
    try {
      this.#apply(parts);
    } catch (error) {
      this.#takeBack(before);
      throw error;
    }
    this.forgetExit();
  }

  /** After a state of which KVM refused a part. */
  #takeBack(parts: X86VcpuParts): void {
    try {
      this.#apply(parts);
    } catch {
      // What it refuses now it had itself; the caller learns of the first failure.
    }
  }

  /** In an order in which each part finds what it depends on: api.rst does not give one. */
  #apply(parts: X86VcpuParts): void {
    this.#applyCpuid(parts.cpuid);
    this.ioctl('KVM_SET_SREGS', KVM_SET_SREGS, parts.sregs, REFUSED);
    this.ioctl('KVM_SET_REGS', KVM_SET_REGS, parts.regs, REFUSED);
    this.ioctl('KVM_SET_XCRS', KVM_SET_XCRS, parts.xcrs, REFUSED);
    this.ioctl('KVM_SET_XSAVE', KVM_SET_XSAVE, parts.xsave, REFUSED);
    this.ioctl('KVM_SET_DEBUGREGS', KVM_SET_DEBUGREGS, parts.debugRegs, REFUSED);
    // Before the MSRs: the TSC deadline counts in the timer mode that the APIC has.
    if (parts.lapic !== undefined) this.ioctl('KVM_SET_LAPIC', KVM_SET_LAPIC, parts.lapic, REFUSED);
    this.#applyMsrs(parts.msrs);
    this.ioctl('KVM_SET_MP_STATE', KVM_SET_MP_STATE, parts.mpState, REFUSED);
    this.ioctl('KVM_SET_VCPU_EVENTS', KVM_SET_VCPU_EVENTS, parts.events, REFUSED);
  }

  /** KVM refuses it for a vCPU that has run, some versions even when nothing changes. */
  #applyCpuid(cpuid: Uint8Array): void {
    if (sameCpuid(decodeCpuid(cpuid), decodeCpuid(this.#readCpuid()))) return;
    this.ioctl('KVM_SET_CPUID2', KVM_SET_CPUID2, cpuid, REFUSED);
  }

  /** Only those that differ: some can be written with the value that they have, and with no other. */
  #applyMsrs(bytes: Uint8Array): void {
    const wanted = decodeMsrs(bytes, new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true));
    const current = new Map<number, bigint>(
      readMsrs(
        this.native,
        wanted.map(([index]) => index),
      ),
    );
    const different = wanted.filter(([index, value]: MsrValue) => current.get(index) !== value);
    const refused = writeMsrs(this.native, different);
    if (refused !== undefined) throw unknownMsr(refused[0]);
  }
}

function bytesOf(view: DataView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

function msrName(index: number): string {
  return `MSR 0x${index.toString(16)}`;
}

function unknownMsr(index: number): HypervisorError {
  return new HypervisorError(
    'INVALID_ARGUMENT',
    `the vCPU does not have ${msrName(index)}, or refuses the value`,
  );
}
