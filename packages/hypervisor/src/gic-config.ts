import type { GicV2Config, GicV3Config } from './aarch64.ts';
import { HypervisorError } from './errors.ts';
import { checkRange } from './validate.ts';

/** INTID of the first shared peripheral interrupt (IHI 0069 2.2.1). */
export const FIRST_SPI = 32;

// IHI 0069 12.8 and 12.10.
const GICV3_DISTRIBUTOR_SIZE = 0x1_0000;
const GICV3_REDISTRIBUTOR_SIZE = 0x2_0000;
// IHI 0048 4.1.
const GICV2_DISTRIBUTOR_SIZE = 0x1000;
const GICV2_CPU_INTERFACE_SIZE = 0x2000;
/** GICD_ITARGETSR has a bit for each CPU interface. */
const GICV2_MAX_VCPUS = 8;

/** @throws HypervisorError `INVALID_ARGUMENT` */
export function checkGicV3Config(config: GicV3Config, vcpus: number): void {
  const { distributor, redistributor, irqs } = config;
  const size = GICV3_REDISTRIBUTOR_SIZE * vcpus;
  checkRange('GIC distributor', distributor, GICV3_DISTRIBUTOR_SIZE, GICV3_DISTRIBUTOR_SIZE);
  checkRange('GIC redistributors', redistributor, size, GICV3_DISTRIBUTOR_SIZE);
  checkApart(distributor, GICV3_DISTRIBUTOR_SIZE, redistributor, size);
  checkIrqs(irqs);
}

/** @throws HypervisorError `INVALID_ARGUMENT` */
export function checkGicV2Config(config: GicV2Config, vcpus: number): void {
  const { distributor, cpuInterface, irqs } = config;
  if (vcpus > GICV2_MAX_VCPUS) {
    throw new HypervisorError(
      'INVALID_ARGUMENT',
      `a GICv2 has at most ${GICV2_MAX_VCPUS} vCPUs, not ${vcpus}`,
    );
  }
  checkRange('GIC distributor', distributor, GICV2_DISTRIBUTOR_SIZE, GICV2_DISTRIBUTOR_SIZE);
  checkRange('GIC CPU interface', cpuInterface, GICV2_CPU_INTERFACE_SIZE, GICV2_DISTRIBUTOR_SIZE);
  checkApart(distributor, GICV2_DISTRIBUTOR_SIZE, cpuInterface, GICV2_CPU_INTERFACE_SIZE);
  checkIrqs(irqs);
}

/** @throws HypervisorError `INVALID_ARGUMENT` unless `intid` is a shared peripheral interrupt. */
export function checkSpi(intid: number, irqs: number): void {
  if (!Number.isInteger(intid) || intid < FIRST_SPI || intid >= irqs) {
    throw new HypervisorError(
      'INVALID_ARGUMENT',
      `interrupt ${intid} is not a shared peripheral interrupt (${FIRST_SPI} to ${irqs - 1})`,
    );
  }
}

function checkApart(first: number, firstSize: number, second: number, secondSize: number): void {
  if (first < second + secondSize && second < first + firstSize) {
    throw new HypervisorError('INVALID_ARGUMENT', 'two parts of the GIC overlap');
  }
}

function checkIrqs(irqs: number): void {
  const supported = Number.isInteger(irqs) && irqs >= 64 && irqs <= 1020;
  if (!supported || (irqs % 32 !== 0 && irqs !== 1020)) {
    throw new HypervisorError('INVALID_ARGUMENT', `${irqs} interrupts: not 1020 or 64 to 992 in steps of 32`);
  }
}
