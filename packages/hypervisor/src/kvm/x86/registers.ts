import { HypervisorError } from '../../errors.ts';
import { checkRegisterValue, checkUnsigned } from '../../validate.ts';
import type { X86DescriptorTable, X86Register, X86Segment, X86SpecialRegisters } from '../../x86.ts';
import {
  DTABLE_BASE,
  DTABLE_LIMIT,
  SEGMENT_AVL,
  SEGMENT_BASE,
  SEGMENT_DB,
  SEGMENT_DPL,
  SEGMENT_G,
  SEGMENT_L,
  SEGMENT_LIMIT,
  SEGMENT_PRESENT,
  SEGMENT_S,
  SEGMENT_SELECTOR,
  SEGMENT_TYPE,
  SEGMENT_UNUSABLE,
  SREGS_APIC_BASE,
  SREGS_CR0,
  SREGS_CR2,
  SREGS_CR3,
  SREGS_CR4,
  SREGS_CR8,
  SREGS_CS,
  SREGS_DS,
  SREGS_EFER,
  SREGS_ES,
  SREGS_FS,
  SREGS_GDT,
  SREGS_GS,
  SREGS_IDT,
  SREGS_LDT,
  SREGS_SS,
  SREGS_TR,
} from './uapi.ts';

/** The general registers in the order of struct kvm_regs. */
export const X86_REGISTERS: readonly X86Register[] = [
  'rax',
  'rbx',
  'rcx',
  'rdx',
  'rsi',
  'rdi',
  'rsp',
  'rbp',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
  'rip',
  'rflags',
];

/** Where a general register is in struct kvm_regs. */
export function registerOffset(name: X86Register): number {
  const index = X86_REGISTERS.indexOf(name);
  if (index < 0) throw new HypervisorError('INVALID_ARGUMENT', `there is no register '${name}'`);
  return 8 * index;
}

type SegmentName = 'cs' | 'ds' | 'es' | 'fs' | 'gs' | 'ss' | 'tr' | 'ldt';
type TableName = 'gdt' | 'idt';
type ControlName = 'cr0' | 'cr2' | 'cr3' | 'cr4' | 'cr8' | 'efer' | 'apicBase';

const SEGMENTS: Readonly<Record<SegmentName, number>> = {
  cs: SREGS_CS,
  ds: SREGS_DS,
  es: SREGS_ES,
  fs: SREGS_FS,
  gs: SREGS_GS,
  ss: SREGS_SS,
  tr: SREGS_TR,
  ldt: SREGS_LDT,
};

const TABLES: Readonly<Record<TableName, number>> = { gdt: SREGS_GDT, idt: SREGS_IDT };

const CONTROLS: Readonly<Record<ControlName, number>> = {
  cr0: SREGS_CR0,
  cr2: SREGS_CR2,
  cr3: SREGS_CR3,
  cr4: SREGS_CR4,
  cr8: SREGS_CR8,
  efer: SREGS_EFER,
  apicBase: SREGS_APIC_BASE,
};

/** Control registers as a saved state names them (Intel SDM Vol. 3 §2.5, Vol. 4 §2.1), and where they are in struct kvm_sregs. */
export const STATE_CONTROLS: ReadonlyMap<string, number> = new Map([
  ['cr0', SREGS_CR0],
  ['cr2', SREGS_CR2],
  ['cr3', SREGS_CR3],
  ['cr4', SREGS_CR4],
  ['cr8', SREGS_CR8],
  ['ia32_efer', SREGS_EFER],
  ['ia32_apic_base', SREGS_APIC_BASE],
]);

/** struct kvm_sregs as an object. */
export function decodeSpecialRegisters(sregs: DataView): X86SpecialRegisters {
  const segment = (name: SegmentName): X86Segment => decodeSegment(sregs, SEGMENTS[name]);
  const table = (name: TableName): X86DescriptorTable => ({
    base: sregs.getBigUint64(TABLES[name] + DTABLE_BASE, true),
    limit: sregs.getUint16(TABLES[name] + DTABLE_LIMIT, true),
  });
  const control = (name: ControlName): bigint => sregs.getBigUint64(CONTROLS[name], true);
  return {
    cs: segment('cs'),
    ds: segment('ds'),
    es: segment('es'),
    fs: segment('fs'),
    gs: segment('gs'),
    ss: segment('ss'),
    tr: segment('tr'),
    ldt: segment('ldt'),
    gdt: table('gdt'),
    idt: table('idt'),
    cr0: control('cr0'),
    cr2: control('cr2'),
    cr3: control('cr3'),
    cr4: control('cr4'),
    cr8: control('cr8'),
    efer: control('efer'),
    apicBase: control('apicBase'),
  };
}

/**
 * Puts registers into struct kvm_sregs.
 *
 * @throws HypervisorError `INVALID_ARGUMENT` for an unknown name or a value that does not fit; `sregs` is spoilt then
 */
export function encodeSpecialRegisters(sregs: DataView, registers: Partial<X86SpecialRegisters>): void {
  for (const [name, value] of Object.entries(registers)) {
    if (Object.hasOwn(SEGMENTS, name)) {
      encodeSegment(sregs, SEGMENTS[name as SegmentName], name, value as X86Segment);
    } else if (Object.hasOwn(TABLES, name)) {
      const { base, limit } = value as X86DescriptorTable;
      checkRegisterValue(`${name}.base`, base, 64);
      checkUnsigned(`${name}.limit`, limit, 2);
      sregs.setBigUint64(TABLES[name as TableName] + DTABLE_BASE, base, true);
      sregs.setUint16(TABLES[name as TableName] + DTABLE_LIMIT, limit, true);
    } else if (Object.hasOwn(CONTROLS, name)) {
      checkRegisterValue(name, value as bigint, 64);
      sregs.setBigUint64(CONTROLS[name as ControlName], value as bigint, true);
    } else {
      throw new HypervisorError('INVALID_ARGUMENT', `there is no special register '${name}'`);
    }
  }
}

function decodeSegment(view: DataView, at: number): X86Segment {
  const flag = (offset: number): boolean => view.getUint8(at + offset) !== 0;
  return {
    base: view.getBigUint64(at + SEGMENT_BASE, true),
    limit: view.getUint32(at + SEGMENT_LIMIT, true),
    selector: view.getUint16(at + SEGMENT_SELECTOR, true),
    type: view.getUint8(at + SEGMENT_TYPE),
    present: flag(SEGMENT_PRESENT),
    dpl: view.getUint8(at + SEGMENT_DPL),
    db: flag(SEGMENT_DB),
    s: flag(SEGMENT_S),
    l: flag(SEGMENT_L),
    g: flag(SEGMENT_G),
    avl: flag(SEGMENT_AVL),
    unusable: flag(SEGMENT_UNUSABLE),
  };
}

function encodeSegment(view: DataView, at: number, name: string, segment: X86Segment): void {
  checkRegisterValue(`${name}.base`, segment.base, 64);
  checkUnsigned(`${name}.limit`, segment.limit, 4);
  checkUnsigned(`${name}.selector`, segment.selector, 2);
  for (const [field, limit] of [
    ['type', 15],
    ['dpl', 3],
  ] as const) {
    const value = segment[field];
    if (!Number.isInteger(value) || value < 0 || value > limit) {
      throw new HypervisorError('INVALID_ARGUMENT', `${name}.${field}: ${value} is not 0 to ${limit}`);
    }
  }
  view.setBigUint64(at + SEGMENT_BASE, segment.base, true);
  view.setUint32(at + SEGMENT_LIMIT, segment.limit, true);
  view.setUint16(at + SEGMENT_SELECTOR, segment.selector, true);
  view.setUint8(at + SEGMENT_TYPE, segment.type);
  view.setUint8(at + SEGMENT_PRESENT, Number(segment.present));
  view.setUint8(at + SEGMENT_DPL, segment.dpl);
  view.setUint8(at + SEGMENT_DB, Number(segment.db));
  view.setUint8(at + SEGMENT_S, Number(segment.s));
  view.setUint8(at + SEGMENT_L, Number(segment.l));
  view.setUint8(at + SEGMENT_G, Number(segment.g));
  view.setUint8(at + SEGMENT_AVL, Number(segment.avl));
  view.setUint8(at + SEGMENT_UNUSABLE, Number(segment.unusable));
}
