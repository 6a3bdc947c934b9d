import fc from 'fast-check';
import { HypervisorError } from '../../errors.ts';
import { encodeState } from '../../state-codec.ts';
import type { VcpuState } from '../../vcpu.ts';
import { NAMED_REGISTERS, registerSize } from './registers.ts';
import type { Aarch64VcpuParts } from './state.ts';
import { decodeVcpuState, encodeVcpuState, RegisterList } from './state.ts';
import { KVM_REG_ARM64_U64, VCPU_EVENTS_SIZE } from './uapi.ts';

/** Two firmware registers, and one that is too wide for a state. */
const FIRMWARE = [
  { low: 0x14_0000, high: KVM_REG_ARM64_U64 },
  { low: 0x14_0001, high: KVM_REG_ARM64_U64 },
];
const WIDE = { low: 0x15_0000, high: 0x6080_0000 };

const list = new RegisterList([...FIRMWARE, WIDE, ...NAMED_REGISTERS.values()]);

const parts: Aarch64VcpuParts = {
  mpState: 5,
  events: new Uint8Array(VCPU_EVENTS_SIZE).fill(3),
  registers: Object.fromEntries(
    [...NAMED_REGISTERS].map(([name], index) => [name, name === 'pstate' ? 0x3c5n : BigInt(index)]),
  ),
  others: FIRMWARE.map((id, index) => ({ id, bytes: new Uint8Array(8).fill(index + 1) })),
};

const refuses = (state: unknown): void => {
  expect(() => decodeVcpuState(state, list)).toThrow(
    expect.objectContaining({ name: 'HypervisorError', code: 'INVALID_ARGUMENT' }),
  );
};

describe('the state of a vCPU', () => {
  it('is taken apart into what it was made of', () => {
    expect(decodeVcpuState(structuredClone(encodeVcpuState(parts)), list)).toEqual(parts);
  });

  it('has the registers that KVM lists, and names those that have names', () => {
    expect(list.others).toEqual(FIRMWARE);
    expect([...list.named.keys()]).toEqual([...NAMED_REGISTERS.keys()]);
    const few = new RegisterList([...NAMED_REGISTERS.values()].slice(0, 3));
    expect([...few.named.keys()]).toEqual(['x0', 'x1', 'x2']);
  });

  it('is refused by a KVM with other registers', () => {
    const state = encodeVcpuState(parts);
    const others = [
      new RegisterList([FIRMWARE[0]!, ...NAMED_REGISTERS.values()]),
      new RegisterList([...FIRMWARE.toReversed(), ...NAMED_REGISTERS.values()]),
      new RegisterList([...FIRMWARE, ...[...NAMED_REGISTERS.values()].slice(1)]),
    ];
    for (const other of others) expect(() => decodeVcpuState(state, other)).toThrow(HypervisorError);
  });

  it('is refused with a register that does not fit its width', () => {
    for (const [name, id] of NAMED_REGISTERS) {
      const value = 1n << BigInt(8 * registerSize(id));
      refuses(encodeVcpuState({ ...parts, registers: { ...parts.registers, [name]: value } }));
    }
  });

  it('is refused with an unknown power state', () => {
    refuses(encodeVcpuState({ ...parts, mpState: 3 }));
  });

  it('is refused or decoded, whatever the bytes are', () => {
    const state = encodeVcpuState(parts);
    const payload = fc.uint8Array({ minLength: 0, maxLength: 160 });
    fc.assert(
      fc.property(payload, (bytes) => {
        const changed: VcpuState = { ...state, opaque: encodeState(0x3436_414b, 1, bytes) };
        try {
          decodeVcpuState(changed, list);
        } catch (error) {
          expect(error).toMatchObject({ code: 'INVALID_ARGUMENT' });
        }
      }),
    );
  });
});
