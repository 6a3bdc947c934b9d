import { emulatedLines, engineLines } from './machine.ts';

/** Lines that differ, each with the reason. */
const KNOWN: readonly (readonly [RegExp, string])[] = [
  [/^(esr_el1|contextidr_el1) ones=/, 'bits 63:32 are RES0 in Armv8.0; the emulator keeps them'],
  [/^(cpacr_el1|cntkctl_el1|vbar_el1|fpcr|fpsr) ones=/, 'the emulator keeps RES0 bits and those of AArch32'],
  [/^amair_el1 ones=/, 'implementation defined; the emulator has it read as zero'],
  [/^daif(set|clr) at EL0:.*esr=62/, 'the emulator swaps op1 and op2 of MSR (immediate) in the syndrome'],
  [/^(ldr|stp)_sp at EL(0|1|1t):/, 'the emulator does not check the alignment of SP'],
];

describe('a program at EL1', () => {
  it('sees the exceptions, translations, traps and registers that it sees on an emulated Cortex-A57', async () => {
    const emulated = emulatedLines();
    const own = await engineLines();
    expect(own.length).toBe(emulated.length);
    let heading = '';
    const different = emulated.flatMap((line, i) => {
      if (!/[:=]/.test(line) || !line.includes(':')) heading = line;
      const mine = own[i] ?? '';
      if (mine === line || KNOWN.some(([pattern]) => pattern.test(line) && pattern.test(mine))) return [];
      return [`${heading}\n  emulated ${line}\n  engine   ${mine}`];
    });
    expect(different.slice(0, 40)).toEqual([]);
    expect(emulated.length).toBeGreaterThan(3000);
  });

  it('has its SP checked where SCTLR_EL1 asks for it (Arm ARM D1.3.10)', async () => {
    const lines = await engineLines();
    const checked = lines.filter((line) => /^(ldr|stp)_sp at .*esr=9a000000 /.test(line));
    // Per misaligned SP: EL1 and EL1t with SA, EL0 with SA0, two instructions each.
    expect(checked.length).toBe(3 * (2 * 2 * 2 + 2 * 2));
  });
});
