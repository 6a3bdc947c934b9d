import { jest } from '@jest/globals';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { BOOT_TIMEOUT, Scratch, cli, sh } from './support.ts';

jest.setTimeout(BOOT_TIMEOUT);

const MIB = 1024 * 1024;
const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

describe('options of devices', () => {
  it('give one guest a disk with an overlay, a share, vsock and a balloon', async () => {
    const image = scratch.file('base.img', new Uint8Array(8 * MIB));
    const share = scratch.file('share');
    mkdirSync(share);
    writeFileSync(`${share}/file`, 'from the host\n');
    const socket = scratch.file('vsock');
    const script = [
      'cat /data/file',
      'echo x 2>/dev/null >/data/file || echo read-only',
      'echo "$(cat /sys/block/vda/serial) $(ls /sys/block/vda/mq | wc -l)"',
      'echo changed | dd of=/dev/vda conv=fsync 2>/dev/null; head -c 7 /dev/vda; echo',
      'for each in /sys/bus/pci/devices/*/virtio*/; do echo "$(cat $each/device) $(cut -c35 $each/features)"; done',
    ].join('\n');
    const result = await sh(script, [
      ...['-c', '2', '--transport', 'pci', '--ring', 'packed'],
      ...['-d', `${image},overlay,serial=TEST-1,queues=2`],
      ...['--share', `${share}:/data,ro`],
      ...['--vsock', `7,path=${socket}`],
      ...['--balloon', '32M'],
    ]);
    // Console, entropy, disk, share, vsock and balloon by their device IDs, each with a packed ring.
    const devices = ['0x0003', '0x0004', '0x0002', '0x001a', '0x0013', '0x0005'];
    expect(result.stdout.toString().split('\n')).toEqual([
      ...['from the host', 'read-only', 'TEST-1 2', 'changed'],
      ...devices.map((id) => `${id} 1`),
      '',
    ]);
    expect(result.code).toBe(0);
    expect(readFileSync(image).equals(Buffer.alloc(8 * MIB))).toBe(true);
    expect(readFileSync(`${share}/file`, 'utf8')).toBe('from the host\n');
    expect(existsSync(socket)).toBe(false);
  });

  it.each([
    [['--transport', 'isa'], 2, /'isa' is invalid.*mmio, pci/],
    [['--ring', 'round'], 2, /'round' is invalid.*split, packed/],
    [['-d', '/nonexistent'], 125, /\/nonexistent does not exist.*NOT_FOUND/],
    [['-d', '/dev/null,queues=99'], 2, /queues=99 is out of range, 1 to 16/],
    [['-d', '/dev/null,color=red'], 2, /"color" is unknown; it knows .*serial=/],
    [['-d', '/dev/null,iops=-1'], 2, /iops=-1 is out of range/],
    [['--net', 'fish'], 2, /"fish" is not tap, tap=NAME, user or none/],
    [['--net', 'user,mac=zz'], 2, /mac "zz" is no address like/],
    [['--share', '/nonexistent'], 125, /\/nonexistent does not exist.*NOT_FOUND/],
    [['--share', '/tmp:a/b'], 2, /"a\/b" is no tag/],
    [['--vsock', '2'], 2, /CID 2 is out of range, 3 to 4294967294/],
    [['--balloon', '99G'], 2, /101376 MiB is out of range/],
  ] as const)('that cannot be are refused: %j', async (options, code, message) => {
    const result = await cli(['run', ...options, '--', 'true']);
    expect([result.code, result.stdout.toString()]).toEqual([code, '']);
    expect(result.stderr).toMatch(message);
  });
});
