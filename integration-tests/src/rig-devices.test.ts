import { jest } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { buildCpio } from '@vmm/reference-vmm';
import { debianTree, guestProgram } from './guest-program.ts';
import { KvmPlace } from './kvm-support.ts';
import type { DeviceReport } from './rig/devices.ts';

/** Only a hang reaches it: the boot of an emulated machine and two VMs in it, on a busy one. */
jest.setTimeout(900_000);

const MIB = 1024 * 1024;
const VIRTIO_F_RING_PACKED = 34;
/** `features` of sysfs has a digit for each bit, from bit 0. */
const packed = (features: string): boolean => features[VIRTIO_F_RING_PACKED] === '1';

describe('all devices of one VM on KVM, with a stock amd64 kernel', () => {
  const place = new KvmPlace('x86_64');
  beforeAll(async () => {
    const vsock = readFileSync(new URL('vsock-guest.c', import.meta.url), 'utf8');
    const files = [
      ...(await debianTree(['e2fsprogs'], 'x86_64')),
      guestProgram('bin/vsock', vsock, 'x86_64'),
    ];
    place.put('guest.cpio', buildCpio(files));
    await place.open();
    await place.loadModule('tun');
  });
  afterAll(() => place[Symbol.asyncDispose]());

  it.each([
    ['mmio', 'split'],
    ['pci', 'packed'],
  ])('over %s with %s rings', async (transport, ring) => {
    const { code, stdout, stderr } = await place.script('integration-tests/src/rig/devices.ts', [
      ...[transport, ring, place.path('guest.cpio')],
    ]);
    expect([code, stderr]).toEqual([0, '']);
    const report = JSON.parse(stdout.toString()) as DeviceReport;
    const { guest, resident } = report;
    expect(report.end).toEqual({ kind: 'exited', code: 0 });
    expect(report.errors).toEqual([]);
    expect(report.needsResets).toBe(0);
    expect(guest['messages']).toEqual([]);
    // Console, entropy, disk, network, share, vsock, balloon.
    expect(guest['features']).toHaveLength(7);
    for (const features of guest['features']!) expect(packed(features)).toBe(ring === 'packed');

    expect(guest['block']).toEqual(['fsck 0', 'same']);
    expect(guest['net']?.[0]).toBe('3');
    expect(report.ping.match(/1 packets received/g)).toHaveLength(3);
    expect(report.download.received).toBe(report.download.sent);
    expect(report.upload.received).toBe(report.upload.sent);
    expect(guest['fs']).toEqual(['copied']);
    expect(report.tree.before.length).toBeGreaterThan(20);
    expect(report.tree.after).toEqual(report.tree.before);
    expect(report.echo.received).toBe(report.echo.sent);
    expect(report.balloon).toBe(32 * MIB);
    // The guest freed 64 MiB, and says so by itself.
    expect(resident.reported).toBeLessThan(resident.used - 32 * MIB);
  });
});
