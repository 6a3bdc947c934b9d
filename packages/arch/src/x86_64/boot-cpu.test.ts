import type { X86Segment } from '@vmm/hypervisor';
import { GuestMemory } from '@vmm/vm-memory';
import { MIB } from '../../test/support.ts';
import { X86RegisterVcpu } from '../../test/x86-vcpu.ts';
import { x86Memory } from '../../test/x86.ts';
import { configureBootCpu, configureSecondaryCpu } from './index.ts';
import type { BootState } from './index.ts';

const GIB = 1024 * MIB;
const LINUX64: BootState = { protocol: 'linux64', entry: 0x100_0200, info: 0x7000 };
const PVH: BootState = { protocol: 'pvh', entry: 0x100_0850, info: 0x6000 };

/** What a processor would load from the descriptor of a selector (Intel SDM Vol. 3 §3.4.5). */
function fromTable(memory: GuestMemory, vcpu: X86RegisterVcpu, selector: number): X86Segment {
  const { base, limit } = vcpu.special.gdt;
  expect(selector + 7).toBeLessThanOrEqual(limit);
  const low = memory.readUint32(Number(base) + selector);
  const high = memory.readUint32(Number(base) + selector + 4);
  const g = ((high >>> 23) & 1) === 1;
  const raw = (low & 0xffff) | (high & 0xf_0000);
  return {
    base: BigInt(((low >>> 16) | ((high & 0xff) << 16) | (high & 0xff00_0000)) >>> 0),
    limit: g ? ((raw << 12) | 0xfff) >>> 0 : raw,
    selector,
    type: (high >>> 8) & 0xf,
    present: ((high >>> 15) & 1) === 1,
    dpl: (high >>> 13) & 3,
    db: ((high >>> 22) & 1) === 1,
    s: ((high >>> 12) & 1) === 1,
    l: ((high >>> 21) & 1) === 1,
    g,
    avl: ((high >>> 20) & 1) === 1,
    unusable: false,
  };
}

/** Walks four levels of page tables (Intel SDM Vol. 3 §4.5); undefined where nothing is mapped for writing. */
function translate(memory: GuestMemory, cr3: bigint, address: number): number | undefined {
  let table = Number(cr3);
  for (const shift of [39, 30, 21, 12]) {
    const entry = memory.readUint64(table + (Math.floor(address / 2 ** shift) % 512) * 8);
    if ((entry & 3) !== 3) return undefined;
    const target = Math.floor(entry / 4096) * 4096;
    if (shift === 12 || (entry & 0x80) !== 0) return target + (address % 2 ** shift);
    table = target;
  }
  return undefined;
}

describe.each([LINUX64, PVH])('boot CPU for $protocol', (boot) => {
  it('starts at the entry with interrupts off, one register telling of the boot information', () => {
    const vcpu = configureBootCpu(new X86RegisterVcpu(), x86Memory(64 * MIB), boot);
    const { rip, rflags, rsi, rbx, ...others } = Object.fromEntries(vcpu.registers);
    expect([rip, rflags]).toEqual([BigInt(boot.entry), 2n]);
    expect([rsi, rbx]).toEqual(boot.protocol === 'pvh' ? [0n, 0x6000n] : [0x7000n, 0n]);
    expect(Object.keys(others)).toHaveLength(14);
    expect(new Set(Object.values(others))).toEqual(new Set([0n]));
  });

  it('has segments that its descriptor table has too: code at 0x10, data at 0x18', () => {
    const memory = x86Memory(64 * MIB);
    const vcpu = configureBootCpu(new X86RegisterVcpu(), memory, boot);
    const { cs, ds, es, fs, gs, ss } = vcpu.special;
    expect(cs).toEqual(fromTable(memory, vcpu, 0x10));
    for (const data of [ds, es, fs, gs, ss]) expect(data).toEqual(fromTable(memory, vcpu, 0x18));
    expect(memory.readBigUint64(Number(vcpu.special.gdt.base))).toBe(0n);
    const flat = { base: 0n, limit: 0xffff_ffff, present: true, dpl: 0, s: true, g: true };
    // Execute, read; read, write; both accessed.
    expect(cs).toMatchObject({ ...flat, type: 11, l: boot === LINUX64, db: boot === PVH });
    expect(ds).toMatchObject({ ...flat, type: 3, l: false, db: true });
  });

  it('has a busy TSS, without which no virtual machine is entered, and no LDT', () => {
    const { special } = configureBootCpu(new X86RegisterVcpu(), x86Memory(64 * MIB), boot);
    expect(special.tr).toMatchObject({
      base: 0n,
      limit: 0x67,
      type: 11,
      s: false,
      present: true,
      unusable: false,
    });
    expect(special.ldt).toMatchObject({ present: false, unusable: true });
    expect(special.idt).toEqual({ base: 0n, limit: 0 });
    expect(special.apicBase).toBe(0xfee0_0900n);
  });

  it('caches memory, has a reset FPU, and takes interrupts of the PIC and NMIs', () => {
    const vcpu = configureBootCpu(new X86RegisterVcpu(), x86Memory(64 * MIB), boot);
    expect(Object.fromEntries(vcpu.msrs)).toEqual({
      0x1a0: 0x1801n, // IA32_MISC_ENABLE: fast strings, and what there was
      0x277: 0x0007_0406_0007_0406n, // IA32_PAT
      0x2ff: 0x806n, // IA32_MTRR_DEF_TYPE: on, write-back
    });
    expect(vcpu.fpu).toEqual([0x37f, 0x1f80]);
    expect(vcpu.special.cr0 & 0x6000_0000n).toBe(0n);
    const apic = vcpu.localApic!;
    const view = new DataView(apic.buffer);
    expect(view.getUint32(0x350, true)).toBe(0x700); // LINT0: ExtINT
    expect(view.getUint32(0x360, true)).toBe(0x400); // LINT1: NMI
    expect(apic.filter((byte) => byte === 0x11)).toHaveLength(1024 - 8);
    expect(vcpu.mpState).toBe('runnable');
  });

  it('leaves local APIC and CPUID alone when told so', () => {
    const vcpu = new X86RegisterVcpu();
    vcpu.localApic = undefined;
    configureBootCpu(vcpu, x86Memory(64 * MIB), boot, { localApic: false });
    expect(vcpu.mpState).toBe('halted');
    expect(vcpu.cpuid).toBeUndefined();
    const entries = [
      { function: 0, index: 0, significantIndex: false, eax: 1, ebx: 2, ecx: 3, edx: 4 },
    ] as const;
    expect(
      configureBootCpu(vcpu, x86Memory(64 * MIB), boot, { localApic: false, cpuid: entries }).cpuid,
    ).toBe(entries);
  });
});

describe('boot CPU for linux64 (boot.rst, 64-bit boot protocol)', () => {
  it('is in long mode with paging on', () => {
    const { special } = configureBootCpu(new X86RegisterVcpu(), x86Memory(64 * MIB), LINUX64);
    expect(special).toMatchObject({ cr0: 0x8000_0011n, cr2: 0n, cr4: 0x20n, cr8: 0n, efer: 0x500n });
  });

  it.each([
    [2 * MIB, GIB],
    [64 * MIB, GIB],
    [GIB, GIB],
    [GIB + MIB, 2 * GIB],
    [3 * GIB, 3 * GIB],
    [3 * GIB + 64 * MIB, 3 * GIB],
  ])('with %d bytes of memory has the first %d mapped to itself, and no more', (bytes, mapped) => {
    const low = Math.min(bytes, 3 * GIB);
    const memory = new GuestMemory([{ guestAddress: 0, bytes: new Uint8Array(low) }]);
    memory.fill(0x9000, 0x6000, 0xff);
    const { special } = configureBootCpu(new X86RegisterVcpu(), memory, LINUX64);
    for (let address = 0x1234; address < mapped; address += 2 * MIB) {
      if (translate(memory, special.cr3, address) !== address) {
        expect([address, translate(memory, special.cr3, address)]).toEqual([address, address]);
      }
    }
    expect(translate(memory, special.cr3, mapped - 1)).toBe(mapped - 1);
    for (const address of [mapped, 4 * GIB, 512 * GIB, 2 ** 47]) {
      expect(translate(memory, special.cr3, address)).toBeUndefined();
    }
  });
});

describe('boot CPU for pvh (Xen docs/misc/pvh.pandoc)', () => {
  it('is in protected mode with paging off', () => {
    const memory = x86Memory(64 * MIB);
    const { special } = configureBootCpu(new X86RegisterVcpu(), memory, PVH);
    expect(special).toMatchObject({ cr0: 0x11n, cr2: 0n, cr3: 0n, cr4: 0n, cr8: 0n, efer: 0n });
  });
});

describe('other CPUs', () => {
  it('wait for INIT and SIPI with the same memory types as the first', () => {
    const entries = [
      { function: 0, index: 0, significantIndex: false, eax: 1, ebx: 2, ecx: 3, edx: 4 },
    ] as const;
    const first = configureBootCpu(new X86RegisterVcpu(), x86Memory(64 * MIB), LINUX64);
    const vcpu = configureSecondaryCpu(new X86RegisterVcpu(), { cpuid: entries });
    expect(vcpu.mpState).toBe('uninitialized');
    expect(vcpu.msrs).toEqual(first.msrs);
    expect(vcpu.cpuid).toBe(entries);
    expect(vcpu.registers.size).toBe(0);
  });
});
