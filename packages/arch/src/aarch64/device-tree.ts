import { cells64, writeFdt } from '@vmm/fdt';
import type { FdtNodeInput } from '@vmm/fdt';
import { CommandLine } from '../command-line.ts';
import { ArchError } from '../errors.ts';
import {
  GICR_STRIDE,
  MAX_VCPUS,
  SPI_BASE,
  SPI_END,
  TIMER_PPI_HYPERVISOR,
  TIMER_PPI_PHYSICAL,
  TIMER_PPI_SECURE_PHYSICAL,
  TIMER_PPI_VIRTUAL,
  mpidr,
} from './layout.ts';
import type { AddressRange, MmioDeviceSlot } from './layout.ts';

/** The interrupt controller, by the guest physical addresses of its parts. */
export type GicDescription =
  | {
      readonly version: 3;
      /** GICD, 64 KiB. */
      readonly distributor: number;
      /** GICR, 128 KiB for each vCPU. */
      readonly redistributor: number;
      /** GITS, 128 KiB, where there is one. */
      readonly its?: number | undefined;
    }
  | {
      readonly version: 2;
      /** GICD, 4 KiB. */
      readonly distributor: number;
      /** GICC, 8 KiB. */
      readonly cpuInterface: number;
    };

/** What the device tree describes. */
export interface DeviceTreeConfig {
  readonly memory: readonly AddressRange[];
  /** Number of vCPUs, 1…512; with a GICv2 1…8. */
  readonly vcpus: number;
  /** `compatible` of the CPUs. Default `arm,armv8`, the one for software models. */
  readonly cpuCompatible?: string | undefined;
  readonly gic: GicDescription;
  readonly cmdline: string;
  readonly initrd?: AddressRange | undefined;
  /** PL011, which is also the kernel's `stdout-path`. */
  readonly uart?: MmioDeviceSlot | undefined;
  /** PL031. */
  readonly rtc?: MmioDeviceSlot | undefined;
  readonly virtioMmio?: readonly MmioDeviceSlot[] | undefined;
  /** Random bytes for the kernel's generator; 32 or more are useful. */
  readonly rngSeed?: Uint8Array | undefined;
  /** Random 64-bit value for the kernel's address space layout. Without it the layout is the default one. */
  readonly kaslrSeed?: bigint | undefined;
}

/** Interrupt specifier cells of the arm,gic bindings: type, number, flags. */
const GIC_SPI = 0;
const GIC_PPI = 1;
const IRQ_TYPE_EDGE_RISING = 1;
const IRQ_TYPE_LEVEL_HIGH = 4;

const GIC_PHANDLE = 1;
const CLOCK_PHANDLE = 2;

/** The clock of PL011 and PL031 in Hz: 24 MHz, as Arm's own boards have it. */
const APB_CLOCK_FREQUENCY = 24_000_000;

/**
 * The flattened device tree of a virtual machine, for {@link loadDeviceTree}: `linux,dummy-virt` with CPUs that
 * PSCI 1.0 starts through HVC, the generic timer, a GIC and the given devices.
 *
 * @throws ArchError `INVALID_ARGUMENT`, and as {@link CommandLine} for the command line; FdtError for strings that a device tree cannot hold
 */
export function buildDeviceTree(config: DeviceTreeConfig): Uint8Array {
  check(config);
  const { uart, rtc } = config;
  const root: FdtNodeInput = {
    name: '',
    properties: {
      compatible: 'linux,dummy-virt',
      model: 'linux,dummy-virt',
      '#address-cells': 2,
      '#size-cells': 2,
      'interrupt-parent': GIC_PHANDLE,
    },
    children: [
      chosenNode(config),
      ...config.memory.map(memoryNode),
      cpusNode(config),
      {
        name: 'psci',
        properties: { compatible: ['arm,psci-1.0', 'arm,psci-0.2'], method: 'hvc' },
      },
      timerNode(config),
      gicNode(config),
      ...(uart === undefined && rtc === undefined ? [] : [clockNode()]),
      ...(uart === undefined ? [] : [uartNode(uart)]),
      ...(rtc === undefined ? [] : [rtcNode(rtc)]),
      ...(config.virtioMmio ?? []).map(virtioMmioNode),
    ],
  };
  return writeFdt(root);
}

function check(config: DeviceTreeConfig): void {
  const { vcpus, gic } = config;
  const most = gic.version === 2 ? 8 : MAX_VCPUS;
  if (!Number.isInteger(vcpus) || vcpus < 1 || vcpus > most) {
    throw new ArchError(
      'INVALID_ARGUMENT',
      `${vcpus} vCPUs: 1 to ${most} are possible with GICv${gic.version}`,
    );
  }
  new CommandLine().append(config.cmdline);
  if (config.memory.length === 0) throw new ArchError('INVALID_ARGUMENT', 'a machine without memory');
  const slots = [config.uart, config.rtc, ...(config.virtioMmio ?? [])];
  for (const slot of slots) {
    if (slot === undefined) continue;
    if (!Number.isInteger(slot.intid) || slot.intid < SPI_BASE || slot.intid >= SPI_END) {
      throw new ArchError(
        'INVALID_ARGUMENT',
        `INTID ${slot.intid} is not a shared peripheral interrupt, ${SPI_BASE}…${SPI_END - 1}`,
      );
    }
  }
}

function chosenNode({ cmdline, initrd, uart, rngSeed, kaslrSeed }: DeviceTreeConfig): FdtNodeInput {
  return {
    name: 'chosen',
    properties: {
      bootargs: cmdline,
      ...(uart !== undefined && { 'stdout-path': `/${unitName('pl011', uart.address)}` }),
      ...(initrd !== undefined && {
        'linux,initrd-start': cells64(initrd.guestAddress),
        'linux,initrd-end': cells64(initrd.guestAddress + initrd.size),
      }),
      ...(rngSeed !== undefined && { 'rng-seed': rngSeed }),
      ...(kaslrSeed !== undefined && { 'kaslr-seed': kaslrSeed }),
    },
  };
}

function memoryNode({ guestAddress, size }: AddressRange): FdtNodeInput {
  return {
    name: unitName('memory', guestAddress),
    properties: { device_type: 'memory', reg: cells64(guestAddress, size) },
  };
}

function cpusNode({ vcpus, cpuCompatible = 'arm,armv8' }: DeviceTreeConfig): FdtNodeInput {
  return {
    name: 'cpus',
    properties: { '#address-cells': 1, '#size-cells': 0 },
    children: Array.from({ length: vcpus }, (_, id) => ({
      name: unitName('cpu', mpidr(id)),
      properties: {
        device_type: 'cpu',
        compatible: cpuCompatible,
        reg: mpidr(id),
        'enable-method': 'psci',
      },
    })),
  };
}

function timerNode({ vcpus, gic }: DeviceTreeConfig): FdtNodeInput {
  // GICv2 specifiers carry the CPUs that the interrupt is wired to in bits 15:8.
  const flags = IRQ_TYPE_LEVEL_HIGH | (gic.version === 2 ? ((1 << vcpus) - 1) << 8 : 0);
  const ppis = [TIMER_PPI_SECURE_PHYSICAL, TIMER_PPI_PHYSICAL, TIMER_PPI_VIRTUAL, TIMER_PPI_HYPERVISOR];
  return {
    name: 'timer',
    properties: {
      compatible: 'arm,armv8-timer',
      interrupts: ppis.flatMap((ppi) => [GIC_PPI, ppi, flags]),
      'always-on': true,
    },
  };
}

function gicNode({ gic, vcpus }: DeviceTreeConfig): FdtNodeInput {
  const common = { 'interrupt-controller': true, '#interrupt-cells': 3 } as const;
  const name = unitName('interrupt-controller', gic.distributor);
  if (gic.version === 2) {
    return {
      name,
      properties: {
        compatible: 'arm,cortex-a15-gic',
        ...common,
        '#address-cells': 0,
        reg: cells64(gic.distributor, 0x1000, gic.cpuInterface, 0x2000),
        phandle: GIC_PHANDLE,
      },
    };
  }
  return {
    name,
    properties: {
      compatible: 'arm,gic-v3',
      ...common,
      reg: cells64(gic.distributor, 0x10000, gic.redistributor, vcpus * GICR_STRIDE),
      ...(gic.its === undefined
        ? { '#address-cells': 0 }
        : { '#address-cells': 2, '#size-cells': 2, ranges: true }),
      phandle: GIC_PHANDLE,
    },
    children: gic.its === undefined ? [] : [itsNode(gic.its)],
  };
}

function itsNode(address: number): FdtNodeInput {
  return {
    name: unitName('msi-controller', address),
    properties: {
      compatible: 'arm,gic-v3-its',
      'msi-controller': true,
      '#msi-cells': 1,
      reg: cells64(address, 0x20000),
    },
  };
}

function clockNode(): FdtNodeInput {
  return {
    name: 'apb-pclk',
    properties: {
      compatible: 'fixed-clock',
      '#clock-cells': 0,
      'clock-frequency': APB_CLOCK_FREQUENCY,
      'clock-output-names': 'clk24mhz',
      phandle: CLOCK_PHANDLE,
    },
  };
}

function uartNode({ address, intid }: MmioDeviceSlot): FdtNodeInput {
  return {
    name: unitName('pl011', address),
    properties: {
      compatible: ['arm,pl011', 'arm,primecell'],
      reg: cells64(address, 0x1000),
      interrupts: spi(intid, IRQ_TYPE_LEVEL_HIGH),
      clocks: [CLOCK_PHANDLE, CLOCK_PHANDLE],
      'clock-names': ['uartclk', 'apb_pclk'],
    },
  };
}

function rtcNode({ address, intid }: MmioDeviceSlot): FdtNodeInput {
  return {
    name: unitName('pl031', address),
    properties: {
      compatible: ['arm,pl031', 'arm,primecell'],
      reg: cells64(address, 0x1000),
      interrupts: spi(intid, IRQ_TYPE_LEVEL_HIGH),
      clocks: CLOCK_PHANDLE,
      'clock-names': 'apb_pclk',
    },
  };
}

function virtioMmioNode({ address, intid }: MmioDeviceSlot): FdtNodeInput {
  return {
    name: unitName('virtio_mmio', address),
    properties: {
      compatible: 'virtio,mmio',
      reg: cells64(address, 0x1000),
      interrupts: spi(intid, IRQ_TYPE_EDGE_RISING),
      'dma-coherent': true,
    },
  };
}

function spi(intid: number, type: number): number[] {
  return [GIC_SPI, intid - SPI_BASE, type];
}

function unitName(name: string, address: number): string {
  return `${name}@${address.toString(16)}`;
}
