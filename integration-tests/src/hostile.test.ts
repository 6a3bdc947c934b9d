import { jest } from '@jest/globals';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { VmBuilder } from '@vmm/reference-vmm';
import { FrameStream } from '@vmm/virtio-devices';
import { guestProgram } from './guest-program.ts';
import { GuestShell } from './guest-shell.ts';
import { BOOT_TIMEOUT, ROOT, Scratch } from './support.ts';

jest.setTimeout(3 * BOOT_TIMEOUT);

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

const PROGRAM = readFileSync(join(ROOT, 'integration-tests/src/hostile-guest.c'), 'utf8');
/** Another one each time; HOSTILE_SEED repeats one that failed. */
const SEED = process.env['HOSTILE_SEED'] ?? `0x${randomBytes(6).toString('hex')}`;
const ROUNDS = process.env['HOSTILE_RUNS'] ?? '12';

/** A guest with a device of every kind, which a program of its own can attack. */
async function start(transport: 'mmio' | 'pci', ring: 'split' | 'packed'): Promise<GuestShell> {
  const share = scratch.file(`${transport}-${ring}`);
  mkdirSync(share);
  writeFileSync(join(share, 'file'), 'shared\n');
  const disk = scratch.file(`${transport}-${ring}.img`, new Uint8Array(1024 * 1024));
  return GuestShell.start(
    new VmBuilder()
      .hypervisor('wasm')
      .transport(transport)
      .ring(ring)
      .blockDevice(disk)
      .networkDevice({ kind: 'backend', backend: new FrameStream() })
      .shareDirectory(share, { tag: 'data', readOnly: true })
      .vsock(42)
      .balloon()
      .guestFiles([guestProgram('bin/hostile', PROGRAM)]),
  );
}

/** Where the guest's kernel has a device: its directory, the driver of its transport, its name there. */
function place(
  transport: 'mmio' | 'pci',
  index: number,
): { directory: string; driver: string; name: string; target: string } {
  if (transport === 'pci') {
    const name = `0000:00:${(index + 1).toString(16).padStart(2, '0')}.0`;
    const directory = `/sys/bus/pci/devices/${name}`;
    return { directory, driver: '/sys/bus/pci/drivers/virtio-pci', name, target: directory };
  }
  const address = (0x4003_0000 + index * 0x1000).toString(16);
  const name = `${address}.virtio_mmio`;
  return {
    directory: `/sys/bus/platform/devices/${name}`,
    driver: '/sys/bus/platform/drivers/virtio-mmio',
    name,
    target: `0x${address}`,
  };
}

describe.each([
  ['mmio', 'split'],
  ['mmio', 'packed'],
  ['pci', 'split'],
  ['pci', 'packed'],
] as const)('a hostile program in the guest, %s and %s rings', (transport, ring) => {
  it('hurts no more than the device it attacks, which works again after a reset', async () => {
    await using guest = await start(transport, ring);
    const { vm } = guest;
    // The pages that the devices are told of are to stay where they are.
    await guest.run('umount /mnt/data; echo 0 >/proc/sys/vm/compact_unevictable_allowed');
    const attacked = vm.devices.filter(({ device }) => device.name !== 'console');
    expect(attacked.map(({ device }) => device.name)).toHaveLength(6);
    for (const { device, transport: its } of attacked) {
      const index = vm.devices.findIndex((each) => each.device === device);
      const { directory, driver, name, target } = place(transport, index);
      expect(await guest.run(`echo ${name} >${driver}/unbind`)).toBe('');
      const kind = device.name === 'balloon' ? 'balloon' : '';
      const output = await guest.run(`hostile ${transport} ${target} ${SEED} ${ROUNDS} ${kind}`);
      expect([device.name, SEED, output]).toEqual([device.name, SEED, expect.stringMatching(/^\d+$/)]);
      expect(its.statistics.needsResets).toBeGreaterThan(10);
      expect(await guest.run(`echo ${name} >${driver}/bind; cat ${directory}/virtio*/status`)).toBe(
        '0x0000000f',
      );
    }
    expect(vm.devices[0]!.device.name).toBe('console');
    expect(vm.devices[0]!.transport.statistics.needsResets).toBe(0);

    expect(await guest.run('mount -t virtiofs data /mnt/data && cat /mnt/data/file')).toBe('shared');
    expect(await guest.run('dd if=/dev/hwrng bs=16 count=4 2>/dev/null | wc -c')).toBe('64');
    await guest.run('head -c 65536 /dev/urandom >/tmp/content');
    await guest.run(
      'dd if=/tmp/content of=/dev/vda conv=fsync 2>/dev/null; echo 3 >/proc/sys/vm/drop_caches',
    );
    expect(await guest.run('head -c 65536 /dev/vda | cmp - /tmp/content')).toBe('');
    expect(await guest.run('ls /sys/class/net')).toContain('eth0');
    expect(vm.state).toBe('running');
  });
});
