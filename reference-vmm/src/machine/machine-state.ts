import type { Vcpu, VcpuState } from '@vmm/hypervisor';
import { VmmError, messageOf } from '../errors.ts';
import type { Architecture } from './machine.ts';

/** Plain, versioned state of a machine: what of it is in neither memory nor virtio devices. */
export interface MachineState {
  readonly version: 1;
  readonly arch: Architecture;
  /** arm64: ticks of the virtual counter. x86-64: nanoseconds of the paravirtual clock. */
  readonly clock: bigint;
  readonly vcpus: readonly VcpuState[];
  readonly interruptController: unknown;
  /** Of every other part, by its name. */
  readonly parts: Readonly<Record<string, unknown>>;
}

/** A part of a machine whose state is its own to check. */
export interface StatefulPart {
  save(): unknown;
  /** @throws when it is not a state of this part, whatever else it may be */
  restore(state: unknown): void;
}

const MAX_CLOCK = 2n ** 64n;

/**
 * Takes a state of unknown origin apart; what its parts hold is theirs to check.
 *
 * @throws VmmError `INVALID_SNAPSHOT`
 */
export function checkMachineState(state: unknown, arch: Architecture, vcpus: number): MachineState {
  const given = objectOf('the machine', state);
  if (given['version'] !== 1 || given['arch'] !== arch) {
    throw invalid(
      `the state of the machine is version ${String(given['version'])} for ${String(given['arch'])}, not version 1 for ${arch}`,
    );
  }
  const { clock } = given;
  if (typeof clock !== 'bigint' || clock < 0n || clock >= MAX_CLOCK)
    throw invalid('the clock of the machine is no unsigned number of 64 bits');
  const saved = given['vcpus'];
  if (!Array.isArray(saved) || saved.length !== vcpus) {
    throw invalid(
      `the state of the machine has ${Array.isArray(saved) ? saved.length : 'no'} vCPUs, and there are ${vcpus}`,
    );
  }
  return {
    version: 1,
    arch,
    clock,
    // `Vcpu.restore` takes no state on trust.
    vcpus: saved.map((each) => objectOf('a vCPU', each) as unknown as VcpuState),
    interruptController: given['interruptController'],
    parts: objectOf('the devices of the machine', given['parts']),
  };
}

export function saveParts(parts: Readonly<Record<string, StatefulPart>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(parts).map(([name, part]) => [name, part.save()]));
}

/** @throws VmmError `INVALID_SNAPSHOT` */
export function restoreParts(
  parts: Readonly<Record<string, StatefulPart>>,
  states: Readonly<Record<string, unknown>>,
): void {
  const expected = Object.keys(parts).sort().join(', ');
  const found = Object.keys(states).sort().join(', ');
  if (expected !== found) throw invalid(`the machine has ${expected}; its state has ${found}`);
  for (const [name, part] of Object.entries(parts)) restoring(name, () => part.restore(states[name]));
}

/** @throws VmmError `INVALID_SNAPSHOT` */
export function restoreVcpus(vcpus: readonly Vcpu[], states: readonly VcpuState[]): void {
  for (const [index, vcpu] of vcpus.entries()) restoring(`vCPU ${index}`, () => vcpu.restore(states[index]!));
}

/** Says whose state it was that was refused. @throws VmmError `INVALID_SNAPSHOT` */
export function restoring(what: string, restore: () => void): void {
  try {
    restore();
  } catch (cause) {
    const reason = messageOf(cause);
    throw new VmmError('INVALID_SNAPSHOT', `${what}: ${reason}`, { cause });
  }
}

function objectOf(what: string, value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalid(`the state of ${what} is no object`);
  return value as Readonly<Record<string, unknown>>;
}

function invalid(message: string): VmmError {
  return new VmmError('INVALID_SNAPSHOT', message);
}
