import { ArchError } from '../../errors.ts';
import {
  ACPI_POWER,
  IO_APIC,
  IO_APIC_INPUTS,
  LOCAL_APIC,
  PCI_CONFIG,
  VIRTIO_MMIO_STRIDE,
} from '../layout.ts';
import type { AddressRange, MmioDeviceSlot, PortRange } from '../layout.ts';

/** Most vCPUs and most virtio-mmio devices that the DSDT has names for. */
export const MAX_ACPI_DEVICES = 0x1000;
/** Bytes of memory-mapped configuration space of one PCI bus (PCI Express Base 6.0 §7.2.2). */
export const PCI_BUS_CONFIG_SIZE: number = 2 ** 20;
/** I/O ports of a 16550A. */
export const UART_PORTS = 8;
/** I/O ports of the CMOS clock. */
export const RTC_PORTS = 2;

/** A device with I/O ports and an edge-triggered, active-high interrupt of its own. */
export interface PortDeviceSlot {
  /** First port. */
  readonly port: number;
  /** Global system interrupt. */
  readonly gsi: number;
}

/** PCI as the ACPI tables describe it: one segment, buses from 0 on, configuration ports CF8 to CFF. */
export interface AcpiPciConfig {
  /** Memory-mapped configuration space below 4 GiB: 1 MiB for each bus, 1…256 of them. */
  readonly ecam: AddressRange;
  /** Window for 32-bit BARs. */
  readonly memory: AddressRange;
  /** Window for 64-bit prefetchable BARs, above 4 GiB. */
  readonly memory64?: AddressRange | undefined;
  /** Window for I/O BARs. */
  readonly io?: PortRange | undefined;
  /**
   * Global system interrupts of INTA to INTD of device 0, level-triggered and of PCI alone; pin p of device d, from 0, is on
   * line (d + p) modulo 4. Default: message-signalled interrupts only.
   */
  readonly gsis?: readonly [number, number, number, number] | undefined;
}

/** What the ACPI tables describe. */
export interface AcpiConfig {
  /** Number of vCPUs. Each one's local APIC identifier and processor UID is its number. */
  readonly vcpus: number;
  readonly virtioMmio?: readonly MmioDeviceSlot[] | undefined;
  /** 16550A. */
  readonly uart?: PortDeviceSlot | undefined;
  /** CMOS RAM and clock; the interrupt may be absent. */
  readonly rtc?: { readonly port: number; readonly gsi?: number | undefined } | undefined;
  /** A power button, pressed by an edge of this global system interrupt. */
  readonly powerButton?: { readonly gsi: number } | undefined;
  readonly pci?: AcpiPciConfig | undefined;
}

function invalid(message: string): never {
  throw new ArchError('INVALID_ARGUMENT', message);
}

/** @throws ArchError `INVALID_ARGUMENT` for a machine that cannot be */
export function checkAcpiConfig(config: AcpiConfig): void {
  const { vcpus, virtioMmio = [], uart, rtc, powerButton } = config;
  if (!Number.isInteger(vcpus) || vcpus < 1 || vcpus > MAX_ACPI_DEVICES) {
    invalid(`${vcpus} vCPUs: 1 to ${MAX_ACPI_DEVICES} are possible`);
  }
  if (virtioMmio.length > MAX_ACPI_DEVICES) {
    invalid(`${virtioMmio.length} virtio-mmio devices: ${MAX_ACPI_DEVICES} at most are possible`);
  }
  checkInterrupts([
    ...[...virtioMmio, uart, rtc, powerButton].map((device) => device?.gsi),
    // Lines of PCI may be one.
    ...new Set(config.pci?.gsis),
  ]);
  checkRanges('I/O port', 2 ** 16, [
    ['ACPI registers', ACPI_POWER.port, ACPI_POWER.size],
    ...(uart === undefined ? [] : [['serial port', uart.port, UART_PORTS] as const]),
    ...(rtc === undefined ? [] : [['clock', rtc.port, RTC_PORTS] as const]),
    ...(config.pci === undefined ? [] : [['PCI configuration', PCI_CONFIG.port, PCI_CONFIG.size] as const]),
    ...(config.pci?.io === undefined ? [] : [['PCI', config.pci.io.port, config.pci.io.size] as const]),
  ]);
  checkRanges('address', 2 ** 52, [
    ['I/O APIC', IO_APIC.guestAddress, IO_APIC.size],
    ['local APIC', LOCAL_APIC.guestAddress, LOCAL_APIC.size],
    ...virtioMmio.map(({ address }) => ['virtio-mmio device', address, VIRTIO_MMIO_STRIDE] as const),
    ...(config.pci === undefined ? [] : pciRanges(config.pci)),
  ]);
  for (const { address } of virtioMmio) {
    if (address % VIRTIO_MMIO_STRIDE !== 0 || address >= 2 ** 32) {
      invalid(`virtio-mmio device at ${hex(address)}: it takes a whole page below 4 GiB`);
    }
  }
}

function pciRanges({ ecam, memory, memory64 }: AcpiPciConfig): (readonly [string, number, number])[] {
  const buses = ecam.size / PCI_BUS_CONFIG_SIZE;
  if (!Number.isInteger(buses) || buses < 1 || buses > 256 || ecam.guestAddress % PCI_BUS_CONFIG_SIZE !== 0) {
    invalid(
      `PCI configuration space of ${ecam.size} bytes at ${hex(ecam.guestAddress)}: whole MiB, 1 to 256`,
    );
  }
  for (const { guestAddress, size } of [ecam, memory]) {
    if (guestAddress + size > 2 ** 32) invalid(`PCI at ${hex(guestAddress)} does not end below 4 GiB`);
  }
  if (memory64 !== undefined && memory64.guestAddress < 2 ** 32) {
    invalid(`the 64-bit PCI window at ${hex(memory64.guestAddress)} is not above 4 GiB`);
  }
  return [
    ['PCI configuration space', ecam.guestAddress, ecam.size],
    ['PCI window', memory.guestAddress, memory.size],
    ...(memory64 === undefined ? [] : [['PCI window', memory64.guestAddress, memory64.size] as const]),
  ];
}

/** Edges cannot be shared: while one device's is handled, another's would be lost. */
function checkInterrupts(gsis: readonly (number | undefined)[]): void {
  const taken = new Set<number>();
  for (const gsi of gsis) {
    if (gsi === undefined) continue;
    if (!Number.isInteger(gsi) || gsi < 0 || gsi >= IO_APIC_INPUTS) {
      invalid(`global system interrupt ${gsi}: the I/O APIC has 0 to ${IO_APIC_INPUTS - 1}`);
    }
    if (taken.has(gsi)) invalid(`global system interrupt ${gsi} for two devices`);
    taken.add(gsi);
  }
}

function checkRanges(
  what: string,
  end: number,
  ranges: readonly (readonly [string, number, number])[],
): void {
  for (const [owner, start, size] of ranges) {
    if (
      !Number.isSafeInteger(start) ||
      !Number.isSafeInteger(size) ||
      start < 0 ||
      size < 1 ||
      start + size > end
    ) {
      invalid(`${owner} at ${what} ${hex(start)} with ${size}`);
    }
  }
  const sorted = ranges.toSorted((a, b) => a[1] - b[1]);
  sorted.forEach(([owner, start, size], index) => {
    const next = sorted[index + 1];
    if (next !== undefined && start + size > next[1]) {
      invalid(`${owner} and ${next[0]} both at ${what} ${hex(next[1])}`);
    }
  });
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
