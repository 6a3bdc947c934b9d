// GICv2 (IHI 0048B.b): offsets in bytes, fields and constants.

/** Distributor (§4.3). */
export const GICD_CTLR = 0x000;
export const GICD_TYPER = 0x004;
export const GICD_IIDR = 0x008;
export const GICD_IGROUPR = 0x080;
export const GICD_ISENABLER = 0x100;
export const GICD_ICENABLER = 0x180;
export const GICD_ISPENDR = 0x200;
export const GICD_ICPENDR = 0x280;
export const GICD_ISACTIVER = 0x300;
export const GICD_ICACTIVER = 0x380;
export const GICD_IPRIORITYR = 0x400;
export const GICD_ITARGETSR = 0x800;
export const GICD_ICFGR = 0xc00;
export const GICD_ICFGR_END = 0xd00;
export const GICD_SGIR = 0xf00;
export const GICD_CPENDSGIR = 0xf10;
export const GICD_SPENDSGIR = 0xf20;
export const GICD_SPENDSGIR_END = 0xf30;
export const GICD_PIDR4 = 0xfd0;
export const GICD_PIDR0 = 0xfe0;
export const GICD_SIZE = 0x1000;

/** CPU interface (§4.4). */
export const GICC_CTLR = 0x00;
export const GICC_PMR = 0x04;
export const GICC_BPR = 0x08;
export const GICC_IAR = 0x0c;
export const GICC_EOIR = 0x10;
export const GICC_RPR = 0x14;
export const GICC_HPPIR = 0x18;
export const GICC_ABPR = 0x1c;
export const GICC_AIAR = 0x20;
export const GICC_AEOIR = 0x24;
export const GICC_AHPPIR = 0x28;
export const GICC_APR0 = 0xd0;
export const GICC_NSAPR0 = 0xe0;
export const GICC_IIDR = 0xfc;
export const GICC_DIR = 0x1000;
export const GICC_SIZE = 0x2000;

/** GICC_CTLR of a GIC without the Security Extensions (§4.4.1). */
export const CTLR_ENABLE_GRP = 0x3;
export const CTLR_ACKCTL = 0x4;
export const CTLR_FIQEN = 0x8;
export const CTLR_CBPR = 0x10;
export const CTLR_EOIMODE = 0x200;
export const CTLR_MASK = 0x3ff;

/** JEP106 code of the designer in GICD_IIDR, with architecture version 2 in GICC_IIDR. */
export const GICD_IIDR_VALUE = 0x0000_043b;
export const GICC_IIDR_VALUE = 0x0002_043b;

/** GICD_SGIR.TargetListFilter (§4.3.15). */
export const SGIR_LISTED = 0;
export const SGIR_OTHERS = 1;
export const SGIR_SELF = 2;

/** No interrupt (§3.2.5): of the group that is asked for; of a group 1 interrupt where group 0 is asked for. */
export const INTID_SPURIOUS = 1023;
export const INTID_GROUP1 = 1022;

/** Five bits of priority are implemented. */
export const PRIORITY_MASK = 0xf8;
export const PRIORITY_IDLE = 0xff;
/** Smallest binary points with five bits of priority (§3.3.3). */
export const MIN_BPR = 2;
export const MIN_ABPR = 3;

/** GICD_PIDR4, 5, 6, 7, 0, 1, 2, 3 and GICD_CIDR0…3, one word each from {@link GICD_PIDR4} on (§4.3.18). */
export const IDENTIFICATION: readonly number[] = [0x04, 0, 0, 0, 0x90, 0xb4, 0x2b, 0, 0x0d, 0xf0, 0x05, 0xb1];
