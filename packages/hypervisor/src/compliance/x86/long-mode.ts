import type { X86Segment, X86SpecialRegisters } from '../../x86.ts';
import { RAM } from '../machine.ts';

/** The last 128 KiB of a guest's memory hold its tables. */
const TABLES = RAM + 0xe_0000;
const GDT = TABLES;
export const IDT: number = TABLES + 0x1000;
const PML4 = TABLES + 0x2000;
const PDPT = TABLES + 0x3000;
const PAGE_DIRECTORIES = TABLES + 0x4000;

/** Gibibytes of guest physical memory that are mapped where they are, 2 MiB to a page. */
const MAPPED = [0, 1, 2, 3, 36] as const;

/** Initial RSP, below the tables. */
export const STACK: number = TABLES;

const CODE_SELECTOR = 0x08;
const DATA_SELECTOR = 0x10;

// Intel SDM Vol. 3 §4.5: present, writable; a page rather than a table.
const PRESENT_WRITABLE = 0x03;
const PAGE_SIZE = 0x80;

// Intel SDM Vol. 3 §2.5 and §2.2.1.
const CR0_PE = 1n << 0n;
const CR0_MP = 1n << 1n;
const CR0_ET = 1n << 4n;
const CR0_NE = 1n << 5n;
const CR0_PG = 1n << 31n;
const CR4_PAE = 1n << 5n;
const EFER_LME = 1n << 8n;
const EFER_LMA = 1n << 10n;

// Intel SDM Vol. 3 §3.4.5.1: accessed; execute/read, read/write.
const TYPE_CODE = 11;
const TYPE_DATA = 3;

const GATE_SIZE = 16;
/** Present, 64-bit interrupt gate (Intel SDM Vol. 3 §6.14.1). */
const INTERRUPT_GATE = 0x8e;

function segment(selector: number, type: number, long: boolean): X86Segment {
  return {
    base: 0n,
    limit: 0xffff_ffff,
    selector,
    type,
    present: true,
    dpl: 0,
    db: !long,
    s: true,
    l: long,
    g: true,
    avl: false,
    unusable: false,
  };
}

/** Registers of 64-bit mode with flat segments and memory mapped where it is. The IDT is empty. */
export function longModeRegisters(): Partial<X86SpecialRegisters> {
  const data = segment(DATA_SELECTOR, TYPE_DATA, false);
  return {
    cs: segment(CODE_SELECTOR, TYPE_CODE, true),
    ds: data,
    es: data,
    fs: data,
    gs: data,
    ss: data,
    gdt: { base: BigInt(GDT), limit: 0x17 },
    idt: { base: BigInt(IDT), limit: 0 },
    cr0: CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_PG,
    cr3: BigInt(PML4),
    cr4: CR4_PAE,
    efer: EFER_LME | EFER_LMA,
  };
}

/**
 * Writes GDT, page tables and, when there are handlers, the IDT into the guest's memory, whose bytes begin at RAM.
 *
 * @param handlers offset from RAM of each vector's code
 */
export function writeTables(ram: Uint8Array, handlers: readonly number[] = []): void {
  const view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
  const entry = (address: number, low: number, high = 0): void => {
    view.setUint32(address - RAM, low, true);
    view.setUint32(address - RAM + 4, high, true);
  };
  entry(GDT, 0);
  entry(GDT + CODE_SELECTOR, 0x0000_ffff, 0x00af_9b00);
  entry(GDT + DATA_SELECTOR, 0x0000_ffff, 0x00cf_9300);
  entry(PML4, PDPT + PRESENT_WRITABLE);
  for (const [index, gibibyte] of MAPPED.entries()) {
    const directory = PAGE_DIRECTORIES + 0x1000 * index;
    entry(PDPT + 8 * gibibyte, directory + PRESENT_WRITABLE);
    for (let page = 0; page < 512; page++) {
      const address = gibibyte * 2 ** 30 + page * 2 ** 21;
      const low = ((address % 2 ** 32) + PAGE_SIZE + PRESENT_WRITABLE) >>> 0;
      entry(directory + 8 * page, low, Math.floor(address / 2 ** 32));
    }
  }
  for (const [vector, offset] of handlers.entries()) writeGate(view, vector, RAM + offset);
}

function writeGate(view: DataView, vector: number, address: number): void {
  const gate = IDT - RAM + GATE_SIZE * vector;
  view.setUint16(gate, address & 0xffff, true);
  view.setUint16(gate + 2, CODE_SELECTOR, true);
  view.setUint16(gate + 4, INTERRUPT_GATE << 8, true);
  view.setUint16(gate + 6, address >>> 16, true);
  view.setUint32(gate + 8, 0, true);
  view.setUint32(gate + 12, 0, true);
}

/** Bytes minus one of an IDT of 256 gates. */
export const IDT_LIMIT: number = 256 * GATE_SIZE - 1;
