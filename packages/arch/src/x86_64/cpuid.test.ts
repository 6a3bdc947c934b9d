import type { CpuidEntry } from '@vmm/hypervisor';
import fc from 'fast-check';
import { codeOf } from '../../test/support.ts';
import { cpuidFor } from './index.ts';
import type { CpuidConfig } from './index.ts';

type Answer = readonly [eax: number, ebx: number, ecx: number, edx: number];

function leaf(number: number, [eax, ebx, ecx, edx]: Answer, index?: number): CpuidEntry {
  return {
    function: number,
    index: index ?? 0,
    significantIndex: index !== undefined,
    eax: eax >>> 0,
    ebx: ebx >>> 0,
    ecx: ecx >>> 0,
    edx: edx >>> 0,
  };
}

function vendor(name: string): readonly [ebx: number, ecx: number, edx: number] {
  const view = new DataView(new TextEncoder().encode(name).buffer);
  return [view.getUint32(0, true), view.getUint32(8, true), view.getUint32(4, true)];
}

const ALL = 0xffff_ffff;
const KVM = [
  leaf(0x4000_0000, [0x4000_0001, ...vendor('KVMKVMKVM\0\0\0')]),
  leaf(0x4000_0001, [0x0100_7efb, 0, 0, 0]),
];

/** An Intel processor with AVX-512 and AMX, as KVM tells of it: topology leaves are empty. */
const INTEL: readonly CpuidEntry[] = [
  leaf(0, [0x1f, ...vendor('GenuineIntel')]),
  // Everything but the hypervisor bit; APIC ID 5, 64 logical processors, CLFLUSH 8.
  leaf(1, [0x000806f8, 0x0540_0800, 0x7fff_ffff, ALL]),
  leaf(4, [0x7c00_4121, 0x02c0_003f, 63, 0], 0),
  leaf(4, [0x7c00_4143, 0x03c0_003f, 2047, 0], 2),
  leaf(4, [0x7c0f_c163, 0x0380_003f, 114687, 0], 3),
  leaf(4, [0, 0, 0, 0], 4),
  leaf(6, [4, 0, 0, 0]),
  leaf(7, [2, ALL, ALL, ALL], 0),
  leaf(7, [ALL, 0, 0, ALL], 1),
  leaf(0xb, [0, 0, 0, 0], 0),
  leaf(0xb, [0, 0, 0, 0], 1),
  leaf(0xd, [0x0006_02ff, 0x2b00, 0x2b00, 0], 0),
  leaf(0xd, [0x1f, 0x2b00, 0, 0], 1),
  leaf(0xd, [256, 576, 0, 0], 2),
  leaf(0xd, [64, 960, 0, 0], 3),
  leaf(0xd, [64, 1024, 0, 0], 4),
  leaf(0xd, [64, 1088, 0, 0], 5),
  leaf(0xd, [512, 1152, 0, 0], 6),
  leaf(0xd, [1024, 1664, 0, 0], 7),
  leaf(0xd, [8, 2688, 0, 0], 9),
  leaf(0xd, [64, 2752, 0, 0], 17),
  leaf(0xd, [8192, 2816, 6, 0], 18),
  leaf(0x1f, [0, 0, 0, 0], 0),
  ...KVM,
  leaf(0x8000_0000, [0x8000_0008, 0, 0, 0]),
  leaf(0x8000_0001, [0, 0, 0x121, 0x2c10_0800]),
  leaf(0x8000_0007, [0, 0, 0, 0x100]),
  leaf(0x8000_0008, [0x3934, 0xff, 0, 0]),
];

const AMD: readonly CpuidEntry[] = [
  leaf(0, [0x10, ...vendor('AuthenticAMD')]),
  leaf(1, [0x00a2_0f10, 0x0010_0800, 0x7ed8_320b, 0x178b_fbff]),
  leaf(7, [0, 0x219c_97a9, 0x40_068c, 0x10], 0),
  leaf(0xd, [7, 576, 832, 0], 0),
  leaf(0xd, [15, 0, 0, 0], 1),
  leaf(0xd, [256, 576, 0, 0], 2),
  ...KVM,
  leaf(0x8000_0000, [0x8000_0021, ...vendor('AuthenticAMD')]),
  leaf(0x8000_0001, [0x00a2_0f10, 0x2000_0000, 0x0040_07f7, 0x2fd3_fbff]),
  leaf(0x8000_0007, [0, 0, 0, 0x100]),
  leaf(0x8000_0008, [0x3030, 0x0114_d000, 0x7_700f, 0]),
  leaf(0x8000_001d, [0x0000_4121, 0x01c0_003f, 63, 0], 0),
  leaf(0x8000_001d, [0x0003_c163, 0x03c0_003f, 32767, 1], 3),
  leaf(0x8000_001d, [0, 0, 0, 0], 4),
  leaf(0x8000_001e, [7, 0x0103, 0x0101, 0]),
  leaf(0x8000_0021, [0xff, 0, 0, 0]),
  leaf(0x8000_0026, [1, 2, 0x100, 9], 0),
];

class Answers {
  readonly entries: readonly CpuidEntry[];

  constructor(supported: readonly CpuidEntry[], config: CpuidConfig) {
    this.entries = cpuidFor(supported, config);
  }

  get(number: number, index = 0): CpuidEntry | undefined {
    return this.entries.find((entry) => entry.function === number && entry.index === index);
  }

  bit(number: number, index: number, register: 'eax' | 'ebx' | 'ecx' | 'edx', bit: number): boolean {
    return (((this.get(number, index)?.[register] ?? 0) >>> bit) & 1) === 1;
  }
}

const ONE: CpuidConfig = { id: 0, vcpus: 1 };

describe('cpuidFor any model', () => {
  it.each([
    ['Intel', INTEL],
    ['AMD', AMD],
  ])('tells a guest on %s that there is a hypervisor, and which', (_, supported) => {
    for (const model of ['host', 'portable'] as const) {
      const answers = new Answers(supported, { ...ONE, model });
      expect(answers.bit(1, 0, 'ecx', 31)).toBe(true);
      expect(answers.get(0x4000_0000)).toEqual(KVM[0]);
      // kvm-clock, paravirtual end of interrupt, stable clock.
      for (const bit of [0, 3, 6, 24]) expect(answers.bit(0x4000_0001, 0, 'eax', bit)).toBe(true);
      // XSAVE and PKU are not switched on in CR4.
      expect(answers.bit(1, 0, 'ecx', 27)).toBe(false);
      expect(answers.bit(7, 0, 'ecx', 4)).toBe(false);
      // TSC deadline timer, x2APIC.
      expect(answers.bit(1, 0, 'ecx', 24)).toBe(supported === INTEL);
      expect(answers.bit(1, 0, 'ecx', 21)).toBe(supported === INTEL);
    }
  });

  it('keeps the hypervisor leaves of host as they are', () => {
    expect(new Answers(INTEL, ONE).get(0x4000_0001)).toEqual(KVM[1]);
  });

  it('is in order, with each leaf once, whatever the order and copies of the input', () => {
    const shuffled = [...INTEL].reverse().concat(INTEL);
    const entries = cpuidFor(shuffled, ONE);
    expect(entries).toEqual(cpuidFor(INTEL, ONE));
    const keys = entries.map((entry) => entry.function * 256 + entry.index);
    expect(keys).toEqual([...new Set(keys)].sort((a, b) => a - b));
  });

  it('leaves its input alone', () => {
    const before = structuredClone(INTEL);
    cpuidFor(INTEL, { id: 1, vcpus: 2, model: 'portable' });
    expect(INTEL).toEqual(before);
  });

  it.each<[number, number]>([
    [0, 0],
    [0, 255],
    [1, 1],
    [-1, 1],
    [0.5, 2],
    [0, NaN],
  ])('refuses vCPU %d of %d', async (id, vcpus) => {
    expect(await codeOf(() => cpuidFor(INTEL, { id, vcpus }))).toBe('INVALID_ARGUMENT');
  });
});

describe('topology', () => {
  it('of one vCPU is one thread of one core', () => {
    const answers = new Answers(INTEL, ONE);
    expect(answers.bit(1, 0, 'edx', 28)).toBe(false);
    expect(answers.get(1)?.ebx).toBe(0x0001_0800);
    expect(answers.get(0xb, 0)).toMatchObject({ eax: 0, ebx: 1, ecx: 0x100, edx: 0 });
    expect(answers.get(0xb, 1)).toMatchObject({ eax: 0, ebx: 1, ecx: 0x201, edx: 0 });
    expect(answers.get(0xb, 2)).toMatchObject({ eax: 0, ebx: 0, ecx: 2, edx: 0 });
  });

  it.each([
    [2, 1],
    [3, 2],
    [8, 3],
    [100, 7],
    [254, 8],
  ])(
    'of %d vCPUs is one package whose APIC identifiers take %d bits (Intel SDM, leaves 1, 4, 0xB, 0x1F)',
    (vcpus, width) => {
      const id = vcpus - 1;
      const answers = new Answers(INTEL, { id, vcpus });
      expect(answers.bit(1, 0, 'edx', 28)).toBe(true);
      expect(answers.get(1)?.ebx).toBe(((id << 24) | (vcpus << 16) | 0x0800) >>> 0);
      for (const number of [0xb, 0x1f]) {
        expect(answers.get(number, 0)).toMatchObject({ eax: 0, ebx: 1, ecx: 0x100, edx: id });
        expect(answers.get(number, 1)).toMatchObject({ eax: width, ebx: vcpus, ecx: 0x201, edx: id });
        expect(answers.get(number, 2)).toMatchObject({ ebx: 0, ecx: 2, edx: id });
        expect(answers.get(number, 1)?.significantIndex).toBe(true);
      }
      const cache = (index: number): readonly number[] => {
        const eax = answers.get(4, index)?.eax ?? 0;
        return [eax & 0x3fff, (eax >>> 14) & 0xfff, eax >>> 26];
      };
      const cores = Math.min(2 ** width, 64) - 1;
      expect(cache(0)).toEqual([0x121, 0, cores]); // L1 of one thread
      expect(cache(2)).toEqual([0x143, 0, cores]); // L2 of one thread
      expect(cache(3)).toEqual([0x163, 2 ** width - 1, cores]); // L3 of all
      expect(answers.get(4, 4)?.eax).toBe(0);
    },
  );

  it('is not told in leaves that the processor does not have', () => {
    const old = [leaf(0, [0xa, ...vendor('GenuineIntel')]), ...INTEL.slice(1)];
    expect(new Answers(old, { id: 0, vcpus: 2 }).get(0xb)).toBeUndefined();
    const between = [leaf(0, [0x16, ...vendor('GenuineIntel')]), ...INTEL.slice(1)];
    expect(new Answers(between, { id: 0, vcpus: 2 }).get(0xb, 1)?.ebx).toBe(2);
    expect(new Answers(between, { id: 0, vcpus: 2 }).get(0x1f)).toBeUndefined();
  });

  it('of AMD is in its own leaves too (AMD APM, 0x8000_0008, 0x8000_001D, 0x8000_001E)', () => {
    const answers = new Answers(AMD, { id: 4, vcpus: 6 });
    expect(answers.bit(0x8000_0001, 0, 'ecx', 1)).toBe(true); // CmpLegacy
    expect(answers.get(0x8000_0008)?.ecx).toBe(0x7_3005); // width 3, 6 cores; TSC size stays
    expect(answers.get(0x8000_001e)).toMatchObject({ eax: 4, ebx: 4, ecx: 0, edx: 0 });
    expect(answers.get(0x8000_001d, 0)?.eax).toBe(0x121);
    expect(answers.get(0x8000_001d, 3)?.eax).toBe(0x163 | (5 << 14));
    expect(answers.get(0x8000_001d, 4)?.eax).toBe(0);
    expect(answers.get(0xb, 1)).toMatchObject({ eax: 3, ebx: 6, edx: 4 });
    expect(answers.get(0x8000_0026)).toBeUndefined();
    expect(new Answers(AMD, ONE).bit(0x8000_0001, 0, 'ecx', 1)).toBe(false);
    expect(new Answers(INTEL, { id: 1, vcpus: 2 }).get(0x8000_0008)?.ecx).toBe(0);
  });

  it('gives each vCPU another APIC identifier and nothing else of its own', () => {
    const without = (id: number): unknown =>
      cpuidFor(AMD, { id, vcpus: 8 }).map((entry) => ({
        ...entry,
        ebx: [1, 0x8000_001e].includes(entry.function) ? 0 : entry.ebx,
        eax: entry.function === 0x8000_001e ? 0 : entry.eax,
        edx: entry.function === 0xb ? 0 : entry.edx,
      }));
    const ids = Array.from({ length: 8 }, (_, id) => new Answers(AMD, { id, vcpus: 8 }).get(0xb, 0)?.edx);
    expect(ids).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    for (let id = 1; id < 8; id++) expect(without(id)).toEqual(without(0));
  });
});

describe('host', () => {
  it('has what the processor has', () => {
    const answers = new Answers(INTEL, ONE);
    expect(answers.get(1)?.ecx).toBe(0xf7ff_ffff);
    expect(answers.get(7, 0)?.ebx).toBe(ALL);
    expect(answers.get(0xd, 0)).toMatchObject({ eax: 0x0006_02ff, ecx: 2816 + 8192 });
    expect(answers.get(0x8000_0007)?.edx).toBe(0x100);
  });
});

describe('consistency', () => {
  const change = (
    number: number,
    index: number,
    change: (entry: CpuidEntry) => Partial<CpuidEntry>,
  ): CpuidEntry[] =>
    INTEL.map((entry) =>
      entry.function === number && entry.index === index ? { ...entry, ...change(entry) } : entry,
    );

  it('without XSAVE has no AVX, no AVX-512, no AMX, no protection keys and no leaf 0xD', () => {
    const answers = new Answers(
      change(1, 0, ({ ecx }) => ({ ecx: ecx & ~(1 << 26) })),
      ONE,
    );
    for (const bit of [12, 28, 29]) expect(answers.bit(1, 0, 'ecx', bit)).toBe(false);
    for (const bit of [5, 14, 16, 17, 21, 26, 27, 28, 30, 31])
      expect(answers.bit(7, 0, 'ebx', bit)).toBe(false);
    for (const bit of [1, 3, 6, 9, 10, 11, 12, 14]) expect(answers.bit(7, 0, 'ecx', bit)).toBe(false);
    for (const bit of [2, 3, 8, 22, 23, 24, 25]) expect(answers.bit(7, 0, 'edx', bit)).toBe(false);
    for (const bit of [4, 5, 21, 23]) expect(answers.bit(7, 1, 'eax', bit)).toBe(false);
    expect(answers.entries.filter((entry) => entry.function === 0xd)).toEqual([]);
    // What does not need it stays: SSE4.2, BMI2, SHA.
    expect(answers.bit(1, 0, 'ecx', 20)).toBe(true);
    expect(answers.bit(7, 0, 'ebx', 8)).toBe(true);
    expect(answers.bit(7, 0, 'ebx', 29)).toBe(true);
  });

  it('without room for AVX-512 state has no AVX-512, but AVX2, and says how much less room that takes', () => {
    const answers = new Answers(
      change(0xd, 0, () => ({ eax: 0x27 })),
      ONE,
    );
    expect(answers.bit(7, 0, 'ebx', 16)).toBe(false);
    expect(answers.bit(7, 0, 'ecx', 1)).toBe(false);
    expect(answers.bit(7, 0, 'ebx', 5)).toBe(true);
    expect(answers.get(0xd, 0)).toMatchObject({ eax: 7, ecx: 832, ebx: 832 });
    expect(answers.entries.filter((entry) => entry.function === 0xd).map(({ index }) => index)).toEqual([
      0, 1, 2,
    ]);
  });

  it('without AVX has no room for its state', () => {
    const answers = new Answers(
      change(1, 0, ({ ecx }) => ({ ecx: ecx & ~(1 << 28) })),
      ONE,
    );
    expect(answers.get(0xd, 0)?.eax).toBe(0x0006_021b);
    expect(answers.bit(7, 0, 'ebx', 16)).toBe(false);
    expect(answers.bit(7, 0, 'edx', 24)).toBe(true);
  });

  it('keeps supervisor state that XSAVES saves, and does not count it', () => {
    const supervisor = leaf(0xd, [16, 0, 1, 0], 11);
    const base = change(0xd, 1, () => ({ ecx: 1 << 11 }));
    expect(new Answers([...base, supervisor], ONE).get(0xd, 11)).toEqual(supervisor);
    expect(new Answers([...INTEL, supervisor], ONE).get(0xd, 11)).toBeUndefined();
  });

  it('is reached whatever is supported: a second time changes nothing', () => {
    const bits = fc.array(
      fc.tuple(fc.nat({ max: INTEL.length - 1 }), fc.nat({ max: 31 }), fc.nat({ max: 3 })),
      {
        maxLength: 60,
      },
    );
    fc.assert(
      fc.property(bits, fc.constantFrom('host', 'portable'), (cleared, model) => {
        const supported = INTEL.map((entry) => ({ ...entry }));
        for (const [at, bit, register] of cleared) {
          const name = (['eax', 'ebx', 'ecx', 'edx'] as const)[register]!;
          supported[at]![name] = (supported[at]![name] & ~(1 << bit)) >>> 0;
        }
        const once = cpuidFor(supported, { id: 1, vcpus: 3, model });
        expect(cpuidFor(once, { id: 1, vcpus: 3, model })).toEqual(once);
        const has = (number: number, index: number, register: 'ebx' | 'ecx', bit: number): boolean => {
          const entry = once.find((found) => found.function === number && found.index === index);
          return (((entry?.[register] ?? 0) >>> bit) & 1) === 1;
        };
        if (has(7, 0, 'ebx', 16)) expect(has(7, 0, 'ebx', 5)).toBe(true);
        if (has(7, 0, 'ebx', 5)) expect(has(1, 0, 'ecx', 28)).toBe(true);
        if (has(1, 0, 'ecx', 28)) expect(has(1, 0, 'ecx', 26)).toBe(true);
        const values = once.flatMap(({ eax, ebx, ecx, edx }) => [eax, ebx, ecx, edx]);
        expect(values.every((value) => Number.isInteger(value) && value >= 0 && value <= ALL)).toBe(true);
      }),
    );
  });
});

describe('portable', () => {
  const PORTABLE: CpuidConfig = { id: 0, vcpus: 2, model: 'portable' };

  it.each([
    ['Intel', INTEL],
    ['AMD', AMD],
  ])('on %s is x86-64-v2 without what only newer processors have', (_, supported) => {
    const answers = new Answers(supported, PORTABLE);
    // SSE3, SSSE3, CMPXCHG16B, SSE4.1, SSE4.2, POPCNT; LAHF, SYSCALL, NX, LM.
    for (const bit of [0, 9, 13, 19, 20, 23]) expect(answers.bit(1, 0, 'ecx', bit)).toBe(true);
    expect(answers.bit(0x8000_0001, 0, 'ecx', 0)).toBe(true);
    for (const bit of [11, 20, 27, 29]) expect(answers.bit(0x8000_0001, 0, 'edx', bit)).toBe(true);
    // PCLMULQDQ, VMX, FMA, PCID, MOVBE, AES, XSAVE, AVX, F16C, RDRAND.
    for (const bit of [1, 5, 12, 17, 22, 25, 26, 28, 29, 30])
      expect(answers.bit(1, 0, 'ecx', bit)).toBe(false);
    expect(answers.bit(0x8000_0001, 0, 'ecx', 2)).toBe(false); // SVM
    expect(answers.bit(0x8000_0001, 0, 'edx', 26)).toBe(false); // 1 GiB pages
    const leaves = new Set(answers.entries.map((entry) => entry.function));
    for (const number of [7, 0xa, 0xd, 0x14, 0x1f, 0x8000_0007, 0x8000_001d])
      expect(leaves.has(number)).toBe(false);
    expect(answers.get(0)?.eax).toBe(0xb);
    expect(answers.get(0x8000_0000)?.eax).toBe(0x8000_0008);
  });

  it('has addresses of 40 bits at most, and no speculation controls', () => {
    expect(new Answers(INTEL, PORTABLE).get(0x8000_0008)).toMatchObject({ eax: 0x3928, ebx: 0 });
    const narrow = [...INTEL.slice(0, -1), leaf(0x8000_0008, [0x3027, 0, 0, 0])];
    expect(new Answers(narrow, PORTABLE).get(0x8000_0008)?.eax).toBe(0x3027);
  });

  it('is the same on any two processors of a vendor that have it all', () => {
    const newer = INTEL.map((entry) =>
      entry.function === 7 ? { ...entry, eax: 0, ebx: 0, ecx: 0, edx: 0 } : entry,
    ).filter((entry) => entry.function !== 0xd && entry.function !== 0x1f);
    expect(cpuidFor(newer, PORTABLE)).toEqual(cpuidFor(INTEL, PORTABLE));
  });

  it('never has a feature that is not supported', () => {
    const bare = INTEL.map((entry) =>
      entry.function === 1 ? { ...entry, ecx: 0, edx: 0x0780_abff } : entry,
    );
    const { ecx, edx } = new Answers(bare, PORTABLE).get(1)!;
    expect(ecx).toBe(0x8000_0000);
    expect((edx & ~0x1780_abff) >>> 0).toBe(0);
  });
});
