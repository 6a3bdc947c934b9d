import fc from 'fast-check';
import { FakeKvm } from '../../../test/kvm/fake-native.ts';
import { HypervisorError } from '../../errors.ts';
import { encodeState } from '../../state-codec.ts';
import { createKvmX86Hypervisor, type X86KvmVm } from '../index.ts';
import { decodeVcpuState, encodeVcpuState, type X86VcpuParts } from './state.ts';
import { MSR_ENTRY_SIZE, MSRS_HEADER_SIZE, XSAVE_SIZE } from './uapi.ts';

function filled(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (index * 7 + seed) & 0xff);
}

function table(header: number, entry: number, count: number, seed: number): Uint8Array {
  const bytes = filled(header + count * entry, seed);
  new DataView(bytes.buffer).setUint32(0, count, true);
  return bytes;
}

function parts(lapic = true): X86VcpuParts {
  return {
    regs: filled(144, 1),
    sregs: filled(312, 2),
    cpuid: table(8, 40, 3, 3),
    xsave: filled(XSAVE_SIZE, 4),
    xcrs: filled(392, 5),
    debugRegs: filled(128, 6),
    lapic: lapic ? filled(1024, 7) : undefined,
    msrs: table(MSRS_HEADER_SIZE, MSR_ENTRY_SIZE, 5, 8),
    mpState: filled(4, 9),
    events: filled(64, 10),
  };
}

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return error instanceof HypervisorError ? error.code : String(error);
  }
  return 'nothing';
}

describe('the state of an x86-64 vCPU', () => {
  it('comes back as it was, with and without a local APIC, and can be cloned', () => {
    for (const lapic of [true, false]) {
      const state = structuredClone(encodeVcpuState(parts(lapic)));
      expect(decodeVcpuState(state, lapic, XSAVE_SIZE)).toEqual(parts(lapic));
    }
  });

  it('has the general and control registers by name, which win over the opaque rest', () => {
    const state = encodeVcpuState(parts());
    expect(Object.keys(state.registers)).toEqual(expect.arrayContaining(['rip', 'cr3', 'ia32_efer']));
    const changed = { ...state, registers: { ...state.registers, rip: 0x1234n, cr3: 0x5000n } };
    const decoded = decodeVcpuState(changed, true, XSAVE_SIZE);
    expect(new DataView(decoded.regs.buffer).getBigUint64(128, true)).toBe(0x1234n);
    expect(new DataView(decoded.sregs.buffer).getBigUint64(240, true)).toBe(0x5000n);
  });

  it('is refused for a vCPU of another make', () => {
    const state = encodeVcpuState(parts());
    expect(codeOf(() => decodeVcpuState(state, false, XSAVE_SIZE))).toBe('INVALID_ARGUMENT');
    expect(codeOf(() => decodeVcpuState(state, true, 2 * XSAVE_SIZE))).toBe('INVALID_ARGUMENT');
    expect(codeOf(() => decodeVcpuState(encodeVcpuState(parts(false)), true, XSAVE_SIZE))).toBe(
      'INVALID_ARGUMENT',
    );
  });

  it('is refused whatever else is in it, and nothing but INVALID_ARGUMENT is thrown', () => {
    const state = encodeVcpuState(parts());
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(), fc.nat(8), (noise, place, keep) => {
        // A valid frame around a damaged payload, which the checksum does not protect against.
        const payload = state.opaque.slice(16);
        const at = keep > 4 ? place % payload.length : 0;
        payload.set(noise.subarray(0, payload.length - at), at);
        const cut = keep === 0 ? payload.slice(0, place % payload.length) : payload;
        const opaque = encodeState(0x5638_364b, 1, cut);
        const code = codeOf(() => decodeVcpuState({ ...state, opaque }, true, XSAVE_SIZE));
        expect(['nothing', 'INVALID_ARGUMENT']).toContain(code);
      }),
      { numRuns: 500 },
    );
  });

  it('is refused when a table in it says that it is longer than it is', () => {
    for (const name of ['cpuid', 'msrs'] as const) {
      const long = parts();
      new DataView(long[name].buffer).setUint32(0, 6, true);
      expect(codeOf(() => decodeVcpuState(encodeVcpuState(long), true, XSAVE_SIZE))).toBe('INVALID_ARGUMENT');
      const none = { ...parts(), [name]: new Uint8Array(4) };
      expect(codeOf(() => decodeVcpuState(encodeVcpuState(none), true, XSAVE_SIZE))).toBe('INVALID_ARGUMENT');
    }
  });
});

describe('the state of the interrupt controllers', () => {
  async function vm(): Promise<X86KvmVm> {
    return createKvmX86Hypervisor({ native: new FakeKvm() }).createVm({ vcpus: 1, maxMemory: 4096 });
  }

  it('is refused whatever is in it, and nothing but INVALID_ARGUMENT is thrown', async () => {
    const chip = (await vm()).createIrqChip({ mode: 'kernel', pit: true });
    chip.setRoutes([
      { gsi: 3, kind: 'irqchip', chip: 'ioapic', pin: 3 },
      { gsi: 4, kind: 'msi', message: { address: 0xfee0_0000, addressHigh: 0, data: 0x31 } },
    ]);
    const state = chip.save();
    chip.restore(state);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), fc.nat(), fc.nat(3), (noise, place, keep) => {
        const payload = state.opaque.slice(16);
        const at = place % payload.length;
        payload.set(noise.subarray(0, payload.length - at), at);
        const opaque = encodeState(0x4338_364b, 1, keep === 0 ? payload.slice(0, at) : payload);
        expect(['nothing', 'INVALID_ARGUMENT']).toContain(codeOf(() => chip.restore({ ...state, opaque })));
      }),
    );
  });

  it('goes into a VM with the same interrupt controllers only', async () => {
    const chips = [
      (await vm()).createIrqChip({ mode: 'kernel' }),
      (await vm()).createIrqChip({ mode: 'kernel', pit: true }),
      (await vm()).createIrqChip({ mode: 'split' }),
    ];
    for (const from of chips) {
      for (const to of chips) {
        const code = codeOf(() => to.restore(structuredClone(from.save())));
        expect(code).toBe(from === to ? 'nothing' : 'INVALID_ARGUMENT');
      }
    }
  });
});
