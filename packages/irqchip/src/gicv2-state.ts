import { IrqChipError } from './errors.ts';
import { SGI_COUNT, type GicV2Core } from './gicv2-core.ts';
import { CTLR_ENABLE_GRP, CTLR_MASK, MIN_ABPR, MIN_BPR, PRIORITY_MASK } from './gicv2-registers.ts';
import { SPI_BASE } from './gic.ts';
import type { IrqChipState } from './irq-chip.ts';

const STATE_VERSION = 1;
export const GICV2_MODEL = 'gicv2';

/** State of a GICv2 model. Bitmaps have a word of SGIs and PPIs for each CPU, then the words of SPIs. */
export interface GicV2State extends IrqChipState {
  readonly cpus: number;
  readonly irqs: number;
  readonly control: number;
  readonly group: Uint32Array;
  readonly enable: Uint32Array;
  readonly latch: Uint32Array;
  readonly active: Uint32Array;
  readonly line: Uint32Array;
  readonly edge: Uint32Array;
  readonly priority: Uint8Array;
  readonly targets: Uint8Array;
  readonly sgiSources: Uint8Array;
  readonly interfaceControl: Uint32Array;
  readonly priorityMask: Uint8Array;
  readonly binaryPoint: Uint8Array;
  readonly aliasedBinaryPoint: Uint8Array;
  readonly activePriorities0: Uint32Array;
  readonly activePriorities1: Uint32Array;
}

type ArrayField = {
  [K in keyof GicV2State]: GicV2State[K] extends Uint32Array | Uint8Array ? K : never;
}[keyof GicV2State];

const BITMAPS = ['group', 'enable', 'latch', 'active', 'line', 'edge'] as const;
const ARRAYS: readonly ArrayField[] = [
  ...BITMAPS,
  'priority',
  'targets',
  'sgiSources',
  'interfaceControl',
  'priorityMask',
  'binaryPoint',
  'aliasedBinaryPoint',
  'activePriorities0',
  'activePriorities1',
];

export function saveGicV2(gic: GicV2Core): GicV2State {
  return {
    version: STATE_VERSION,
    model: GICV2_MODEL,
    cpus: gic.cpus,
    irqs: gic.irqs,
    control: gic.control,
    group: gic.group.slice(),
    enable: gic.enable.slice(),
    latch: gic.latch.slice(),
    active: gic.active.slice(),
    line: gic.line.slice(),
    edge: gic.edge.slice(),
    priority: gic.priority.slice(),
    targets: gic.targets.slice(),
    sgiSources: gic.sgiSources.slice(),
    interfaceControl: gic.interfaceControl.slice(),
    priorityMask: gic.priorityMask.slice(),
    binaryPoint: gic.binaryPoint.slice(),
    aliasedBinaryPoint: gic.aliasedBinaryPoint.slice(),
    activePriorities0: gic.activePriorities0.slice(),
    activePriorities1: gic.activePriorities1.slice(),
  };
}

/**
 * Checks a state of unknown origin and takes it over, without telling the CPUs.
 *
 * @throws IrqChipError `INVALID_STATE`, and the controller stays as it was
 */
export function restoreGicV2(gic: GicV2Core, state: unknown): void {
  if (typeof state !== 'object' || state === null) throw invalid('it is no object');
  const fields = state as Readonly<Record<string, unknown>>;
  const expected = { version: STATE_VERSION, model: GICV2_MODEL, cpus: gic.cpus, irqs: gic.irqs };
  for (const [field, value] of Object.entries(expected)) {
    if (fields[field] !== value)
      throw invalid(`'${field}' is ${String(fields[field])}, not ${String(value)}`);
  }
  const { control } = fields;
  if (typeof control !== 'number' || !Number.isInteger(control) || control < 0 || control > CTLR_ENABLE_GRP) {
    throw invalid("'control' has unknown bits");
  }
  const arrays = ARRAYS.map((field) => [field, copyOf(gic, field, fields[field])] as const);
  for (const [field, values] of arrays) checkValues(gic, field, values);
  checkSgis(gic, Object.fromEntries(arrays));

  gic.control = control;
  for (const [field, values] of arrays) gic[field].set(values);
}

/** The array of a field, once: what it came from may change. */
function copyOf(gic: GicV2Core, field: ArrayField, value: unknown): Uint32Array | Uint8Array {
  const own = gic[field];
  // By its tag: a copy may come from another realm, where instanceof fails.
  if (
    !ArrayBuffer.isView(value) ||
    Object.prototype.toString.call(value) !== `[object ${own[Symbol.toStringTag]}]`
  ) {
    throw invalid(`'${field}' is no ${own[Symbol.toStringTag]}`);
  }
  const copy = own.slice();
  const given = value as Uint32Array | Uint8Array;
  if (given.length !== own.length) throw invalid(`'${field}' has ${given.length} values, not ${own.length}`);
  copy.set(given);
  return copy;
}

function checkValues(gic: GicV2Core, field: ArrayField, values: Uint32Array | Uint8Array): void {
  const cpuMask = 2 ** gic.cpus - 1;
  const wrong = values.findIndex((value, index) => {
    switch (field) {
      case 'group':
      case 'enable':
      case 'latch':
      case 'active':
      case 'edge':
      case 'line': {
        const word = index < gic.cpus ? 0 : index - gic.cpus + 1;
        return (value & ~gic.recordMask(word)) !== 0;
      }
      case 'priority':
      case 'priorityMask':
        return (value & ~PRIORITY_MASK) !== 0;
      case 'targets':
        if (index < SPI_BASE) return value !== 0;
        return gic.cpus === 1 ? value !== 1 : (value & ~cpuMask) !== 0;
      case 'sgiSources':
        return (value & ~cpuMask) !== 0;
      case 'interfaceControl':
        return (value & ~CTLR_MASK) !== 0;
      case 'binaryPoint':
        return value < MIN_BPR || value > 7;
      case 'aliasedBinaryPoint':
        return value < MIN_ABPR || value > 7;
      case 'activePriorities0':
      case 'activePriorities1':
        return false;
    }
  });
  if (wrong >= 0) throw invalid(`'${field}' has an impossible value at ${wrong}`);
}

/** SGIs are edge-triggered, have no lines, and are pending exactly when some CPU has sent them. */
function checkSgis(gic: GicV2Core, arrays: Readonly<Record<string, Uint32Array | Uint8Array>>): void {
  for (let cpu = 0; cpu < gic.cpus; cpu++) {
    let sent = 0;
    for (let sgi = 0; sgi < SGI_COUNT; sgi++) {
      if (arrays['sgiSources']![cpu * SGI_COUNT + sgi] !== 0) sent |= 1 << sgi;
    }
    const latched = arrays['latch']![cpu]! & 0xffff;
    const lines = arrays['line']![cpu]! & 0xffff;
    if (latched !== sent || lines !== 0 || (arrays['edge']![cpu]! & 0xffff) !== 0xffff) {
      throw invalid(`the SGIs of CPU ${cpu} contradict each other`);
    }
  }
}

function invalid(why: string): IrqChipError {
  return new IrqChipError('INVALID_STATE', `not a state of this GICv2: ${why}`);
}
