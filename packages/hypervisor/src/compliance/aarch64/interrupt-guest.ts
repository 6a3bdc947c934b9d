import { sysreg } from '../aarch64.ts';
import type { Assembler } from './assembler.ts';
import { XZR } from './assembler.ts';
import { GIC_DISTRIBUTOR, GIC_REDISTRIBUTOR, X_MMIO } from './machine.ts';

/** MMIO offsets by which the guest tells the host what happens to it. */
export const REPORT_READY = 0x00;
/** INTID of an interrupt that was taken, before its end. */
export const REPORT_IRQ = 0x04;
/** The interrupt's handler has returned. */
export const REPORT_AFTER = 0x08;
/** ESR_EL1 of an exception that should not be. */
export const REPORT_UNEXPECTED = 0x100;

const VBAR_EL1 = sysreg(3, 0, 12, 0, 0);
const ESR_EL1 = sysreg(3, 0, 5, 2, 0);
const ICC_PMR_EL1 = sysreg(3, 0, 4, 6, 0);
const ICC_IAR1_EL1 = sysreg(3, 0, 12, 12, 0);
const ICC_EOIR1_EL1 = sysreg(3, 0, 12, 12, 1);
const ICC_SRE_EL1 = sysreg(3, 0, 12, 12, 5);
const ICC_IGRPEN1_EL1 = sysreg(3, 0, 12, 12, 7);
export const CNTV_TVAL_EL0: number = sysreg(3, 3, 14, 3, 0);
export const CNTV_CTL_EL0: number = sysreg(3, 3, 14, 3, 1);
export const CNTV_CVAL_EL0: number = sysreg(3, 3, 14, 3, 2);
export const CNTVCT_EL0: number = sysreg(3, 3, 14, 0, 2);
export const ICC_SGI1R_EL1: number = sysreg(3, 0, 12, 11, 5);

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

/** How a shared peripheral interrupt is configured. */
export interface SpiSetup {
  readonly intid: number;
  readonly edge: boolean;
}

/** Programs the GIC for group 1 interrupts to vCPU 0 and unmasks the private ones and the given shared ones. */
export function setUpGic(a: Assembler, spis: readonly SpiSetup[]): void {
  store32(a, GIC_DISTRIBUTOR + GICD_CTLR, GICD_CTLR_ARE | GICD_CTLR_ENABLE_GRP1);
  for (const { intid, edge } of spis) {
    const bit = 2 ** (intid % 32);
    const word = Math.floor(intid / 32) * 4;
    store32(a, GIC_DISTRIBUTOR + GIC_IGROUPR + word, 0xffff_ffff);
    store32(a, GIC_DISTRIBUTOR + GIC_IPRIORITYR + Math.floor(intid / 4) * 4, 0x8080_8080);
    if (edge) store32(a, GIC_DISTRIBUTOR + GIC_ICFGR + Math.floor(intid / 16) * 4, 2 * 4 ** (intid % 16));
    a.movImmediate(0, GIC_DISTRIBUTOR + GICD_IROUTER + 8 * intid).store(8, XZR, 0);
    store32(a, GIC_DISTRIBUTOR + GIC_ISENABLER + word, bit);
  }
  setUpRedistributor(a, 0);
}

/** The part of {@link setUpGic} that each vCPU does for itself. */
export function setUpRedistributor(a: Assembler, vcpu: number): void {
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

function store32(a: Assembler, address: number, value: number): void {
  a.movImmediate(0, address)
    .movImmediate(1, value >>> 0)
    .store(4, 1, 0);
}

/** Points VBAR_EL1 to the label `vectors`. */
export function setUpVectors(a: Assembler): void {
  a.adr(0, 'vectors').msr(VBAR_EL1, 0).isb();
}

/**
 * Vector table, labelled `vectors`. An IRQ reports its INTID, calls `handler` (which may use x10 to x19; x10 holds
 * the INTID), ends the interrupt and returns. Anything else reports ESR_EL1 and hangs.
 */
export function vectors(a: Assembler, handler: (a: Assembler) => void = () => undefined): void {
  a.align(2048).label('vectors');
  for (let entry = 0; entry < 16; entry++) {
    a.align(128);
    // Current EL with SP_ELx: IRQ (Arm ARM D1.4.1).
    if (entry === 5) a.b('irq');
    else a.mrs(10, ESR_EL1).store(4, 10, X_MMIO, REPORT_UNEXPECTED).label(`hang${entry}`).b(`hang${entry}`);
  }
  a.align(128).label('irq');
  a.mrs(10, ICC_IAR1_EL1).store(4, 10, X_MMIO, REPORT_IRQ);
  handler(a);
  a.msr(ICC_EOIR1_EL1, 10).isb().eret();
}

/** A guest that reports READY and then waits for interrupts for ever, reporting each return from one. */
export function interruptGuest(
  a: Assembler,
  spis: readonly SpiSetup[],
  before?: (a: Assembler) => void,
): void {
  setUpVectors(a);
  setUpGic(a, spis);
  before?.(a);
  a.daifClear(2).store(4, XZR, X_MMIO, REPORT_READY);
  a.label('wait').wfi().store(4, XZR, X_MMIO, REPORT_AFTER).b('wait');
  vectors(a);
}
