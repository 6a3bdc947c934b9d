import type { CpuidEntry, X86DescriptorTable, X86Segment, X86Vcpu } from '@vmm/hypervisor';
import type { GuestMemory } from '@vmm/vm-memory';
import { BOOT_GDT, BOOT_PAGE_TABLES } from './layout.ts';
import type { BootState } from './boot-info.ts';

/** Intel SDM Vol. 4, table 2-2. */
export const IA32_MISC_ENABLE = 0x1a0;
export const IA32_PAT = 0x277;
export const IA32_MTRR_DEF_TYPE = 0x2ff;

const MISC_ENABLE_FAST_STRINGS = 1n;
/** The value after reset (Intel SDM Vol. 3 §12.12.4). */
const PAT_RESET = 0x0007_0406_0007_0406n;
/** MTRRs on, default type write-back (Intel SDM Vol. 3 §12.11.2.1). */
const MTRR_ENABLE_WRITE_BACK = 0x806n;

const CR0_PE = 1n;
const CR0_ET = 1n << 4n;
const CR0_PG = 1n << 31n;
const CR4_PAE = 1n << 5n;
const EFER_LME = 1n << 8n;
const EFER_LMA = 1n << 10n;
/** The bit of RFLAGS that is always set; everything else is off, interrupts included. */
const RFLAGS_RESERVED = 2n;

/** State of the FPU after FNINIT, and MXCSR after reset (Intel SDM Vol. 1 §8.1.5, §10.2.3). */
const FCW_RESET = 0x37f;
const MXCSR_RESET = 0x1f80;

/** Offsets in the local APIC's register page and delivery modes (Intel SDM Vol. 3 §11.5.1). */
const APIC_LVT_LINT0 = 0x350;
const APIC_LVT_LINT1 = 0x360;
const DELIVERY_NMI = 0x400;
const DELIVERY_EXT_INT = 0x700;

const GIB = 2 ** 30;
const LARGE_PAGE = 2 * 2 ** 20;
/** Present, writable. */
const PTE_TABLE = 0x03;
/** Present, writable, page size. */
const PTE_LARGE_PAGE = 0x83;

/** What of a vCPU is up to its machine. */
export interface VcpuSetup {
  /** Answers of CPUID, from {@link cpuidFor}. Default: they are left as they are. */
  readonly cpuid?: readonly CpuidEntry[] | undefined;
  /** Whether there is a local APIC, which takes part in an interrupt controller. Default true. */
  readonly localApic?: boolean | undefined;
}

/**
 * Brings a vCPU to where the kernel's boot protocol wants the boot CPU, and writes what that takes into guest memory:
 * a descriptor table, and for `linux64` page tables that map memory below 4 GiB to itself.
 *
 * `linux64` (Linux Documentation/arch/x86/boot.rst, 64-bit boot protocol): long mode, paging on, CS 0x10, other
 * segments 0x18, RSI = `boot_params`. `pvh` (Xen docs/misc/pvh.pandoc): 32-bit protected mode, paging off, EBX =
 * `hvm_start_info`. Interrupts are off, the FPU is reset, memory is cached, the local APIC passes on the PIC's interrupts
 * (LINT0) and NMIs (LINT1).
 *
 * @param memory begins with RAM at 0
 * @returns the vCPU
 * @throws HypervisorError from the vCPU
 */
export function configureBootCpu<V extends X86Vcpu>(
  vcpu: V,
  memory: GuestMemory,
  boot: BootState,
  setup: VcpuSetup = {},
): V {
  configureProcessor(vcpu, setup);
  const long = boot.protocol === 'linux64';
  const code = codeSegment(long);
  writeDescriptors(memory, code);
  const common = {
    cs: code,
    ds: DATA_SEGMENT,
    es: DATA_SEGMENT,
    fs: DATA_SEGMENT,
    gs: DATA_SEGMENT,
    ss: DATA_SEGMENT,
    tr: TASK_SEGMENT,
    ldt: NO_LDT,
    gdt: { base: BigInt(BOOT_GDT.guestAddress), limit: BOOT_GDT.size - 1 },
    idt: NO_TABLE,
    cr2: 0n,
    cr8: 0n,
  } as const;
  vcpu.setSpecialRegisters(
    long
      ? {
          ...common,
          cr0: CR0_PE | CR0_ET | CR0_PG,
          cr3: BigInt(writePageTables(memory)),
          cr4: CR4_PAE,
          efer: EFER_LME | EFER_LMA,
        }
      : { ...common, cr0: CR0_PE | CR0_ET, cr3: 0n, cr4: 0n, efer: 0n },
  );
  for (const name of GENERAL_REGISTERS) vcpu.setRegister(name, 0n);
  vcpu.setRegister(long ? 'rsi' : 'rbx', BigInt(boot.info));
  vcpu.setRegister('rip', BigInt(boot.entry));
  vcpu.setRegister('rflags', RFLAGS_RESERVED);
  if (setup.localApic !== false) {
    const registers = vcpu.getLocalApic();
    const view = new DataView(registers.buffer, registers.byteOffset, registers.length);
    view.setUint32(APIC_LVT_LINT0, DELIVERY_EXT_INT, true);
    view.setUint32(APIC_LVT_LINT1, DELIVERY_NMI, true);
    vcpu.setLocalApic(registers);
    vcpu.mpState = 'runnable';
  }
  return vcpu;
}

/** Leaves a vCPU waiting for INIT and SIPI, as all but the boot CPU start, and returns it. It needs a local APIC. */
export function configureSecondaryCpu<V extends X86Vcpu>(vcpu: V, setup: VcpuSetup = {}): V {
  configureProcessor(vcpu, setup);
  vcpu.mpState = 'uninitialized';
  return vcpu;
}

/** What INIT does not touch. Linux wants the MTRRs to be the same on all CPUs. */
function configureProcessor(vcpu: X86Vcpu, { cpuid }: VcpuSetup): void {
  if (cpuid !== undefined) vcpu.setCpuid(cpuid);
  // The other bits tell of performance monitoring that the hypervisor has or has not.
  vcpu.setMsr(IA32_MISC_ENABLE, vcpu.getMsr(IA32_MISC_ENABLE) | MISC_ENABLE_FAST_STRINGS);
  vcpu.setMsr(IA32_PAT, PAT_RESET);
  vcpu.setMsr(IA32_MTRR_DEF_TYPE, MTRR_ENABLE_WRITE_BACK);
  vcpu.resetFpu(FCW_RESET, MXCSR_RESET);
}

const GENERAL_REGISTERS = [
  'rax',
  'rbx',
  'rcx',
  'rdx',
  'rsi',
  'rdi',
  'rsp',
  'rbp',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
] as const;

const FLAT: Pick<X86Segment, 'base' | 'limit' | 'present' | 'dpl' | 's' | 'g' | 'avl' | 'unusable'> = {
  base: 0n,
  limit: 0xffff_ffff,
  present: true,
  dpl: 0,
  s: true,
  g: true,
  avl: false,
  unusable: false,
};
/** __BOOT_DS: read, write, accessed. */
const DATA_SEGMENT: X86Segment = { ...FLAT, selector: 0x18, type: 3, db: true, l: false };
/** A busy TSS without a descriptor in memory: virtual machines cannot be entered without one. */
const TASK_SEGMENT: X86Segment = {
  ...FLAT,
  limit: 0x67,
  selector: 0,
  type: 11,
  s: false,
  g: false,
  db: false,
  l: false,
};
const NO_LDT: X86Segment = { ...TASK_SEGMENT, limit: 0, type: 2, present: false, unusable: true };
const NO_TABLE: X86DescriptorTable = { base: 0n, limit: 0 };

/** __BOOT_CS: execute, read, accessed; 64-bit or 32-bit. */
function codeSegment(long: boolean): X86Segment {
  return { ...FLAT, selector: 0x10, type: 11, db: !long, l: long };
}

/** The descriptor of a segment (Intel SDM Vol. 3 §3.4.5). */
function descriptor(segment: X86Segment): bigint {
  const limit = BigInt(segment.g ? segment.limit >>> 12 : segment.limit);
  const access =
    BigInt(segment.type) |
    (segment.s ? 0x10n : 0n) |
    (BigInt(segment.dpl) << 5n) |
    (segment.present ? 0x80n : 0n);
  const flags =
    (segment.avl ? 1n : 0n) | (segment.l ? 2n : 0n) | (segment.db ? 4n : 0n) | (segment.g ? 8n : 0n);
  return (
    (limit & 0xffffn) |
    ((segment.base & 0xff_ffffn) << 16n) |
    (access << 40n) |
    ((limit >> 16n) << 48n) |
    (flags << 52n) |
    ((segment.base >> 24n) << 56n)
  );
}

function writeDescriptors(memory: GuestMemory, code: X86Segment): void {
  memory.fill(BOOT_GDT.guestAddress, BOOT_GDT.size, 0);
  for (const segment of [code, DATA_SEGMENT]) {
    memory.writeBigUint64(BOOT_GDT.guestAddress + segment.selector, descriptor(segment));
  }
}

/** Maps memory below 4 GiB to itself with pages of 2 MiB, in whole GiB. Answers the address of the PML4. */
function writePageTables(memory: GuestMemory): number {
  const low = memory.regions[0]?.size ?? 0;
  const gibibytes = Math.min(Math.max(Math.ceil(low / GIB), 1), 4);
  const pml4 = BOOT_PAGE_TABLES.guestAddress;
  const pdpt = pml4 + 4096;
  const directories = pdpt + 4096;
  memory.fill(pml4, BOOT_PAGE_TABLES.size, 0);
  memory.writeUint64(pml4, pdpt | PTE_TABLE);
  for (let gib = 0; gib < gibibytes; gib++) {
    memory.writeUint64(pdpt + gib * 8, (directories + gib * 4096) | PTE_TABLE);
  }
  for (let page = 0; page < gibibytes * (GIB / LARGE_PAGE); page++) {
    memory.writeUint64(directories + page * 8, page * LARGE_PAGE + PTE_LARGE_PAGE);
  }
  return pml4;
}
