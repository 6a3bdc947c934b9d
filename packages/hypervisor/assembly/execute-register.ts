import { TABLE_CRC32, TABLE_CRC32C } from './layout';
import { NEXT, UNALLOCATED } from './status';
import {
  FLAG_C, addNZCV32, addNZCV64, condition, getNZCV, getX, getXsp, setFlagsLogic32, setFlagsLogic64, setFlagsSub32,
  setFlagsSub64, setNZCV, setX, setXsp,
} from './state';
import { crc32 } from './tables';

// Data processing (register), Arm ARM C4.1.95.

/** ShiftReg(): LSL, LSR, ASR or ROR of a 64-bit or zero-extended 32-bit value. */
export function shifted(value: u64, type: u32, amount: u32, wide: bool): u64 {
  if (wide) {
    switch (type) {
      case 0: return value << amount;
      case 1: return value >> amount;
      case 2: return <u64>(<i64>value >> amount);
      default: return rotr<u64>(value, amount);
    }
  }
  const word = <u32>value;
  switch (type) {
    case 0: return <u64>(word << amount);
    case 1: return <u64>(word >> amount);
    case 2: return <u64><u32>(<i32>word >> amount);
    default: return <u64>rotr<u32>(word, amount);
  }
}

/** ExtendReg(): `option` is UXTB … SXTX. */
export function extended(value: u64, option: u32, shift: u32): u64 {
  switch (option) {
    case 0: return (value & 0xff) << shift;
    case 1: return (value & 0xffff) << shift;
    case 2: return (value & 0xffffffff) << shift;
    case 4: return <u64><i64><i8>value << shift;
    case 5: return <u64><i64><i16>value << shift;
    case 6: return <u64><i64><i32>value << shift;
    default: return value << shift;
  }
}

function logical(cpu: usize, insn: u32): u32 {
  const wide = insn >> 31 != 0;
  const amount = (insn >> 10) & 63;
  if (!wide && amount >= 32) return UNALLOCATED;
  let b = shifted(getX(cpu, (insn >> 16) & 31), (insn >> 22) & 3, amount, wide);
  if (insn & (1 << 21)) b = ~b;
  const a = getX(cpu, (insn >> 5) & 31);
  const operation = (insn >> 29) & 3;
  let result = operation == 1 ? a | b : operation == 2 ? a ^ b : a & b;
  if (!wide) result &= 0xffffffff;
  if (operation == 3) {
    if (wide) setFlagsLogic64(cpu, result);
    else setFlagsLogic32(cpu, <u32>result);
  }
  setX(cpu, insn & 31, result);
  return NEXT;
}

function addSubtract(cpu: usize, insn: u32, a: u64, b: u64, stackDestination: bool): u32 {
  const wide = insn >> 31 != 0;
  const subtract = (insn & (1 << 30)) != 0;
  let result = subtract ? a - b : a + b;
  if (!wide) result &= 0xffffffff;
  const rd = insn & 31;
  if ((insn & (1 << 29)) == 0) {
    if (stackDestination) setXsp(cpu, rd, result);
    else setX(cpu, rd, result);
    return NEXT;
  }
  if (subtract) {
    if (wide) setFlagsSub64(cpu, a, b);
    else setFlagsSub32(cpu, <u32>a, <u32>b);
  } else {
    setNZCV(cpu, wide ? addNZCV64(a, b, 0) : addNZCV32(<u32>a, <u32>b, 0));
  }
  setX(cpu, rd, result);
  return NEXT;
}

function addSubtractShifted(cpu: usize, insn: u32): u32 {
  const wide = insn >> 31 != 0;
  const amount = (insn >> 10) & 63;
  const type = (insn >> 22) & 3;
  if (type == 3 || (!wide && amount >= 32)) return UNALLOCATED;
  return addSubtract(cpu, insn, getX(cpu, (insn >> 5) & 31), shifted(getX(cpu, (insn >> 16) & 31), type, amount, wide),
    false);
}

function addSubtractExtended(cpu: usize, insn: u32): u32 {
  const shift = (insn >> 10) & 7;
  if (((insn >> 22) & 3) != 0 || shift > 4) return UNALLOCATED;
  return addSubtract(cpu, insn, getXsp(cpu, (insn >> 5) & 31),
    extended(getX(cpu, (insn >> 16) & 31), (insn >> 13) & 7, shift), true);
}

function addWithCarry(cpu: usize, insn: u32): u32 {
  if (insn & 0xfc00) return UNALLOCATED;
  const a = getX(cpu, (insn >> 5) & 31);
  let b = getX(cpu, (insn >> 16) & 31);
  if (insn & (1 << 30)) b = ~b;
  const carry = u32((getNZCV(cpu) & FLAG_C) != 0);
  const wide = insn >> 31 != 0;
  const result = a + b + carry;
  if (insn & (1 << 29)) setNZCV(cpu, wide ? addNZCV64(a, b, carry) : addNZCV32(<u32>a, <u32>b, carry));
  setX(cpu, insn & 31, wide ? result : result & 0xffffffff);
  return NEXT;
}

/** CCMP and CCMN, immediate and register. */
export function conditionalCompare(cpu: usize, insn: u32): u32 {
  if ((insn & (1 << 29)) == 0 || (insn & 0x410) != 0) return UNALLOCATED;
  if (!condition(cpu, (insn >> 12) & 15)) {
    setNZCV(cpu, insn << 28);
    return NEXT;
  }
  const a = getX(cpu, (insn >> 5) & 31);
  const field = (insn >> 16) & 31;
  const b = (insn & (1 << 11)) ? <u64>field : getX(cpu, field);
  if (insn & (1 << 30)) {
    if (insn >> 31) setFlagsSub64(cpu, a, b);
    else setFlagsSub32(cpu, <u32>a, <u32>b);
  } else {
    setNZCV(cpu, insn >> 31 ? addNZCV64(a, b, 0) : addNZCV32(<u32>a, <u32>b, 0));
  }
  return NEXT;
}

function conditionalSelect(cpu: usize, insn: u32): u32 {
  if (insn & 0x20000800) return UNALLOCATED;
  const wide = insn >> 31 != 0;
  let result: u64;
  if (condition(cpu, (insn >> 12) & 15)) {
    result = getX(cpu, (insn >> 5) & 31);
  } else {
    result = getX(cpu, (insn >> 16) & 31);
    if (insn & (1 << 30)) result = ~result;
    if (insn & (1 << 10)) result++;
  }
  setX(cpu, insn & 31, wide ? result : result & 0xffffffff);
  return NEXT;
}

function multiply(cpu: usize, insn: u32): u32 {
  if (insn & 0x60000000) return UNALLOCATED;
  const n = getX(cpu, (insn >> 5) & 31);
  const m = getX(cpu, (insn >> 16) & 31);
  const a = getX(cpu, (insn >> 10) & 31);
  const subtract = (insn & 0x8000) != 0;
  const rd = insn & 31;
  const wide = insn >> 31 != 0;
  const operation = (insn >> 21) & 7;
  if (operation == 0) {
    const result = subtract ? a - n * m : a + n * m;
    setX(cpu, rd, wide ? result : result & 0xffffffff);
    return NEXT;
  }
  if (!wide) return UNALLOCATED;
  let product: u64;
  switch (operation) {
    case 1: { product = <u64>(<i64><i32>n * <i64><i32>m); break; }
    case 5: { product = <u64><u32>n * <u64><u32>m; break; }
    case 2: {
      if (subtract) return UNALLOCATED;
      setX(cpu, rd, multiplyHighSigned(n, m));
      return NEXT;
    }
    case 6: {
      if (subtract) return UNALLOCATED;
      setX(cpu, rd, multiplyHigh(n, m));
      return NEXT;
    }
    default: return UNALLOCATED;
  }
  setX(cpu, rd, subtract ? a - product : a + product);
  return NEXT;
}

/** Bits 127:64 of the unsigned product. */
export function multiplyHigh(a: u64, b: u64): u64 {
  const aLow = a & 0xffffffff;
  const aHigh = a >> 32;
  const bLow = b & 0xffffffff;
  const bHigh = b >> 32;
  const middle = aHigh * bLow + ((aLow * bLow) >> 32);
  const other = aLow * bHigh + (middle & 0xffffffff);
  return aHigh * bHigh + (middle >> 32) + (other >> 32);
}

/** Bits 127:64 of the signed product. */
export function multiplyHighSigned(a: u64, b: u64): u64 {
  let high = multiplyHigh(a, b);
  if (<i64>a < 0) high -= b;
  if (<i64>b < 0) high -= a;
  return high;
}

export function divideUnsigned(n: u64, m: u64): u64 {
  return m == 0 ? 0 : n / m;
}

export function divideSigned64(n: i64, m: i64): i64 {
  // The quotient of the most negative number and -1 wraps; the host's division would trap.
  return m == 0 ? 0 : m == -1 ? 0 - n : n / m;
}

export function divideSigned32(n: i32, m: i32): i32 {
  return m == 0 ? 0 : m == -1 ? 0 - n : n / m;
}

/** Xn, or Wn zero-extended. */
function operand(cpu: usize, n: u32, wide: bool): u64 {
  return wide ? getX(cpu, n) : getX(cpu, n) & 0xffffffff;
}

function twoSource(cpu: usize, insn: u32): u32 {
  if (insn & (1 << 29)) return UNALLOCATED;
  const wide = insn >> 31 != 0;
  const n = operand(cpu, (insn >> 5) & 31, wide);
  const m = getX(cpu, (insn >> 16) & 31);
  const operation = (insn >> 10) & 63;
  let result: u64;
  switch (operation) {
    case 2: { result = divideUnsigned(n, wide ? m : m & 0xffffffff); break; }
    case 3: {
      result = wide ? <u64>divideSigned64(<i64>n, <i64>m) : <u64><u32>divideSigned32(<i32>n, <i32>m);
      break;
    }
    case 8:
    case 9:
    case 10:
    case 11: { result = shifted(n, operation & 3, <u32>m & (wide ? 63 : 31), wide); break; }
    case 16:
    case 17:
    case 18:
    case 19:
    case 20:
    case 21:
    case 22:
    case 23: {
      const log2 = operation & 3;
      if (wide != (log2 == 3)) return UNALLOCATED;
      result = <u64>crc32(operation & 4 ? TABLE_CRC32C : TABLE_CRC32, <u32>n, m, 1 << log2);
      break;
    }
    default: return UNALLOCATED;
  }
  setX(cpu, insn & 31, result);
  return NEXT;
}

/** RBIT of 64 bits. */
export function reverseBits(value: u64): u64 {
  value = ((value >> 1) & 0x5555555555555555) | ((value & 0x5555555555555555) << 1);
  value = ((value >> 2) & 0x3333333333333333) | ((value & 0x3333333333333333) << 2);
  value = ((value >> 4) & 0x0f0f0f0f0f0f0f0f) | ((value & 0x0f0f0f0f0f0f0f0f) << 4);
  return bswap<u64>(value);
}

/** REV16 of 64 bits. */
export function reverseHalfwords(value: u64): u64 {
  return ((value >> 8) & 0x00ff00ff00ff00ff) | ((value & 0x00ff00ff00ff00ff) << 8);
}

function oneSource(cpu: usize, insn: u32): u32 {
  if ((insn & (1 << 29)) != 0 || ((insn >> 16) & 31) != 0) return UNALLOCATED;
  const wide = insn >> 31 != 0;
  const n = operand(cpu, (insn >> 5) & 31, wide);
  let result: u64;
  switch ((insn >> 10) & 63) {
    case 0: { result = wide ? reverseBits(n) : reverseBits(n) >> 32; break; }
    case 1: { result = reverseHalfwords(n); break; }
    case 2: { result = wide ? rotr<u64>(bswap<u64>(n), 32) : <u64>bswap<u32>(<u32>n); break; }
    case 3: {
      if (!wide) return UNALLOCATED;
      result = bswap<u64>(n);
      break;
    }
    case 4: { result = wide ? clz<u64>(n) : <u64>clz<u32>(<u32>n); break; }
    case 5: {
      result = wide ? clz<u64>((n ^ (n << 1)) | 1) : <u64>clz<u32>((<u32>n ^ (<u32>n << 1)) | 1);
      break;
    }
    default: return UNALLOCATED;
  }
  setX(cpu, insn & 31, result);
  return NEXT;
}

export function executeRegister(cpu: usize, insn: u32): u32 {
  if ((insn & (1 << 28)) == 0) {
    if ((insn & (1 << 24)) == 0) return logical(cpu, insn);
    return insn & (1 << 21) ? addSubtractExtended(cpu, insn) : addSubtractShifted(cpu, insn);
  }
  if (insn & (1 << 24)) return multiply(cpu, insn);
  switch ((insn >> 21) & 7) {
    case 0: return addWithCarry(cpu, insn);
    case 2: return conditionalCompare(cpu, insn);
    case 4: return conditionalSelect(cpu, insn);
    case 6: return insn & (1 << 30) ? oneSource(cpu, insn) : twoSource(cpu, insn);
    default: return UNALLOCATED;
  }
}
