import fc from 'fast-check';
import { HypervisorError } from '../../errors.ts';
import type { CpuidEntry, GsiRoute, X86SpecialRegisters } from '../../x86.ts';
import { decodeCpuid, encodeCpuid, sameCpuid } from './cpuid.ts';
import { decodeMsrs, encodeMsrs } from './msrs.ts';
import { decodeSpecialRegisters, encodeSpecialRegisters } from './registers.ts';
import { decodeRoutes, encodeRoutes } from './routes.ts';

const u32 = fc.nat(0xffff_ffff);

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return error instanceof HypervisorError ? error.code : String(error);
  }
  return 'nothing';
}

const entry: fc.Arbitrary<CpuidEntry> = fc.record({
  function: u32,
  index: u32,
  significantIndex: fc.boolean(),
  eax: u32,
  ebx: u32,
  ecx: u32,
  edx: u32,
});

describe('CPUID tables', () => {
  it('come back from the layout of KVM as they were', () =>
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 20 }), (entries) => {
        expect(decodeCpuid(encodeCpuid(entries))).toEqual(entries);
      }),
    ));

  it('are refused when a value has more than 32 bits or there are too many', () => {
    const zero = { function: 0, index: 0, significantIndex: false, eax: 0, ebx: 0, ecx: 0, edx: 0 };
    expect(codeOf(() => encodeCpuid([{ ...zero, ebx: 2 ** 32 }]))).toBe('INVALID_ARGUMENT');
    expect(codeOf(() => encodeCpuid([{ ...zero, ecx: -1 }]))).toBe('INVALID_ARGUMENT');
    expect(codeOf(() => encodeCpuid(Array.from({ length: 257 }, () => zero)))).toBe('INVALID_ARGUMENT');
  });

  it('are the same when they differ in what KVM derives from other registers only', () => {
    const leaf = { function: 1, index: 0, significantIndex: false, eax: 1, ebx: 2, ecx: 3, edx: 4 };
    const other = { ...leaf, function: 2 };
    expect(sameCpuid([leaf, other], [{ ...leaf, ecx: (3 | (1 << 27)) >>> 0 }, other])).toBe(true);
    expect(sameCpuid([leaf, other], [leaf, { ...other, ecx: (3 | (1 << 27)) >>> 0 }])).toBe(false);
    expect(sameCpuid([leaf, other], [{ ...leaf, ecx: 3 | (1 << 5) }, other])).toBe(false);
    expect(sameCpuid([leaf, other], [leaf])).toBe(false);
  });
});

describe('MSR tables', () => {
  it('come back from the layout of KVM as they were', () =>
    fc.assert(
      fc.property(fc.array(fc.tuple(u32, fc.bigInt(0n, 2n ** 64n - 1n)), { maxLength: 20 }), (values) => {
        expect(decodeMsrs(encodeMsrs(values), values.length)).toEqual(values);
      }),
    ));
});

describe('routes of GSIs', () => {
  const route: fc.Arbitrary<GsiRoute> = fc.oneof(
    fc.record({
      gsi: fc.nat(4095),
      kind: fc.constant('irqchip' as const),
      chip: fc.constantFrom('pic-master' as const, 'pic-slave' as const, 'ioapic' as const),
      pin: fc.nat(7),
    }),
    fc.record({
      gsi: fc.nat(4095),
      kind: fc.constant('msi' as const),
      message: fc.record({ address: u32, addressHigh: u32, data: u32 }),
    }),
  );

  it('come back from the layout of KVM as they were', () =>
    fc.assert(
      fc.property(fc.array(route, { maxLength: 20 }), (routes) => {
        expect(decodeRoutes('routes', encodeRoutes(routes, 'kernel'))).toEqual(routes);
      }),
    ));

  it('are refused when they lead nowhere', () => {
    const pin: GsiRoute = { gsi: 1, kind: 'irqchip', chip: 'ioapic', pin: 23 };
    const message: GsiRoute = {
      gsi: 1,
      kind: 'msi',
      message: { address: 0xfee0_0000, addressHigh: 0, data: 0x31 },
    };
    expect(codeOf(() => encodeRoutes([pin, message], 'kernel'))).toBe('nothing');
    for (const [routes, mode] of [
      [[pin], 'split'],
      [[{ ...pin, pin: 24 }], 'kernel'],
      [[{ ...pin, chip: 'pic-master', pin: 8 }], 'kernel'],
      [[{ ...pin, chip: 'none' as 'ioapic' }], 'kernel'],
      [[{ ...pin, gsi: 4096 }], 'kernel'],
      [[{ ...message, gsi: -1 }], 'split'],
      [[{ ...message, message: { ...message.message, data: 2 ** 32 } }], 'split'],
      [Array.from({ length: 4097 }, () => message), 'split'],
    ] as const) {
      expect(codeOf(() => encodeRoutes(routes, mode))).toBe('INVALID_ARGUMENT');
    }
  });
});

describe('special registers', () => {
  const u64 = fc.bigInt(0n, 2n ** 64n - 1n);
  const segment = fc.record({
    base: u64,
    limit: u32,
    selector: fc.nat(0xffff),
    type: fc.nat(15),
    present: fc.boolean(),
    dpl: fc.nat(3),
    db: fc.boolean(),
    s: fc.boolean(),
    l: fc.boolean(),
    g: fc.boolean(),
    avl: fc.boolean(),
    unusable: fc.boolean(),
  });
  const table = fc.record({ base: u64, limit: fc.nat(0xffff) });
  const registers: fc.Arbitrary<X86SpecialRegisters> = fc.record({
    cs: segment,
    ds: segment,
    es: segment,
    fs: segment,
    gs: segment,
    ss: segment,
    tr: segment,
    ldt: segment,
    gdt: table,
    idt: table,
    cr0: u64,
    cr2: u64,
    cr3: u64,
    cr4: u64,
    cr8: u64,
    efer: u64,
    apicBase: u64,
  });

  it('come back from the layout of KVM as they were', () =>
    fc.assert(
      fc.property(registers, (all) => {
        const sregs = new DataView(new ArrayBuffer(312));
        encodeSpecialRegisters(sregs, all);
        expect(decodeSpecialRegisters(sregs)).toEqual(all);
      }),
    ));

  it('are refused when they do not fit', () => {
    const sregs = new DataView(new ArrayBuffer(312));
    const { cs } = decodeSpecialRegisters(sregs);
    for (const bad of [
      { cr0: -1n },
      { cr3: 2n ** 64n },
      { cr4: 5 as unknown as bigint },
      { cs: { ...cs, type: 16 } },
      { cs: { ...cs, dpl: 4 } },
      { cs: { ...cs, selector: 0x1_0000 } },
      { cs: { ...cs, limit: 2 ** 32 } },
      { gdt: { base: 0n, limit: 0x1_0000 } },
      { cr1: 0n },
      { constructor: 0n },
    ] as Partial<X86SpecialRegisters>[]) {
      expect(codeOf(() => encodeSpecialRegisters(sregs, bad))).toBe('INVALID_ARGUMENT');
    }
  });
});
