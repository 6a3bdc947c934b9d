import type { VmmError } from '../errors.ts';
import { type MachineState, checkMachineState, restoreParts, saveParts } from './machine-state.ts';

const vcpu = { version: 1, arch: 'aarch64', registers: {}, opaque: new Uint8Array(0) } as const;
const state: MachineState = {
  version: 1,
  arch: 'aarch64',
  clock: 2n ** 64n - 1n,
  vcpus: [vcpu, vcpu],
  interruptController: { version: 1 },
  parts: { serial: 7 },
};

const invalid = (message: string): VmmError =>
  expect.objectContaining({
    code: 'INVALID_SNAPSHOT',
    message: expect.stringContaining(message) as string,
  }) as VmmError;

/** A part whose state is a number below 10. */
class Digit {
  value = 0;

  save(): number {
    return this.value;
  }

  restore(saved: unknown): void {
    if (typeof saved !== 'number' || saved >= 10) throw new RangeError(`${String(saved)} is no digit`);
    this.value = saved;
  }
}

describe('the state of a machine', () => {
  it('of the same architecture with as many vCPUs is taken', () => {
    expect(checkMachineState(state, 'aarch64', 2)).toEqual(state);
  });

  it.each<[string, unknown, string]>([
    ['nothing', null, 'no object'],
    ['a list', [], 'no object'],
    ['another version', { ...state, version: 2 }, 'version 2'],
    ['another architecture', { ...state, arch: 'x86_64' }, 'for x86_64'],
    ['a clock that is no integer', { ...state, clock: 1 }, 'clock'],
    ['a clock below zero', { ...state, clock: -1n }, 'clock'],
    ['a clock of more than 64 bits', { ...state, clock: 2n ** 64n }, 'clock'],
    ['fewer vCPUs', { ...state, vcpus: [vcpu] }, '1 vCPUs, and there are 2'],
    ['no vCPUs', { ...state, vcpus: {} }, 'no vCPUs'],
    ['vCPUs that are none', { ...state, vcpus: [vcpu, 1] }, 'a vCPU is no object'],
    ['no parts', { ...state, parts: undefined }, 'devices of the machine'],
  ])('%s is refused', (_, damaged, message) => {
    expect(() => checkMachineState(damaged, 'aarch64', 2)).toThrow(invalid(message));
  });

  it('parts get their own states back, and say which of them was refused', () => {
    const parts = { serial: new Digit(), clock: new Digit() };
    restoreParts(parts, { serial: 3, clock: 4 });
    expect(saveParts(parts)).toEqual({ serial: 3, clock: 4 });
    expect(() => restoreParts(parts, { serial: 3, clock: 10 })).toThrow(invalid('clock: 10 is no digit'));
  });

  it('parts that are missing or too many are refused', () => {
    const parts = { serial: new Digit() };
    expect(() => restoreParts(parts, {})).toThrow(invalid('the machine has serial'));
    expect(() => restoreParts(parts, { serial: 1, pci: 1 })).toThrow(invalid('its state has pci, serial'));
  });
});
