import { updateDerived } from './exceptions';
import {
  CPU_BANK_ASID, CPU_BANK_CURRENT, CPU_BANK_NEXT, CPU_BLOCK_FILTER, CPU_EL1_SPACE, CPU_GIGABYTE_BLOCKS, CPU_TLB_EL0,
  CPU_TLBS, SYS_SCTLR, SYS_TCR, SYS_TTBR0, SYS_TTBR1, TLB_ADDEND, TLB_BANKS, TLB_CODE, TLB_CODE_SHIFT,
  TLB_CODE_SLOT, TLB_CODE_STRIDE, TLB_CODE_TAG, TLB_ENTRIES, TLB_READ, TLB_SHIFT, TLB_SIZE, TLB_STRIDE, TLB_WRITE,
} from './layout';
import {
  ACCESS_READ, ACCESS_WRITE, SCTLR_M, walkAttributes, walkNonGlobal, walkPermissions, walkShift,
} from './mmu';

export const PAGE_MASK: u64 = 0xfffffffffffff000;
const NO_PAGE: u64 = 0xffffffffffffffff;
const FILTER_BYTES: u32 = 512;
/** `CPU_EL1_SPACE`: the EL1 TLB may hold addresses of the low half, or non-global ones of the high half. */
const SPACE_LOW: u32 = 1;
const SPACE_HIGH: u32 = 2;
const SCTLR_A: u64 = 2;
const TCR_A1: u64 = 1 << 22;
const TCR_AS: u64 = 1 << 36;

/** Entry for a data address. */
// @ts-ignore: decorator
@inline
export function dataEntry(tlb: usize, va: u64): usize {
  return tlb + ((<u32>va >> 7) & ((TLB_ENTRIES - 1) * TLB_STRIDE));
}

/** Entry for an instruction address. */
// @ts-ignore: decorator
@inline
export function codeEntry(tlb: usize, va: u64): usize {
  return tlb + TLB_CODE + ((<u32>va >> 8) & ((TLB_ENTRIES - 1) * TLB_CODE_STRIDE));
}

/** TLB that `el` uses. */
// @ts-ignore: decorator
@inline
export function tlbOf(cpu: usize, el: u32): usize {
  return el ? cpu + CPU_TLBS : <usize>load<u32>(cpu, CPU_TLB_EL0);
}

function filterByte(cpu: usize, va: u64): usize {
  const block = <u32>(va >> 21) ^ (<u32>(va >> 40) * 0x9e5);
  return cpu + CPU_BLOCK_FILTER + ((block & 4095) >> 3);
}

function noteMapping(cpu: usize, el: u32, va: u64): void {
  if (walkShift >= 21) {
    const byte = filterByte(cpu, va);
    store<u8>(byte, load<u8>(byte) | <u8>(<u32>1 << (<u32>(va >> 21) & 7)));
    if (walkShift >= 30) store<u32>(cpu, 1, CPU_GIGABYTE_BLOCKS);
  }
  if (el == 1) {
    if (((va >> 55) & 1) == 0) store<u32>(cpu, load<u32>(cpu, CPU_EL1_SPACE) | SPACE_LOW, CPU_EL1_SPACE);
    else if (walkNonGlobal) store<u32>(cpu, load<u32>(cpu, CPU_EL1_SPACE) | SPACE_HIGH, CPU_EL1_SPACE);
  }
}

/** Enters the data page that the last walk found, at memory offset `host` of the address itself. */
export function fillData(cpu: usize, el: u32, va: u64, host: usize, writable: bool): void {
  const sctlr = load<u64>(cpu, SYS_SCTLR);
  // Accesses that must be aligned stay outside the TLB, whose users do not check.
  if ((sctlr & SCTLR_A) != 0 || ((sctlr & SCTLR_M) != 0 && (walkAttributes & 0xf0) == 0)) return;
  const entry = dataEntry(tlbOf(cpu, el), va);
  const page = va & PAGE_MASK;
  store<u64>(entry, (walkPermissions & ACCESS_READ) ? page : NO_PAGE, TLB_READ);
  store<u64>(entry, writable && (walkPermissions & ACCESS_WRITE) ? page : NO_PAGE, TLB_WRITE);
  store<u32>(entry, <u32>host - <u32>va, TLB_ADDEND);
  store<u32>(entry, walkShift, TLB_SHIFT);
  noteMapping(cpu, el, va);
}

/** Enters the code page that the last walk found, decoded at `slot`. */
export function fillCode(cpu: usize, el: u32, va: u64, slot: usize): void {
  const entry = codeEntry(tlbOf(cpu, el), va);
  store<u64>(entry, va & PAGE_MASK, TLB_CODE_TAG);
  store<u32>(entry, <u32>slot, TLB_CODE_SLOT);
  store<u32>(entry, walkShift, TLB_CODE_SHIFT);
  noteMapping(cpu, el, va);
}

/** Drops every translation. */
export function flushAll(cpu: usize): void {
  memory.fill(cpu + CPU_TLBS, 0xff, TLB_SIZE * (1 + TLB_BANKS));
  memory.fill(cpu + CPU_BLOCK_FILTER, 0, FILTER_BYTES);
  store<u32>(cpu, 0, CPU_GIGABYTE_BLOCKS);
  store<u32>(cpu, 0, CPU_EL1_SPACE);
}

/** Drops every decoded page, keeping data translations. */
export function flushCode(cpu: usize): void {
  for (let bank: u32 = 0; bank <= TLB_BANKS; bank++) {
    memory.fill(cpu + CPU_TLBS + bank * TLB_SIZE + TLB_CODE, 0xff, TLB_ENTRIES * TLB_CODE_STRIDE);
  }
}

/** Makes every data page read-only to the fast paths until it is stored to again. */
export function flushWritable(cpu: usize): void {
  for (let bank: u32 = 0; bank <= TLB_BANKS; bank++) {
    const tlb = cpu + CPU_TLBS + bank * TLB_SIZE;
    for (let i: u32 = 0; i < TLB_ENTRIES; i++) store<u64>(tlb + i * TLB_STRIDE, NO_PAGE, TLB_WRITE);
  }
}

function dropData(entry: usize): void {
  store<u64>(entry, NO_PAGE, TLB_READ);
  store<u64>(entry, NO_PAGE, TLB_WRITE);
}

function dropCode(entry: usize): void {
  store<u64>(entry, NO_PAGE, TLB_CODE_TAG);
}

/** Address bits that count, once the tag byte is left out. */
const ADDRESS_BITS: u64 = 0x00ffffffffffffff;

function dropBlocks(tlb: usize, va: u64): void {
  for (let i: u32 = 0; i < TLB_ENTRIES; i++) {
    const data = tlb + i * TLB_STRIDE;
    let page = load<u64>(data, TLB_READ);
    if (page == NO_PAGE) page = load<u64>(data, TLB_WRITE);
    if (page != NO_PAGE && ((page ^ va) & ADDRESS_BITS) >> load<u32>(data, TLB_SHIFT) == 0) dropData(data);
    const code = tlb + TLB_CODE + i * TLB_CODE_STRIDE;
    page = load<u64>(code, TLB_CODE_TAG);
    if (page != NO_PAGE && ((page ^ va) & ADDRESS_BITS) >> load<u32>(code, TLB_CODE_SHIFT) == 0) dropCode(code);
  }
}

function flushAddressIn(cpu: usize, tlb: usize, va: u64): void {
  dropData(dataEntry(tlb, va));
  dropCode(codeEntry(tlb, va));
  const mask = <u8>(<u32>1 << (<u32>(va >> 21) & 7));
  if ((load<u8>(filterByte(cpu, va)) & mask) != 0 || load<u32>(cpu, CPU_GIGABYTE_BLOCKS) != 0) dropBlocks(tlb, va);
}

/** Drops what may translate `va` in any address space. */
export function flushAddress(cpu: usize, va: u64): void {
  for (let bank: u32 = 0; bank <= TLB_BANKS; bank++) flushAddressIn(cpu, cpu + CPU_TLBS + bank * TLB_SIZE, va);
}

/** Drops the non-global translations of an ASID. Global ones of the same TLB may go, too. */
export function flushAsid(cpu: usize, asid: u32): void {
  for (let bank: u32 = 0; bank < TLB_BANKS; bank++) {
    if (load<u32>(cpu + (bank << 2), CPU_BANK_ASID) == asid) {
      memory.fill(cpu + CPU_TLBS + (1 + bank) * TLB_SIZE, 0xff, TLB_SIZE);
    }
  }
  flushEl1Space(cpu);
}

/** The EL1 TLB is not divided by ASID: what it holds of one address space goes when that changes. */
function flushEl1Space(cpu: usize): void {
  const held = load<u32>(cpu, CPU_EL1_SPACE);
  if (held == 0) return;
  store<u32>(cpu, 0, CPU_EL1_SPACE);
  const tlb = cpu + CPU_TLBS;
  if (held & SPACE_HIGH) {
    memory.fill(tlb, 0xff, TLB_SIZE);
    return;
  }
  for (let i: u32 = 0; i < TLB_ENTRIES; i++) {
    const data = tlb + i * TLB_STRIDE;
    if ((((load<u64>(data, TLB_READ) & load<u64>(data, TLB_WRITE)) >> 55) & 1) == 0) dropData(data);
    const code = tlb + TLB_CODE + i * TLB_CODE_STRIDE;
    if (((load<u64>(code, TLB_CODE_TAG) >> 55) & 1) == 0) dropCode(code);
  }
}

/** ASID in use (TCR_EL1.A1 and AS). */
function currentAsid(cpu: usize): u32 {
  const tcr = load<u64>(cpu, SYS_TCR);
  const ttbr = (tcr & TCR_A1) != 0 ? load<u64>(cpu, SYS_TTBR1) : load<u64>(cpu, SYS_TTBR0);
  const asid = <u32>(ttbr >> 48);
  return (tcr & TCR_AS) != 0 ? asid : asid & 0xff;
}

/** Takes the EL0 TLB of the ASID in use; call after a change of TTBR0_EL1, TTBR1_EL1 or TCR_EL1. */
export function selectBank(cpu: usize): void {
  const asid = currentAsid(cpu);
  let bank = load<u32>(cpu, CPU_BANK_CURRENT);
  if (load<u32>(cpu + (bank << 2), CPU_BANK_ASID) == asid) return;
  flushEl1Space(cpu);
  for (bank = 0; bank < TLB_BANKS; bank++) {
    if (load<u32>(cpu + (bank << 2), CPU_BANK_ASID) == asid) break;
  }
  if (bank == TLB_BANKS) {
    bank = load<u32>(cpu, CPU_BANK_NEXT);
    store<u32>(cpu, (bank + 1) % TLB_BANKS, CPU_BANK_NEXT);
    memory.fill(cpu + CPU_TLBS + (1 + bank) * TLB_SIZE, 0xff, TLB_SIZE);
    store<u32>(cpu + (bank << 2), asid, CPU_BANK_ASID);
  }
  store<u32>(cpu, bank, CPU_BANK_CURRENT);
  updateDerived(cpu);
}

/** Gives every EL0 TLB an ASID of its own that no guest uses. */
export function resetBanks(cpu: usize): void {
  for (let bank: u32 = 0; bank < TLB_BANKS; bank++) store<u32>(cpu + (bank << 2), 0x10000 + bank, CPU_BANK_ASID);
  store<u32>(cpu, 0, CPU_BANK_CURRENT);
  store<u32>(cpu, 0, CPU_BANK_NEXT);
  flushAll(cpu);
  selectBank(cpu);
}
