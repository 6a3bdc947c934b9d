import { VIRTIO_MMIO_STRIDE } from '../layout.ts';
import {
  arg,
  device,
  eisaId,
  equal,
  integer,
  method,
  name,
  notify,
  packageOf,
  path,
  scope,
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
  qwordMemory,
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
function pciDevices({ ecam, memory, memory64, io: ports }: AcpiPciConfig): readonly Aml[] {
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
          ...(ports === undefined ? [] : [wordIo(ports.port, ports.port + ports.size - 1)]),
          dwordMemory(memory.guestAddress, last(memory)),
          ...(memory64 === undefined ? [] : [qwordMemory(memory64.guestAddress, last(memory64))]),
        ),
      ),
    ),
    identified('MRES', eisaId('PNP0C02'), 0, memory32Fixed(ecam.guestAddress, ecam.size, 'read-write')),
  ];
}
