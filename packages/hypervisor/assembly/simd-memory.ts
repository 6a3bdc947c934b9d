// Advanced SIMD load/store multiple structures and single structure (Arm ARM C4.1.94).
import { alignmentChecked, faulted, memHigh, memLoad, memLoad128, memStore, memStore128 } from './mem';
import { getX, getXsp, setXsp } from './state';
import { fieldQ, fieldRd, fieldRm, fieldRn, readV, writeQ } from './simd-regs';
import { laneOf, splatV } from './simd-lanes';
import { CPU_V } from './layout';

/** Executes an Advanced SIMD structure load or store; false when unallocated, true with `faulted` on a fault. */
export function execSimdLoadStore(cpu: usize, insn: u32): bool {
  if ((insn & 0xbe000000) != 0x0c000000) return false;
  // Without post-index, bits 20:16 (single structure: 20:16 but R in bit 21 stays) are zero.
  if (!(insn & 0x00800000) && insn & 0x001f0000) return false;
  if (insn & 0x01000000) return single(cpu, insn);
  return insn & 0x00200000 ? false : multiple(cpu, insn);
}

function writeBack(cpu: usize, insn: u32, base: u64, bytes: u64): void {
  if (!(insn & 0x00800000)) return;
  const rm = fieldRm(insn);
  setXsp(cpu, fieldRn(insn), base + (rm == 31 ? bytes : getX(cpu, rm)));
}

// The registers of a load are written only when all accesses have been made: the first eight doublewords wait here.
// Globals belong to one instance, so to one vCPU.
let low0: u64 = 0, low1: u64 = 0, low2: u64 = 0, low3: u64 = 0;
let high0: u64 = 0, high1: u64 = 0, high2: u64 = 0, high3: u64 = 0;

function keep(register: u32, at: u32, value: u64): void {
  const shifted = value << (at & 63);
  switch ((register << 1) | (at >> 6)) {
    case 0: low0 |= shifted; break;
    case 1: high0 |= shifted; break;
    case 2: low1 |= shifted; break;
    case 3: high1 |= shifted; break;
    case 4: low2 |= shifted; break;
    case 5: high2 |= shifted; break;
    case 6: low3 |= shifted; break;
    default: high3 |= shifted;
  }
}

// @ts-ignore: decorator
@inline function commit(cpu: usize, rd: u32, low: u64, high: u64): void {
  store<u64>(cpu + ((rd & 31) << 4), low, CPU_V);
  store<u64>(cpu + ((rd & 31) << 4), high, CPU_V + 8);
}

function multiple(cpu: usize, insn: u32): bool {
  let registers: u32, structures: u32;
  switch ((insn >> 12) & 15) {
    case 0: registers = 4; structures = 4; break;
    case 2: registers = 4; structures = 1; break;
    case 4: registers = 3; structures = 3; break;
    case 6: registers = 3; structures = 1; break;
    case 7: registers = 1; structures = 1; break;
    case 8: registers = 2; structures = 2; break;
    case 10: registers = 2; structures = 1; break;
    default: return false;
  }
  const q = fieldQ(insn);
  const size = (insn >> 10) & 3;
  if (size == 3 && !q && structures != 1) return false;
  const base = getXsp(cpu, fieldRn(insn));
  const isLoad = (insn & 0x00400000) != 0;
  // Where alignment is checked, it is that of each element.
  if (structures == 1 && !alignmentChecked(cpu)) whole(cpu, insn, base, registers, isLoad);
  else elements(cpu, insn, base, size, registers, structures, isLoad);
  if (!faulted(cpu)) writeBack(cpu, insn, base, registers << (q ? 4 : 3));
  return true;
}

/** LD1, ST1: consecutive registers. */
function whole(cpu: usize, insn: u32, base: u64, registers: u32, isLoad: bool): void {
  const q = fieldQ(insn);
  const rt = fieldRd(insn);
  if (!isLoad) {
    for (let i: u32 = 0; i < registers; i++) {
      const from = cpu + (((rt + i) & 31) << 4);
      if (q) memStore128(cpu, base + (i << 4), load<u64>(from, CPU_V), load<u64>(from, CPU_V + 8));
      else memStore(cpu, base + (i << 3), 3, load<u64>(from, CPU_V));
    }
    return;
  }
  if (registers == 1) {
    const low = q ? memLoad128(cpu, base) : memLoad(cpu, base, 3);
    const high = q ? memHigh(cpu) : 0;
    if (!faulted(cpu)) commit(cpu, rt, low, high);
    return;
  }
  low0 = high0 = low1 = high1 = low2 = high2 = low3 = high3 = 0;
  for (let i: u32 = 0; i < registers; i++) {
    if (q) {
      keep(i, 0, memLoad128(cpu, base + (i << 4)));
      keep(i, 64, memHigh(cpu));
    } else {
      keep(i, 0, memLoad(cpu, base + (i << 3), 3));
    }
  }
  commitKept(cpu, rt, registers);
}

function commitKept(cpu: usize, rt: u32, registers: u32): void {
  if (faulted(cpu)) return;
  commit(cpu, rt, low0, high0);
  commit(cpu, rt + 1, low1, high1);
  if (registers > 2) commit(cpu, rt + 2, low2, high2);
  if (registers > 3) commit(cpu, rt + 3, low3, high3);
}

/** Element by element: those of one register after the other for LD1 and ST1, of all registers in turn for others. */
function elements(
  cpu: usize, insn: u32, base: u64, size: u32, registers: u32, structures: u32, isLoad: bool,
): void {
  const rt = fieldRd(insn);
  const lanes: u32 = (fieldQ(insn) ? 16 : 8) >> size;
  if (isLoad) low0 = high0 = low1 = high1 = low2 = high2 = low3 = high3 = 0;
  let i: u32 = 0;
  let lane: u32 = 0;
  for (let n: u32 = 0; n < lanes * registers; n++) {
    const va = base + (<u64>n << size);
    if (isLoad) keep(i, lane << (3 + size), memLoad(cpu, va, size));
    else memStore(cpu, va, size, laneOf(size, readV(cpu, (rt + i) & 31), lane));
    if (faulted(cpu)) return;
    if (structures == 1) {
      if (++lane == lanes) {
        lane = 0;
        i++;
      }
    } else if (++i == registers) {
      i = 0;
      lane++;
    }
  }
  if (isLoad) commitKept(cpu, rt, registers);
}

function single(cpu: usize, insn: u32): bool {
  const opcode = (insn >> 13) & 7;
  const registers = (((opcode & 1) << 1) | ((insn >> 21) & 1)) + 1;
  const isLoad = (insn & 0x00400000) != 0;
  const q = fieldQ(insn);
  const s = (insn >> 12) & 1;
  let size = (insn >> 10) & 3;
  let index: u32 = ((q >> 27) | (s << 2) | size);
  const replicate = opcode >= 6;
  switch (opcode >> 1) {
    case 0: size = 0; break;
    case 1: {
      if (size & 1) return false;
      size = 1;
      index >>= 1;
      break;
    }
    case 2: {
      if (size & 2 || (size & 1 && s)) return false;
      index >>= size & 1 ? 3 : 2;
      size = size & 1 ? 3 : 2;
      break;
    }
    default: if (!isLoad || s) return false;
  }
  const rt = fieldRd(insn);
  const base = getXsp(cpu, fieldRn(insn));
  low0 = low1 = low2 = low3 = 0;
  for (let i: u32 = 0; i < registers; i++) {
    const va = base + (i << size);
    if (isLoad) keep(i, 0, memLoad(cpu, va, size));
    else memStore(cpu, va, size, laneOf(size, readV(cpu, (rt + i) & 31), index));
    if (faulted(cpu)) return true;
  }
  if (isLoad) {
    load1(cpu, rt, size, index, replicate, q, low0);
    if (registers > 1) load1(cpu, rt + 1, size, index, replicate, q, low1);
    if (registers > 2) load1(cpu, rt + 2, size, index, replicate, q, low2);
    if (registers > 3) load1(cpu, rt + 3, size, index, replicate, q, low3);
  }
  writeBack(cpu, insn, base, registers << size);
  return true;
}

function load1(cpu: usize, rt: u32, size: u32, index: u32, replicate: bool, q: u32, value: u64): void {
  const rd = rt & 31;
  if (replicate) {
    writeQ(cpu, rd, q, splatV(size, value));
    return;
  }
  const at = cpu + (rd << 4) + (index << size);
  switch (size) {
    case 0: store<u8>(at, <u8>value, CPU_V); break;
    case 1: store<u16>(at, <u16>value, CPU_V); break;
    case 2: store<u32>(at, <u32>value, CPU_V); break;
    default: store<u64>(at, value, CPU_V);
  }
}
