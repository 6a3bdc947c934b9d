import type { InputSetup } from '../machine.ts';
import { MMIO, REPORT } from '../machine.ts';
import type { X86Assembler } from './assembler.ts';

/** Vector of GSI 0 in the guests; the others follow. */
export const VECTOR_OF_GSI = 0x30;
const VECTORS = 256;
/** Vectors of exceptions (Intel SDM Vol. 3 §6.3.1). */
const EXCEPTIONS = 32;

export const LOCAL_APIC = 0xfee0_0000;
const IO_APIC = 0xfec0_0000;

/** Offsets of the local APIC's registers (Intel SDM Vol. 3 §11.4.1). */
export const APIC = {
  ID: 0x20,
  VERSION: 0x30,
  TASK_PRIORITY: 0x80,
  EOI: 0xb0,
  SPURIOUS: 0xf0,
  ICR_LOW: 0x300,
  ICR_HIGH: 0x310,
  LVT_TIMER: 0x320,
  TIMER_INITIAL: 0x380,
  TIMER_DIVIDE: 0x3e0,
} as const;

/** APIC software enable, and the spurious vector (Intel SDM Vol. 3 §11.9). */
export const APIC_ENABLE = 0x1ff;

// 82093AA 3.1 and 3.2.4.
const IOREGSEL = 0x00;
const IOWIN = 0x10;
const IOREDTBL = 0x10;
const IOREDTBL_LEVEL = 1 << 15;

/** Data ports of the two 8259A, where OCW1 masks. */
export const PIC_MASKS: readonly number[] = [0x21, 0xa1];

/** Masks the PICs and enables the local APIC; changes RAX and RSI. */
export function setUpLocalApic(a: X86Assembler): void {
  a.movImmediate('rax', 0xff);
  for (const port of PIC_MASKS) a.out(1, port);
  a.movImmediate('rsi', LOCAL_APIC).storeImmediate(APIC_ENABLE, 'rsi', APIC.SPURIOUS);
}

/** Routes an input to vCPU 0; changes RSI. */
function setUpInput(a: X86Assembler, { gsi, edge }: InputSetup): void {
  const low = VECTOR_OF_GSI + gsi + (edge ? 0 : IOREDTBL_LEVEL);
  a.movImmediate('rsi', IO_APIC);
  a.storeImmediate(IOREDTBL + 2 * gsi + 1, 'rsi', IOREGSEL).storeImmediate(0, 'rsi', IOWIN);
  a.storeImmediate(IOREDTBL + 2 * gsi, 'rsi', IOREGSEL).storeImmediate(low, 'rsi', IOWIN);
}

/** Reports READY and waits for interrupts for ever. */
export function waitForInterrupts(a: X86Assembler): void {
  a.movImmediate('rsi', MMIO).sti().storeImmediate(0, 'rsi', REPORT.READY);
  a.label('wait').hlt().jmp('wait');
}

/** A guest that reports READY and then waits for interrupts for ever. */
export function interruptGuest(a: X86Assembler, inputs: readonly InputSetup[]): void {
  setUpLocalApic(a);
  for (const input of inputs) setUpInput(a, input);
  waitForInterrupts(a);
}

/**
 * Code for each vector. An interrupt reports its vector, calls `handler` (which may use R12 to R15), ends the interrupt,
 * reports that, and returns. An exception reports its vector and hangs.
 *
 * @returns the offset of each vector's code
 */
export function loadHandlers(
  a: X86Assembler,
  handler: (a: X86Assembler) => void = () => undefined,
): readonly number[] {
  const offsets: number[] = [];
  for (let vector = 0; vector < VECTORS; vector++) {
    offsets.push(a.offset);
    a.pushImmediate(vector).jmp(vector < EXCEPTIONS ? 'exception' : 'interrupt');
  }
  a.label('interrupt').pop('r12').movImmediate('r13', MMIO).store(4, 'r12', 'r13', REPORT.IRQ);
  handler(a);
  a.movImmediate('r14', LOCAL_APIC).storeImmediate(0, 'r14', APIC.EOI);
  a.movImmediate('r13', MMIO).store(4, 'r12', 'r13', REPORT.END).iretq();
  a.label('exception').pop('r12').movImmediate('r13', MMIO).store(4, 'r12', 'r13', REPORT.UNEXPECTED);
  a.label('hang').hlt().jmp('hang');
  return offsets;
}
