import type {
  CpuidEntry,
  VcpuState,
  X86MpState,
  X86Register,
  X86Segment,
  X86SpecialRegisters,
  X86Vcpu,
} from '@vmm/hypervisor';

const SEGMENT: X86Segment = {
  base: 0xdead_0000n,
  limit: 0xffff,
  selector: 0xf000,
  type: 3,
  present: true,
  dpl: 3,
  db: false,
  s: true,
  l: false,
  g: false,
  avl: true,
  unusable: false,
};

/** A vCPU that has registers and nothing else; before anything is set they hold odd values. */
export class X86RegisterVcpu implements X86Vcpu {
  readonly id = 0;
  readonly registers = new Map<X86Register, bigint>();
  readonly msrs = new Map<number, bigint>([[0x1a0, 0x1800n]]);
  special: X86SpecialRegisters = {
    cs: SEGMENT,
    ds: SEGMENT,
    es: SEGMENT,
    fs: SEGMENT,
    gs: SEGMENT,
    ss: SEGMENT,
    tr: SEGMENT,
    ldt: SEGMENT,
    gdt: { base: 1n, limit: 2 },
    idt: { base: 3n, limit: 4 },
    cr0: 0x6000_0010n,
    cr2: 0xdeadn,
    cr3: 0xdead_f000n,
    cr4: 0xffn,
    cr8: 0xfn,
    efer: 0xd01n,
    apicBase: 0xfee0_0900n,
  };
  cpuid: readonly CpuidEntry[] | undefined;
  fpu: readonly [fcw: number, mxcsr: number] | undefined;
  localApic: Uint8Array | undefined = new Uint8Array(1024).fill(0x11);
  mpState: X86MpState = 'halted';

  getRegister(name: X86Register): bigint {
    return this.registers.get(name) ?? 0xdeadn;
  }
  setRegister(name: X86Register, value: bigint): void {
    this.registers.set(name, value);
  }
  getSpecialRegisters(): X86SpecialRegisters {
    return this.special;
  }
  setSpecialRegisters(registers: Partial<X86SpecialRegisters>): void {
    this.special = { ...this.special, ...registers };
  }
  setCpuid(entries: readonly CpuidEntry[]): void {
    this.cpuid = entries;
  }
  getCpuid(): readonly CpuidEntry[] {
    return this.cpuid ?? [];
  }
  getMsr(index: number): bigint {
    return this.msrs.get(index) ?? 0n;
  }
  setMsr(index: number, value: bigint): void {
    this.msrs.set(index, value);
  }
  resetFpu(fcw: number, mxcsr: number): void {
    this.fpu = [fcw, mxcsr];
  }
  getLocalApic(): Uint8Array {
    if (this.localApic === undefined) throw new Error('there is no local APIC');
    return this.localApic.slice();
  }
  setLocalApic(registers: Uint8Array): void {
    if (this.localApic === undefined) throw new Error('there is no local APIC');
    this.localApic = registers;
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
