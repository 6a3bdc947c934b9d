// Lane arithmetic over 128-bit vectors by lane size (0: 8 bits, 1: 16, 2: 32, 3: 64).

// @ts-ignore: decorator
@inline function signs64(): v128 {
  return i64x2(i64.MIN_VALUE, i64.MIN_VALUE);
}

export function addV(size: u32, a: v128, b: v128): v128 {
  switch (size) {
    case 0: return i8x16.add(a, b);
    case 1: return i16x8.add(a, b);
    case 2: return i32x4.add(a, b);
    default: return i64x2.add(a, b);
  }
}

export function subV(size: u32, a: v128, b: v128): v128 {
  switch (size) {
    case 0: return i8x16.sub(a, b);
    case 1: return i16x8.sub(a, b);
    case 2: return i32x4.sub(a, b);
    default: return i64x2.sub(a, b);
  }
}

export function eqV(size: u32, a: v128, b: v128): v128 {
  switch (size) {
    case 0: return i8x16.eq(a, b);
    case 1: return i16x8.eq(a, b);
    case 2: return i32x4.eq(a, b);
    default: return i64x2.eq(a, b);
  }
}

export function gtV(size: u32, a: v128, b: v128, unsigned: bool): v128 {
  if (unsigned) {
    switch (size) {
      case 0: return i8x16.gt_u(a, b);
      case 1: return i16x8.gt_u(a, b);
      case 2: return i32x4.gt_u(a, b);
      default: return i64x2.gt_s(v128.xor(a, signs64()), v128.xor(b, signs64()));
    }
  }
  switch (size) {
    case 0: return i8x16.gt_s(a, b);
    case 1: return i16x8.gt_s(a, b);
    case 2: return i32x4.gt_s(a, b);
    default: return i64x2.gt_s(a, b);
  }
}

export function geV(size: u32, a: v128, b: v128, unsigned: bool): v128 {
  return v128.not(gtV(size, b, a, unsigned));
}

export function maxV(size: u32, a: v128, b: v128, unsigned: bool): v128 {
  if (unsigned) {
    switch (size) {
      case 0: return i8x16.max_u(a, b);
      case 1: return i16x8.max_u(a, b);
      default: return i32x4.max_u(a, b);
    }
  }
  switch (size) {
    case 0: return i8x16.max_s(a, b);
    case 1: return i16x8.max_s(a, b);
    default: return i32x4.max_s(a, b);
  }
}

export function minV(size: u32, a: v128, b: v128, unsigned: bool): v128 {
  if (unsigned) {
    switch (size) {
      case 0: return i8x16.min_u(a, b);
      case 1: return i16x8.min_u(a, b);
      default: return i32x4.min_u(a, b);
    }
  }
  switch (size) {
    case 0: return i8x16.min_s(a, b);
    case 1: return i16x8.min_s(a, b);
    default: return i32x4.min_s(a, b);
  }
}

export function absDiffV(size: u32, a: v128, b: v128, unsigned: bool): v128 {
  return subV(size, maxV(size, a, b, unsigned), minV(size, a, b, unsigned));
}

/** Shift count below the lane width. */
export function shlV(size: u32, a: v128, by: i32): v128 {
  switch (size) {
    case 0: return i8x16.shl(a, by);
    case 1: return i16x8.shl(a, by);
    case 2: return i32x4.shl(a, by);
    default: return i64x2.shl(a, by);
  }
}

/** Shift count below the lane width. */
export function shrV(size: u32, a: v128, by: i32, unsigned: bool): v128 {
  if (unsigned) {
    switch (size) {
      case 0: return i8x16.shr_u(a, by);
      case 1: return i16x8.shr_u(a, by);
      case 2: return i32x4.shr_u(a, by);
      default: return i64x2.shr_u(a, by);
    }
  }
  switch (size) {
    case 0: return i8x16.shr_s(a, by);
    case 1: return i16x8.shr_s(a, by);
    case 2: return i32x4.shr_s(a, by);
    default: return i64x2.shr_s(a, by);
  }
}

/** Low halves of lane products; lanes of 8, 16 or 32 bits. */
export function mulV(size: u32, a: v128, b: v128): v128 {
  switch (size) {
    case 0: return evenLanes(0, i16x8.extmul_low_i8x16_u(a, b), i16x8.extmul_high_i8x16_u(a, b));
    case 1: return i16x8.mul(a, b);
    default: return i32x4.mul(a, b);
  }
}

/** Lanes 0, 2, 4... of a, then those of b (UZP1). */
export function evenLanes(size: u32, a: v128, b: v128): v128 {
  switch (size) {
    case 0: return v128.shuffle<u8>(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    case 1: return v128.shuffle<u16>(a, b, 0, 2, 4, 6, 8, 10, 12, 14);
    case 2: return v128.shuffle<u32>(a, b, 0, 2, 4, 6);
    default: return v128.shuffle<u64>(a, b, 0, 2);
  }
}

/** Lanes 1, 3, 5... of a, then those of b (UZP2). */
export function oddLanes(size: u32, a: v128, b: v128): v128 {
  switch (size) {
    case 0: return v128.shuffle<u8>(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    case 1: return v128.shuffle<u16>(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
    case 2: return v128.shuffle<u32>(a, b, 1, 3, 5, 7);
    default: return v128.shuffle<u64>(a, b, 1, 3);
  }
}

/** Low halves of a and b as one vector. */
// @ts-ignore: decorator
@inline export function lowPair(a: v128, b: v128): v128 {
  return v128.shuffle<u64>(a, b, 0, 2);
}

export function splatV(size: u32, value: u64): v128 {
  switch (size) {
    case 0: return i8x16.splat(<i8>value);
    case 1: return i16x8.splat(<i16>value);
    case 2: return i32x4.splat(<i32>value);
    default: return i64x2.splat(value);
  }
}

/** Lanes of the low half widened to twice their size; size below 3. */
export function widenLow(size: u32, a: v128, unsigned: bool): v128 {
  if (unsigned) {
    switch (size) {
      case 0: return i16x8.extend_low_i8x16_u(a);
      case 1: return i32x4.extend_low_i16x8_u(a);
      default: return i64x2.extend_low_i32x4_u(a);
    }
  }
  switch (size) {
    case 0: return i16x8.extend_low_i8x16_s(a);
    case 1: return i32x4.extend_low_i16x8_s(a);
    default: return i64x2.extend_low_i32x4_s(a);
  }
}

/** Products of the low half's lanes at twice their size; size below 3. */
export function mulLow(size: u32, a: v128, b: v128, unsigned: bool): v128 {
  if (unsigned) {
    switch (size) {
      case 0: return i16x8.extmul_low_i8x16_u(a, b);
      case 1: return i32x4.extmul_low_i16x8_u(a, b);
      default: return i64x2.extmul_low_i32x4_u(a, b);
    }
  }
  switch (size) {
    case 0: return i16x8.extmul_low_i8x16_s(a, b);
    case 1: return i32x4.extmul_low_i16x8_s(a, b);
    default: return i64x2.extmul_low_i32x4_s(a, b);
  }
}

/** Lane `index` of `a` as bits, zero extended. */
export function laneOf(size: u32, a: v128, index: u32): u64 {
  const by = index << (3 + size);
  const half = by & 64 ? i64x2.extract_lane(a, 1) : i64x2.extract_lane(a, 0);
  return (<u64>half >> (by & 63)) & (<u64>-1 >> (64 - (8 << size)));
}

/** Bits of one lane of 8 << size bits, at the bottom of a vector. */
export function lowLaneMask(size: u32): v128 {
  return i64x2.replace_lane(i64x2.splat(0), 0, <i64>(<u64>-1 >> (64 - (8 << size))));
}
