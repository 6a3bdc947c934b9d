import type { VcpuState } from '../../vcpu.ts';
import { decodeState, encodeState, invalid, stateObject } from '../../state-codec.ts';
import { checkRegisterValue } from '../../validate.ts';
import { STATE_CONTROLS, X86_REGISTERS } from './registers.ts';
import {
  CPUID_ENTRY_SIZE,
  CPUID_HEADER_SIZE,
  DEBUGREGS_SIZE,
  EVENTS_SIZE,
  KVM_MAX_CPUID_ENTRIES,
  LAPIC_SIZE,
  MSR_ENTRY_SIZE,
  MSRS_HEADER_SIZE,
  REGS_SIZE,
  SREGS_SIZE,
  XCRS_SIZE,
} from './uapi.ts';

const MAGIC = 0x5638_364b;
export const X86_VCPU_STATE_VERSION = 1;
const WHAT = 'the state of the vCPU';

/** Most MSRs that a state may have. */
const MAX_MSRS = 4096;

/** Everything that KVM keeps of a vCPU, in the layouts of its interface. `undefined`: this KVM has no such thing. */
export interface X86VcpuParts {
  /** struct kvm_regs */
  readonly regs: Uint8Array;
  /** struct kvm_sregs */
  readonly sregs: Uint8Array;
  /** struct kvm_cpuid2 */
  readonly cpuid: Uint8Array;
  /** struct kvm_xsave */
  readonly xsave: Uint8Array;
  /** struct kvm_xcrs */
  readonly xcrs: Uint8Array;
  /** struct kvm_debugregs */
  readonly debugRegs: Uint8Array;
  /** struct kvm_lapic_state; without an interrupt controller there is none */
  readonly lapic: Uint8Array | undefined;
  /** struct kvm_msrs */
  readonly msrs: Uint8Array;
  /** struct kvm_mp_state */
  readonly mpState: Uint8Array;
  /** struct kvm_vcpu_events */
  readonly events: Uint8Array;
}

/** What is in a state besides the named registers, in this order, each with its length in front (u32). */
const SECTIONS = [
  'sregs',
  'cpuid',
  'xsave',
  'xcrs',
  'debugRegs',
  'lapic',
  'msrs',
  'mpState',
  'events',
] as const;

type Section = (typeof SECTIONS)[number];

/** Plain data of a vCPU. General and control registers are named, everything else is opaque. */
export function encodeVcpuState(parts: X86VcpuParts): VcpuState {
  const regs = view(parts.regs);
  const sregs = view(parts.sregs);
  const registers: Record<string, bigint> = {};
  X86_REGISTERS.forEach((name, index) => (registers[name] = regs.getBigUint64(8 * index, true)));
  for (const [name, offset] of STATE_CONTROLS) registers[name] = sregs.getBigUint64(offset, true);
  const length = SECTIONS.reduce((sum, name) => sum + 4 + (parts[name]?.length ?? 0), 0);
  const payload = new Uint8Array(length);
  const lengths = view(payload);
  let at = 0;
  for (const name of SECTIONS) {
    const section = parts[name];
    lengths.setUint32(at, section?.length ?? 0, true);
    if (section !== undefined) payload.set(section, at + 4);
    at += 4 + (section?.length ?? 0);
  }
  return {
    version: X86_VCPU_STATE_VERSION,
    arch: 'x86_64',
    registers,
    opaque: encodeState(MAGIC, X86_VCPU_STATE_VERSION, payload),
  };
}

/**
 * Checks what {@link encodeVcpuState} made, for a vCPU of the same make.
 *
 * @param hasLapic whether the vCPU has a local APIC
 * @param xsaveSize length of its struct kvm_xsave
 * @throws HypervisorError `INVALID_ARGUMENT`
 */
export function decodeVcpuState(state: unknown, hasLapic: boolean, xsaveSize: number): X86VcpuParts {
  const { version, arch, registers, opaque } = stateObject(WHAT, state);
  if (version !== X86_VCPU_STATE_VERSION || arch !== 'x86_64') {
    throw invalid(WHAT, `it is version ${String(version)} for '${String(arch)}'`);
  }
  const sections = decodeSections(decodeState(WHAT, MAGIC, X86_VCPU_STATE_VERSION, opaque));
  checkLengths(sections, hasLapic, xsaveSize);
  const regs = new Uint8Array(REGS_SIZE);
  applyRegisters(registers, view(regs), view(sections.sregs));
  return { ...sections, regs, lapic: hasLapic ? sections.lapic : undefined };
}

function decodeSections(payload: DataView): Record<Section, Uint8Array> {
  const sections: Partial<Record<Section, Uint8Array>> = {};
  let at = 0;
  for (const name of SECTIONS) {
    if (payload.byteLength - at < 4) throw invalid(WHAT, `it ends before ${name}`);
    const length = payload.getUint32(at, true);
    at += 4;
    if (payload.byteLength - at < length) throw invalid(WHAT, `it ends inside of ${name}`);
    sections[name] = new Uint8Array(payload.buffer, payload.byteOffset + at, length).slice();
    at += length;
  }
  if (at !== payload.byteLength) throw invalid(WHAT, 'something follows its end');
  return sections as Record<Section, Uint8Array>;
}

function checkLengths(sections: Record<Section, Uint8Array>, hasLapic: boolean, xsaveSize: number): void {
  const exact: Partial<Record<Section, number>> = {
    sregs: SREGS_SIZE,
    xsave: xsaveSize,
    xcrs: XCRS_SIZE,
    debugRegs: DEBUGREGS_SIZE,
    lapic: hasLapic ? LAPIC_SIZE : 0,
    mpState: 4,
    events: EVENTS_SIZE,
  };
  for (const name of SECTIONS) {
    const expected = exact[name];
    const { length } = sections[name];
    if (expected !== undefined && length !== expected) {
      throw invalid(WHAT, `${name} has ${length} bytes, and ${expected} in this VM`);
    }
  }
  checkTable(sections, 'cpuid', CPUID_HEADER_SIZE, CPUID_ENTRY_SIZE, KVM_MAX_CPUID_ENTRIES);
  checkTable(sections, 'msrs', MSRS_HEADER_SIZE, MSR_ENTRY_SIZE, MAX_MSRS);
}

/** The kernel reads as many entries as the header says. */
function checkTable(
  sections: Record<Section, Uint8Array>,
  name: Section,
  header: number,
  entry: number,
  most: number,
): void {
  const bytes = sections[name];
  const count = bytes.length < header ? -1 : view(bytes).getUint32(0, true);
  if (count < 0 || count > most || bytes.length !== header + count * entry) {
    throw invalid(WHAT, `${name} says that it has ${count} entries, and is of ${bytes.length} bytes`);
  }
}

function applyRegisters(registers: unknown, regs: DataView, sregs: DataView): void {
  const values = Object.entries(stateObject(`${WHAT} (registers)`, registers));
  const expected = X86_REGISTERS.length + STATE_CONTROLS.size;
  if (values.length !== expected) {
    throw invalid(WHAT, `it has ${values.length} registers, and the vCPU has ${expected}`);
  }
  const names: readonly string[] = X86_REGISTERS;
  for (const [name, value] of values) {
    checkRegisterValue(name, value as bigint, 64);
    const index = names.indexOf(name);
    const control = STATE_CONTROLS.get(name);
    if (index >= 0) regs.setBigUint64(8 * index, value as bigint, true);
    else if (control !== undefined) sregs.setBigUint64(control, value as bigint, true);
    else throw invalid(WHAT, `the vCPU has no register '${name}'`);
  }
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
