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

/** A GICv2m frame: where its registers are, and its interrupts. */
export interface GicV2mDescription {
  /** 4 KiB. */
  readonly address: number;
  /** INTID of the first. */
  readonly base: number;
  readonly count: number;
}

/** The interrupt controller, by the guest physical addresses of its parts. */
export type GicDescription = { readonly v2m?: GicV2mDescription | undefined } & (
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
    }
);

/** A PCI host bridge with one segment, of whose windows addresses are the same on both sides. */
export interface PciHostDescription {
  /** Configuration space: 1 MiB for each bus, from bus 0 on. */
  readonly ecam: AddressRange;
  /** Memory below 4 GiB. */
  readonly memory: AddressRange;
  /** Memory for 64-bit prefetchable BARs. */
  readonly memory64?: AddressRange | undefined;
  /** INTIDs of INTA to INTD of device 0, high levels; pin p of device d, from 0, is on line (d + p) modulo 4. */
  readonly intids: readonly [number, number, number, number];
}

/** A PL061, and what is behind its pins. */
export interface GpioDescription extends MmioDeviceSlot {
  /** Pin, 0 to 7, that is high while the power button is pressed. */
  readonly powerButton?: number | undefined;
}

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
  /** PL061. */
  readonly gpio?: GpioDescription | undefined;
  readonly virtioMmio?: readonly MmioDeviceSlot[] | undefined;
  /** Its message-signalled interrupts go to the GICv2m frame, else to the ITS, where there is one. */
  readonly pci?: PciHostDescription | undefined;
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

/** Bytes of configuration space of one PCI bus (PCI Express Base 6.0 §7.2.2). */
const PCI_BUS_CONFIG_SIZE = 2 ** 20;
/** First cell of a PCI address: space code, prefetchable bit (IEEE 1275-1994 PCI bus binding §2.2.1.1). */
const PCI_MEMORY_32 = 0x0200_0000;
const PCI_MEMORY_64_PREFETCHABLE = 0x4300_0000;
/** Where the device number is in that cell. */
const PCI_DEVICE_SHIFT = 11;
/** Interrupt pins of a device. */
const PCI_PINS = 4;

const GIC_PHANDLE = 1;
const CLOCK_PHANDLE = 2;
const MSI_PHANDLE = 3;
const GPIO_PHANDLE = 4;

/** GPIO specifier flags of the gpio bindings. */
const GPIO_ACTIVE_HIGH = 0;
/** Pins of a PL061. */
const GPIO_PINS = 8;
/** Linux's input event code of the power button. */
const KEY_POWER = 116;

/** The clock of PL011, PL031 and PL061 in Hz: 24 MHz, as Arm's own boards have it. */
const APB_CLOCK_FREQUENCY = 24_000_000;

/**
 * The flattened device tree of a virtual machine, for {@link loadDeviceTree}: `linux,dummy-virt` with CPUs that
 * PSCI 1.0 starts through HVC, the generic timer, a GIC and the given devices.
 *
 * @throws ArchError `INVALID_ARGUMENT`, and as {@link CommandLine} for the command line; FdtError for strings that a device tree cannot hold
 */
export function buildDeviceTree(config: DeviceTreeConfig): Uint8Array {
  check(config);
  const { uart, rtc, gpio } = config;
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
      ...(uart === undefined && rtc === undefined && gpio === undefined ? [] : [clockNode()]),
      ...(uart === undefined ? [] : [uartNode(uart)]),
      ...(rtc === undefined ? [] : [rtcNode(rtc)]),
      ...(gpio === undefined ? [] : [gpioNode(gpio)]),
      ...(gpio?.powerButton === undefined ? [] : [gpioKeysNode(gpio.powerButton)]),
      ...(config.virtioMmio ?? []).map(virtioMmioNode),
      ...(config.pci === undefined ? [] : [pciNode(config.pci, config.gic)]),
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
  const slots = [config.uart, config.rtc, config.gpio, ...(config.virtioMmio ?? [])];
  for (const slot of slots) {
    if (slot !== undefined) checkIntid(slot.intid);
  }
  const pin = config.gpio?.powerButton ?? 0;
  if (!Number.isInteger(pin) || pin < 0 || pin >= GPIO_PINS) {
    throw new ArchError('INVALID_ARGUMENT', `power button at pin ${pin}: a PL061 has 0 to ${GPIO_PINS - 1}`);
  }
  const { v2m } = gic;
  if (v2m !== undefined) {
    checkIntid(v2m.base);
    checkIntid(v2m.base + v2m.count - 1);
  }
  config.pci?.intids.forEach(checkIntid);
  const buses = config.pci === undefined ? 1 : config.pci.ecam.size / PCI_BUS_CONFIG_SIZE;
  if (!Number.isInteger(buses) || buses < 1 || buses > 256) {
    throw new ArchError('INVALID_ARGUMENT', `PCI with ${buses} buses: 1 to 256 are possible`);
  }
}

function checkIntid(intid: number): void {
  if (!Number.isInteger(intid) || intid < SPI_BASE || intid >= SPI_END) {
    throw new ArchError(
      'INVALID_ARGUMENT',
      `INTID ${intid} is not a shared peripheral interrupt, ${SPI_BASE}…${SPI_END - 1}`,
    );
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
  const children = [
    ...(gic.v2m === undefined ? [] : [gicV2mNode(gic.v2m)]),
    ...(gic.version === 2 || gic.its === undefined ? [] : [itsNode(gic.its, gic.v2m === undefined)]),
  ];
  return {
    name: unitName('interrupt-controller', gic.distributor),
    properties: {
      compatible: gic.version === 2 ? 'arm,cortex-a15-gic' : 'arm,gic-v3',
      'interrupt-controller': true,
      '#interrupt-cells': 3,
      reg:
        gic.version === 2
          ? cells64(gic.distributor, 0x1000, gic.cpuInterface, 0x2000)
          : cells64(gic.distributor, 0x10000, gic.redistributor, vcpus * GICR_STRIDE),
      ...(children.length === 0
        ? { '#address-cells': 0 }
        : { '#address-cells': 2, '#size-cells': 2, ranges: true }),
      phandle: GIC_PHANDLE,
    },
    children,
  };
}

function gicV2mNode({ address, base, count }: GicV2mDescription): FdtNodeInput {
  return {
    name: unitName('v2m', address),
    properties: {
      compatible: 'arm,gic-v2m-frame',
      'msi-controller': true,
      reg: cells64(address, 0x1000),
      // By INTID, as in MSI_TYPER, which these stand for.
      'arm,msi-base-spi': base,
      'arm,msi-num-spis': count,
      phandle: MSI_PHANDLE,
    },
  };
}

/** @param forPci whether PCI's messages go there */
function itsNode(address: number, forPci: boolean): FdtNodeInput {
  return {
    name: unitName('msi-controller', address),
    properties: {
      compatible: 'arm,gic-v3-its',
      'msi-controller': true,
      '#msi-cells': 1,
      reg: cells64(address, 0x20000),
      ...(forPci && { phandle: MSI_PHANDLE }),
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

function gpioNode({ address, intid }: MmioDeviceSlot): FdtNodeInput {
  return {
    name: unitName('pl061', address),
    properties: {
      compatible: ['arm,pl061', 'arm,primecell'],
      reg: cells64(address, 0x1000),
      interrupts: spi(intid, IRQ_TYPE_LEVEL_HIGH),
      'gpio-controller': true,
      '#gpio-cells': 2,
      'interrupt-controller': true,
      '#interrupt-cells': 2,
      '#address-cells': 0,
      clocks: CLOCK_PHANDLE,
      'clock-names': 'apb_pclk',
      phandle: GPIO_PHANDLE,
    },
  };
}

/** Linux Documentation/devicetree/bindings/input/gpio-keys.yaml. */
function gpioKeysNode(powerButton: number): FdtNodeInput {
  return {
    name: 'gpio-keys',
    properties: { compatible: 'gpio-keys' },
    children: [
      {
        name: 'power-button',
        properties: {
          label: 'Power Button',
          'linux,code': KEY_POWER,
          gpios: [GPIO_PHANDLE, powerButton, GPIO_ACTIVE_HIGH],
        },
      },
    ],
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

/** The PCI bus binding (IEEE 1275-1994) for a bridge that is configuration space and nothing else. */
function pciNode({ ecam, memory, memory64, intids }: PciHostDescription, gic: GicDescription): FdtNodeInput {
  const its = gic.version === 3 && gic.its !== undefined;
  const msi =
    gic.v2m !== undefined
      ? { 'msi-parent': MSI_PHANDLE }
      : its && { 'msi-map': [0, MSI_PHANDLE, 0, 0x1_0000] };
  const parentCells = gic.v2m !== undefined || its ? [0, 0] : [];
  return {
    name: unitName('pcie', ecam.guestAddress),
    properties: {
      compatible: 'pci-host-ecam-generic',
      device_type: 'pci',
      '#address-cells': 3,
      '#size-cells': 2,
      '#interrupt-cells': 1,
      reg: cells64(ecam.guestAddress, ecam.size),
      'bus-range': [0, ecam.size / PCI_BUS_CONFIG_SIZE - 1],
      'linux,pci-domain': 0,
      ranges: [
        PCI_MEMORY_32,
        ...cells64(memory.guestAddress, memory.guestAddress, memory.size),
        ...(memory64 === undefined
          ? []
          : [
              PCI_MEMORY_64_PREFETCHABLE,
              ...cells64(memory64.guestAddress, memory64.guestAddress, memory64.size),
            ]),
      ],
      // Which line it is follows from the two low bits of the device number and the pin.
      'interrupt-map-mask': [(PCI_PINS - 1) << PCI_DEVICE_SHIFT, 0, 0, 7],
      'interrupt-map': intids.flatMap((_, device) =>
        intids.flatMap((__, pin) => [
          ...[device << PCI_DEVICE_SHIFT, 0, 0, pin + 1],
          ...[GIC_PHANDLE, ...parentCells, ...spi(intids[(device + pin) % PCI_PINS]!, IRQ_TYPE_LEVEL_HIGH)],
        ]),
      ),
      ...msi,
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
