import { VGIC_GROUP } from './uapi.ts';

/**
 * One attribute of a VGIC that is part of its state: `low` and `high` are the halves of kvm_device_attr.attr, an offset
 * or an encoding and the vCPU it is of.
 */
export interface GicAttribute {
  readonly group: number;
  readonly low: number;
  readonly high: number;
  readonly size: 4 | 8;
  /** Written with all bits set before the value, since writes of 0 change nothing there: another `low`. */
  readonly clear?: number;
}

// IHI 0069 12.8, IHI 0048 4.3.
const GICD_CTLR = 0x0000;
const GICD_IIDR = 0x0008;
const IGROUPR = 0x0080;
const ISENABLER = 0x0100;
const ICENABLER = 0x0180;
const ISPENDR = 0x0200;
const ICPENDR = 0x0280;
const ISACTIVER = 0x0300;
const ICACTIVER = 0x0380;
const IPRIORITYR = 0x0400;
const ITARGETSR = 0x0800;
const ICFGR = 0x0c00;
const CPENDSGIR = 0x0f10;
const SPENDSGIR = 0x0f20;
const IROUTER = 0x6000;
/** GICR's second frame. */
const SGI_BASE = 0x1_0000;

// IHI 0048 4.4.
const GICC_CPU_REGISTERS = [0x00, 0x04, 0x08, 0x1c, 0xd0] as const;

// Encodings of ICC_* (IHI 0069 12.2), op0:op1:CRn:CRm:op2.
const ICC_CTLR_EL1 = 0xc664;
const ICC_CPU_REGISTERS = [
  ICC_CTLR_EL1,
  // ICC_PMR_EL1, ICC_BPR0_EL1, ICC_BPR1_EL1, ICC_IGRPEN0_EL1, ICC_IGRPEN1_EL1
  0xc230,
  0xc643,
  0xc663,
  0xc666,
  0xc667,
] as const;
/** ICC_AP0R0_EL1 and ICC_AP1R0_EL1; the others follow. */
const ICC_AP0R = 0xc644;
const ICC_AP1R = 0xc648;

const PRIVATE = 32;

/** Registers with a bit for each interrupt, for interrupts `first` to `end`. */
function bitmaps(group: number, base: number, high: number, first: number, end: number): GicAttribute[] {
  const attributes: GicAttribute[] = [];
  for (let intid = first; intid < end; intid += 32) {
    const at = (register: number): number => base + register + intid / 8;
    attributes.push(
      { group, high, size: 4, low: at(IGROUPR) },
      { group, high, size: 4, low: at(ISENABLER), clear: at(ICENABLER) },
      { group, high, size: 4, low: at(ISPENDR), clear: at(ICPENDR) },
      { group, high, size: 4, low: at(ISACTIVER), clear: at(ICACTIVER) },
    );
  }
  return attributes;
}

/** Registers with `bits` for each interrupt. */
function fields(
  group: number,
  base: number,
  high: number,
  bits: number,
  first: number,
  end: number,
): GicAttribute[] {
  const step = 32 / bits;
  const attributes: GicAttribute[] = [];
  for (let intid = first; intid < end; intid += step) {
    attributes.push({ group, high, size: 4, low: base + (intid * bits) / 8 });
  }
  return attributes;
}

/** Configuration before what depends on it: pending bits mean something else for edges. */
function interrupts(group: number, base: number, high: number, first: number, end: number): GicAttribute[] {
  return [
    ...fields(group, base + ICFGR, high, 2, Math.max(first, 16), end),
    ...fields(group, base + IPRIORITYR, high, 8, first, end),
    ...bitmaps(group, base, high, first, end),
  ];
}

/** A vCPU as attributes name it, and what its CPU interface has. */
export interface GicV3Cpu {
  /** Affinity, Aff3.Aff2.Aff1.Aff0. */
  readonly affinity: number;
  /** ICC_CTLR_EL1.PRIbits + 1. */
  readonly priorityBits: number;
}

/** Where {@link GicV3Cpu.priorityBits} is read. */
export function controlAttribute(affinity: number): GicAttribute {
  return { group: VGIC_GROUP.CPU_SYSREGS, low: ICC_CTLR_EL1, high: affinity, size: 8 };
}

/** What makes up the state of a VGICv3, in the order in which it is restored (devices/arm-vgic-v3.rst). */
export function gicV3Attributes(irqs: number, cpus: readonly GicV3Cpu[]): readonly GicAttribute[] {
  const { DIST_REGS, REDIST_REGS, LEVEL_INFO } = VGIC_GROUP;
  const routes = Array.from({ length: 2 * (irqs - PRIVATE) }, (_, index): GicAttribute => {
    return { group: DIST_REGS, high: 0, size: 4, low: IROUTER + 8 * PRIVATE + 4 * index };
  });
  const lines = Array.from({ length: irqs / 32 - 1 }, (_, index): GicAttribute => {
    return { group: LEVEL_INFO, high: cpus[0]?.affinity ?? 0, size: 4, low: 32 * (index + 1) };
  });
  return [
    { group: DIST_REGS, high: 0, size: 4, low: GICD_IIDR },
    { group: DIST_REGS, high: 0, size: 4, low: GICD_CTLR },
    ...routes,
    ...interrupts(DIST_REGS, 0, 0, PRIVATE, irqs),
    ...lines,
    ...cpus.flatMap(({ affinity }) => [
      ...interrupts(REDIST_REGS, SGI_BASE, affinity, 0, PRIVATE),
      { group: LEVEL_INFO, high: affinity, size: 4, low: 0 } as const,
    ]),
    ...cpus.flatMap(cpuInterface),
  ];
}

function cpuInterface({ affinity, priorityBits }: GicV3Cpu): GicAttribute[] {
  const active = priorityBits === 7 ? 4 : priorityBits === 6 ? 2 : 1;
  const encodings = [
    ...ICC_CPU_REGISTERS,
    ...Array.from({ length: active }, (_, index) => [ICC_AP0R + index, ICC_AP1R + index]).flat(),
  ];
  return encodings.map((low) => ({ group: VGIC_GROUP.CPU_SYSREGS, low, high: affinity, size: 8 }));
}

/** What makes up the state of a VGICv2, in the order in which it is restored (devices/arm-vgic.rst). */
export function gicV2Attributes(irqs: number, vcpus: number): readonly GicAttribute[] {
  const { DIST_REGS, CPU_REGS } = VGIC_GROUP;
  const cpus = Array.from({ length: vcpus }, (_, index) => index);
  return [
    { group: DIST_REGS, high: 0, size: 4, low: GICD_IIDR },
    { group: DIST_REGS, high: 0, size: 4, low: GICD_CTLR },
    ...fields(DIST_REGS, ITARGETSR, 0, 8, PRIVATE, irqs),
    ...interrupts(DIST_REGS, 0, 0, PRIVATE, irqs),
    ...cpus.flatMap((cpu) => [
      ...interrupts(DIST_REGS, 0, cpu, 0, PRIVATE),
      ...[0, 4, 8, 12].map((offset): GicAttribute => {
        const low = SPENDSGIR + offset;
        return { group: DIST_REGS, high: cpu, size: 4, low, clear: CPENDSGIR + offset };
      }),
    ]),
    ...cpus.flatMap((cpu) =>
      GICC_CPU_REGISTERS.map((low): GicAttribute => ({ group: CPU_REGS, high: cpu, size: 4, low })),
    ),
  ];
}

/** INTID of the first interrupt that an attribute of GICD_ISPENDR is about, -1 for other attributes. */
export function pendingOf({ group, low }: GicAttribute): number {
  const offset = low - ISPENDR;
  return group === VGIC_GROUP.DIST_REGS && offset >= 0 && offset < ICPENDR - ISPENDR ? 8 * offset : -1;
}

/** The attribute that says how interrupts `intid` to `intid` + 15 are triggered. */
export function configurationAttribute(intid: number, high: number): GicAttribute {
  return { group: VGIC_GROUP.DIST_REGS, high, size: 4, low: ICFGR + intid / 4 };
}
