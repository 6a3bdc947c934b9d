import { IrqChipError } from './errors.ts';
import * as R from './ioapic-registers.ts';
import { stateFields, type IrqChipState } from './irq-chip.ts';

const STATE_VERSION = 1;
const MODEL = 'ioapic';

/** What an I/O APIC consists of. */
export interface IoApicFields {
  id: number;
  select: number;
  /** Redirection entries: bits 31:0 and 63:32. */
  readonly low: Uint32Array;
  readonly high: Uint32Array;
  /** 1 for an input that is asserted. */
  readonly asserted: Uint8Array;
}

/** Plain, versioned state of an `IoApic`; arrays have an element for each input. */
export interface IoApicState extends IrqChipState {
  readonly id: number;
  readonly select: number;
  readonly low: readonly number[];
  readonly high: readonly number[];
  readonly asserted: readonly number[];
}

export function saveIoApic(fields: IoApicFields): IoApicState {
  return {
    version: STATE_VERSION,
    model: MODEL,
    id: fields.id,
    select: fields.select,
    low: [...fields.low],
    high: [...fields.high],
    asserted: [...fields.asserted],
  };
}

/** @throws IrqChipError `INVALID_STATE`, and the fields stay as they were */
export function restoreIoApic(fields: IoApicFields, state: unknown): void {
  const given = stateFields(state);
  if (given['version'] !== STATE_VERSION || given['model'] !== MODEL) {
    throw invalid(`it is of '${String(given['model'])}' version ${String(given['version'])}`);
  }
  const inputs = fields.low.length;
  const id = word('id', given['id'], R.ID_MASK);
  const select = word('select', given['select'], 0xff);
  const low = words('low', given['low'], inputs, R.RTE_LOW_WRITABLE | R.RTE_REMOTE_IRR);
  const high = words('high', given['high'], inputs, R.RTE_HIGH_WRITABLE);
  const asserted = words('asserted', given['asserted'], inputs, 1);
  if (low.some((entry) => (entry & (R.RTE_REMOTE_IRR | R.RTE_LEVEL)) === R.RTE_REMOTE_IRR)) {
    throw invalid('an edge-triggered input waits for its end');
  }
  fields.id = id;
  fields.select = select;
  fields.low.set(low);
  fields.high.set(high);
  fields.asserted.set(asserted);
}

function words(field: string, value: unknown, count: number, mask: number): readonly number[] {
  if (!Array.isArray(value) || value.length !== count) throw invalid(`'${field}' is no ${count} words`);
  return value.map((item: unknown) => word(field, item, mask));
}

/** A word without bits outside of `mask`. */
function word(field: string, value: unknown, mask: number): number {
  if (
    typeof value !== 'number' ||
    !Number.isInteger(value) ||
    value < 0 ||
    value > 0xffff_ffff ||
    (value & ~mask) !== 0
  ) {
    throw invalid(`'${field}' has bits that no register has`);
  }
  return value;
}

function invalid(why: string): IrqChipError {
  return new IrqChipError('INVALID_STATE', `not a state of this I/O APIC: ${why}`);
}
