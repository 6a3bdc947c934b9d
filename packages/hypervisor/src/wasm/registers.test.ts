import { sysreg } from '../aarch64.ts';
import { CORE_REGISTERS, checkPstate, STATE_SYSTEM_REGISTERS } from '../aarch64-registers.ts';
import { coreRegister } from './registers.ts';

describe('register names', () => {
  it('have ids of their own, with two for each vector', () => {
    const ids = CORE_REGISTERS.flatMap((name) => {
      const { id, bits } = coreRegister(name);
      return bits === 128 ? [id, id + 1] : [id];
    });
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids.length).toBe(31 + 6 + 64);
  });

  it('of system registers have encodings of their own, with op0 2 or 3', () => {
    const encodings = [...STATE_SYSTEM_REGISTERS.values()];
    expect(new Set(encodings).size).toBe(encodings.length);
    for (const encoding of encodings) expect([2, 3]).toContain(encoding >> 14);
    // As KVM numbers it: op0 3, op1 0, CRn 1, CRm 0, op2 0.
    expect(STATE_SYSTEM_REGISTERS.get('sctlr_el1')).toBe(0xc080);
    expect(sysreg(3, 3, 14, 3, 2)).toBe(0xdf1a);
  });
});

describe('checkPstate', () => {
  it('accepts EL0t, EL1t and EL1h, and no other mode (Arm ARM C5.2.18)', () => {
    const accepted = Array.from({ length: 32 }, (_, mode) => mode).filter((mode) => {
      try {
        checkPstate(BigInt(mode) | 0x3c0n);
        return true;
      } catch {
        return false;
      }
    });
    expect(accepted).toEqual([0, 4, 5]);
  });
});
