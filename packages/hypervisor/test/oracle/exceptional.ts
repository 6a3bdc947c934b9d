import { adrFields, encode, type Encoding, type Fields } from './encoding.ts';
import type { Random } from './random.ts';
import { inWindow, LINK_SCRATCH, somewhere } from './registers.ts';
import { CODE_BASE, DATA_BASE, DATA_SIZE, type Ending } from './state.ts';

/** ADR and an instruction that does not complete. */
export interface ExceptionalItem {
  readonly words: number[];
  readonly rows: readonly Encoding[];
  readonly ending: Ending;
}

const ATTEMPTS = 60;
const BASE = 19;
/** Not mapped on either side. */
const NOWHERE = CODE_BASE + 0x8000;

/** An item for the end of a sequence at address `pc`; undefined when none was found. */
export function exceptionalItem(
  random: Random,
  table: readonly Encoding[],
  pc: number,
): ExceptionalItem | undefined {
  const adr = table.find((row) => row.name === 'ADR');
  if (adr === undefined) throw new Error('the table lacks ADR');
  const make = (
    row: Encoding,
    fields: Fields,
    register: number,
    to: number,
    ending: Ending,
  ): ExceptionalItem => ({
    words: [encode(adr, adrFields(register, pc, to)), encode(row, fields)],
    rows: [adr, row],
    ending,
  });
  if (random.chance(0.1)) {
    const row = random.pick(table.filter(({ name }) => /^(BR|BLR|RET)$/.test(name)));
    const register = random.pick(LINK_SCRATCH);
    const misaligned = random.chance(0.5);
    const to = misaligned ? pc + 8 + 1 + random.below(3) : NOWHERE + random.below(0x1000) * 4;
    return make(row, { Rn: register }, register, to, misaligned ? 'alignment' : 'fault');
  }
  const rows = table.filter((row) => row.access !== undefined);
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const row = random.pick(rows);
    const fields: Record<string, number> = { SPn: BASE };
    for (const { name, width } of row.fields) fields[name] ??= name === 'Rm' ? 31 : random.bits(width);
    const access = row.access?.(fields);
    if (access === undefined || access.base === 'pc' || row.allowed?.(fields) === false) continue;
    // Prefetches do not fault, and what cache maintenance does is its own matter.
    if (row.mnemonics.some((name) => /^(prf|dc|ic)/.test(name))) continue;
    // A store-exclusive without its load fails before or after it looks at the address.
    if (row.group === 'exclusive' && fields['Rs'] !== undefined) continue;
    if (access.align > 1 && random.chance(0.5)) {
      const at = somewhere(random);
      if (at % access.align !== 0) return make(row, fields, BASE, at - access.offset, 'alignment');
      continue;
    }
    const end = DATA_BASE + DATA_SIZE;
    const wanted = random.chance(0.5)
      ? end - access.bytes + 1 + random.below(access.bytes + 8)
      : DATA_BASE - 1 - random.below(access.bytes + 8);
    const at = wanted - (wanted % access.align);
    if (!inWindow(at, at, access.bytes)) return make(row, fields, BASE, at - access.offset, 'fault');
  }
  return undefined;
}
