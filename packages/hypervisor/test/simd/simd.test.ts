import { casesOf, RESULT_SIZE, STATE_SIZE } from './cases.ts';
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
});
