import { PCI_CONFIG, VIRTIO_MMIO_STRIDE } from '../layout.ts';
import {
  and,
  arg,
  buffer,
  createDwordField,
  device,
  eisaId,
  equal,
  integer,
  local,
  method,
  name,
  not,
  notify,
  or,
  otherwise,
  packageOf,
  path,
  returns,
  scope,
  store,
  string,
  when,
} from './aml.ts';
import type { Aml } from './aml.ts';
import { PCI_BUS_CONFIG_SIZE, RTC_PORTS, UART_PORTS } from './config.ts';
import type { AcpiConfig, AcpiPciConfig, PortDeviceSlot } from './config.ts';
import {
  dwordMemory,
  interrupt,
  io,
  memory32Fixed,
  qwordPrefetchableMemory,
  resourceTemplate,
  wordBusNumber,
  wordIo,
} from './resources.ts';
import type { InterruptMode, ResourceDescriptor } from './resources.ts';
import { buildSdt } from './sdt.ts';

/** From 2 on integers have 64 bits (ACPI 6.5 §5.2.11.1). */
const DSDT_REVISION = 2;

/** SLP_TYP that a guest writes to the sleep control register with SLP_EN to go to S5, soft off (ACPI 6.5 §7.4.2). */
export const ACPI_SLP_TYP_S5 = 5;

/** Value of Notify: a power button was pressed (ACPI 6.5 table 5.161). */
const BUTTON_PRESSED = 0x80;

/** Devices of a PCI bus, and interrupt pins of each. */
const PCI_DEVICES = 32;
const PCI_PINS = 4;
/** In a _PRT: all functions of a device (ACPI 6.5 §6.2.13). */
const ALL_FUNCTIONS = 0xffff;

/** 33db4d5b-1ff7-401c-9657-7441c03dd766: _OSC of a PCI host bridge (PCI Firmware Specification 3.3 §4.5). */
const PCI_OSC_UUID: Uint8Array = Uint8Array.of(
  ...[0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f, 0x1c, 0x40, 0x96, 0x57, 0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66],
);
const PCI_OSC_REVISION = 1;
/** What _OSC answers in its first doubleword (ACPI 6.5 table 6.8). */
const OSC_UNRECOGNIZED_UUID = 1 << 2;
const OSC_UNRECOGNIZED_REVISION = 1 << 3;
const OSC_CAPABILITIES_MASKED = 1 << 4;
/** Control that is handed over: the PCI Express capability structures. */
const OSC_PCI_EXPRESS_CAPABILITY = 1 << 4;

const EDGE: InterruptMode = { trigger: 'edge', polarity: 'high', shared: false };

/**
 * DSDT (ACPI 6.5 §5.2.11.1): `\_S5`, and under `\_SB` processors, serial port, clock, virtio-mmio devices, power button
 * and PCI, as far as there are any.
 */
export function buildDsdt(config: AcpiConfig): Uint8Array {
  const { vcpus, uart, rtc, virtioMmio = [], powerButton, pci } = config;
  return buildSdt(
    'DSDT',
    DSDT_REVISION,
    name('\\_S5', packageOf(integer(ACPI_SLP_TYP_S5), integer(0), integer(0), integer(0))),
    scope(
      '\\_SB',
      ...Array.from({ length: vcpus }, (_, id) => numbered('C', id, string('ACPI0007'), id)),
      ...(uart === undefined ? [] : [serialPort(uart)]),
      ...(rtc === undefined ? [] : [clock(rtc)]),
      ...virtioMmio.map(({ address, gsi }, index) =>
        numbered(
          'V',
          index,
          string('LNRO0005'),
          index,
          memory32Fixed(address, VIRTIO_MMIO_STRIDE, 'read-write'),
          interrupt(EDGE, gsi),
        ),
      ),
      ...(powerButton === undefined ? [] : powerButtonDevices(powerButton.gsi)),
      ...(pci === undefined ? [] : pciDevices(pci)),
    ),
  );
}

/** A device with identifier, number and resources. */
function identified(
  deviceName: string,
  hid: Aml,
  uid: number,
  ...resources: readonly ResourceDescriptor[]
): Aml {
  return device(
    deviceName,
    name('_HID', hid),
    name('_UID', integer(uid)),
    ...(resources.length === 0 ? [] : [name('_CRS', resourceTemplate(...resources))]),
  );
}

/** One of many devices, named by a letter and three hexadecimal digits. */
function numbered(
  letter: string,
  index: number,
  hid: Aml,
  uid: number,
  ...resources: readonly ResourceDescriptor[]
): Aml {
  const digits = index.toString(16).toUpperCase().padStart(3, '0');
  return identified(`${letter}${digits}`, hid, uid, ...resources);
}

function serialPort({ port, gsi }: PortDeviceSlot): Aml {
  return identified('COM1', eisaId('PNP0501'), 1, io(port, UART_PORTS), interrupt(EDGE, gsi));
}

function clock({ port, gsi }: NonNullable<AcpiConfig['rtc']>): Aml {
  const resources = [io(port, RTC_PORTS), ...(gsi === undefined ? [] : [interrupt(EDGE, gsi)])];
  return identified('RTC', eisaId('PNP0B00'), 0, ...resources);
}

/**
 * A control-method power button, and the generic event device that hears of it: a hardware-reduced platform has no other
 * way to signal an event (ACPI 6.5 §5.6.9).
 */
function powerButtonDevices(gsi: number): readonly Aml[] {
  return [
    identified('PWRB', eisaId('PNP0C0C'), 0),
    device(
      'GED',
      name('_HID', string('ACPI0013')),
      name('_UID', integer(0)),
      name('_CRS', resourceTemplate(interrupt(EDGE, gsi))),
      method(
        '_EVT',
        { args: 1, serialized: true },
        when(equal(arg(0), integer(gsi)), notify(path('\\_SB.PWRB'), BUTTON_PRESSED)),
      ),
    ),
  ];
}

/**
 * The host bridge, and the configuration space as a motherboard resource: without that, operating systems do not trust
 * the MCFG (PCI Firmware Specification 3.3 §4.1.2).
 */
function pciDevices({ ecam, memory, memory64, io: ports, gsis }: AcpiPciConfig): readonly Aml[] {
  const last = ({ guestAddress, size }: { guestAddress: number; size: number }): number =>
    guestAddress + size - 1;
  return [
    device(
      'PCI0',
      name('_HID', eisaId('PNP0A08')),
      name('_CID', eisaId('PNP0A03')),
      name('_UID', integer(0)),
      name('_SEG', integer(0)),
      name('_BBN', integer(0)),
      name(
        '_CRS',
        resourceTemplate(
          wordBusNumber(0, ecam.size / PCI_BUS_CONFIG_SIZE - 1),
          io(PCI_CONFIG.port, PCI_CONFIG.size),
          ...(ports === undefined ? [] : [wordIo(ports.port, ports.port + ports.size - 1)]),
          dwordMemory(memory.guestAddress, last(memory)),
          ...(memory64 === undefined ? [] : [qwordPrefetchableMemory(memory64.guestAddress, last(memory64))]),
        ),
      ),
      ...(gsis === undefined ? [] : [routingTable(gsis)]),
      operatingSystemCapabilities(),
    ),
    identified('MRES', eisaId('PNP0C02'), 0, memory32Fixed(ecam.guestAddress, ecam.size, 'read-write')),
  ];
}

/** _PRT (ACPI 6.5 §6.2.13): which global system interrupt each pin of each device has. */
function routingTable(gsis: readonly number[]): Aml {
  const entries: Aml[] = [];
  for (let slot = 0; slot < PCI_DEVICES; slot++) {
    for (let pin = 0; pin < PCI_PINS; pin++) {
      const gsi = gsis[(slot + pin) % PCI_PINS] ?? 0;
      // No source: the last number is the interrupt itself.
      entries.push(
        packageOf(integer(slot * 0x1_0000 + ALL_FUNCTIONS), integer(pin), integer(0), integer(gsi)),
      );
    }
  }
  return name('_PRT', packageOf(...entries));
}

/**
 * _OSC of a PCI Express host bridge (PCI Firmware Specification 3.3 §4.5), without which operating systems take it that
 * firmware keeps all of PCI Express for itself. There is nothing to control of hot plug, power management events and errors.
 */
function operatingSystemCapabilities(): Aml {
  const [status, control] = ['CDW1', 'CDW3'] as const;
  const fail = (bit: number): Aml => or(path(status), integer(bit), path(status));
  return method(
    '_OSC',
    { args: 4, serialized: true },
    createDwordField(arg(3), 0, status),
    when(
      equal(arg(0), buffer(PCI_OSC_UUID)),
      createDwordField(arg(3), 8, control),
      store(path(control), local(0)),
      and(local(0), integer(OSC_PCI_EXPRESS_CAPABILITY), path(control)),
      when(not(equal(path(control), local(0))), fail(OSC_CAPABILITIES_MASKED)),
      when(not(equal(arg(1), integer(PCI_OSC_REVISION))), fail(OSC_UNRECOGNIZED_REVISION)),
    ),
    otherwise(fail(OSC_UNRECOGNIZED_UUID)),
    returns(arg(3)),
  );
}
