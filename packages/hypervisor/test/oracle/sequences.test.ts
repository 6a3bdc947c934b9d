import { campaign } from './campaign.ts';
import { EngineRunner } from './engine.ts';
import { tableFor } from './table.ts';

const seed = Number(process.env['VMM_ORACLE_SEED'] ?? 1);
const count = Number(process.env['VMM_ORACLE_COUNT'] ?? 4000);

/** Enough that every row comes up in each profile that holds it. */
const COVERING = 1500;

describe('random instruction sequences', () => {
  it('leave the state that an emulated Cortex-A57 leaves', async () => {
    const engine = await EngineRunner.load();
    const table = tableFor(engine.hasCryptography);
    const { sequences, executed, reports } = campaign(engine, table, seed, count);
    expect(reports.join('\n\n')).toBe('');
    expect(sequences).toBe(count);
    if (count >= COVERING)
      expect(table.filter((row) => !executed.has(row)).map((row) => row.name)).toEqual([]);
  });
});
