import { casesOf, MEMORY_END, RESULT_SIZE, STATE_SIZE, STATE_X } from './cases.ts';
import { GROUPS } from './groups.ts';
import { Comparison, describeCase, sameResult } from './oracle.ts';
import { Random } from './random.ts';

// SIMD_CASES: cases per group and weight; SIMD_SEED: which ones; SIMD_GROUP: only groups whose name contains it;
// SIMD_SHOW: how many differences to show.
const CASES = Number(process.env['SIMD_CASES'] ?? 500);
const SEED = Number(process.env['SIMD_SEED'] ?? 1);
const ONLY = process.env['SIMD_GROUP'] ?? '';
const SHOW = Number(process.env['SIMD_SHOW'] ?? 3);

describe('Advanced SIMD and floating point, compared with QEMU', () => {
  let comparison: Comparison | undefined;
  beforeAll(async () => {
    comparison = await Comparison.create();
  }, 120_000);
  afterAll(() => comparison?.close());

  const groups = GROUPS.filter(({ name }) => name.includes(ONLY));
  it.each(groups.map((group) => [group.name, group] as const))(
    '%s: same registers, flags and allocation',
    (_, group) => {
      const batches = casesOf(new Random(SEED), group, CASES * group.weight);
      const expected = comparison!.expected(batches);
      const actual = comparison!.actual(batches);
      expect(expected.length).toBe(actual.length);
      const differences: string[] = [];
      let count = 0;
      let at = 0;
      for (const batch of batches) {
        for (let i = 0; i < (batch.length - STATE_SIZE) / 4; i++, at += RESULT_SIZE) {
          const want = expected.subarray(at, at + RESULT_SIZE);
          const got = actual.subarray(at, at + RESULT_SIZE);
          if (sameResult(want, got)) continue;
          count++;
          if (differences.length < SHOW) differences.push(describeCase(batch, i, want, got));
        }
      }
      if (count > 0)
        throw new Error(`${count} of ${actual.length / RESULT_SIZE} differ\n${differences.join('\n')}`);
    },
    600_000,
  );

  it('a structure load that faults leaves registers and base alone', () => {
    const loads = GROUPS.filter(({ name }) => name.startsWith('load/store'));
    let faults = 0;
    for (const group of loads) {
      for (const batch of casesOf(new Random(SEED), group, 2000)) {
        const view = new DataView(batch.buffer);
        const count = (batch.length - STATE_SIZE) / 4;
        for (const x of [0, 1]) view.setBigUint64(STATE_X + 8 * x, MEMORY_END - 1n - BigInt(8 * x), true);
        // ORR V0, V0, V0 changes nothing: its result has the hash of the state as it was.
        view.setUint32(STATE_SIZE, 0x4ea01c00, true);
        const results = new DataView(comparison!.actual([batch]).buffer);
        for (let i = 1; i < count; i++) {
          const isLoad = (view.getUint32(STATE_SIZE + 4 * i, true) & 0x00400000) !== 0;
          if (!isLoad || results.getUint32(RESULT_SIZE * i + 32, true) !== 2) continue;
          faults++;
          expect(results.getBigUint64(RESULT_SIZE * i + 40, true)).toBe(results.getBigUint64(40, true));
        }
      }
    }
    expect(faults).toBeGreaterThan(200);
  });

  it.each([
    ['AESE', 0x4e284820],
    ['AESMC', 0x4e286820],
    ['SHA1H', 0x5e280820],
    ['SHA256H', 0x5e024020],
    ['PMULL, 64 bits', 0x0ee2e020],
    ['SQRDMLAH (Armv8.1)', 0x6e828420],
    ['FADD, half (Armv8.2)', 0x4e421420],
    ['SDOT (Armv8.2)', 0x4e829420],
    ['FCVTZS of a half (Armv8.2)', 0x1ef80020],
    ['FCADD (Armv8.3)', 0x6e82e420],
    ['FRINT32Z (Armv8.5)', 0x1e684020],
  ])('%s is unallocated, as the ID registers say', (_, insn) => {
    const [batch] = casesOf(new Random(SEED), GROUPS[0]!, 1);
    const view = new DataView(batch!.buffer);
    view.setUint32(STATE_SIZE, insn, true);
    const results = new DataView(comparison!.actual([batch!]).buffer);
    expect(results.getUint32(32, true)).toBe(1);
  });
});
