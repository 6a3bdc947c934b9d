import { jest } from '@jest/globals';
import { randomBytes } from 'node:crypto';
import { text } from 'node:stream/consumers';
import { DEFAULT_CMDLINES, VmBuilder } from '@vmm/reference-vmm';
import { debianTree } from './guest-program.ts';
import { PCI_SCRIPT, expectPciDevices, virtioInterrupts } from './pci-guest.ts';
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
async function inPciGuest(script: string, parameters = ''): Promise<string> {
  await using vm = await new VmBuilder()
    .hypervisor('wasm')
    .transport('pci')
    .cpus(2)
    .cmdline(`${DEFAULT_CMDLINES.aarch64} ${parameters}`)
    .blockDevice(disk)
    .guestFiles(await debianTree(['pciutils']))
    .command('sh', '-c', `${script}\n`)
    .build();
  vm.start();
  vm.streams!.stdin.end();
  const [stdout, stderr, stopped] = await Promise.all([
    text(vm.streams!.stdout),
    text(vm.streams!.stderr),
    vm.stopped,
  ]);
  expect([stderr, stopped]).toEqual(['', { kind: 'exited', code: 0 }]);
  return stdout;
}

/** The lines of `lspci -vv` for one device. */
function device(listing: string, slot: string): string {
  return listing.split('\n\n').find((each) => each.startsWith(slot)) ?? '';
}

/** Address of a device's first BAR, as lspci has it. */
function region(listing: string): number {
  return Number.parseInt(/Region 0: Memory at ([0-9a-f]+) \(/.exec(listing)?.[1] ?? '', 16);
}

const QUIETLY = '2>/dev/null';

describe('virtio devices on a PCI bus, stock kernel', () => {
  it('are what lspci says: registers, capabilities, MSI-X enabled', async () => {
    const listing = await inPciGuest(`lspci -vv ${QUIETLY}`);
    expect(device(listing, '00:00.0')).toMatch(/^00:00\.0 Host bridge/);
    for (const [slot, name, vectors, hasConfiguration] of [
      ['00:01.0', 'console', 13, true],
      ['00:02.0', 'RNG', 2, false],
      ['00:03.0', 'block device', 2, true],
    ] as const) {
      const seen = device(listing, slot);
      expect(seen).toMatch(new RegExp(`^${slot} .*: Red Hat, Inc\\. Virtio 1\\.0 ${name} \\(rev 01\\)`));
      expect(seen).toMatch(/Control: I\/O- Mem\+ BusMaster\+ .* DisINTx\+/);
      expect(seen).toMatch(/Status: Cap\+ .*<TAbort- <MAbort- >SERR- <PERR- INTx-/);
      expect(seen).toMatch(/Interrupt: pin A routed to IRQ \d+/);
      expect(region(seen)).toBeGreaterThanOrEqual(0x6000_0000);
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
  });

  it('have an interrupt for each queue, and those of the queues in use are taken', async () => {
    const output = await inPciGuest(PCI_SCRIPT);
    expectPciDevices(output, content, { messages: true });
    // Of the console's twelve queues one, control-o, is driven without interrupts.
    const console = virtioInterrupts(output).filter(({ name }) => name.startsWith('virtio0-'));
    expect(console).toHaveLength(1 + 11);
  });

  it('work with interrupt lines where there are no messages', async () => {
    const output = await inPciGuest(`${PCI_SCRIPT}; lspci -vv ${QUIETLY}`, 'pci=nomsi');
    expectPciDevices(output, content, { messages: false });
    expect(virtioInterrupts(output).map(({ name }) => name)).toEqual(['virtio0', 'virtio1', 'virtio2']);
    expect(device(output, '00:03.0')).toContain('MSI-X: Enable- Count=2');
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
    expect(region(output) % (2 * MIB)).toBe(0);
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
