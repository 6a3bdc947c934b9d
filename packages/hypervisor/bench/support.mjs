// Guests of the KVM benchmark. They need nothing that a KVM which emulates guest kernels refuses: no paging, no IRET.
import { X86Assembler } from '@vmm/hypervisor/compliance';

const RAM_SIZE = 0x1_0000;
const GDT = 0x800;
const IDT = 0x1000;
const IDT_LIMIT = 0x7ff;
const CODE = 0x4000;
const STACK = 0x9000;
const CODE_SELECTOR = 0x08;
const DATA_SELECTOR = 0x10;

/** Address at which {@link flagGuest} is told to store. */
export const FLAG = 0xa000;

/** A port without device. */
export const REPORT = 0x80;

/** The input that {@link interruptGuest} listens to. */
export const GSI = 5;
const VECTOR = 0x45;

// Intel SDM Vol. 3 §11.4.1: offsets, and the spurious vector register's software enable.
const LOCAL_APIC = 0xfee0_0000;
const EOI = 0xb0;
const SPURIOUS = 0xf0;
const APIC_ENABLE = 0x1ff;
const LVT_LINT0 = 0x350;
const MASKED = 0x1_0000;
// 82093AA 3.1 and 3.2.4.
const IO_APIC = 0xfec0_0000;
const IOREGSEL = 0x00;
const IOWIN = 0x10;
const IOREDTBL = 0x10;

/** A VM whose vCPU begins with these bytes, in real mode. */
export async function realModeGuest(hypervisor, code) {
  const { vm, vcpu } = await machine(hypervisor, code);
  const { cs } = vcpu.getSpecialRegisters();
  vcpu.setSpecialRegisters({ cs: { ...cs, base: 0n, selector: 0 } });
  return { vm, vcpu };
}

/** Computes until `ram[FLAG]` is 1, stores once to the port, computes until it is 0, stores once, and so on. */
export async function flagGuest(hypervisor, port) {
  const a = new X86Assembler().movImmediate('rsi', FLAG).label('again');
  for (const value of [0, 1]) {
    // cmp byte [esi], value
    a.label(`is ${value}`).byte(0x80, 0x3e, value).jcc('e', `is ${value}`).out(1, port);
  }
  return protectedModeGuest(hypervisor, a.jmp('again'));
}

/**
 * Reports once, and then with the first instruction of its handler each time that {@link GSI} is raised. In between it is
 * halted, or computes.
 */
export async function interruptGuest(hypervisor, computes) {
  const a = new X86Assembler();
  a.movImmediate('rsi', LOCAL_APIC)
    .storeImmediate(APIC_ENABLE, 'rsi', SPURIOUS)
    .storeImmediate(MASKED, 'rsi', LVT_LINT0);
  a.movImmediate('rdi', IO_APIC);
  a.storeImmediate(IOREDTBL + 2 * GSI + 1, 'rdi', IOREGSEL).storeImmediate(0, 'rdi', IOWIN);
  a.storeImmediate(IOREDTBL + 2 * GSI, 'rdi', IOREGSEL).storeImmediate(VECTOR, 'rdi', IOWIN);
  a.out(1, REPORT).label('wait').sti().label('again');
  if (!computes) a.hlt();
  a.jmp('again');
  a.label('handler').out(1, REPORT).storeImmediate(0, 'rsi', EOI);
  a.movImmediate('rsp', STACK).jmp('wait');
  const guest = await protectedModeGuest(hypervisor, a, true);
  const handler = CODE + a.offsetOf('handler');
  // A 32-bit interrupt gate (Intel SDM Vol. 3 §6.11).
  guest.ram.set([handler & 0xff, handler >> 8, CODE_SELECTOR, 0, 0, 0x8e, 0, 0], IDT + 8 * VECTOR);
  return guest;
}

/** Of the assembler, what has the same encoding in 32-bit code. */
async function protectedModeGuest(hypervisor, assembler, irqChip = false) {
  const guest = await machine(hypervisor, assembler.bytes(), irqChip);
  // Flat segments of 4 GiB: code, execute and read; data, read and write (Intel SDM Vol. 3 §3.4.5).
  guest.ram.set([0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0], GDT + CODE_SELECTOR);
  guest.ram.set([0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0], GDT + DATA_SELECTOR);
  const flat = { base: 0n, limit: 0xffff_ffff, present: true, dpl: 0, db: true, s: true };
  const rest = { l: false, g: true, avl: false, unusable: false };
  const data = { ...flat, ...rest, selector: DATA_SELECTOR, type: 0x3 };
  guest.vcpu.setSpecialRegisters({
    cs: { ...flat, ...rest, selector: CODE_SELECTOR, type: 0xb },
    ds: data,
    es: data,
    fs: data,
    gs: data,
    ss: data,
    gdt: { base: BigInt(GDT), limit: 0x17 },
    idt: { base: BigInt(IDT), limit: IDT_LIMIT },
    // PE and ET.
    cr0: 0x11n,
  });
  guest.vcpu.setRegister('rsp', BigInt(STACK));
  return guest;
}

async function machine(hypervisor, code, irqChip = false) {
  const vm = await hypervisor.createVm({ vcpus: 1, maxMemory: 1 << 20 });
  if (irqChip) vm.createIrqChip({ mode: 'kernel' });
  const ram = vm.mapMemory(0, RAM_SIZE).bytes;
  ram.set(code, CODE);
  const vcpu = vm.createVcpu(0);
  vcpu.setRegister('rip', BigInt(CODE));
  vcpu.setRegister('rflags', 2n);
  return { vm, vcpu, ram };
}
