import { encodingClass } from './undefined-instructions.ts';

describe('encodingClass', () => {
  it('ignores which general registers an instruction names', () => {
    // fmul v0.4s, v1.4s, v2.4s and fmul v29.4s, v30.4s, v31.4s
    expect(encodingClass(0x6e22dc20)).toBe(encodingClass(0x6e3fdfdd));
    // fmul and fadd
    expect(encodingClass(0x6e22dc20)).not.toBe(encodingClass(0x4e22d420));
  });

  it('tells system registers apart, but not the register that holds the value (Arm ARM C4.1.90)', () => {
    // mrs x0, pmccntr_el0; mrs x7, pmccntr_el0; mrs x0, pmcr_el0
    expect(encodingClass(0xd53b9d00)).toBe(encodingClass(0xd53b9d07));
    expect(encodingClass(0xd53b9d00)).not.toBe(encodingClass(0xd53b9c00));
  });
});
