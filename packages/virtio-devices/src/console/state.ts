import { VirtioDeviceError } from '../errors.ts';
import { StateReader } from '../state.ts';
import type { ConsoleSize } from './control.ts';
import type { Port } from './port.ts';

/** Plain state of one port. */
export interface ConsolePortState {
  readonly hostOpen: boolean;
  readonly closing: boolean;
  readonly guestOpen: boolean;
  readonly added: boolean;
  readonly ready: boolean;
  readonly announcedOpen: boolean;
  readonly addDue: boolean;
  readonly consoleDue: boolean;
  readonly nameDue: boolean;
  readonly sizeDue: boolean;
  readonly capacity: number;
  readonly outputDone: number;
  /** What the guest has not taken. */
  readonly input: Uint8Array;
}

/** Plain, versioned state of a console device. */
export interface VirtioConsoleState {
  readonly version: 1;
  readonly columns: number;
  readonly rows: number;
  readonly generation: number;
  readonly ports: readonly ConsolePortState[];
}

export function saveConsole(
  ports: readonly Port[],
  size: ConsoleSize,
  generation: number,
): VirtioConsoleState {
  return {
    version: 1,
    columns: size.columns,
    rows: size.rows,
    generation,
    ports: ports.map((port) => ({
      hostOpen: port.hostOpen || port.closing,
      closing: port.closing,
      guestOpen: port.guestOpen,
      added: port.added,
      ready: port.ready,
      announcedOpen: port.announcedOpen,
      addDue: port.due.add,
      consoleDue: port.due.console,
      nameDue: port.due.name,
      sizeDue: port.due.size,
      capacity: port.capacity,
      outputDone: port.outputDone,
      input: port.input.bytes(),
    })),
  };
}

/** @throws VirtioDeviceError `INVALID_STATE`; nothing is changed before `apply()` */
export function parseConsoleState(
  state: unknown,
  ports: readonly Port[],
): { readonly size: ConsoleSize; readonly generation: number; readonly apply: () => void } {
  const reader = new StateReader('console device state', state);
  reader.version(1);
  const size = { columns: reader.integer('columns', 0, 65535), rows: reader.integer('rows', 0, 65535) };
  const generation = reader.integer('generation', 0, Number.MAX_SAFE_INTEGER);
  const saved = reader.array('ports');
  if (saved.length !== ports.length) {
    throw new VirtioDeviceError(
      'INVALID_STATE',
      `console device state has ${saved.length} ports, this device has ${ports.length}`,
    );
  }
  const parsed = saved.map(parsePort);
  const apply = (): void => ports.forEach((port, id) => restorePort(port, parsed[id]!));
  return { size, generation, apply };
}

function parsePort(state: unknown, id: number): ConsolePortState {
  const reader = new StateReader(`state of console port ${id}`, state);
  return {
    hostOpen: reader.boolean('hostOpen'),
    closing: reader.boolean('closing'),
    guestOpen: reader.boolean('guestOpen'),
    added: reader.boolean('added'),
    ready: reader.boolean('ready'),
    announcedOpen: reader.boolean('announcedOpen'),
    addDue: reader.boolean('addDue'),
    consoleDue: reader.boolean('consoleDue'),
    nameDue: reader.boolean('nameDue'),
    sizeDue: reader.boolean('sizeDue'),
    capacity: reader.integer('capacity', 0, 32768),
    outputDone: reader.integer('outputDone', 0, 2 ** 32),
    input: reader.bytes('input'),
  };
}

function restorePort(port: Port, state: ConsolePortState): void {
  port.added = state.added;
  port.ready = state.ready;
  port.announcedOpen = state.announcedOpen;
  port.due.add = state.addDue;
  port.due.console = state.consoleDue;
  port.due.name = state.nameDue;
  port.due.size = state.sizeDue;
  port.capacity = state.capacity;
  port.outputDone = state.outputDone;
  port.input.clear();
  port.input.push(state.input);
  port.restoreOpen(state.hostOpen, state.guestOpen);
  if (state.closing) void port.close();
}
