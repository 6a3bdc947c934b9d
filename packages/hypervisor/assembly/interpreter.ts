import { multiprocessor } from './barrier';
import { decodeRecord } from './decode';
import { maintenanceNoted } from './decode-cache';
import {
  divideSigned32, divideSigned64, divideUnsigned, multiplyHigh, reverseBits, reverseHalfwords, shifted,
} from './execute-register';
import { execute } from './execute';
import { resolve } from './fetch';
import {
  CPU_DAIF, CPU_EL, CPU_EXCLUSIVE_ADDRESS, CPU_EXCLUSIVE_LOW, CPU_EXCLUSIVE_SIZE, CPU_FAULTED, CPU_FENCE, CPU_FLAG_A,
  CPU_FLAG_B, CPU_FLAG_KIND, CPU_FP_TRAP, CPU_LEFT, CPU_PC, CPU_SLOW_MODE, CPU_SPSEL, CPU_SP_EL0,
  CPU_TLB, CPU_V, SLOT_PAGE, TLB_ADDEND, TLB_CODE_SLOT, TLB_CODE_TAG, TLB_READ, TLB_WRITE,
} from './layout';
import { Op } from './opcodes';
import { execSimdFp } from './simd';
import { EXIT, LEAVE, NEXT, RESYNC } from './status';
import {
  FLAGS_LOGIC, FLAGS_SUB, addNZCV32, addNZCV64, condition, setFlagsLogic32, setFlagsLogic64, setFlagsSub32,
  setFlagsSub64, setNZCV,
} from './state';
import { bitMaskImmediate } from './tables';
import { PAGE_MASK, codeEntry, dataEntry } from './tlb';

// The interpreter of decoded instructions. `runSlice` must stay one function with one dense switch: it becomes one
// br_table, and everything that is hot lives in locals. A case either completes the instruction and continues, or
// breaks before it has changed anything, and the instruction is executed from its word.

/** X30. */
const LINK: usize = 240;
/** Address bits that a code TLB tag holds; those of a misaligned target match none. */
const CODE_MASK: u64 = 0xfffffffffffff003;
/** The same for data accesses that must be aligned. */
const PAGE_MASK_2: u64 = 0xfffffffffffff001;
const PAGE_MASK_4: u64 = 0xfffffffffffff003;
const PAGE_MASK_8: u64 = 0xfffffffffffff007;

// Fields of the record at `ip`, and the registers that they name.

// @ts-ignore: decorator
@inline
function d(cpu: usize, ip: usize): u64 {
  return load<u64>(cpu + (<usize>load<u8>(ip, 2) << 3));
}

// @ts-ignore: decorator
@inline
function dw(cpu: usize, ip: usize): u32 {
  return load<u32>(cpu + (<usize>load<u8>(ip, 2) << 3));
}

// @ts-ignore: decorator
@inline
function setD(cpu: usize, ip: usize, value: u64): void {
  store<u64>(cpu + (<usize>load<u8>(ip, 2) << 3), value);
}

// @ts-ignore: decorator
@inline
function n(cpu: usize, ip: usize): u64 {
  return load<u64>(cpu + (<usize>load<u8>(ip, 3) << 3));
}

// @ts-ignore: decorator
@inline
function nw(cpu: usize, ip: usize): u32 {
  return load<u32>(cpu + (<usize>load<u8>(ip, 3) << 3));
}

// @ts-ignore: decorator
@inline
function m(cpu: usize, ip: usize): u64 {
  return load<u64>(cpu + (<usize>load<u8>(ip, 4) << 3));
}

// @ts-ignore: decorator
@inline
function mw(cpu: usize, ip: usize): u32 {
  return load<u32>(cpu + (<usize>load<u8>(ip, 4) << 3));
}

// @ts-ignore: decorator
@inline
function a(cpu: usize, ip: usize): u64 {
  return load<u64>(cpu + (<usize>load<u8>(ip, 5) << 3));
}

// @ts-ignore: decorator
@inline
function aw(cpu: usize, ip: usize): u32 {
  return load<u32>(cpu + (<usize>load<u8>(ip, 5) << 3));
}

// @ts-ignore: decorator
@inline
function imm(ip: usize): i32 {
  return load<i32>(ip, 4);
}

/** Bitmask immediate. */
// @ts-ignore: decorator
@inline
function mask(ip: usize): u64 {
  return bitMaskImmediate(<u32>load<u16>(ip, 4));
}

/** Vector register of byte 2, to be used with `CPU_V`. */
// @ts-ignore: decorator
@inline
function vector(cpu: usize, ip: usize): usize {
  return cpu + (<usize>load<u8>(ip, 2) << 4);
}

/** Vector register of byte 4. */
// @ts-ignore: decorator
@inline
function vector2(cpu: usize, ip: usize): usize {
  return cpu + (<usize>load<u8>(ip, 4) << 4);
}

/** Shifted register operand: rm, amount, type. */
function shiftedRegister64(cpu: usize, ip: usize): u64 {
  return shifted(m(cpu, ip), <u32>load<u8>(ip, 6), <u32>load<u8>(ip, 5), true);
}

function shiftedRegister32(cpu: usize, ip: usize): u32 {
  return <u32>shifted(m(cpu, ip), <u32>load<u8>(ip, 6), <u32>load<u8>(ip, 5), false);
}

/** Extended register operand: rm, up, down, signed. */
function extendedRegister(cpu: usize, ip: usize): u64 {
  const up = m(cpu, ip) << <u64>load<u8>(ip, 5);
  const down = <u64>load<u8>(ip, 6);
  return load<u8>(ip, 7) ? <u64>(<i64>up >> down) : up >> down;
}

/** Z. */
// @ts-ignore: decorator
@inline
function flagsEqual(cpu: usize): bool {
  const kind = load<u32>(cpu, CPU_FLAG_KIND);
  const a = load<u64>(cpu, CPU_FLAG_A);
  if (kind == FLAGS_SUB) return a == load<u64>(cpu, CPU_FLAG_B);
  if (kind == FLAGS_LOGIC) return a == 0;
  return (a & 0x40000000) != 0;
}

/** ConditionHolds(). */
function conditionOf(cpu: usize, cond: u32): bool {
  if (load<u32>(cpu, CPU_FLAG_KIND) == FLAGS_SUB) {
    const a = load<u64>(cpu, CPU_FLAG_A);
    const b = load<u64>(cpu, CPU_FLAG_B);
    switch (cond) {
      case 0: return a == b;
      case 1: return a != b;
      case 2: return a >= b;
      case 3: return a < b;
      case 8: return a > b;
      case 9: return a <= b;
      case 10: return <i64>a >= <i64>b;
      case 11: return <i64>a < <i64>b;
      case 12: return <i64>a > <i64>b;
      case 13: return <i64>a <= <i64>b;
      default:
    }
  }
  return condition(cpu, cond);
}

/** Leaves the records: PC and what is left of the slice go to the vCPU block. */
function suspend(cpu: usize, bias: u64, ip: usize, limit: i32): u32 {
  store<u64>(cpu, bias + <u64>(ip >> 1), CPU_PC);
  store<u32>(cpu, <u32>((limit - <i32>ip) >> 3), CPU_LEFT);
  return NEXT;
}

/** Executes the instruction of a record from its word. */
function executeWord(cpu: usize, bias: u64, ip: usize, limit: i32): u32 {
  suspend(cpu, bias, ip, limit);
  const offset = <u32>load<u64>(cpu, CPU_PC) & 0xfff;
  const slot = ip - (offset << 1);
  return execute(cpu, load<u32>(load<u32>(slot, SLOT_PAGE) + offset));
}

/**
 * Runs from PC for about `CPU_LEFT` instructions, or until something else has to be looked at; PC and `CPU_LEFT` are
 * then up to date. Returns EXIT when the host has to act, else LEAVE or NEXT.
 */
export function runSlice(cpu: usize): u32 {
  let ip: usize = resolve(cpu);
  if (ip == 0) {
    store<u32>(cpu, load<u32>(cpu, CPU_LEFT) - 1, CPU_LEFT);
    return LEAVE;
  }
  let limit: i32 = <i32>ip + (<i32>load<u32>(cpu, CPU_LEFT) << 3);
  let bias: u64 = load<u64>(cpu, CPU_PC) - <u64>(ip >> 1);
  let tlb: usize = load<u32>(cpu, CPU_TLB);
  while (true) {
    let far = false;
    let target: u64 = 0;
    switch (<u32>load<u16>(ip)) {
      case Op.Undecoded: {
        decodeRecord(ip, bias + <u64>(ip >> 1));
        continue;
      }
      case Op.Slow: break;
      case Op.PageEnd: {
        target = bias + <u64>(ip >> 1);
        // This is no instruction: it does not count.
        ip -= 8;
        far = true;
        break;
      }
      case Op.MovX: {
        setD(cpu, ip, m(cpu, ip));
ip += 8;
        continue;
      }
      case Op.MovW: {
        setD(cpu, ip, <u64>(mw(cpu, ip)));
ip += 8;
        continue;
      }
      case Op.MovI: {
        setD(cpu, ip, <u64>load<u32>(ip, 4));
ip += 8;
        continue;
      }
      case Op.MovIS: {
        setD(cpu, ip, <u64><i64>imm(ip));
ip += 8;
        continue;
      }
      case Op.MovIShift: {
        setD(cpu, ip, <u64>load<u16>(ip, 4) << <u64>load<u8>(ip, 6));
ip += 8;
        continue;
      }
      case Op.MovNShift: {
        setD(cpu, ip, ~(<u64>load<u16>(ip, 4) << <u64>load<u8>(ip, 6)));
ip += 8;
        continue;
      }
      case Op.MovKX: {
        const shift = <u64>load<u8>(ip, 6);
        setD(cpu, ip, (d(cpu, ip) & ~(<u64>0xffff << shift)) | (<u64>load<u16>(ip, 4) << shift));
        ip += 8;
        continue;
      }
      case Op.MovKW: {
        const shift = <u32>load<u8>(ip, 6);
        setD(cpu, ip, <u64>((dw(cpu, ip) & ~(<u32>0xffff << shift)) | (<u32>load<u16>(ip, 4) << shift)));
        ip += 8;
        continue;
      }
      case Op.Adr: {
        setD(cpu, ip, bias + <u64>(ip >> 1) + <u64><i64>imm(ip));
ip += 8;
        continue;
      }
      case Op.Adrp: {
        setD(cpu, ip, ((bias + <u64>(ip >> 1)) & PAGE_MASK) + (<u64><i64>imm(ip) << 12));
ip += 8;
        continue;
      }
      case Op.AddIX: {
        setD(cpu, ip, n(cpu, ip) + <u64><i64>imm(ip));
ip += 8;
        continue;
      }
      case Op.AddIW: {
        setD(cpu, ip, <u64>(nw(cpu, ip) + imm(ip)));
ip += 8;
        continue;
      }
      case Op.AddISp: {
        const value = n(cpu, ip) + <u64><i64>imm(ip);
        if ((value & 15) != 0) break;
        setD(cpu, ip, value);
        ip += 8;
        continue;
      }
      case Op.CmpIX: {
        setFlagsSub64(cpu, n(cpu, ip), <u64>load<u32>(ip, 4));
ip += 8;
        continue;
      }
      case Op.SubsIX: {
        const a = n(cpu, ip);
        const b = <u64>load<u32>(ip, 4);
        setFlagsSub64(cpu, a, b);
        setD(cpu, ip, a - b);
        ip += 8;
        continue;
      }
      case Op.AddsIX: {
        const a = n(cpu, ip);
        const b = <u64>load<u32>(ip, 4);
        setNZCV(cpu, addNZCV64(a, b, 0));
        setD(cpu, ip, a + b);
        ip += 8;
        continue;
      }
      case Op.CmpRX: {
        setFlagsSub64(cpu, n(cpu, ip), m(cpu, ip));
ip += 8;
        continue;
      }
      case Op.SubsRX: {
        const a = n(cpu, ip);
        const b = m(cpu, ip);
        setFlagsSub64(cpu, a, b);
        setD(cpu, ip, a - b);
        ip += 8;
        continue;
      }
      case Op.AddsRX: {
        const a = n(cpu, ip);
        const b = m(cpu, ip);
        setNZCV(cpu, addNZCV64(a, b, 0));
        setD(cpu, ip, a + b);
        ip += 8;
        continue;
      }
      case Op.AddRX: {
        setD(cpu, ip, n(cpu, ip) + m(cpu, ip));
ip += 8;
        continue;
      }
      case Op.SubRX: {
        setD(cpu, ip, n(cpu, ip) - m(cpu, ip));
ip += 8;
        continue;
      }
      case Op.AddShX: {
        setD(cpu, ip, n(cpu, ip) + shiftedRegister64(cpu, ip));
ip += 8;
        continue;
      }
      case Op.SubShX: {
        setD(cpu, ip, n(cpu, ip) - shiftedRegister64(cpu, ip));
ip += 8;
        continue;
      }
      case Op.AndShX: {
        setD(cpu, ip, n(cpu, ip) & shiftedRegister64(cpu, ip));
ip += 8;
        continue;
      }
      case Op.OrrShX: {
        setD(cpu, ip, n(cpu, ip) | shiftedRegister64(cpu, ip));
ip += 8;
        continue;
      }
      case Op.EorShX: {
        setD(cpu, ip, n(cpu, ip) ^ shiftedRegister64(cpu, ip));
ip += 8;
        continue;
      }
      case Op.CmpShX: {
        setFlagsSub64(cpu, n(cpu, ip), shiftedRegister64(cpu, ip));
ip += 8;
        continue;
      }
      case Op.CmpExtX: {
        setFlagsSub64(cpu, n(cpu, ip), extendedRegister(cpu, ip));
ip += 8;
        continue;
      }
      case Op.TstIX: {
        setFlagsLogic64(cpu, (n(cpu, ip) & mask(ip)));
ip += 8;
        continue;
      }
      case Op.AndsIX: {
        const r = n(cpu, ip) & mask(ip);
        setFlagsLogic64(cpu, r);
        setD(cpu, ip, r);
        ip += 8;
        continue;
      }
      case Op.TstRX: {
        setFlagsLogic64(cpu, n(cpu, ip) & m(cpu, ip));
ip += 8;
        continue;
      }
      case Op.AndsRX: {
        const r = n(cpu, ip) & m(cpu, ip);
        setFlagsLogic64(cpu, r);
        setD(cpu, ip, r);
        ip += 8;
        continue;
      }
      case Op.BicsRX: {
        const r = n(cpu, ip) & ~m(cpu, ip);
        setFlagsLogic64(cpu, r);
        setD(cpu, ip, r);
        ip += 8;
        continue;
      }
      case Op.CmpIW: {
        setFlagsSub32(cpu, nw(cpu, ip), <u32>imm(ip));
ip += 8;
        continue;
      }
      case Op.SubsIW: {
        const a = nw(cpu, ip);
        const b = load<u32>(ip, 4);
        setFlagsSub32(cpu, a, b);
        setD(cpu, ip, <u64>(a - b));
        ip += 8;
        continue;
      }
      case Op.AddsIW: {
        const a = nw(cpu, ip);
        const b = load<u32>(ip, 4);
        setNZCV(cpu, addNZCV32(a, b, 0));
        setD(cpu, ip, <u64>(a + b));
        ip += 8;
        continue;
      }
      case Op.CmpRW: {
        setFlagsSub32(cpu, nw(cpu, ip), mw(cpu, ip));
ip += 8;
        continue;
      }
      case Op.SubsRW: {
        const a = nw(cpu, ip);
        const b = mw(cpu, ip);
        setFlagsSub32(cpu, a, b);
        setD(cpu, ip, <u64>(a - b));
        ip += 8;
        continue;
      }
      case Op.AddsRW: {
        const a = nw(cpu, ip);
        const b = mw(cpu, ip);
        setNZCV(cpu, addNZCV32(a, b, 0));
        setD(cpu, ip, <u64>(a + b));
        ip += 8;
        continue;
      }
      case Op.AddRW: {
        setD(cpu, ip, <u64>(nw(cpu, ip) + mw(cpu, ip)));
ip += 8;
        continue;
      }
      case Op.SubRW: {
        setD(cpu, ip, <u64>(nw(cpu, ip) - mw(cpu, ip)));
ip += 8;
        continue;
      }
      case Op.AddShW: {
        setD(cpu, ip, <u64>(nw(cpu, ip) + shiftedRegister32(cpu, ip)));
ip += 8;
        continue;
      }
      case Op.SubShW: {
        setD(cpu, ip, <u64>(nw(cpu, ip) - shiftedRegister32(cpu, ip)));
ip += 8;
        continue;
      }
      case Op.AndShW: {
        setD(cpu, ip, <u64>(nw(cpu, ip) & shiftedRegister32(cpu, ip)));
ip += 8;
        continue;
      }
      case Op.OrrShW: {
        setD(cpu, ip, <u64>(nw(cpu, ip) | shiftedRegister32(cpu, ip)));
ip += 8;
        continue;
      }
      case Op.EorShW: {
        setD(cpu, ip, <u64>(nw(cpu, ip) ^ shiftedRegister32(cpu, ip)));
ip += 8;
        continue;
      }
      case Op.CmpShW: {
        setFlagsSub32(cpu, nw(cpu, ip), shiftedRegister32(cpu, ip));
ip += 8;
        continue;
      }
      case Op.CmpExtW: {
        setFlagsSub32(cpu, nw(cpu, ip), <u32>extendedRegister(cpu, ip));
ip += 8;
        continue;
      }
      case Op.TstIW: {
        setFlagsLogic32(cpu, <u32>(n(cpu, ip) & mask(ip)));
ip += 8;
        continue;
      }
      case Op.AndsIW: {
        const r = n(cpu, ip) & mask(ip);
        setFlagsLogic32(cpu, <u32>r);
        setD(cpu, ip, r);
        ip += 8;
        continue;
      }
      case Op.TstRW: {
        setFlagsLogic32(cpu, nw(cpu, ip) & mw(cpu, ip));
ip += 8;
        continue;
      }
      case Op.AndsRW: {
        const r = nw(cpu, ip) & mw(cpu, ip);
        setFlagsLogic32(cpu, r);
        setD(cpu, ip, <u64>(r));
        ip += 8;
        continue;
      }
      case Op.BicsRW: {
        const r = nw(cpu, ip) & ~mw(cpu, ip);
        setFlagsLogic32(cpu, r);
        setD(cpu, ip, <u64>(r));
        ip += 8;
        continue;
      }
      case Op.AddLslX: {
        setD(cpu, ip, n(cpu, ip) + (m(cpu, ip) << <u64>load<u8>(ip, 5)));
ip += 8;
        continue;
      }
      case Op.AddExtX: {
        setD(cpu, ip, n(cpu, ip) + extendedRegister(cpu, ip));
ip += 8;
        continue;
      }
      case Op.SubExtX: {
        setD(cpu, ip, n(cpu, ip) - extendedRegister(cpu, ip));
ip += 8;
        continue;
      }
      case Op.AndI: {
        setD(cpu, ip, n(cpu, ip) & mask(ip));
ip += 8;
        continue;
      }
      case Op.OrrIX: {
        setD(cpu, ip, n(cpu, ip) | mask(ip));
ip += 8;
        continue;
      }
      case Op.OrrIW: {
        setD(cpu, ip, <u64>(nw(cpu, ip) | <u32>mask(ip)));
ip += 8;
        continue;
      }
      case Op.EorIX: {
        setD(cpu, ip, n(cpu, ip) ^ mask(ip));
ip += 8;
        continue;
      }
      case Op.EorIW: {
        setD(cpu, ip, <u64>(nw(cpu, ip) ^ <u32>mask(ip)));
ip += 8;
        continue;
      }
      case Op.AndRX: {
        setD(cpu, ip, n(cpu, ip) & m(cpu, ip));
ip += 8;
        continue;
      }
      case Op.AndRW: {
        setD(cpu, ip, <u64>(nw(cpu, ip) & mw(cpu, ip)));
ip += 8;
        continue;
      }
      case Op.OrrRX: {
        setD(cpu, ip, n(cpu, ip) | m(cpu, ip));
ip += 8;
        continue;
      }
      case Op.OrrRW: {
        setD(cpu, ip, <u64>(nw(cpu, ip) | mw(cpu, ip)));
ip += 8;
        continue;
      }
      case Op.EorRX: {
        setD(cpu, ip, n(cpu, ip) ^ m(cpu, ip));
ip += 8;
        continue;
      }
      case Op.EorRW: {
        setD(cpu, ip, <u64>(nw(cpu, ip) ^ mw(cpu, ip)));
ip += 8;
        continue;
      }
      case Op.BicRX: {
        setD(cpu, ip, n(cpu, ip) & ~m(cpu, ip));
ip += 8;
        continue;
      }
      case Op.BicRW: {
        setD(cpu, ip, <u64>(nw(cpu, ip) & ~mw(cpu, ip)));
ip += 8;
        continue;
      }
      case Op.OrnX: {
        setD(cpu, ip, n(cpu, ip) | ~m(cpu, ip));
ip += 8;
        continue;
      }
      case Op.OrnW: {
        setD(cpu, ip, <u64>(nw(cpu, ip) | ~mw(cpu, ip)));
ip += 8;
        continue;
      }
      case Op.Ubfm: {
        setD(cpu, ip, (n(cpu, ip) << <u64>load<u8>(ip, 4)) >> <u64>load<u8>(ip, 5));
ip += 8;
        continue;
      }
      case Op.SbfmX: {
        setD(cpu, ip, <u64>(<i64>(n(cpu, ip) << <u64>load<u8>(ip, 4)) >> <i64>load<u8>(ip, 5)));
ip += 8;
        continue;
      }
      case Op.SbfmW: {
        setD(cpu, ip, <u64>(<i64>(n(cpu, ip) << <u64>load<u8>(ip, 4)) >> <i64>load<u8>(ip, 5)) & 0xffffffff);
ip += 8;
        continue;
      }
      case Op.BfmX: {
        const up = <u64>load<u8>(ip, 4);
        const down = <u64>load<u8>(ip, 5);
        const field = (~<u64>0 << up) >> down;
        setD(cpu, ip, (d(cpu, ip) & ~field) | ((n(cpu, ip) << up) >> down));
        ip += 8;
        continue;
      }
      case Op.BfmW: {
        const up = <u64>load<u8>(ip, 4);
        const down = <u64>load<u8>(ip, 5);
        const field = (~<u64>0 << up) >> down;
        setD(cpu, ip, (<u64>dw(cpu, ip) & ~field) | ((n(cpu, ip) << up) >> down));
        ip += 8;
        continue;
      }
      case Op.RorX: {
        setD(cpu, ip, rotr<u64>(n(cpu, ip), <u64>load<u8>(ip, 4)));
ip += 8;
        continue;
      }
      case Op.RorW: {
        setD(cpu, ip, <u64>(rotr<u32>(nw(cpu, ip), <u32>load<u8>(ip, 4))));
ip += 8;
        continue;
      }
      case Op.ExtrX: {
        const lsb = <u64>load<u8>(ip, 5);
        setD(cpu, ip, (m(cpu, ip) >> lsb) | (n(cpu, ip) << (64 - lsb)));
        ip += 8;
        continue;
      }
      case Op.LslvX: {
        setD(cpu, ip, n(cpu, ip) << (m(cpu, ip) & 63));
ip += 8;
        continue;
      }
      case Op.LslvW: {
        setD(cpu, ip, <u64>(nw(cpu, ip) << (mw(cpu, ip) & 31)));
ip += 8;
        continue;
      }
      case Op.LsrvX: {
        setD(cpu, ip, n(cpu, ip) >> (m(cpu, ip) & 63));
ip += 8;
        continue;
      }
      case Op.LsrvW: {
        setD(cpu, ip, <u64>(nw(cpu, ip) >> (mw(cpu, ip) & 31)));
ip += 8;
        continue;
      }
      case Op.AsrvX: {
        setD(cpu, ip, <u64>(<i64>n(cpu, ip) >> (<i64>m(cpu, ip) & 63)));
ip += 8;
        continue;
      }
      case Op.AsrvW: {
        setD(cpu, ip, <u64>(<u32>(<i32>nw(cpu, ip) >> (<i32>mw(cpu, ip) & 31))));
ip += 8;
        continue;
      }
      case Op.MaddX: {
        setD(cpu, ip, a(cpu, ip) + n(cpu, ip) * m(cpu, ip));
ip += 8;
        continue;
      }
      case Op.MaddW: {
        setD(cpu, ip, <u64>(aw(cpu, ip) + nw(cpu, ip) * mw(cpu, ip)));
ip += 8;
        continue;
      }
      case Op.MsubX: {
        setD(cpu, ip, a(cpu, ip) - n(cpu, ip) * m(cpu, ip));
ip += 8;
        continue;
      }
      case Op.MsubW: {
        setD(cpu, ip, <u64>(aw(cpu, ip) - nw(cpu, ip) * mw(cpu, ip)));
ip += 8;
        continue;
      }
      case Op.Umaddl: {
        setD(cpu, ip, a(cpu, ip) + <u64>nw(cpu, ip) * <u64>mw(cpu, ip));
ip += 8;
        continue;
      }
      case Op.Smaddl: {
        setD(cpu, ip, a(cpu, ip) + <u64>(<i64><i32>nw(cpu, ip) * <i64><i32>mw(cpu, ip)));
ip += 8;
        continue;
      }
      case Op.Umulh: {
        setD(cpu, ip, multiplyHigh(n(cpu, ip), m(cpu, ip)));
ip += 8;
        continue;
      }
      case Op.UdivX: {
        setD(cpu, ip, divideUnsigned(n(cpu, ip), m(cpu, ip)));
ip += 8;
        continue;
      }
      case Op.UdivW: {
        const divisor = mw(cpu, ip);
        setD(cpu, ip, divisor == 0 ? 0 : <u64>(nw(cpu, ip) / divisor));
        ip += 8;
        continue;
      }
      case Op.SdivX: {
        setD(cpu, ip, <u64>divideSigned64(<i64>n(cpu, ip), <i64>m(cpu, ip)));
ip += 8;
        continue;
      }
      case Op.SdivW: {
        setD(cpu, ip, <u64>(<u32>divideSigned32(<i32>nw(cpu, ip), <i32>mw(cpu, ip))));
ip += 8;
        continue;
      }
      case Op.ClzX: {
        setD(cpu, ip, clz<u64>(n(cpu, ip)));
ip += 8;
        continue;
      }
      case Op.ClzW: {
        setD(cpu, ip, <u64>(clz<u32>(nw(cpu, ip))));
ip += 8;
        continue;
      }
      case Op.RbitX: {
        setD(cpu, ip, reverseBits(n(cpu, ip)));
ip += 8;
        continue;
      }
      case Op.RbitW: {
        setD(cpu, ip, reverseBits(n(cpu, ip)) >> 32);
ip += 8;
        continue;
      }
      case Op.RevX: {
        setD(cpu, ip, bswap<u64>(n(cpu, ip)));
ip += 8;
        continue;
      }
      case Op.RevW: {
        setD(cpu, ip, <u64>(bswap<u32>(nw(cpu, ip))));
ip += 8;
        continue;
      }
      case Op.Rev16X: {
        setD(cpu, ip, reverseHalfwords(n(cpu, ip)));
ip += 8;
        continue;
      }
      case Op.Rev16W: {
        setD(cpu, ip, reverseHalfwords(<u64>nw(cpu, ip)));
ip += 8;
        continue;
      }
      case Op.CselX: {
        const holds = conditionOf(cpu, load<u8>(ip, 5));
        setD(cpu, ip, holds ? n(cpu, ip) : m(cpu, ip));
        ip += 8;
        continue;
      }
      case Op.CselW: {
        const holds = conditionOf(cpu, load<u8>(ip, 5));
        setD(cpu, ip, <u64>(holds ? nw(cpu, ip) : mw(cpu, ip)));
        ip += 8;
        continue;
      }
      case Op.CsincX: {
        const holds = conditionOf(cpu, load<u8>(ip, 5));
        setD(cpu, ip, holds ? n(cpu, ip) : m(cpu, ip) + 1);
        ip += 8;
        continue;
      }
      case Op.CsincW: {
        const holds = conditionOf(cpu, load<u8>(ip, 5));
        setD(cpu, ip, <u64>(holds ? nw(cpu, ip) : mw(cpu, ip) + 1));
        ip += 8;
        continue;
      }
      case Op.CsinvX: {
        const holds = conditionOf(cpu, load<u8>(ip, 5));
        setD(cpu, ip, holds ? n(cpu, ip) : ~m(cpu, ip));
        ip += 8;
        continue;
      }
      case Op.CsinvW: {
        const holds = conditionOf(cpu, load<u8>(ip, 5));
        setD(cpu, ip, <u64>(holds ? nw(cpu, ip) : ~mw(cpu, ip)));
        ip += 8;
        continue;
      }
      case Op.CsnegX: {
        const holds = conditionOf(cpu, load<u8>(ip, 5));
        setD(cpu, ip, holds ? n(cpu, ip) : 0 - m(cpu, ip));
        ip += 8;
        continue;
      }
      case Op.CsnegW: {
        const holds = conditionOf(cpu, load<u8>(ip, 5));
        setD(cpu, ip, <u64>(holds ? nw(cpu, ip) : <u32>0 - mw(cpu, ip)));
        ip += 8;
        continue;
      }
      case Op.CcmpIX: {
        if (conditionOf(cpu, load<u8>(ip, 2))) setFlagsSub64(cpu, n(cpu, ip), <u64>load<u8>(ip, 4));
        else setNZCV(cpu, <u32>load<u8>(ip, 5) << 28);
        ip += 8;
        continue;
      }
      case Op.CcmpRX: {
        if (conditionOf(cpu, load<u8>(ip, 2))) setFlagsSub64(cpu, n(cpu, ip), m(cpu, ip));
        else setNZCV(cpu, <u32>load<u8>(ip, 5) << 28);
        ip += 8;
        continue;
      }
      case Op.CcmpIW: {
        if (conditionOf(cpu, load<u8>(ip, 2))) setFlagsSub32(cpu, nw(cpu, ip), <u32>load<u8>(ip, 4));
        else setNZCV(cpu, <u32>load<u8>(ip, 5) << 28);
        ip += 8;
        continue;
      }
      case Op.CcmpRW: {
        if (conditionOf(cpu, load<u8>(ip, 2))) setFlagsSub32(cpu, nw(cpu, ip), mw(cpu, ip));
        else setNZCV(cpu, <u32>load<u8>(ip, 5) << 28);
        ip += 8;
        continue;
      }
      case Op.B: {
        const record = load<u64>(ip);
        if (<u16>record != Op.B) continue;
        const delta = <i32>(<i64>record >> 48);
        ip += delta;
        limit += delta - 8;
        if (<i32>ip < limit) continue;
        return suspend(cpu, bias, ip, limit);
      }
      case Op.Bl: {
        const record = load<u64>(ip);
        if (<u16>record != Op.Bl) continue;
        store<u64>(cpu, bias + <u64>(ip >> 1) + 4, LINK);
        const delta = <i32>(<i64>record >> 48);
        ip += delta;
        limit += delta - 8;
        if (<i32>ip < limit) continue;
        return suspend(cpu, bias, ip, limit);
      }
      case Op.BFar: {
        const record = load<u64>(ip);
        if (<u16>record != Op.BFar) continue;
        target = bias + <u64>(ip >> 1) + <u64>(<i64>record >> 32);
        far = true;
        break;
      }
      case Op.BlFar: {
        const record = load<u64>(ip);
        if (<u16>record != Op.BlFar) continue;
        const pc = bias + <u64>(ip >> 1);
        store<u64>(cpu, pc + 4, LINK);
        target = pc + <u64>(<i64>record >> 32);
        far = true;
        break;
      }
      case Op.Br: {
        target = n(cpu, ip);
        far = true;
        break;
      }
      case Op.Blr: {
        target = n(cpu, ip);
        store<u64>(cpu, bias + <u64>(ip >> 1) + 4, LINK);
        far = true;
        break;
      }
      case Op.CbzX: {
        if (d(cpu, ip) == 0) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 8;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 8;
        continue;
      }
      case Op.CbzW: {
        if (dw(cpu, ip) == 0) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 8;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 8;
        continue;
      }
      case Op.CbnzX: {
        if (d(cpu, ip) != 0) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 8;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 8;
        continue;
      }
      case Op.CbnzW: {
        if (dw(cpu, ip) != 0) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 8;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 8;
        continue;
      }
      case Op.Tbz: {
        if (((d(cpu, ip) >> <u64>load<u8>(ip, 4)) & 1) == 0) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 8;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 8;
        continue;
      }
      case Op.Tbnz: {
        if (((d(cpu, ip) >> <u64>load<u8>(ip, 4)) & 1) != 0) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 8;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 8;
        continue;
      }
      case Op.CbzFarX: {
        if (d(cpu, ip) == 0) {
          target = bias + <u64>(ip >> 1) + <u64><i64>imm(ip);
          far = true;
          break;
        }
        ip += 8;
        continue;
      }
      case Op.CbzFarW: {
        if (dw(cpu, ip) == 0) {
          target = bias + <u64>(ip >> 1) + <u64><i64>imm(ip);
          far = true;
          break;
        }
        ip += 8;
        continue;
      }
      case Op.CbnzFarX: {
        if (d(cpu, ip) != 0) {
          target = bias + <u64>(ip >> 1) + <u64><i64>imm(ip);
          far = true;
          break;
        }
        ip += 8;
        continue;
      }
      case Op.CbnzFarW: {
        if (dw(cpu, ip) != 0) {
          target = bias + <u64>(ip >> 1) + <u64><i64>imm(ip);
          far = true;
          break;
        }
        ip += 8;
        continue;
      }
      case Op.TbzFar: {
        if (((d(cpu, ip) >> <u64>load<u8>(ip, 3)) & 1) == 0) {
          target = bias + <u64>(ip >> 1) + <u64><i64>imm(ip);
          far = true;
          break;
        }
        ip += 8;
        continue;
      }
      case Op.TbnzFar: {
        if (((d(cpu, ip) >> <u64>load<u8>(ip, 3)) & 1) != 0) {
          target = bias + <u64>(ip >> 1) + <u64><i64>imm(ip);
          far = true;
          break;
        }
        ip += 8;
        continue;
      }
      case Op.BEq: {
        if (flagsEqual(cpu)) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 8;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 8;
        continue;
      }
      case Op.BNe: {
        if (!flagsEqual(cpu)) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 8;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 8;
        continue;
      }
      case Op.BCond: {
        if (conditionOf(cpu, load<u8>(ip, 2))) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 8;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 8;
        continue;
      }
      case Op.BCondFar: {
        if (conditionOf(cpu, load<u8>(ip, 2))) {
          target = bias + <u64>(ip >> 1) + <u64><i64>imm(ip);
          far = true;
          break;
        }
        ip += 8;
        continue;
      }
      case Op.CmpIXBEq: {
        const a = n(cpu, ip);
        const b = <u64>load<u16>(ip, 4);
        setFlagsSub64(cpu, a, b);
        if (a == b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpIXBNe: {
        const a = n(cpu, ip);
        const b = <u64>load<u16>(ip, 4);
        setFlagsSub64(cpu, a, b);
        if (a != b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpIXBCs: {
        const a = n(cpu, ip);
        const b = <u64>load<u16>(ip, 4);
        setFlagsSub64(cpu, a, b);
        if (a >= b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpIXBCc: {
        const a = n(cpu, ip);
        const b = <u64>load<u16>(ip, 4);
        setFlagsSub64(cpu, a, b);
        if (a < b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpIXBHi: {
        const a = n(cpu, ip);
        const b = <u64>load<u16>(ip, 4);
        setFlagsSub64(cpu, a, b);
        if (a > b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpIXBLs: {
        const a = n(cpu, ip);
        const b = <u64>load<u16>(ip, 4);
        setFlagsSub64(cpu, a, b);
        if (a <= b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpIXBGe: {
        const a = n(cpu, ip);
        const b = <u64>load<u16>(ip, 4);
        setFlagsSub64(cpu, a, b);
        if (<i64>a >= <i64>b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpIXBLt: {
        const a = n(cpu, ip);
        const b = <u64>load<u16>(ip, 4);
        setFlagsSub64(cpu, a, b);
        if (<i64>a < <i64>b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpIXBGt: {
        const a = n(cpu, ip);
        const b = <u64>load<u16>(ip, 4);
        setFlagsSub64(cpu, a, b);
        if (<i64>a > <i64>b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpIXBLe: {
        const a = n(cpu, ip);
        const b = <u64>load<u16>(ip, 4);
        setFlagsSub64(cpu, a, b);
        if (<i64>a <= <i64>b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpRXBEq: {
        const a = n(cpu, ip);
        const b = m(cpu, ip);
        setFlagsSub64(cpu, a, b);
        if (a == b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpRXBNe: {
        const a = n(cpu, ip);
        const b = m(cpu, ip);
        setFlagsSub64(cpu, a, b);
        if (a != b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpRXBCs: {
        const a = n(cpu, ip);
        const b = m(cpu, ip);
        setFlagsSub64(cpu, a, b);
        if (a >= b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpRXBCc: {
        const a = n(cpu, ip);
        const b = m(cpu, ip);
        setFlagsSub64(cpu, a, b);
        if (a < b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpRXBHi: {
        const a = n(cpu, ip);
        const b = m(cpu, ip);
        setFlagsSub64(cpu, a, b);
        if (a > b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpRXBLs: {
        const a = n(cpu, ip);
        const b = m(cpu, ip);
        setFlagsSub64(cpu, a, b);
        if (a <= b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpRXBGe: {
        const a = n(cpu, ip);
        const b = m(cpu, ip);
        setFlagsSub64(cpu, a, b);
        if (<i64>a >= <i64>b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpRXBLt: {
        const a = n(cpu, ip);
        const b = m(cpu, ip);
        setFlagsSub64(cpu, a, b);
        if (<i64>a < <i64>b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpRXBGt: {
        const a = n(cpu, ip);
        const b = m(cpu, ip);
        setFlagsSub64(cpu, a, b);
        if (<i64>a > <i64>b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpRXBLe: {
        const a = n(cpu, ip);
        const b = m(cpu, ip);
        setFlagsSub64(cpu, a, b);
        if (<i64>a <= <i64>b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpIWBEq: {
        const a = nw(cpu, ip);
        const b = <u32>load<u16>(ip, 4);
        setFlagsSub32(cpu, a, b);
        if (a == b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpIWBNe: {
        const a = nw(cpu, ip);
        const b = <u32>load<u16>(ip, 4);
        setFlagsSub32(cpu, a, b);
        if (a != b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpIWBCs: {
        const a = nw(cpu, ip);
        const b = <u32>load<u16>(ip, 4);
        setFlagsSub32(cpu, a, b);
        if (a >= b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpIWBCc: {
        const a = nw(cpu, ip);
        const b = <u32>load<u16>(ip, 4);
        setFlagsSub32(cpu, a, b);
        if (a < b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpIWBHi: {
        const a = nw(cpu, ip);
        const b = <u32>load<u16>(ip, 4);
        setFlagsSub32(cpu, a, b);
        if (a > b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpIWBLs: {
        const a = nw(cpu, ip);
        const b = <u32>load<u16>(ip, 4);
        setFlagsSub32(cpu, a, b);
        if (a <= b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpIWBGe: {
        const a = nw(cpu, ip);
        const b = <u32>load<u16>(ip, 4);
        setFlagsSub32(cpu, a, b);
        if (<i32>a >= <i32>b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpIWBLt: {
        const a = nw(cpu, ip);
        const b = <u32>load<u16>(ip, 4);
        setFlagsSub32(cpu, a, b);
        if (<i32>a < <i32>b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpIWBGt: {
        const a = nw(cpu, ip);
        const b = <u32>load<u16>(ip, 4);
        setFlagsSub32(cpu, a, b);
        if (<i32>a > <i32>b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpIWBLe: {
        const a = nw(cpu, ip);
        const b = <u32>load<u16>(ip, 4);
        setFlagsSub32(cpu, a, b);
        if (<i32>a <= <i32>b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpRWBEq: {
        const a = nw(cpu, ip);
        const b = mw(cpu, ip);
        setFlagsSub32(cpu, a, b);
        if (a == b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpRWBNe: {
        const a = nw(cpu, ip);
        const b = mw(cpu, ip);
        setFlagsSub32(cpu, a, b);
        if (a != b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpRWBCs: {
        const a = nw(cpu, ip);
        const b = mw(cpu, ip);
        setFlagsSub32(cpu, a, b);
        if (a >= b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpRWBCc: {
        const a = nw(cpu, ip);
        const b = mw(cpu, ip);
        setFlagsSub32(cpu, a, b);
        if (a < b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpRWBHi: {
        const a = nw(cpu, ip);
        const b = mw(cpu, ip);
        setFlagsSub32(cpu, a, b);
        if (a > b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpRWBLs: {
        const a = nw(cpu, ip);
        const b = mw(cpu, ip);
        setFlagsSub32(cpu, a, b);
        if (a <= b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpRWBGe: {
        const a = nw(cpu, ip);
        const b = mw(cpu, ip);
        setFlagsSub32(cpu, a, b);
        if (<i32>a >= <i32>b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpRWBLt: {
        const a = nw(cpu, ip);
        const b = mw(cpu, ip);
        setFlagsSub32(cpu, a, b);
        if (<i32>a < <i32>b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpRWBGt: {
        const a = nw(cpu, ip);
        const b = mw(cpu, ip);
        setFlagsSub32(cpu, a, b);
        if (<i32>a > <i32>b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.CmpRWBLe: {
        const a = nw(cpu, ip);
        const b = mw(cpu, ip);
        setFlagsSub32(cpu, a, b);
        if (<i32>a <= <i32>b) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.TstIXBEq: {
        const r = n(cpu, ip) & mask(ip);
        setFlagsLogic64(cpu, r);
        if (r == 0) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.TstIXBNe: {
        const r = n(cpu, ip) & mask(ip);
        setFlagsLogic64(cpu, r);
        if (r != 0) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.TstRXBEq: {
        const r = n(cpu, ip) & m(cpu, ip);
        setFlagsLogic64(cpu, r);
        if (r == 0) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.TstRXBNe: {
        const r = n(cpu, ip) & m(cpu, ip);
        setFlagsLogic64(cpu, r);
        if (r != 0) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.TstIWBEq: {
        const r = n(cpu, ip) & mask(ip);
        setFlagsLogic32(cpu, <u32>r);
        if (r == 0) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.TstIWBNe: {
        const r = n(cpu, ip) & mask(ip);
        setFlagsLogic32(cpu, <u32>r);
        if (r != 0) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.TstRWBEq: {
        const r = nw(cpu, ip) & mw(cpu, ip);
        setFlagsLogic32(cpu, r);
        if (r == 0) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.TstRWBNe: {
        const r = nw(cpu, ip) & mw(cpu, ip);
        setFlagsLogic32(cpu, r);
        if (r != 0) {
          const delta = <i32>load<i16>(ip, 6);
          ip += delta;
          limit += delta - 16;
          if (<i32>ip < limit) continue;
          return suspend(cpu, bias, ip, limit);
        }
        ip += 16;
        continue;
      }
      case Op.LdrXI: {
        const va = n(cpu, ip) + <u64><i64>imm(ip);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 7) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, load<u64>(host));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrXWb: {
        const base = n(cpu, ip);
        const va = base + <u64><i64>load<i16>(ip, 4);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 7) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, load<u64>(host));
          store<u64>(cpu + (<usize>load<u8>(ip, 3) << 3), base + <u64><i64>load<i16>(ip, 6));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrXR: {
        const va = n(cpu, ip) + ((m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <u64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 7) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, load<u64>(host));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrXRs: {
        const va = n(cpu, ip) + <u64>(<i64>(m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <i64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 7) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, load<u64>(host));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrWI: {
        const va = n(cpu, ip) + <u64><i64>imm(ip);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 3) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, <u64>load<u32>(host));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrWWb: {
        const base = n(cpu, ip);
        const va = base + <u64><i64>load<i16>(ip, 4);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 3) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, <u64>load<u32>(host));
          store<u64>(cpu + (<usize>load<u8>(ip, 3) << 3), base + <u64><i64>load<i16>(ip, 6));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrWR: {
        const va = n(cpu, ip) + ((m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <u64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 3) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, <u64>load<u32>(host));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrWRs: {
        const va = n(cpu, ip) + <u64>(<i64>(m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <i64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 3) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, <u64>load<u32>(host));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrHI: {
        const va = n(cpu, ip) + <u64><i64>imm(ip);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 1) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, <u64>load<u16>(host));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrHWb: {
        const base = n(cpu, ip);
        const va = base + <u64><i64>load<i16>(ip, 4);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 1) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, <u64>load<u16>(host));
          store<u64>(cpu + (<usize>load<u8>(ip, 3) << 3), base + <u64><i64>load<i16>(ip, 6));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrHR: {
        const va = n(cpu, ip) + ((m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <u64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 1) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, <u64>load<u16>(host));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrHRs: {
        const va = n(cpu, ip) + <u64>(<i64>(m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <i64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 1) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, <u64>load<u16>(host));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrBI: {
        const va = n(cpu, ip) + <u64><i64>imm(ip);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == (va & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, <u64>load<u8>(host));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrBWb: {
        const base = n(cpu, ip);
        const va = base + <u64><i64>load<i16>(ip, 4);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == (va & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, <u64>load<u8>(host));
          store<u64>(cpu + (<usize>load<u8>(ip, 3) << 3), base + <u64><i64>load<i16>(ip, 6));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrBR: {
        const va = n(cpu, ip) + ((m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <u64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == (va & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, <u64>load<u8>(host));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrBRs: {
        const va = n(cpu, ip) + <u64>(<i64>(m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <i64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == (va & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, <u64>load<u8>(host));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrSWI: {
        const va = n(cpu, ip) + <u64><i64>imm(ip);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 3) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, <u64><i64>load<i32>(host));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrSWWb: {
        const base = n(cpu, ip);
        const va = base + <u64><i64>load<i16>(ip, 4);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 3) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, <u64><i64>load<i32>(host));
          store<u64>(cpu + (<usize>load<u8>(ip, 3) << 3), base + <u64><i64>load<i16>(ip, 6));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrSWR: {
        const va = n(cpu, ip) + ((m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <u64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 3) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, <u64><i64>load<i32>(host));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrSWRs: {
        const va = n(cpu, ip) + <u64>(<i64>(m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <i64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 3) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, <u64><i64>load<i32>(host));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrSHXI: {
        const va = n(cpu, ip) + <u64><i64>imm(ip);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 1) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, <u64><i64>load<i16>(host));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrSHXWb: {
        const base = n(cpu, ip);
        const va = base + <u64><i64>load<i16>(ip, 4);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 1) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, <u64><i64>load<i16>(host));
          store<u64>(cpu + (<usize>load<u8>(ip, 3) << 3), base + <u64><i64>load<i16>(ip, 6));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrSHXR: {
        const va = n(cpu, ip) + ((m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <u64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 1) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, <u64><i64>load<i16>(host));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrSHXRs: {
        const va = n(cpu, ip) + <u64>(<i64>(m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <i64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 1) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, <u64><i64>load<i16>(host));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrSHWI: {
        const va = n(cpu, ip) + <u64><i64>imm(ip);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 1) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, <u64><u32><i32>load<i16>(host));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrSHWWb: {
        const base = n(cpu, ip);
        const va = base + <u64><i64>load<i16>(ip, 4);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 1) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, <u64><u32><i32>load<i16>(host));
          store<u64>(cpu + (<usize>load<u8>(ip, 3) << 3), base + <u64><i64>load<i16>(ip, 6));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrSHWR: {
        const va = n(cpu, ip) + ((m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <u64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 1) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, <u64><u32><i32>load<i16>(host));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrSHWRs: {
        const va = n(cpu, ip) + <u64>(<i64>(m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <i64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 1) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, <u64><u32><i32>load<i16>(host));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrSBXI: {
        const va = n(cpu, ip) + <u64><i64>imm(ip);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == (va & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, <u64><i64>load<i8>(host));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrSBXWb: {
        const base = n(cpu, ip);
        const va = base + <u64><i64>load<i16>(ip, 4);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == (va & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, <u64><i64>load<i8>(host));
          store<u64>(cpu + (<usize>load<u8>(ip, 3) << 3), base + <u64><i64>load<i16>(ip, 6));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrSBXR: {
        const va = n(cpu, ip) + ((m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <u64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == (va & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, <u64><i64>load<i8>(host));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrSBXRs: {
        const va = n(cpu, ip) + <u64>(<i64>(m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <i64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == (va & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, <u64><i64>load<i8>(host));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrSBWI: {
        const va = n(cpu, ip) + <u64><i64>imm(ip);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == (va & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, <u64><u32><i32>load<i8>(host));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrSBWWb: {
        const base = n(cpu, ip);
        const va = base + <u64><i64>load<i16>(ip, 4);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == (va & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, <u64><u32><i32>load<i8>(host));
          store<u64>(cpu + (<usize>load<u8>(ip, 3) << 3), base + <u64><i64>load<i16>(ip, 6));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrSBWR: {
        const va = n(cpu, ip) + ((m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <u64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == (va & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, <u64><u32><i32>load<i8>(host));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrSBWRs: {
        const va = n(cpu, ip) + <u64>(<i64>(m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <i64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == (va & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, <u64><u32><i32>load<i8>(host));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StrXI: {
        const va = n(cpu, ip) + <u64><i64>imm(ip);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == ((va + 7) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          store<u64>(host, d(cpu, ip));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StrXWb: {
        const va = n(cpu, ip) + <u64><i64>load<i16>(ip, 4);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == ((va + 7) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          store<u64>(host, d(cpu, ip));
          const base = cpu + (<usize>load<u8>(ip, 3) << 3);
          store<u64>(base, load<u64>(base) + <u64><i64>load<i16>(ip, 6));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StrXR: {
        const va = n(cpu, ip) + ((m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <u64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == ((va + 7) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          store<u64>(host, d(cpu, ip));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StrXRs: {
        const va = n(cpu, ip) + <u64>(<i64>(m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <i64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == ((va + 7) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          store<u64>(host, d(cpu, ip));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StrWI: {
        const va = n(cpu, ip) + <u64><i64>imm(ip);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == ((va + 3) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          store<u32>(host, dw(cpu, ip));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StrWWb: {
        const va = n(cpu, ip) + <u64><i64>load<i16>(ip, 4);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == ((va + 3) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          store<u32>(host, dw(cpu, ip));
          const base = cpu + (<usize>load<u8>(ip, 3) << 3);
          store<u64>(base, load<u64>(base) + <u64><i64>load<i16>(ip, 6));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StrWR: {
        const va = n(cpu, ip) + ((m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <u64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == ((va + 3) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          store<u32>(host, dw(cpu, ip));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StrWRs: {
        const va = n(cpu, ip) + <u64>(<i64>(m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <i64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == ((va + 3) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          store<u32>(host, dw(cpu, ip));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StrHI: {
        const va = n(cpu, ip) + <u64><i64>imm(ip);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == ((va + 1) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          store<u16>(host, <u16>dw(cpu, ip));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StrHWb: {
        const va = n(cpu, ip) + <u64><i64>load<i16>(ip, 4);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == ((va + 1) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          store<u16>(host, <u16>dw(cpu, ip));
          const base = cpu + (<usize>load<u8>(ip, 3) << 3);
          store<u64>(base, load<u64>(base) + <u64><i64>load<i16>(ip, 6));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StrHR: {
        const va = n(cpu, ip) + ((m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <u64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == ((va + 1) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          store<u16>(host, <u16>dw(cpu, ip));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StrHRs: {
        const va = n(cpu, ip) + <u64>(<i64>(m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <i64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == ((va + 1) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          store<u16>(host, <u16>dw(cpu, ip));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StrBI: {
        const va = n(cpu, ip) + <u64><i64>imm(ip);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == (va & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          store<u8>(host, <u8>dw(cpu, ip));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StrBWb: {
        const va = n(cpu, ip) + <u64><i64>load<i16>(ip, 4);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == (va & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          store<u8>(host, <u8>dw(cpu, ip));
          const base = cpu + (<usize>load<u8>(ip, 3) << 3);
          store<u64>(base, load<u64>(base) + <u64><i64>load<i16>(ip, 6));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StrBR: {
        const va = n(cpu, ip) + ((m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <u64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == (va & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          store<u8>(host, <u8>dw(cpu, ip));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StrBRs: {
        const va = n(cpu, ip) + <u64>(<i64>(m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <i64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == (va & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          store<u8>(host, <u8>dw(cpu, ip));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrQI: {
        if (load<u32>(cpu, CPU_FP_TRAP) != 0) break;
        const va = n(cpu, ip) + <u64><i64>imm(ip);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 15) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          const v = vector(cpu, ip);
          const low = load<u64>(host);
          const high = load<u64>(host, 8);
          store<u64>(v, low, CPU_V);
          store<u64>(v, high, CPU_V + 8);
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrQWb: {
        if (load<u32>(cpu, CPU_FP_TRAP) != 0) break;
        const va = n(cpu, ip) + <u64><i64>load<i16>(ip, 4);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 15) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          const v = vector(cpu, ip);
          const low = load<u64>(host);
          const high = load<u64>(host, 8);
          store<u64>(v, low, CPU_V);
          store<u64>(v, high, CPU_V + 8);
          const base = cpu + (<usize>load<u8>(ip, 3) << 3);
          store<u64>(base, load<u64>(base) + <u64><i64>load<i16>(ip, 6));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrQR: {
        if (load<u32>(cpu, CPU_FP_TRAP) != 0) break;
        const va = n(cpu, ip) + ((m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <u64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 15) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          const v = vector(cpu, ip);
          const low = load<u64>(host);
          const high = load<u64>(host, 8);
          store<u64>(v, low, CPU_V);
          store<u64>(v, high, CPU_V + 8);
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrQRs: {
        if (load<u32>(cpu, CPU_FP_TRAP) != 0) break;
        const va = n(cpu, ip) + <u64>(<i64>(m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <i64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 15) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          const v = vector(cpu, ip);
          const low = load<u64>(host);
          const high = load<u64>(host, 8);
          store<u64>(v, low, CPU_V);
          store<u64>(v, high, CPU_V + 8);
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrDI: {
        if (load<u32>(cpu, CPU_FP_TRAP) != 0) break;
        const va = n(cpu, ip) + <u64><i64>imm(ip);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 7) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          const v = vector(cpu, ip);
          store<u64>(v, load<u64>(host), CPU_V);
          store<u64>(v, 0, CPU_V + 8);
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrDWb: {
        if (load<u32>(cpu, CPU_FP_TRAP) != 0) break;
        const va = n(cpu, ip) + <u64><i64>load<i16>(ip, 4);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 7) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          const v = vector(cpu, ip);
          store<u64>(v, load<u64>(host), CPU_V);
          store<u64>(v, 0, CPU_V + 8);
          const base = cpu + (<usize>load<u8>(ip, 3) << 3);
          store<u64>(base, load<u64>(base) + <u64><i64>load<i16>(ip, 6));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrDR: {
        if (load<u32>(cpu, CPU_FP_TRAP) != 0) break;
        const va = n(cpu, ip) + ((m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <u64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 7) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          const v = vector(cpu, ip);
          store<u64>(v, load<u64>(host), CPU_V);
          store<u64>(v, 0, CPU_V + 8);
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrDRs: {
        if (load<u32>(cpu, CPU_FP_TRAP) != 0) break;
        const va = n(cpu, ip) + <u64>(<i64>(m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <i64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 7) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          const v = vector(cpu, ip);
          store<u64>(v, load<u64>(host), CPU_V);
          store<u64>(v, 0, CPU_V + 8);
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrSI: {
        if (load<u32>(cpu, CPU_FP_TRAP) != 0) break;
        const va = n(cpu, ip) + <u64><i64>imm(ip);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 3) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          const v = vector(cpu, ip);
          store<u64>(v, <u64>load<u32>(host), CPU_V);
          store<u64>(v, 0, CPU_V + 8);
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrSWb: {
        if (load<u32>(cpu, CPU_FP_TRAP) != 0) break;
        const va = n(cpu, ip) + <u64><i64>load<i16>(ip, 4);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 3) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          const v = vector(cpu, ip);
          store<u64>(v, <u64>load<u32>(host), CPU_V);
          store<u64>(v, 0, CPU_V + 8);
          const base = cpu + (<usize>load<u8>(ip, 3) << 3);
          store<u64>(base, load<u64>(base) + <u64><i64>load<i16>(ip, 6));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrSR: {
        if (load<u32>(cpu, CPU_FP_TRAP) != 0) break;
        const va = n(cpu, ip) + ((m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <u64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 3) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          const v = vector(cpu, ip);
          store<u64>(v, <u64>load<u32>(host), CPU_V);
          store<u64>(v, 0, CPU_V + 8);
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrSRs: {
        if (load<u32>(cpu, CPU_FP_TRAP) != 0) break;
        const va = n(cpu, ip) + <u64>(<i64>(m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <i64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 3) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          const v = vector(cpu, ip);
          store<u64>(v, <u64>load<u32>(host), CPU_V);
          store<u64>(v, 0, CPU_V + 8);
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StrQI: {
        if (load<u32>(cpu, CPU_FP_TRAP) != 0) break;
        const va = n(cpu, ip) + <u64><i64>imm(ip);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == ((va + 15) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          const v = vector(cpu, ip);
          store<u64>(host, load<u64>(v, CPU_V));
          store<u64>(host, load<u64>(v, CPU_V + 8), 8);
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StrQWb: {
        if (load<u32>(cpu, CPU_FP_TRAP) != 0) break;
        const va = n(cpu, ip) + <u64><i64>load<i16>(ip, 4);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == ((va + 15) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          const v = vector(cpu, ip);
          store<u64>(host, load<u64>(v, CPU_V));
          store<u64>(host, load<u64>(v, CPU_V + 8), 8);
          const base = cpu + (<usize>load<u8>(ip, 3) << 3);
          store<u64>(base, load<u64>(base) + <u64><i64>load<i16>(ip, 6));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StrQR: {
        if (load<u32>(cpu, CPU_FP_TRAP) != 0) break;
        const va = n(cpu, ip) + ((m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <u64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == ((va + 15) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          const v = vector(cpu, ip);
          store<u64>(host, load<u64>(v, CPU_V));
          store<u64>(host, load<u64>(v, CPU_V + 8), 8);
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StrQRs: {
        if (load<u32>(cpu, CPU_FP_TRAP) != 0) break;
        const va = n(cpu, ip) + <u64>(<i64>(m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <i64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == ((va + 15) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          const v = vector(cpu, ip);
          store<u64>(host, load<u64>(v, CPU_V));
          store<u64>(host, load<u64>(v, CPU_V + 8), 8);
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StrDI: {
        if (load<u32>(cpu, CPU_FP_TRAP) != 0) break;
        const va = n(cpu, ip) + <u64><i64>imm(ip);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == ((va + 7) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          store<u64>(host, load<u64>(vector(cpu, ip), CPU_V));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StrDWb: {
        if (load<u32>(cpu, CPU_FP_TRAP) != 0) break;
        const va = n(cpu, ip) + <u64><i64>load<i16>(ip, 4);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == ((va + 7) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          store<u64>(host, load<u64>(vector(cpu, ip), CPU_V));
          const base = cpu + (<usize>load<u8>(ip, 3) << 3);
          store<u64>(base, load<u64>(base) + <u64><i64>load<i16>(ip, 6));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StrDR: {
        if (load<u32>(cpu, CPU_FP_TRAP) != 0) break;
        const va = n(cpu, ip) + ((m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <u64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == ((va + 7) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          store<u64>(host, load<u64>(vector(cpu, ip), CPU_V));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StrDRs: {
        if (load<u32>(cpu, CPU_FP_TRAP) != 0) break;
        const va = n(cpu, ip) + <u64>(<i64>(m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <i64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == ((va + 7) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          store<u64>(host, load<u64>(vector(cpu, ip), CPU_V));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StrSI: {
        if (load<u32>(cpu, CPU_FP_TRAP) != 0) break;
        const va = n(cpu, ip) + <u64><i64>imm(ip);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == ((va + 3) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          store<u32>(host, load<u32>(vector(cpu, ip), CPU_V));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StrSWb: {
        if (load<u32>(cpu, CPU_FP_TRAP) != 0) break;
        const va = n(cpu, ip) + <u64><i64>load<i16>(ip, 4);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == ((va + 3) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          store<u32>(host, load<u32>(vector(cpu, ip), CPU_V));
          const base = cpu + (<usize>load<u8>(ip, 3) << 3);
          store<u64>(base, load<u64>(base) + <u64><i64>load<i16>(ip, 6));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StrSR: {
        if (load<u32>(cpu, CPU_FP_TRAP) != 0) break;
        const va = n(cpu, ip) + ((m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <u64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == ((va + 3) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          store<u32>(host, load<u32>(vector(cpu, ip), CPU_V));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StrSRs: {
        if (load<u32>(cpu, CPU_FP_TRAP) != 0) break;
        const va = n(cpu, ip) + <u64>(<i64>(m(cpu, ip) << <u64>load<u8>(ip, 5)) >> <i64>load<u8>(ip, 6));
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == ((va + 3) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          store<u32>(host, load<u32>(vector(cpu, ip), CPU_V));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrXLit: {
        const va = bias + <u64>(ip >> 1) + <u64><i64>imm(ip);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 7) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, load<u64>(host));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdrWLit: {
        const va = bias + <u64>(ip >> 1) + <u64><i64>imm(ip);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 3) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          setD(cpu, ip, <u64>load<u32>(host));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdpX: {
        const va = n(cpu, ip) + <u64>(<i64>load<i8>(ip, 5) << 3);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 15) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          const low = load<u64>(host);
          const high = load<u64>(host, 8);
          setD(cpu, ip, low);
          store<u64>(cpu + (<usize>load<u8>(ip, 4) << 3), high);
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdpXWb: {
        const base = n(cpu, ip);
        const va = base + <u64>(<i64>load<i8>(ip, 5) << 3);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 15) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          const low = load<u64>(host);
          const high = load<u64>(host, 8);
          store<u64>(cpu + (<usize>load<u8>(ip, 3) << 3), base + <u64>(<i64>load<i8>(ip, 6) << 3));
          setD(cpu, ip, low);
          store<u64>(cpu + (<usize>load<u8>(ip, 4) << 3), high);
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdpW: {
        const va = n(cpu, ip) + <u64>(<i64>load<i8>(ip, 5) << 2);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 7) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          const both = load<u64>(host);
          setD(cpu, ip, both & 0xffffffff);
          store<u64>(cpu + (<usize>load<u8>(ip, 4) << 3), both >> 32);
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StpX: {
        const va = n(cpu, ip) + <u64>(<i64>load<i8>(ip, 5) << 3);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == ((va + 15) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          store<u64>(host, d(cpu, ip));
          store<u64>(host, load<u64>(cpu + (<usize>load<u8>(ip, 4) << 3)), 8);
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StpXWb: {
        const va = n(cpu, ip) + <u64>(<i64>load<i8>(ip, 5) << 3);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == ((va + 15) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          store<u64>(host, d(cpu, ip));
          store<u64>(host, load<u64>(cpu + (<usize>load<u8>(ip, 4) << 3)), 8);
          const base = cpu + (<usize>load<u8>(ip, 3) << 3);
          store<u64>(base, load<u64>(base) + <u64>(<i64>load<i8>(ip, 6) << 3));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StpW: {
        const va = n(cpu, ip) + <u64>(<i64>load<i8>(ip, 5) << 2);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == ((va + 7) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          store<u32>(host, dw(cpu, ip));
          store<u32>(host, load<u32>(cpu + (<usize>load<u8>(ip, 4) << 3)), 4);
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdpD: {
        if (load<u32>(cpu, CPU_FP_TRAP) != 0) break;
        const va = n(cpu, ip) + <u64>(<i64>load<i8>(ip, 5) << 3);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 15) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          const first = vector(cpu, ip);
          const second = vector2(cpu, ip);
          store<u64>(first, load<u64>(host), CPU_V);
          store<u64>(first, 0, CPU_V + 8);
          store<u64>(second, load<u64>(host, 8), CPU_V);
          store<u64>(second, 0, CPU_V + 8);
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdpDWb: {
        if (load<u32>(cpu, CPU_FP_TRAP) != 0) break;
        const va = n(cpu, ip) + <u64>(<i64>load<i8>(ip, 5) << 3);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 15) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          const first = vector(cpu, ip);
          const second = vector2(cpu, ip);
          store<u64>(first, load<u64>(host), CPU_V);
          store<u64>(first, 0, CPU_V + 8);
          store<u64>(second, load<u64>(host, 8), CPU_V);
          store<u64>(second, 0, CPU_V + 8);
          const base = cpu + (<usize>load<u8>(ip, 3) << 3);
          store<u64>(base, load<u64>(base) + <u64>(<i64>load<i8>(ip, 6) << 3));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StpD: {
        if (load<u32>(cpu, CPU_FP_TRAP) != 0) break;
        const va = n(cpu, ip) + <u64>(<i64>load<i8>(ip, 5) << 3);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == ((va + 15) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          store<u64>(host, load<u64>(vector(cpu, ip), CPU_V));
          store<u64>(host, load<u64>(vector2(cpu, ip), CPU_V), 8);
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StpDWb: {
        if (load<u32>(cpu, CPU_FP_TRAP) != 0) break;
        const va = n(cpu, ip) + <u64>(<i64>load<i8>(ip, 5) << 3);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == ((va + 15) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          store<u64>(host, load<u64>(vector(cpu, ip), CPU_V));
          store<u64>(host, load<u64>(vector2(cpu, ip), CPU_V), 8);
          const base = cpu + (<usize>load<u8>(ip, 3) << 3);
          store<u64>(base, load<u64>(base) + <u64>(<i64>load<i8>(ip, 6) << 3));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdpQ: {
        if (load<u32>(cpu, CPU_FP_TRAP) != 0) break;
        const va = n(cpu, ip) + <u64>(<i64>load<i8>(ip, 5) << 4);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 31) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          const first = vector(cpu, ip);
          const second = vector2(cpu, ip);
          store<u64>(first, load<u64>(host), CPU_V);
          store<u64>(first, load<u64>(host, 8), CPU_V + 8);
          store<u64>(second, load<u64>(host, 16), CPU_V);
          store<u64>(second, load<u64>(host, 24), CPU_V + 8);
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdpQWb: {
        if (load<u32>(cpu, CPU_FP_TRAP) != 0) break;
        const va = n(cpu, ip) + <u64>(<i64>load<i8>(ip, 5) << 4);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == ((va + 31) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          const first = vector(cpu, ip);
          const second = vector2(cpu, ip);
          store<u64>(first, load<u64>(host), CPU_V);
          store<u64>(first, load<u64>(host, 8), CPU_V + 8);
          store<u64>(second, load<u64>(host, 16), CPU_V);
          store<u64>(second, load<u64>(host, 24), CPU_V + 8);
          const base = cpu + (<usize>load<u8>(ip, 3) << 3);
          store<u64>(base, load<u64>(base) + <u64>(<i64>load<i8>(ip, 6) << 4));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StpQ: {
        if (load<u32>(cpu, CPU_FP_TRAP) != 0) break;
        const va = n(cpu, ip) + <u64>(<i64>load<i8>(ip, 5) << 4);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == ((va + 31) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          const first = vector(cpu, ip);
          const second = vector2(cpu, ip);
          store<u64>(host, load<u64>(first, CPU_V));
          store<u64>(host, load<u64>(first, CPU_V + 8), 8);
          store<u64>(host, load<u64>(second, CPU_V), 16);
          store<u64>(host, load<u64>(second, CPU_V + 8), 24);
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StpQWb: {
        if (load<u32>(cpu, CPU_FP_TRAP) != 0) break;
        const va = n(cpu, ip) + <u64>(<i64>load<i8>(ip, 5) << 4);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == ((va + 31) & PAGE_MASK)) {
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          const first = vector(cpu, ip);
          const second = vector2(cpu, ip);
          store<u64>(host, load<u64>(first, CPU_V));
          store<u64>(host, load<u64>(first, CPU_V + 8), 8);
          store<u64>(host, load<u64>(second, CPU_V), 16);
          store<u64>(host, load<u64>(second, CPU_V + 8), 24);
          const base = cpu + (<usize>load<u8>(ip, 3) << 3);
          store<u64>(base, load<u64>(base) + <u64>(<i64>load<i8>(ip, 6) << 4));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.Nop: {
        ip += <usize>load<u32>(ip, 4);
        continue;
      }
      case Op.Barrier: {
        if (load<u8>(ip, 2) != 0 && (multiprocessor() || maintenanceNoted(cpu))) break;
        atomic.add<u32>(cpu + CPU_FENCE, 1);
        ip += 8;
        continue;
      }
      case Op.MrsConst: {
        if (load<u32>(cpu, CPU_EL) == 0) break;
        setD(cpu, ip, <u64>load<u32>(ip, 4));
        ip += 8;
        continue;
      }
      case Op.MrsDaif: {
        if (load<u32>(cpu, CPU_EL) == 0) break;
        setD(cpu, ip, <u64>load<u32>(cpu, CPU_DAIF));
        ip += 8;
        continue;
      }
      case Op.MsrDaif: {
        if (load<u32>(cpu, CPU_EL) == 0) break;
        const daif = dw(cpu, ip) & 0x3c0;
        // Interrupts that become unmasked go the slow way, which looks whether one is pending.
        if ((load<u32>(cpu, CPU_DAIF) & ~daif) != 0) break;
        store<u32>(cpu, daif, CPU_DAIF);
        ip += 8;
        continue;
      }
      case Op.DaifSet: {
        if (load<u32>(cpu, CPU_EL) == 0) break;
        store<u32>(cpu, load<u32>(cpu, CPU_DAIF) | load<u32>(ip, 4), CPU_DAIF);
        ip += 8;
        continue;
      }
      case Op.LdxrX: {
        const va = n(cpu, ip);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == (va & PAGE_MASK_8)) {
          const value = <u64>atomic.load<u64>(<usize>(<u32>va + load<u32>(entry, TLB_ADDEND)));
          store<u64>(cpu, va, CPU_EXCLUSIVE_ADDRESS);
          store<u64>(cpu, value, CPU_EXCLUSIVE_LOW);
          store<u32>(cpu, 8, CPU_EXCLUSIVE_SIZE);
          setD(cpu, ip, value);
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StxrX: {
        const va = n(cpu, ip);
        const entry = dataEntry(tlb, va);
        if (load<u32>(cpu, CPU_EXCLUSIVE_SIZE) != 8 || load<u64>(cpu, CPU_EXCLUSIVE_ADDRESS) != va) break;
        if (load<u64>(entry, TLB_WRITE) == (va & PAGE_MASK)) {
          const expected = load<u64>(cpu, CPU_EXCLUSIVE_LOW);
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          store<u32>(cpu, 0, CPU_EXCLUSIVE_SIZE);
          setD(cpu, ip, u64(atomic.cmpxchg<u64>(host, expected, m(cpu, ip)) != expected));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdxrW: {
        const va = n(cpu, ip);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == (va & PAGE_MASK_4)) {
          const value = <u64>atomic.load<u32>(<usize>(<u32>va + load<u32>(entry, TLB_ADDEND)));
          store<u64>(cpu, va, CPU_EXCLUSIVE_ADDRESS);
          store<u64>(cpu, value, CPU_EXCLUSIVE_LOW);
          store<u32>(cpu, 4, CPU_EXCLUSIVE_SIZE);
          setD(cpu, ip, value);
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StxrW: {
        const va = n(cpu, ip);
        const entry = dataEntry(tlb, va);
        if (load<u32>(cpu, CPU_EXCLUSIVE_SIZE) != 4 || load<u64>(cpu, CPU_EXCLUSIVE_ADDRESS) != va) break;
        if (load<u64>(entry, TLB_WRITE) == (va & PAGE_MASK)) {
          const expected = load<u32>(cpu, CPU_EXCLUSIVE_LOW);
          const host = <usize>(<u32>va + load<u32>(entry, TLB_ADDEND));
          store<u32>(cpu, 0, CPU_EXCLUSIVE_SIZE);
          setD(cpu, ip, u64(atomic.cmpxchg<u32>(host, expected, mw(cpu, ip)) != expected));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdarX: {
        const va = n(cpu, ip);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == (va & PAGE_MASK_8)) {
          setD(cpu, ip, <u64>atomic.load<u64>(<usize>(<u32>va + load<u32>(entry, TLB_ADDEND))));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StlrX: {
        const va = n(cpu, ip);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == (va & PAGE_MASK_8)) {
          atomic.store<u64>(<usize>(<u32>va + load<u32>(entry, TLB_ADDEND)), d(cpu, ip));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdarW: {
        const va = n(cpu, ip);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == (va & PAGE_MASK_4)) {
          setD(cpu, ip, <u64>atomic.load<u32>(<usize>(<u32>va + load<u32>(entry, TLB_ADDEND))));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StlrW: {
        const va = n(cpu, ip);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == (va & PAGE_MASK_4)) {
          atomic.store<u32>(<usize>(<u32>va + load<u32>(entry, TLB_ADDEND)), dw(cpu, ip));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdarH: {
        const va = n(cpu, ip);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == (va & PAGE_MASK_2)) {
          setD(cpu, ip, <u64>atomic.load<u16>(<usize>(<u32>va + load<u32>(entry, TLB_ADDEND))));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StlrH: {
        const va = n(cpu, ip);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == (va & PAGE_MASK_2)) {
          atomic.store<u16>(<usize>(<u32>va + load<u32>(entry, TLB_ADDEND)), <u16>dw(cpu, ip));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.LdarB: {
        const va = n(cpu, ip);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_READ) == (va & PAGE_MASK)) {
          setD(cpu, ip, <u64>atomic.load<u8>(<usize>(<u32>va + load<u32>(entry, TLB_ADDEND))));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.StlrB: {
        const va = n(cpu, ip);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == (va & PAGE_MASK)) {
          atomic.store<u8>(<usize>(<u32>va + load<u32>(entry, TLB_ADDEND)), <u8>dw(cpu, ip));
          ip += 8;
          continue;
        }
        break;
      }
      case Op.DcZva: {
        if (load<u32>(cpu, CPU_EL) == 0) break;
        const va = d(cpu, ip);
        const entry = dataEntry(tlb, va);
        if (load<u64>(entry, TLB_WRITE) == (va & PAGE_MASK)) {
          const host = <usize>((<u32>va + load<u32>(entry, TLB_ADDEND)) & ~63);
          memory.fill(host, 0, 64);
          ip += 8;
          continue;
        }
        break;
      }
      case Op.MrsEl1: {
        if (load<u32>(cpu, CPU_EL) == 0) break;
        setD(cpu, ip, load<u64>(cpu + <usize>load<u32>(ip, 4)));
        ip += 8;
        continue;
      }
      case Op.MrsSpEl0: {
        if (load<u32>(cpu, CPU_SPSEL) == 0) break;
        setD(cpu, ip, load<u64>(cpu, CPU_SP_EL0));
        ip += 8;
        continue;
      }
      case Op.MrsEl0: {
        setD(cpu, ip, load<u64>(cpu + <usize>load<u32>(ip, 4)));
        ip += 8;
        continue;
      }
      case Op.Simd: {
        if (load<u32>(cpu, CPU_FP_TRAP) == 0 && execSimdFp(cpu, load<u32>(ip, 4))) {
          ip += 8;
          continue;
        }
        break;
      }
      default:
    }
    if (!far) {
      const status = executeWord(cpu, bias, ip, limit);
      if (status == NEXT) {
        ip += 8;
        continue;
      }
      if (status != RESYNC || load<u32>(cpu, CPU_SLOW_MODE) != 0) {
        // An instruction that waits for the host has not run yet.
        if (status != EXIT || load<u32>(cpu, CPU_FAULTED) == 0) store<u32>(cpu, load<u32>(cpu, CPU_LEFT) - 1, CPU_LEFT);
        return status == EXIT ? EXIT : LEAVE;
      }
      target = load<u64>(cpu, CPU_PC);
      tlb = load<u32>(cpu, CPU_TLB);
    }
    const entry = codeEntry(tlb, target);
    let next: usize;
    if (load<u64>(entry, TLB_CODE_TAG) == (target & CODE_MASK)) {
      next = <usize>(load<u32>(entry, TLB_CODE_SLOT) + ((<u32>target & 0xffc) << 1));
    } else {
      store<u64>(cpu, target, CPU_PC);
      next = resolve(cpu);
      if (next == 0) {
        store<u32>(cpu, <u32>((limit - <i32>ip) >> 3) - 1, CPU_LEFT);
        return LEAVE;
      }
      target = load<u64>(cpu, CPU_PC);
    }
    bias = target - <u64>(next >> 1);
    limit += <i32>next - <i32>ip - 8;
    ip = next;
    if (<i32>ip >= limit) return suspend(cpu, bias, ip, limit);
  }
}
