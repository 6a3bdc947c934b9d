import { sysreg } from '../../aarch64.ts';
import type { InputSetup } from '../machine.ts';
import { REPORT } from '../machine.ts';
import type { Assembler } from './assembler.ts';
import { XZR } from './assembler.ts';
import { FIRST_SPI, GIC_CPU_INTERFACE, GIC_DISTRIBUTOR, GIC_REDISTRIBUTOR, X_MMIO } from './map.ts';

const VBAR_EL1 = sysreg(3, 0, 12, 0, 0);
const ESR_EL1 = sysreg(3, 0, 5, 2, 0);
const ICC_PMR_EL1 = sysreg(3, 0, 4, 6, 0);
const ICC_IAR1_EL1 = sysreg(3, 0, 12, 12, 0);
const ICC_EOIR1_EL1 = sysreg(3, 0, 12, 12, 1);
const ICC_SRE_EL1 = sysreg(3, 0, 12, 12, 5);
const ICC_IGRPEN1_EL1 = sysreg(3, 0, 12, 12, 7);
const ICC_SGI1R_EL1 = sysreg(3, 0, 12, 11, 5);
export const CNTV_TVAL_EL0: number = sysreg(3, 3, 14, 3, 0);
export const CNTV_CTL_EL0: number = sysreg(3, 3, 14, 3, 1);
export const CNTV_CVAL_EL0: number = sysreg(3, 3, 14, 3, 2);
export const CNTVCT_EL0: number = sysreg(3, 3, 14, 0, 2);

/** INTID of the virtual timer. */
export const VIRTUAL_TIMER = 27;

// IHI 0069 12.8 and 12.10.
const GICD_CTLR = 0x0000;
const GICD_CTLR_ENABLE_GRP1 = 1 << 1;
const GICD_CTLR_ARE = 1 << 4;
const GIC_IGROUPR = 0x0080;
const GIC_ISENABLER = 0x0100;
const GIC_IPRIORITYR = 0x0400;
const GIC_ICFGR = 0x0c00;
const GICD_IROUTER = 0x6000;
const GICR_WAKER = 0x0014;
const GICR_WAKER_CHILDREN_ASLEEP = 1 << 2;
const GICR_SGI_BASE = 0x1_0000;

// IHI 0048 4.3 and 4.4.
const GICD_CTLR_ENABLE = 1 << 0;
const GICD_ITARGETSR = 0x0800;
const GICD_SGIR = 0x0f00;
const GICC_CTLR = 0x0000;
const GICC_CTLR_ENABLE = 1 << 0;
const GICC_PMR = 0x0004;
const GICC_IAR = 0x000c;
const GICC_EOIR = 0x0010;
/** Bits of the INTID in GICC_IAR. */
const GICC_INTID_BITS = 10;

type GicVersion = 2 | 3;

/** Programs the GIC for interrupts to vCPU 0 and unmasks the private ones and the given shared ones. */
export function setUpGic(a: Assembler, version: GicVersion, inputs: readonly InputSetup[]): void {
  const v3 = version === 3;
  store32(a, GIC_DISTRIBUTOR + GICD_CTLR, v3 ? GICD_CTLR_ARE | GICD_CTLR_ENABLE_GRP1 : GICD_CTLR_ENABLE);
  for (const [offset, value] of configurations(inputs)) store32(a, GIC_DISTRIBUTOR + offset, value);
  for (const { gsi } of inputs) {
    const intid = FIRST_SPI + gsi;
    const bit = 2 ** (intid % 32);
    const word = Math.floor(intid / 32) * 4;
    if (v3) store32(a, GIC_DISTRIBUTOR + GIC_IGROUPR + word, 0xffff_ffff);
    store32(a, GIC_DISTRIBUTOR + GIC_IPRIORITYR + Math.floor(intid / 4) * 4, 0x8080_8080);
    if (v3) a.movImmediate(0, GIC_DISTRIBUTOR + GICD_IROUTER + 8 * intid).store(8, XZR, 0);
    else store32(a, GIC_DISTRIBUTOR + GICD_ITARGETSR + Math.floor(intid / 4) * 4, 0x0101_0101);
    store32(a, GIC_DISTRIBUTOR + GIC_ISENABLER + word, bit);
  }
  setUpPrivate(a, version, 0);
}

/** Values of GICD_ICFGR, by offset: 16 interrupts to a register. What it is at first is not defined (IHI 0069 12.9.9). */
function configurations(inputs: readonly InputSetup[]): ReadonlyMap<number, number> {
  const values = new Map<number, number>();
  for (const { gsi, edge } of inputs) {
    const intid = FIRST_SPI + gsi;
    const offset = GIC_ICFGR + Math.floor(intid / 16) * 4;
    values.set(offset, (values.get(offset) ?? 0) + (edge ? 2 * 4 ** (intid % 16) : 0));
  }
  return values;
}

/** The part of {@link setUpGic} that each vCPU does for itself. */
export function setUpPrivate(a: Assembler, version: GicVersion, vcpu: number): void {
  if (version === 3) {
    setUpRedistributor(a, vcpu);
    return;
  }
  // The distributor's registers of interrupts 0 to 31 are banked.
  store32(a, GIC_DISTRIBUTOR + GIC_IPRIORITYR, 0x8080_8080);
  store32(a, GIC_DISTRIBUTOR + GIC_IPRIORITYR + 24, 0x8080_8080);
  store32(a, GIC_DISTRIBUTOR + GIC_ISENABLER, (1 << VIRTUAL_TIMER) | 0xffff);
  store32(a, GIC_CPU_INTERFACE + GICC_PMR, 0xff);
  store32(a, GIC_CPU_INTERFACE + GICC_CTLR, GICC_CTLR_ENABLE);
}

function setUpRedistributor(a: Assembler, vcpu: number): void {
  const frame = GIC_REDISTRIBUTOR + vcpu * 0x2_0000;
  const sgi = frame + GICR_SGI_BASE;
  store32(a, frame + GICR_WAKER, 0);
  const label = `awake${vcpu}`;
  a.movImmediate(1, GICR_WAKER_CHILDREN_ASLEEP);
  a.label(label).load(4, 2, 0).and(2, 2, 1).cbnz(2, label);
  store32(a, sgi + GIC_IGROUPR, 0xffff_ffff);
  store32(a, sgi + GIC_IPRIORITYR, 0x8080_8080);
  store32(a, sgi + GIC_IPRIORITYR + 24, 0x8080_8080);
  store32(a, sgi + GIC_ISENABLER, (1 << VIRTUAL_TIMER) | 0xffff);
  a.movz(0, 1).msr(ICC_SRE_EL1, 0).isb();
  a.movz(0, 0xff).msr(ICC_PMR_EL1, 0);
  a.movz(0, 1).msr(ICC_IGRPEN1_EL1, 0).isb();
}

/** Priority of a shared interrupt: lower values come first; {@link setUpGic} has given 0x80. */
export function setPriority(a: Assembler, intid: number, priority: number): void {
  a.movImmediate(0, GIC_DISTRIBUTOR + GIC_IPRIORITYR + intid)
    .movz(1, priority)
    .store(1, 1, 0);
}

function store32(a: Assembler, address: number, value: number): void {
  a.movImmediate(0, address)
    .movImmediate(1, value >>> 0)
    .store(4, 1, 0);
}

/** Sends software generated interrupt `intid` to vCPU `target`; changes x0 and x1. */
export function sendSgi(a: Assembler, version: GicVersion, target: number, intid: number): void {
  // TargetList and INTID are at bits 0 and 24 of ICC_SGI1R_EL1, 16 and 0 of GICD_SGIR.
  if (version === 3)
    a.movImmediate(0, intid * 2 ** 24 + 2 ** target)
      .msr(ICC_SGI1R_EL1, 0)
      .isb();
  else store32(a, GIC_DISTRIBUTOR + GICD_SGIR, 2 ** (16 + target) + intid);
}

/** Points VBAR_EL1 to the label `vectors`. */
export function setUpVectors(a: Assembler): void {
  a.adr(0, 'vectors').msr(VBAR_EL1, 0).isb();
}

/**
 * Vector table, labelled `vectors`. An IRQ reports its INTID, calls `handler` (which may use x10 to x19; x10 holds
 * the INTID), ends the interrupt, reports that, and returns. Anything else reports ESR_EL1 and hangs.
 */
export function vectors(
  a: Assembler,
  version: GicVersion,
  handler: (a: Assembler) => void = () => undefined,
): void {
  a.align(2048).label('vectors');
  for (let entry = 0; entry < 16; entry++) {
    a.align(128);
    // Current EL with SP_ELx: IRQ (Arm ARM D1.4.1).
    if (entry === 5) a.b('irq');
    else a.mrs(10, ESR_EL1).store(4, 10, X_MMIO, REPORT.UNEXPECTED).label(`hang${entry}`).b(`hang${entry}`);
  }
  a.align(128).label('irq');
  if (version === 3) {
    a.mrs(10, ICC_IAR1_EL1).store(4, 10, X_MMIO, REPORT.IRQ);
    handler(a);
    a.msr(ICC_EOIR1_EL1, 10).isb();
  } else {
    a.movImmediate(11, GIC_CPU_INTERFACE + GICC_IAR).load(4, 12, 11);
    a.movz(10, 2 ** GICC_INTID_BITS - 1)
      .and(10, 10, 12)
      .store(4, 10, X_MMIO, REPORT.IRQ);
    handler(a);
    a.movImmediate(11, GIC_CPU_INTERFACE + GICC_EOIR).store(4, 12, 11);
  }
  a.store(4, XZR, X_MMIO, REPORT.END).eret();
}

/** A guest that reports READY and then waits for interrupts for ever. */
export function interruptGuest(a: Assembler, version: GicVersion, inputs: readonly InputSetup[]): void {
  setUpVectors(a);
  setUpGic(a, version, inputs);
  a.daifClear(2).store(4, XZR, X_MMIO, REPORT.READY);
  a.label('wait').wfi().b('wait');
  vectors(a, version);
}
