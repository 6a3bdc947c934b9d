// Shifts by register: SSHL, SRSHL, SQSHL, SQRSHL and the unsigned ones (Arm ARM C7.2, shared pseudocode).
import { setSaturated } from './simd-regs';
import { laneOf } from './simd-lanes';

/** Shifts each lane of `n` left by the signed low byte of the lane of `m`; negative shifts right. */
export function shiftByRegister(
  cpu: usize, size: u32, unsigned: bool, rounding: bool, saturating: bool, n: v128, m: v128,
): v128 {
  let low: u64 = 0;
  let high: u64 = 0;
  const bits: u32 = 8 << size;
  const mask = <u64>-1 >> (64 - bits);
  const lanes: u32 = 16 >> size;
  for (let i: u32 = 0; i < lanes; i++) {
    const value = shiftLane(cpu, bits, unsigned, rounding, saturating, laneOf(size, n, i), <i8>laneOf(size, m, i)) & mask;
    const at = i << (3 + size);
    if (at < 64) low |= value << at;
    else high |= value << (at - 64);
  }
  return i64x2.replace_lane(i64x2.splat(low), 1, high);
}

function shiftLane(cpu: usize, bits: u32, unsigned: bool, rounding: bool, saturating: bool, value: u64, by: i32): u64 {
  const unused = 64 - bits;
  const signed = <i64>(value << unused) >> unused;
  if (by >= 0) {
    if (!saturating) return <u32>by < bits ? value << by : 0;
    if (value == 0) return 0;
    if (unsigned) {
      if (<u32>by < bits && ((value << unused << by) >> by >> unused) == value) return value << by;
      setSaturated(cpu);
      return -1;
    }
    if (<u32>by < bits && (<i64>(value << unused << by) >> by >> unused) == signed) return value << by;
    setSaturated(cpu);
    return (<u64>1 << (bits - 1)) - u64(signed >= 0);
  }
  const right: u32 = -by;
  if (right > bits) return unsigned || rounding ? 0 : <u64>(signed >> 63);
  if (unsigned) {
    if (right == bits) return rounding ? value >> (bits - 1) : 0;
    return (value >> right) + (rounding ? (value >> (right - 1)) & 1 : 0);
  }
  if (right == bits) return rounding ? 0 : <u64>(signed >> 63);
  return (signed >> right) + (rounding ? (signed >> (right - 1)) & 1 : 0);
}
