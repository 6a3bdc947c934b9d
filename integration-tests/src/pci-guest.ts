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
  readonly name: string;
  /** On all CPUs. */
  readonly count: number;
  /** The interrupt controller, as the kernel names it. */
  readonly chip: string;
}

/** The interrupts of virtio devices. */
export function virtioInterrupts(table: string): readonly TakenInterrupt[] {
  const rows = table.matchAll(/^ *\d+: +((?:\d+ +)+)(\S+) +\S+(?: +(?:Edge|Level))? +(virtio\S+)$/gm);
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
