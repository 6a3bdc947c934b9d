import { checkPstate } from '../../aarch64-registers.ts';
import { decodeState, encodeState, invalid, stateObject } from '../../state-codec.ts';
import type { VcpuState } from '../../vcpu.ts';
import type { RegisterId } from './registers.ts';
import { NAMED_REGISTERS, registerKey, registerSize } from './registers.ts';
import { KVM_MP_STATE_RUNNABLE, KVM_MP_STATE_STOPPED, VCPU_EVENTS_SIZE } from './uapi.ts';

/** 'KA64' */
const MAGIC = 0x3436_414b;
const VERSION = 1;
const WHAT = 'the state of the vCPU';

// Offsets in the payload.
const MP_STATE = 0;
const COUNT = 4;
const EVENTS = 8;
const REGISTERS: number = EVENTS + VCPU_EVENTS_SIZE;
/** Id and value of a register. */
const ENTRY_SIZE = 24;
const ENTRY_VALUE = 8;
const VALUE_SIZE = 16;

/** A register and its value, little-endian. */
export interface RegisterValue {
  readonly id: RegisterId;
  readonly bytes: Uint8Array;
}

/** The registers of a vCPU, apart by how a state tells them. */
export class RegisterList {
  /** Registers with names. */
  readonly named: ReadonlyMap<string, RegisterId>;
  /** The others: identification, firmware, counters. */
  readonly others: readonly RegisterId[];

  constructor(ids: readonly RegisterId[]) {
    const listed = new Set(ids.map(registerKey));
    this.named = new Map([...NAMED_REGISTERS].filter(([, id]) => listed.has(registerKey(id))));
    const named = new Set([...this.named.values()].map(registerKey));
    this.others = ids.filter((id) => !named.has(registerKey(id)) && registerSize(id) <= VALUE_SIZE);
  }
}

/** What a vCPU consists of. */
export interface Aarch64VcpuParts {
  readonly mpState: number;
  readonly events: Uint8Array;
  readonly registers: Readonly<Record<string, bigint>>;
  readonly others: readonly RegisterValue[];
}

export function encodeVcpuState({ mpState, events, registers, others }: Aarch64VcpuParts): VcpuState {
  const payload = new Uint8Array(REGISTERS + ENTRY_SIZE * others.length);
  const view = new DataView(payload.buffer);
  view.setUint32(MP_STATE, mpState, true);
  view.setUint32(COUNT, others.length, true);
  payload.set(events, EVENTS);
  for (const [index, { id, bytes }] of others.entries()) {
    const entry = REGISTERS + ENTRY_SIZE * index;
    view.setUint32(entry, id.low, true);
    view.setUint32(entry + 4, id.high, true);
    payload.set(bytes, entry + ENTRY_VALUE);
  }
  return { version: VERSION, arch: 'aarch64', registers, opaque: encodeState(MAGIC, VERSION, payload) };
}

/**
 * Checks a state and takes it apart.
 *
 * @param list the registers of the vCPU that gets the state
 * @throws HypervisorError `INVALID_ARGUMENT`
 */
export function decodeVcpuState(state: unknown, list: RegisterList): Aarch64VcpuParts {
  const { version, arch, registers, opaque } = stateObject(WHAT, state);
  if (version !== VERSION) {
    throw invalid(WHAT, `it has version ${String(version)}, and this backend knows ${VERSION}`);
  }
  if (arch !== 'aarch64') throw invalid(WHAT, `it is of architecture '${String(arch)}'`);
  const payload = decodeState(WHAT, MAGIC, VERSION, opaque);
  if (payload.byteLength !== REGISTERS + ENTRY_SIZE * list.others.length) {
    throw invalid(WHAT, 'this KVM has other registers');
  }
  if (payload.getUint32(COUNT, true) !== list.others.length) throw invalid(WHAT, 'its length does not fit');
  const mpState = payload.getUint32(MP_STATE, true);
  if (mpState !== KVM_MP_STATE_RUNNABLE && mpState !== KVM_MP_STATE_STOPPED) {
    throw invalid(WHAT, `its power state ${mpState} is unknown`);
  }
  return {
    mpState,
    events: bytesAt(payload, EVENTS, VCPU_EVENTS_SIZE),
    registers: checkedRegisters(registers, list),
    others: list.others.map((id, index) => {
      const entry = REGISTERS + ENTRY_SIZE * index;
      if (payload.getUint32(entry, true) !== id.low || payload.getUint32(entry + 4, true) !== id.high) {
        throw invalid(WHAT, 'this KVM has other registers');
      }
      return { id, bytes: bytesAt(payload, entry + ENTRY_VALUE, registerSize(id)) };
    }),
  };
}

function bytesAt(view: DataView, offset: number, length: number): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset + offset, length).slice();
}

function checkedRegisters(value: unknown, list: RegisterList): Readonly<Record<string, bigint>> {
  const given = stateObject('the registers of the vCPU', value);
  if (Object.keys(given).length !== list.named.size) throw invalid(WHAT, 'it has other registers');
  const checked: Record<string, bigint> = {};
  for (const [name, id] of list.named) {
    const register = Object.hasOwn(given, name) ? given[name] : undefined;
    const bits = BigInt(8 * registerSize(id));
    if (typeof register !== 'bigint' || register < 0n || register >> bits !== 0n) {
      throw invalid(WHAT, `${name} is not an unsigned ${bits}-bit value`);
    }
    checked[name] = register;
  }
  checkPstate(checked['pstate'] ?? 0n);
  return checked;
}
