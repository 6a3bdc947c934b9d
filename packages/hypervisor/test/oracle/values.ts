import type { Random } from './random.ts';
import { FILL_TABLE } from './state.ts';

const FILL: readonly bigint[] = [...FILL_TABLE];

/** A 64-bit value of a kind that integer instructions have corner cases for. */
export function interesting(random: Random): bigint {
  switch (random.below(6)) {
    case 0:
      return random.pick(FILL);
    case 1:
      return BigInt(random.below(256)) - 128n;
    case 2:
      return (1n << BigInt(random.below(64))) - BigInt(random.below(3));
    case 3:
      return BigInt(random.u32());
    case 4:
      return random.u64() >> BigInt(random.below(64));
    default:
      return random.u64();
  }
}

/** Half a vector register: one interesting value, or lanes of interesting values. */
export function interestingVector(random: Random): bigint {
  const lanes = (bits: number): bigint => {
    let value = 0n;
    for (let at = 0; at < 64; at += bits) {
      const lane = random.chance(0.5) ? random.pick(FILL) >> BigInt(64 - bits) : random.u64();
      value |= BigInt.asUintN(bits, lane) << BigInt(at);
    }
    return value;
  };
  switch (random.below(7)) {
    case 0:
    case 1:
      return random.pick(FILL);
    case 2:
      return lanes(32);
    case 3:
      return lanes(16);
    case 4:
      return lanes(8);
    case 5:
      return nearby(random);
    default:
      return random.u64();
  }
}

/** Floating-point numbers of moderate size, where sums cancel and products round. */
function nearby(random: Random): bigint {
  const floats = new Float64Array(1);
  const bits = new BigUint64Array(floats.buffer);
  if (random.chance(0.5)) {
    floats[0] = (random.u32() - 2 ** 31) * 2 ** (random.below(48) - 40);
    return bits[0] ?? 0n;
  }
  const singles = new Float32Array(floats.buffer);
  singles[0] = (random.u32() - 2 ** 31) * 2 ** (random.below(40) - 40);
  singles[1] = (random.u32() - 2 ** 31) * 2 ** (random.below(40) - 40);
  return bits[0] ?? 0n;
}
