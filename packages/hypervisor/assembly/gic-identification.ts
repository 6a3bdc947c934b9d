// Identification registers of the distributor and redistributor frames (IHI 0069, 12.1.1 and 12.9).

/** JEP106 code of the designer, no product or revision. */
export const GIC_IIDR: u32 = 0x43b;

const PIDR4: u32 = 0xffd0;
const PIDR0: u32 = 0xffe0;
const PIDR1: u32 = 0xffe4;
const PIDR2: u32 = 0xffe8;
const CIDR0: u32 = 0xfff0;
const CIDR1: u32 = 0xfff4;
const CIDR2: u32 = 0xfff8;
const CIDR3: u32 = 0xfffc;

/** Value of an identification register, 0 at any other offset. */
export function gicIdentification(offset: u32): u32 {
  switch (offset) {
    case PIDR4: return 0x44;
    case PIDR0: return 0x92;
    case PIDR1: return 0xb4;
    // ArchRev (bits 7:4) 3: GICv3.
    case PIDR2: return 0x3b;
    case CIDR0: return 0x0d;
    case CIDR1: return 0xf0;
    case CIDR2: return 0x05;
    case CIDR3: return 0xb1;
    default: return 0;
  }
}
