import { jest } from '@jest/globals';
import { createHash, randomBytes } from 'node:crypto';
import { text } from 'node:stream/consumers';
import { DEFAULT_CMDLINES, VmBuilder } from '@vmm/reference-vmm';
import { debianTree } from './guest-program.ts';
import {
  LSPCI,
  PCI_SCRIPT,
  deviceOf,
  expectListing,
  expectPciDevices,
  regionOf,
  virtioInterrupts,
} from './pci-guest.ts';
import { BOOT_TIMEOUT, Scratch, sha256 } from './support.ts';

jest.setTimeout(BOOT_TIMEOUT);

const MIB = 1024 * 1024;
const DISK = '0000:00:03.0';
const DIRECTORY = `/sys/bus/pci/devices/${DISK}`;
const scratch = new Scratch();
const content = randomBytes(2 * MIB);
const disk = scratch.file('disk.img', content);
afterAll(() => scratch[Symbol.dispose]());

/** What a script prints in a guest of two vCPUs on a PCI bus: console, entropy and a disk are devices 1 to 3. */
async function inPciGuest(script: string, parameters = '', disks = 1): Promise<string> {
  const builder = new VmBuilder()
    .hypervisor('wasm')
    .transport('pci')
    .cpus(2)
    .cmdline(`${DEFAULT_CMDLINES.aarch64} ${parameters}`)
    .guestFiles(await debianTree(['pciutils']))
    .command('sh', '-c', `${script}\n`);
  for (let count = 0; count < disks; count++) builder.blockDevice(disk, { readOnly: true });
  await using vm = await builder.build();
  vm.start();
  vm.streams!.stdin.end();
  const [stdout, stderr, kernel, stopped] = await Promise.all([
    text(vm.streams!.stdout),
    text(vm.streams!.stderr),
    text(vm.console),
    vm.stopped,
  ]);
  // The kernel says nothing but this, at its end; were there more, it would be told here.
  expect(kernel.replace(/^\[ *[\d.]+\] reboot: Power down\r?\n/m, '')).toBe('');
  expect([stderr, stopped]).toEqual(['', { kind: 'exited', code: 0 }]);
  return stdout;
}

const QUIETLY = '2>/dev/null';

describe('virtio devices on a PCI bus, stock kernel', () => {
  it('are what lspci says: registers, capabilities, MSI-X enabled', async () => {
    expectListing(await inPciGuest(LSPCI));
  });

  it('have an interrupt for each queue, and those of the queues in use are taken', async () => {
    const output = await inPciGuest(PCI_SCRIPT);
    expectPciDevices(output, content, { messages: true });
    // Of the console's fourteen queues one, control-o, is driven without interrupts.
    const console = virtioInterrupts(output).filter(({ name }) => name.startsWith('virtio0-'));
    expect(console).toHaveLength(1 + 13);
  });

  it('work with interrupt lines where there are no messages', async () => {
    const output = await inPciGuest(`${PCI_SCRIPT}; ${LSPCI}`, 'pci=nomsi');
    expectPciDevices(output, content, { messages: false });
    expect(virtioInterrupts(output).map(({ name }) => name)).toEqual(['virtio0', 'virtio1', 'virtio2']);
    expect(deviceOf(output, '00:03.0')).toContain('MSI-X: Enable- Count=2');
  });

  it('answer where the guest has moved their registers to, and nowhere else', async () => {
    const output = await inPciGuest(
      [
        `echo ${DISK} >${DIRECTORY}/driver/unbind`,
        `old=$(setpci -s ${DISK} BASE_ADDRESS_0)`,
        // num_queues of the common configuration (VIRTIO 1.3 §4.1.4.3).
        `setpci -s ${DISK} COMMAND=2 && devmem $((0x$old + 0x12)) 16`,
        `setpci -s ${DISK} BASE_ADDRESS_0=61000000 && devmem 0x61000012 16; devmem $((0x$old + 0x12)) 16`,
        `setpci -s ${DISK} COMMAND=0; devmem 0x61000012 16`,
        `setpci -s ${DISK} BASE_ADDRESS_0=$old`,
        `echo ${DISK} >/sys/bus/pci/drivers/virtio-pci/bind; sha256sum </dev/vda`,
      ].join('\n'),
    );
    expect(output.trim().split('\n')).toEqual([
      '0x0001',
      '0x0001',
      '0x0000',
      '0x0000',
      `${sha256(content)}  -`,
    ]);
  });

  it('work at the place that the kernel prefers', async () => {
    const output = await inPciGuest(
      `sha256sum </dev/vda; lspci -vv -s ${DISK} ${QUIETLY}`,
      `pci=resource_alignment=21@${DISK}`,
    );
    expect(output).toContain(`${sha256(content)}  -`);
    expect(regionOf(output) % (2 * MIB)).toBe(0);
  });

  it('share functions of a device and interrupts when there are more than there is room for', async () => {
    const disks = 60;
    const output = await inPciGuest(
      'for d in /dev/vd*; do head -c 4096 $d | md5sum; done | uniq -c; cat /proc/interrupts',
      '',
      disks,
    );
    const start = createHash('md5').update(content.subarray(0, 4096)).digest('hex');
    expect(output.split('\n')[0]?.trim()).toBe(`${disks} ${start}  -`);
    const chips = virtioInterrupts(output).map(({ chip }) => chip);
    // All of the GICv2m frame, and lines for the devices that got none.
    expect(chips.filter((chip) => chip === 'MSI')).toHaveLength(128);
    expect(chips.filter((chip) => chip === 'GICv3').length).toBeGreaterThan(0);
  });

  it('can be taken out and found again', async () => {
    const output = await inPciGuest(
      [
        `for round in 1 2 3; do`,
        `echo 1 >${DIRECTORY}/remove; ls /dev/vda ${QUIETLY}`,
        `echo 1 >/sys/bus/pci/rescan; while [ ! -e /dev/vda ]; do sleep 0.1; done; sha256sum </dev/vda`,
        'done',
        'cat /proc/interrupts',
      ].join('\n'),
    );
    expect(output.split('\n').slice(0, 3)).toEqual(Array<string>(3).fill(`${sha256(content)}  -`));
    const taken = virtioInterrupts(output).find(({ name }) => name === 'virtio2-req.0');
    expect(taken?.count).toBeGreaterThan(0);
  });
});
