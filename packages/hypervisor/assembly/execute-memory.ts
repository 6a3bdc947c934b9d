import { raiseAt, raiseFpTrap, EC_SP_ALIGNMENT, stackMisaligned } from './exceptions';
import {
  CPU_EXCLUSIVE_ADDRESS, CPU_EXCLUSIVE_HIGH, CPU_EXCLUSIVE_LOW, CPU_EXCLUSIVE_SIZE, CPU_FP_TRAP, HEADER,
  HEADER_PAIR_LOCK,
} from './layout';
import { acquire, release } from './lock';
import {
  alignmentFault, dataAddress, faulted, memHigh, memLoad, memLoad128, memLoadAs, memStore, memStore128, memStoreAs,
} from './mem';
import { ACCESS_WRITE, walkPhysical } from './mmu';
import { execSimdLoadStore } from './simd';
import { NEXT, UNALLOCATED } from './status';
import { currentEl, getPc, getX, getXsp, setV, setX, setXsp, vHigh, vLow } from './state';
import { extended } from './execute-register';
import { mmioRead, mmioWrite } from './mmio';

// Loads and stores, Arm ARM C4.1.94.

/** CheckSPAlignment() for a base register; true when the access must not go on. */
function baseFaults(cpu: usize, rn: u32): bool {
  if (rn != 31 || !stackMisaligned(cpu)) return false;
  raiseAt(cpu, EC_SP_ALIGNMENT, 0, 0);
  return true;
}

/** FP/SIMD access check; true when it traps. */
function fpTraps(cpu: usize): bool {
  if (load<u32>(cpu, CPU_FP_TRAP) == 0) return false;
  raiseFpTrap(cpu);
  return true;
}

function signExtend(value: u64, log2: u32, wide: bool): u64 {
  const shift: u32 = 64 - (8 << log2);
  const result = <u64>(<i64>(value << shift) >> shift);
  return wide ? result : result & 0xffffffff;
}

/** Load or store of one general-purpose register: `opc` is 0 store, 1 load, 2 and 3 sign-extending loads. */
function transfer(cpu: usize, rt: u32, va: u64, log2: u32, opc: u32, el: u32): void {
  if (opc == 0) {
    memStoreAs(cpu, va, log2, getX(cpu, rt), el);
    return;
  }
  const value = memLoadAs(cpu, va, log2, el);
  if (!faulted(cpu)) setX(cpu, rt, opc == 1 ? value : signExtend(value, log2, opc == 2));
}

/** Load or store of one SIMD&FP register of 1 << log2 bytes. */
function transferV(cpu: usize, rt: u32, va: u64, log2: u32, isLoad: bool): void {
  if (!isLoad) {
    if (log2 == 4) memStore128(cpu, va, vLow(cpu, rt), vHigh(cpu, rt));
    else memStore(cpu, va, log2, vLow(cpu, rt));
    return;
  }
  if (log2 == 4) {
    const low = memLoad128(cpu, va);
    if (!faulted(cpu)) setV(cpu, rt, low, memHigh(cpu));
  } else {
    const value = memLoad(cpu, va, log2);
    if (!faulted(cpu)) setV(cpu, rt, value, 0);
  }
}

/** Load/store register: unscaled, unsigned offset, pre- and post-indexed, unprivileged, register offset. */
function single(cpu: usize, insn: u32): u32 {
  const size = insn >> 30;
  const opc = (insn >> 22) & 3;
  const vector = (insn & (1 << 26)) != 0;
  const rn = (insn >> 5) & 31;
  const rt = insn & 31;
  let log2 = size;
  if (vector) {
    if (opc >= 2) {
      if (size != 0) return UNALLOCATED;
      log2 = 4;
    }
  } else if (opc == 3 && size >= 2) {
    return UNALLOCATED;
  }
  const prefetch = !vector && size == 3 && opc == 2;

  let offset: i64;
  let writeback = false;
  let post = false;
  let el = currentEl(cpu);
  if (insn & (1 << 24)) {
    offset = <i64>((insn >> 10) & 0xfff) << log2;
  } else if ((insn & (1 << 21)) == 0) {
    offset = <i64>(<i32>(insn << 11) >> 23);
    switch ((insn >> 10) & 3) {
      case 0: break;
      case 2: {
        if (vector || prefetch) return UNALLOCATED;
        el = 0;
        break;
      }
      default: {
        if (prefetch) return UNALLOCATED;
        writeback = true;
        post = (insn & (1 << 11)) == 0;
      }
    }
  } else {
    const option = (insn >> 13) & 7;
    if ((insn & 0xc00) != 0x800 || (option & 2) == 0) return UNALLOCATED;
    offset = <i64>extended(getX(cpu, (insn >> 16) & 31), option, insn & (1 << 12) ? log2 : 0);
  }
  if (prefetch) return NEXT;
  if (vector && fpTraps(cpu)) return NEXT;
  if (baseFaults(cpu, rn)) return NEXT;
  const base = getXsp(cpu, rn);
  const va = post ? base : base + offset;
  if (vector) transferV(cpu, rt, va, log2, (opc & 1) != 0);
  else transfer(cpu, rt, va, log2, opc, el);
  if (writeback && !faulted(cpu)) setXsp(cpu, rn, base + offset);
  return NEXT;
}

/** Load register (literal). */
function literal(cpu: usize, insn: u32): u32 {
  const opc = insn >> 30;
  const va = getPc(cpu) + <u64><i64>(<i32>(insn << 8) >> 13 << 2);
  const rt = insn & 31;
  if (insn & (1 << 26)) {
    if (opc == 3) return UNALLOCATED;
    if (!fpTraps(cpu)) transferV(cpu, rt, va, 2 + opc, true);
    return NEXT;
  }
  if (opc == 3) return NEXT;
  transfer(cpu, rt, va, opc == 1 ? 3 : 2, opc == 2 ? 2 : 1, currentEl(cpu));
  return NEXT;
}

/** LDP, STP, LDPSW, LDNP, STNP. */
function pair(cpu: usize, insn: u32): u32 {
  const opc = insn >> 30;
  const vector = (insn & (1 << 26)) != 0;
  const isLoad = (insn & (1 << 22)) != 0;
  const mode = (insn >> 23) & 3;
  const rt = insn & 31;
  const rt2 = (insn >> 10) & 31;
  const rn = (insn >> 5) & 31;
  const signed = !vector && opc == 1;
  if (opc == 3 || (signed && (!isLoad || mode == 0))) return UNALLOCATED;
  const log2: u32 = vector ? 2 + opc : opc == 2 ? 3 : 2;
  if (vector && fpTraps(cpu)) return NEXT;
  if (baseFaults(cpu, rn)) return NEXT;
  const offset = <u64><i64>(<i32>(insn << 10) >> 25) << log2;
  const base = getXsp(cpu, rn);
  const va = mode == 1 ? base : base + offset;
  const second = va + (1 << log2);
  if (vector) {
    if (isLoad) {
      const low = log2 == 4 ? memLoad128(cpu, va) : memLoad(cpu, va, log2);
      const high = log2 == 4 ? memHigh(cpu) : 0;
      const low2 = log2 == 4 ? memLoad128(cpu, second) : memLoad(cpu, second, log2);
      if (faulted(cpu)) return NEXT;
      setV(cpu, rt, low, high);
      setV(cpu, rt2, low2, log2 == 4 ? memHigh(cpu) : 0);
    } else {
      transferV(cpu, rt, va, log2, false);
      transferV(cpu, rt2, second, log2, false);
    }
  } else if (isLoad) {
    const first = memLoad(cpu, va, log2);
    const other = memLoad(cpu, second, log2);
    if (faulted(cpu)) return NEXT;
    setX(cpu, rt, signed ? signExtend(first, 2, true) : first);
    setX(cpu, rt2, signed ? signExtend(other, 2, true) : other);
  } else {
    memStore(cpu, va, log2, getX(cpu, rt));
    memStore(cpu, second, log2, getX(cpu, rt2));
  }
  if ((mode & 1) != 0 && !faulted(cpu)) setXsp(cpu, rn, base + offset);
  return NEXT;
}

function loadAcquire(host: usize, log2: u32): u64 {
  switch (log2) {
    case 0: return <u64>atomic.load<u8>(host);
    case 1: return <u64>atomic.load<u16>(host);
    case 2: return <u64>atomic.load<u32>(host);
    default: return atomic.load<u64>(host);
  }
}

function storeRelease(host: usize, log2: u32, value: u64): void {
  switch (log2) {
    case 0: { atomic.store<u8>(host, <u8>value); break; }
    case 1: { atomic.store<u16>(host, <u16>value); break; }
    case 2: { atomic.store<u32>(host, <u32>value); break; }
    default: atomic.store<u64>(host, value);
  }
}

function compareAndSwap(host: usize, log2: u32, expected: u64, value: u64): bool {
  switch (log2) {
    case 0: return <u64>atomic.cmpxchg<u8>(host, <u8>expected, <u8>value) == expected;
    case 1: return <u64>atomic.cmpxchg<u16>(host, <u16>expected, <u16>value) == expected;
    case 2: return <u64>atomic.cmpxchg<u32>(host, <u32>expected, <u32>value) == expected;
    default: return atomic.cmpxchg<u64>(host, expected, value) == expected;
  }
}

/** LDAR, LDLAR, STLR, STLLR and their byte and halfword forms. */
function ordered(cpu: usize, insn: u32): u32 {
  const log2 = insn >> 30;
  const isLoad = (insn & (1 << 22)) != 0;
  const rn = (insn >> 5) & 31;
  const rt = insn & 31;
  // Without FEAT_LOR, and with o1 set, there is nothing here.
  if ((insn & (1 << 21)) != 0 || (insn & (1 << 15)) == 0) return UNALLOCATED;
  if (baseFaults(cpu, rn)) return NEXT;
  const va = getXsp(cpu, rn);
  if (alignmentFault(cpu, va, 1 << log2, !isLoad)) return NEXT;
  const host = dataAddress(cpu, va, 1 << log2, isLoad ? 1 : ACCESS_WRITE, currentEl(cpu));
  if (faulted(cpu)) return NEXT;
  if (isLoad) {
    const value = host == 0 ? mmioRead(cpu, walkPhysical, 1 << log2) : loadAcquire(host, log2);
    if (!faulted(cpu)) setX(cpu, rt, value);
  } else if (host == 0) {
    mmioWrite(cpu, walkPhysical, 1 << log2, getX(cpu, rt));
  } else {
    storeRelease(host, log2, getX(cpu, rt));
  }
  return NEXT;
}

/** LDXR, LDXP and their kin. The monitor remembers what was loaded; the store is a compare-and-swap with that. */
function loadExclusive(cpu: usize, insn: u32, log2: u32, isPair: bool, va: u64): void {
  const rt = insn & 31;
  const size: u32 = isPair ? 2 << log2 : 1 << log2;
  const host = dataAddress(cpu, va, size, 1, currentEl(cpu));
  if (faulted(cpu)) return;
  const first = isPair && log2 == 2 ? 3 : log2;
  // One 64-bit load for a pair of words: it is single-copy atomic.
  const low = host == 0 ? mmioRead(cpu, walkPhysical, 1 << first) : loadAcquire(host, first);
  let high: u64 = 0;
  if (isPair && log2 == 3) {
    high = host == 0 ? mmioRead(cpu, walkPhysical + 8, 8) : atomic.load<u64>(host + 8);
  }
  if (faulted(cpu)) return;
  store<u64>(cpu, va, CPU_EXCLUSIVE_ADDRESS);
  store<u64>(cpu, low, CPU_EXCLUSIVE_LOW);
  store<u64>(cpu, high, CPU_EXCLUSIVE_HIGH);
  store<u32>(cpu, size, CPU_EXCLUSIVE_SIZE);
  if (!isPair) {
    setX(cpu, rt, low);
  } else if (log2 == 3) {
    setX(cpu, rt, low);
    setX(cpu, (insn >> 10) & 31, high);
  } else {
    setX(cpu, rt, low & 0xffffffff);
    setX(cpu, (insn >> 10) & 31, low >> 32);
  }
}

function storeExclusive(cpu: usize, insn: u32, log2: u32, isPair: bool, va: u64): void {
  const rs = (insn >> 16) & 31;
  const size: u32 = isPair ? 2 << log2 : 1 << log2;
  if (load<u32>(cpu, CPU_EXCLUSIVE_SIZE) != size || load<u64>(cpu, CPU_EXCLUSIVE_ADDRESS) != va) {
    store<u32>(cpu, 0, CPU_EXCLUSIVE_SIZE);
    setX(cpu, rs, 1);
    return;
  }
  const host = dataAddress(cpu, va, size, ACCESS_WRITE, currentEl(cpu));
  if (faulted(cpu)) return;
  store<u32>(cpu, 0, CPU_EXCLUSIVE_SIZE);
  if (host == 0) {
    // Devices have no exclusive monitor.
    setX(cpu, rs, 1);
    return;
  }
  const low = load<u64>(cpu, CPU_EXCLUSIVE_LOW);
  let value = getX(cpu, insn & 31);
  let done: bool;
  if (!isPair) {
    done = compareAndSwap(host, log2, low, log2 == 3 ? value : value & ((<u64>1 << (8 << log2)) - 1));
  } else {
    const other = getX(cpu, (insn >> 10) & 31);
    if (log2 == 2) {
      done = atomic.cmpxchg<u64>(host, low, (value & 0xffffffff) | (other << 32)) == low;
    } else {
      done = storePair(host, low, load<u64>(cpu, CPU_EXCLUSIVE_HIGH), value, other);
    }
  }
  setX(cpu, rs, u32(!done));
}

/** 128-bit compare-and-swap, under a lock word, since the host has none of 128 bits. */
function storePair(host: usize, low: u64, high: u64, newLow: u64, newHigh: u64): bool {
  acquire(HEADER + HEADER_PAIR_LOCK);
  const done = atomic.load<u64>(host) == low && atomic.load<u64>(host + 8) == high;
  if (done) {
    atomic.store<u64>(host, newLow);
    atomic.store<u64>(host + 8, newHigh);
  }
  release(HEADER + HEADER_PAIR_LOCK);
  return done;
}

/** Load/store exclusive and ordered. */
export function executeExclusive(cpu: usize, insn: u32): u32 {
  if (insn & (1 << 23)) return ordered(cpu, insn);
  const isPair = (insn & (1 << 21)) != 0;
  const log2 = insn >> 30;
  if (isPair && log2 < 2) return UNALLOCATED;
  const isLoad = (insn & (1 << 22)) != 0;
  const rn = (insn >> 5) & 31;
  if (baseFaults(cpu, rn)) return NEXT;
  const va = getXsp(cpu, rn);
  if (alignmentFault(cpu, va, isPair ? 2 << log2 : 1 << log2, !isLoad)) return NEXT;
  if (isLoad) loadExclusive(cpu, insn, log2, isPair, va);
  else storeExclusive(cpu, insn, log2, isPair, va);
  return NEXT;
}

function structure(cpu: usize, insn: u32): u32 {
  if (fpTraps(cpu) || baseFaults(cpu, (insn >> 5) & 31)) return NEXT;
  return execSimdLoadStore(cpu, insn) ? NEXT : UNALLOCATED;
}

export function executeMemory(cpu: usize, insn: u32): u32 {
  switch ((insn >> 28) & 3) {
    case 0: {
      if (insn & (1 << 26)) return insn >> 31 ? UNALLOCATED : structure(cpu, insn);
      return insn & (1 << 24) ? UNALLOCATED : executeExclusive(cpu, insn);
    }
    case 1: return insn & (1 << 24) ? UNALLOCATED : literal(cpu, insn);
    case 2: return pair(cpu, insn);
    default: return single(cpu, insn);
  }
}
