/** Where the interrupt controller of the compliance guests is. */
export const GIC_DISTRIBUTOR = 0x0800_0000;
export const GIC_CPU_INTERFACE = 0x0801_0000;
export const GIC_REDISTRIBUTOR = 0x080a_0000;
export const GIC_IRQS = 128;

/** INTID of the first shared peripheral interrupt (IHI 0069 2.2.1). */
export const FIRST_SPI = 32;

/** Register that holds MMIO in assembled guests. */
export const X_MMIO = 20;
/** Register that holds DATA in assembled guests. */
export const X_DATA = 21;
