/**
 * Is the word CONSTRAINED UNPREDICTABLE (Arm ARM K1.2)? A processor may take it as undefined or execute it, so the two
 * sides need not agree. Only for the encodings that a probe can hold.
 */
export function isUnpredictable(word: number): boolean {
  return shouldBeOtherwise(word) || exclusiveOverlap(word) || pairOverlap(word) || writebackOverlap(word);
}

const rt = (word: number): number => word & 31;
const rn = (word: number): number => (word >>> 5) & 31;
const rt2 = (word: number): number => (word >>> 10) & 31;
const rs = (word: number): number => (word >>> 16) & 31;
const has = (word: number, mask: number, value: number): boolean => (word & mask) >>> 0 === value;

/** Bits written (0) and (1) in the encoding diagrams. */
function shouldBeOtherwise(word: number): boolean {
  // SMULH, UMULH: Ra should be ones.
  if (has(word, 0xff608000, 0x9b400000)) return rt2(word) !== 31;
  // FCMP, FCMPE with zero: Rm should be zeros.
  if (has(word, 0xffa0fc0f, 0x1e202008)) return rs(word) !== 0;
  if (!has(word, 0x3f000000, 0x08000000)) return false;
  // Load-acquire and store-release: Rs and Rt2; exclusive loads: Rs; exclusive single registers: Rt2.
  const ordered = has(word, 0x00a00000, 0x00800000);
  const load = has(word, 0x00400000, 0x00400000);
  const pair = has(word, 0x00a00000, 0x00200000);
  return ((ordered || load) && rs(word) !== 31) || (!pair && rt2(word) !== 31);
}

function exclusiveOverlap(word: number): boolean {
  if (!has(word, 0x3f800000, 0x08000000)) return false;
  const pair = has(word, 0x00200000, 0x00200000);
  if (has(word, 0x00400000, 0x00400000)) return pair && rt(word) === rt2(word);
  return (
    rs(word) === rt(word) || (rs(word) === rn(word) && rn(word) !== 31) || (pair && rs(word) === rt2(word))
  );
}

function pairOverlap(word: number): boolean {
  if (!has(word, 0x3a000000, 0x28000000)) return false;
  const vector = has(word, 0x04000000, 0x04000000);
  const load = has(word, 0x00400000, 0x00400000);
  const writeback = has(word, 0x00800000, 0x00800000);
  return (
    (load && rt(word) === rt2(word)) ||
    (writeback && !vector && rn(word) !== 31 && (rn(word) === rt(word) || rn(word) === rt2(word)))
  );
}

/** Post- and pre-indexed loads and stores of one general register. */
function writebackOverlap(word: number): boolean {
  return has(word, 0x3f200400, 0x38000400) && rn(word) === rt(word) && rn(word) !== 31;
}
