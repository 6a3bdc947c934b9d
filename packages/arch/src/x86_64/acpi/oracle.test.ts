import fc from 'fast-check';
import { interpret, roundTrip, withoutCreator } from '../../../test/acpica.ts';
import { FULL_MACHINE, machines } from '../../../test/acpi-machines.ts';
import { same } from '../../../test/support.ts';
import {
  device,
  integer,
  method,
  name,
  otherwise,
  path,
  returns,
  scope,
  store,
  string,
  when,
} from './aml.ts';
import { arg, equal, local, notify } from './aml.ts';
import type { AcpiConfig } from './config.ts';
import { buildSdt } from './sdt.ts';
import { buildAcpiTables } from './tables.ts';

/** Body of each Device of a disassembled DSDT, by name. */
function devices(source: string): Map<string, string> {
  const parts = source.split(/^ *Device \((\w+)\)$/m).slice(1);
  return new Map(
    Array.from({ length: parts.length / 2 }, (_, index) => [
      parts[2 * index] ?? '',
      parts[2 * index + 1] ?? '',
    ]),
  );
}

/** Resources that iasl reads from a device's body. */
function resourcesOf(body: string): object {
  const numbers = (pattern: RegExp): number[] => (pattern.exec(body)?.slice(1) ?? []).map(Number);
  return {
    memory: numbers(/Memory32Fixed \(ReadWrite,\s+(\w+),[^\n]*\s+(\w+),/),
    ports: numbers(/IO \(Decode16,\s+(\w+),[^\n]*\s+\w+,[^\n]*\s+\w+,[^\n]*\s+(\w+),/),
    interrupts: numbers(
      /Interrupt \(ResourceConsumer, Edge, ActiveHigh, Exclusive, ,, \)\s+\{\s+(\w+),\s+\}/,
    ),
  };
}

/** Minimum and maximum of an address space descriptor. */
function windowOf(body: string, kind: string): number[] {
  const found = new RegExp(`${kind} \\([^)]*\\n +\\w+, +// Granularity\\n +(\\w+),[^\\n]*\\n +(\\w+),`).exec(
    body,
  );
  return (found?.slice(1) ?? []).map(Number);
}

/** Integers that iasl writes as words, or as they are. */
const integerOf = (text: string): number => Number({ Zero: '0', One: '1' }[text] ?? text);

/** Entries of a _PRT. */
function routesOf(body: string): number[][] {
  const table = body.split('Name (_PRT, ')[1]?.split('Method (')[0] ?? '';
  return Array.from(table.matchAll(/Package \(0x04\)\s+\{([^}]*)\}/g), ([, entry = '']) =>
    entry
      .split(',')
      .map((value) => value.trim())
      .filter((value) => value !== '')
      .map(integerOf),
  );
}

const uidOf = (body: string): number => {
  const uid = /Name \(_UID, (\w+)\)/.exec(body)?.[1] ?? '';
  return integerOf(uid);
};
const hidOf = (body: string): string => /Name \(_HID, (?:EisaId \()?"(\w+)"/.exec(body)?.[1] ?? '';

function checkDevices(source: string, config: AcpiConfig): void {
  const found = devices(source);
  const named = (hid: string): [string, string][] => [...found].filter(([, body]) => hidOf(body) === hid);
  const resources = (hid: string): object[] => named(hid).map(([, body]) => resourcesOf(body));
  expect(named('ACPI0007').map(([, body]) => uidOf(body))).toEqual(
    Array.from({ length: config.vcpus }, (_, id) => id),
  );
  expect(resources('LNRO0005')).toEqual(
    (config.virtioMmio ?? []).map(({ address, gsi }) => ({
      memory: [address, 0x1000],
      ports: [],
      interrupts: [gsi],
    })),
  );
  expect(named('LNRO0005').map(([, body]) => uidOf(body))).toEqual(
    (config.virtioMmio ?? []).map((_, index) => index),
  );
  const { uart, rtc, powerButton, pci } = config;
  expect(resources('PNP0501')).toEqual(
    uart === undefined ? [] : [{ memory: [], ports: [uart.port, 8], interrupts: [uart.gsi] }],
  );
  expect(resources('PNP0B00')).toEqual(
    rtc === undefined
      ? []
      : [{ memory: [], ports: [rtc.port, 2], interrupts: rtc.gsi === undefined ? [] : [rtc.gsi] }],
  );
  expect(resources('ACPI0013')).toEqual(
    powerButton === undefined ? [] : [{ memory: [], ports: [], interrupts: [powerButton.gsi] }],
  );
  expect(named('PNP0C0C')).toHaveLength(powerButton === undefined ? 0 : 1);
  const [bridge] = named('PNP0A08');
  expect(bridge === undefined).toBe(pci === undefined);
  if (bridge === undefined || pci === undefined) return;
  const body = bridge[1];
  const end = ({ guestAddress, size }: { guestAddress: number; size: number }): number =>
    guestAddress + size - 1;
  expect(windowOf(body, 'WordBusNumber')).toEqual([0, pci.ecam.size / 2 ** 20 - 1]);
  expect(windowOf(body, 'DWordMemory')).toEqual([pci.memory.guestAddress, end(pci.memory)]);
  expect(windowOf(body, 'WordIO')).toEqual(
    pci.io === undefined ? [] : [pci.io.port, pci.io.port + pci.io.size - 1],
  );
  expect(windowOf(body, 'QWordMemory')).toEqual(
    pci.memory64 === undefined ? [] : [pci.memory64.guestAddress, end(pci.memory64)],
  );
  expect(routesOf(body)).toEqual(
    pci.gsis === undefined
      ? []
      : Array.from({ length: 128 }, (_, index) => {
          const [slot, pin] = [index >> 2, index & 3];
          return [slot * 0x1_0000 + 0xffff, pin, 0, pci.gsis?.[(slot + pin) % 4]];
        }),
  );
  expect(resources('PNP0C02')).toEqual([
    { memory: [pci.ecam.guestAddress, pci.ecam.size], ports: [], interrupts: [] },
  ]);
}

function checkTables(config: AcpiConfig): void {
  for (const { signature, bytes } of buildAcpiTables(config).tables) {
    // iasl disassembles an RSDP from nothing but a memory dump.
    if (signature === 'RSDP') continue;
    const again = roundTrip(bytes);
    expect({ signature, messages: again.messages }).toEqual({ signature, messages: [] });
    expect({ signature, same: same(withoutCreator(again.bytes), withoutCreator(bytes)) }).toEqual({
      signature,
      same: true,
    });
    if (signature === 'DSDT') checkDevices(again.source, config);
  }
}

describe('iasl reads every table, and compiles what it read to the same bytes', () => {
  it('of a machine with everything', () => {
    checkTables(FULL_MACHINE);
  });

  it('of a machine with a vCPU and nothing else', () => {
    checkTables({ vcpus: 1 });
  });

  it('of a machine with local APICs and x2APICs', () => {
    checkTables({ vcpus: 300 });
  });

  it('of any machine', () => {
    fc.assert(fc.property(machines(70), checkTables), { numRuns: 8 });
  });
});

describe('the reference interpreter', () => {
  const full = buildAcpiTables(FULL_MACHINE).tables.find(({ signature }) => signature === 'DSDT')!.bytes;

  it('loads the DSDT without a complaint', () => {
    const said = interpret(full, 'tables');
    expect(said).toContain('1 ACPI AML tables successfully acquired and loaded');
    expect(said).not.toMatch(/Error|Warning|Firmware|AE_/);
  });

  it('finds the sleep type of S5', () => {
    const said = interpret(full, 'execute \\_S5_');
    expect(said).toMatch(/\[Package\] Contains 4 Elements:\s+\[Integer\] = 0+5\s/);
  });

  it('notifies the power button of its own interrupt, and of no other', () => {
    expect(interpret(full, 'execute \\_SB.GED._EVT 9')).toMatch(/Device Notify on \[PWRB\] \w+ Value 0x80/);
    expect(interpret(full, 'execute \\_SB.GED._EVT 8')).not.toContain('Notify on');
  });

  /** Evaluates PCI's _OSC; the three doublewords of capabilities that it answers. */
  function osc(uuid: string, revision: number, control: number): (string | undefined)[] {
    const said = interpret(
      full,
      `execute \\_SB.PCI0._OSC (${uuid}) ${revision} 3 (00 00 00 00 1F 01 00 00 ${byte(control)} 00 00 00)`,
    );
    const bytes = /0000: ((?:[0-9A-F]{2} ){12})/.exec(said)?.[1]?.trim().split(' ') ?? [];
    return [bytes[0], bytes[4], bytes[8]];
  }
  const byte = (value: number): string => value.toString(16).toUpperCase().padStart(2, '0');
  const PCI_UUID = '5B 4D DB 33 F7 1F 1C 40 96 57 74 41 C0 3D D7 66';

  it('hands over the PCI Express capabilities, and nothing of what there is not', () => {
    expect(osc(PCI_UUID, 1, 0x10)).toEqual(['00', '1F', '10']);
    expect(osc(PCI_UUID, 1, 0x1f)).toEqual(['10', '1F', '10']);
    expect(osc(PCI_UUID, 1, 0)).toEqual(['00', '1F', '00']);
  });

  it('refuses capabilities of a revision or a kind that it does not know', () => {
    expect(osc(PCI_UUID, 2, 0x10)).toEqual(['08', '1F', '10']);
    expect(osc(PCI_UUID.replace('5B', '5C'), 1, 0x10)).toEqual(['04', '1F', '10']);
  });

  it('executes control flow as it was written', () => {
    const choose = method(
      'CHSE',
      { args: 1, serialized: false },
      when(equal(arg(0), integer(2)), store(integer(0x1_0000_0001), local(0))),
      otherwise(store(integer(0xabcd), local(0)), notify(path('^DEV'), 0x81)),
      returns(local(0)),
    );
    const table = buildSdt(
      'DSDT',
      2,
      scope('\\_SB', device('DEV', name('_HID', string('TEST0001'))), choose),
    );
    expect(interpret(table, 'execute \\_SB.CHSE 2')).toMatch(/\[Integer\] = 0000000100000001/);
    const other = interpret(table, 'execute \\_SB.CHSE 3');
    expect(other).toMatch(/\[Integer\] = 000000000000ABCD/);
    expect(other).toMatch(/Notify on \[DEV_\] \w+ Value 0x81/);
  });
});
