import { type Random } from './random.ts';

/** What the V registers of a state hold, lane by lane. */
export type LaneKind = 'i8' | 'i16' | 'i32' | 'i64' | 'f16' | 'f32' | 'f64';

type FloatFormat = { readonly exponentBits: number; readonly fractionBits: number };
const FORMATS: Record<'f16' | 'f32' | 'f64', FloatFormat> = {
  f16: { exponentBits: 5, fractionBits: 10 },
  f32: { exponentBits: 8, fractionBits: 23 },
  f64: { exponentBits: 11, fractionBits: 52 },
};

function random64(random: Random): bigint {
  return (BigInt(random.u32()) << 32n) | BigInt(random.u32());
}

function fraction(random: Random, bits: number): bigint {
  const mask = (1n << BigInt(bits)) - 1n;
  switch (random.below(8)) {
    case 0:
      return 0n;
    case 1:
      return mask;
    case 2:
      return 1n << BigInt(random.below(bits));
    case 3:
      return mask ^ (1n << BigInt(random.below(bits)));
    case 4: {
      // Few significant bits: exact results and ties.
      const kept = BigInt(random.below(bits));
      return random64(random) & mask & (mask << kept) & mask;
    }
    case 5:
      return random64(random) & mask & 0xffn;
    default:
      return random64(random) & mask;
  }
}

/** A floating-point number of the format: every class, and exponents that meet. */
function float(random: Random, format: FloatFormat): bigint {
  const { exponentBits, fractionBits } = format;
  const most = (1 << exponentBits) - 1;
  const bias = most >> 1;
  let exponent: number;
  switch (random.below(16)) {
    case 0:
      exponent = 0;
      break;
    case 1:
      exponent = most;
      break;
    case 2:
      exponent = 1 + random.below(fractionBits + 2);
      break;
    case 3:
      exponent = most - 1 - random.below(3);
      break;
    case 4:
      exponent = random.below(most + 1);
      break;
    case 5:
      exponent = (bias >> 1) + random.below(6) - 3;
      break;
    case 6:
      exponent = bias + (bias >> 1) + random.below(6) - 3;
      break;
    case 7:
      exponent = bias + 28 + random.below(40);
      break;
    case 8:
    case 9:
      exponent = bias + random.below(4) - 2;
      break;
    default:
      exponent = bias + random.below(2 * fractionBits + 8) - fractionBits - 4;
  }
  exponent = Math.min(most, Math.max(0, exponent));
  return (
    (BigInt(random.below(2)) << BigInt(exponentBits + fractionBits)) |
    (BigInt(exponent) << BigInt(fractionBits)) |
    fraction(random, fractionBits)
  );
}

/** An integer of the width: extremes and their neighbours, single bits, small numbers, anything. */
function integer(random: Random, bits: number): bigint {
  const mask = (1n << BigInt(bits)) - 1n;
  const top = 1n << BigInt(bits - 1);
  switch (random.below(10)) {
    case 0:
      return 0n;
    case 1:
      return mask - BigInt(random.below(3));
    case 2:
      return top + BigInt(random.below(3)) - 1n;
    case 3:
      return 1n << BigInt(random.below(bits));
    case 4:
      return BigInt(random.below(2 * bits)) & mask;
    case 5:
      return -BigInt(random.below(2 * bits)) & mask;
    default:
      return random64(random) & mask;
  }
}

const WIDTH: Record<LaneKind, number> = { i8: 8, i16: 16, i32: 32, i64: 64, f16: 16, f32: 32, f64: 64 };

/** 64 bits made of lanes of the kind. */
export function lanes64(random: Random, kind: LaneKind): bigint {
  const width = WIDTH[kind];
  let value = 0n;
  for (let at = 0; at < 64; at += width) {
    const lane =
      kind === 'f16' || kind === 'f32' || kind === 'f64'
        ? float(random, FORMATS[kind])
        : integer(random, width);
    value |= lane << BigInt(at);
  }
  return value;
}

/**
 * Fills V0 to V7 lane by lane with x, y, and numbers near x * y, x + y, x * x, 1 / x and so on, some exact and some a
 * few units in the last place off.
 */
export function relate(random: Random, kind: LaneKind, view: DataView): void {
  const single = kind === 'f32';
  const round = single ? Math.fround : (value: number): number => value;
  const bytes = single ? 4 : 8;
  const scratch = new DataView(new ArrayBuffer(8));
  const number = (): number => {
    scratch.setBigUint64(0, lanes64(random, kind), true);
    const value = single ? scratch.getFloat32(0, true) : scratch.getFloat64(0, true);
    // Few significant bits make products and squares exact.
    return random.below(3) === 0 ? value : Math.fround(random.below(1 << 12)) * 2 ** (random.below(80) - 40);
  };
  const write = (register: number, lane: number, value: number): void => {
    const at = 16 * register + bytes * lane;
    if (single) view.setFloat32(at, value, true);
    else view.setFloat64(at, value, true);
    if (random.below(2) === 0 && Number.isFinite(value) && value !== 0) {
      const low = view.getUint32(at, true);
      view.setUint32(at, (low + random.below(5) - 2) >>> 0, true);
    }
  };
  for (let lane = 0; lane < 16 / bytes; lane++) {
    const x = number();
    const y = number();
    const product = round(x * y);
    const values = [
      x,
      y,
      product,
      -product,
      round(x * x),
      round(x + y),
      round(-x * 2 ** (random.below(60) - 30)),
      round(1 / y),
    ];
    values.forEach((value, register) => write(register, lane, value));
  }
}
