import type { CommandResult } from './kvm-support.ts';
import { sha256 } from './support.ts';

/** What a kernel says when something about its PCI bus or the interrupts of it is wrong. */
const COMPLAINTS =
  /acpi.*(?:error|warning|exception)|firmware bug|pci.*(?:can't|fail|error|invalid|no space|bogus|conflict)|nobody cared/i;

/** Reads a disk and the entropy device, and tells of interrupts and of the kernel's messages. */
export const PCI_SCRIPT =
  'sha256sum </dev/vda; dd if=/dev/hwrng bs=64 count=1 2>/dev/null | wc -c; cat /proc/interrupts; dmesg';

/** An interrupt that a device of `/proc/interrupts` has taken. */
export interface TakenInterrupt {
  /** Of all that share it. */
  readonly name: string;
  /** On all CPUs. */
  readonly count: number;
  /** The interrupt controller, as the kernel names it. */
  readonly chip: string;
}

/** The interrupts of virtio devices. */
export function virtioInterrupts(table: string): readonly TakenInterrupt[] {
  const rows = table.matchAll(
    /^ *\d+: +((?:\d+ +)+)(\S+) +\S+(?: +(?:Edge|Level))? +(virtio\S+(?:, virtio\S+)*)$/gm,
  );
  return Array.from(rows, ([, counts = '', chip = '', name = '']) => ({
    name,
    chip,
    count: counts
      .trim()
      .split(/ +/)
      .reduce((sum, count) => sum + Number(count), 0),
  }));
}

/** What has to be true of {@link PCI_SCRIPT}'s output: with `messages`, each queue has an interrupt of its own. */
export function expectPciDevices(
  output: string,
  disk: Uint8Array,
  { messages }: { readonly messages: boolean },
): void {
  expect(output.split('\n').slice(0, 2)).toEqual([`${sha256(disk)}  -`, '64']);
  const interrupts = virtioInterrupts(output);
  const used = messages ? ['virtio1-input', 'virtio2-req.0'] : ['virtio1', 'virtio2'];
  for (const name of used) {
    const found = interrupts.find((each) => each.name === name);
    expect(found?.count).toBeGreaterThan(0);
    expect(found?.chip.includes('MSI')).toBe(messages);
  }
  expect(output.split('\n').filter((line) => COMPLAINTS.test(line))).toEqual([]);
}

/** {@link expectPciDevices} for a command. */
export function expectPciResult(
  { code, stdout, stderr }: CommandResult,
  disk: Uint8Array,
  how: { readonly messages: boolean },
): void {
  expect([code, stderr]).toEqual([0, '']);
  expectPciDevices(stdout.toString(), disk, how);
}

/** It complains that it finds no list of kernel modules. */
export const LSPCI = 'lspci -vv 2>/dev/null';

/** The lines of `lspci -vv` for one device. */
export function deviceOf(listing: string, slot: string): string {
  return listing.split('\n\n').find((each) => each.startsWith(slot)) ?? '';
}

/** Address of the first BAR in these lines. */
export function regionOf(listing: string): number {
  return Number.parseInt(/Region 0: Memory at ([0-9a-f]+) \(/.exec(listing)?.[1] ?? '', 16);
}

/** What {@link LSPCI} has to print for console, entropy device and a disk. */
export function expectListing(listing: string): void {
  expect(deviceOf(listing, '00:00.0')).toMatch(/^00:00\.0 Host bridge/);
  for (const [slot, name, vectors, hasConfiguration] of [
    ['00:01.0', 'console', 15, true],
    ['00:02.0', 'RNG', 2, false],
    ['00:03.0', 'block device', 2, true],
  ] as const) {
    const seen = deviceOf(listing, slot);
    expect(seen).toMatch(new RegExp(`^${slot} .*: Red Hat, Inc\\. Virtio 1\\.0 ${name} \\(rev 01\\)`));
    expect(seen).toMatch(/Control: I\/O- Mem\+ BusMaster\+ .* DisINTx\+/);
    expect(seen).toMatch(/Status: Cap\+ .*<TAbort- <MAbort- >SERR- <PERR- INTx-/);
    expect(seen).toMatch(/Interrupt: pin A routed to IRQ \d+/);
    expect(regionOf(seen)).toBeGreaterThanOrEqual(0x6000_0000);
    expect(seen).toContain('(32-bit, non-prefetchable) [size=32K]');
    expect(seen).toContain(`MSI-X: Enable+ Count=${vectors} Masked-`);
    expect(seen).toContain('Kernel driver in use: virtio-pci');
    expect(seen).not.toMatch(/<access denied>|ignored|disabled\]/);
    const structures = seen.matchAll(/VirtIO: (\S+)$/gm);
    expect(Array.from(structures, ([, kind]) => kind)).toEqual([
      'CommonCfg',
      'ISR',
      ...(hasConfiguration ? ['DeviceCfg'] : []),
      'Notify',
      // What this lspci does not know by name: VIRTIO_PCI_CAP_PCI_CFG.
      '<unknown>',
    ]);
  }
}
