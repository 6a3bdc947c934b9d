import fc from 'fast-check';
import { parseSize } from '../config.ts';
import { checkBalloon, parseBalloon } from './balloon.ts';
import { checkDisk, parseDisk } from './disk.ts';
import { type NetworkConfig, checkNetwork, networkSetup, parseNetwork } from './network.ts';
import { checkShares, parseShare, resolveShare } from './share.ts';
import { checkVsock, parseVsock } from './vsock.ts';

const MIB = 1024 * 1024;

function refusal(message: RegExp): Error {
  return expect.objectContaining({
    code: 'INVALID_CONFIG',
    message: expect.stringMatching(message) as string,
  }) as Error;
}

describe('any text behind an option', () => {
  it.each<[string, (text: string) => unknown]>([
    ['--disk', parseDisk],
    ['--net', parseNetwork],
    ['--share', parseShare],
    ['--vsock', parseVsock],
    ['--balloon', (text): unknown => parseBalloon(text, parseSize)],
  ])('of %s gives a configuration, or an error of the one class', (_, parse) => {
    const part = fc.constantFrom('tap', 'user', '3', 'on', '/a', '=', ',', ':', 'mac', 'tcp', 'ro', 'é', '1');
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(part).map((parts) => parts.join('')),
        ),
        (text) => {
          try {
            parse(text);
            return true;
          } catch (error) {
            return error instanceof Error && 'code' in error && error.code === 'INVALID_CONFIG';
          }
        },
      ),
    );
  });
});

describe('--disk', () => {
  it('takes a path and options behind it', () => {
    expect(parseDisk('/a')).toMatchObject({ path: '/a', readOnly: false });
    expect(parseDisk('/a,ro,serial=x 1,queues=4,bandwidth=10M,iops=500')).toMatchObject({
      ...{ path: '/a', readOnly: true, serial: 'x 1', queues: 4 },
      ...{ bandwidth: 10 * MIB, iops: 500 },
    });
  });

  it('takes an overlay in memory or in a file', () => {
    expect(parseDisk('/a,overlay')).toMatchObject({ overlay: 'memory' });
    expect(parseDisk('/a,overlay=/b,io=threads')).toMatchObject({ overlay: { file: '/b' }, io: 'threads' });
  });

  it('takes a comma in a path when it is written twice', () => {
    expect(parseDisk('/a,,b,ro')).toMatchObject({ path: '/a,b', readOnly: true });
    expect(parseDisk('/a,,,ro')).toMatchObject({ path: '/a,', readOnly: true });
  });

  it.each([
    ['', /names no file/],
    [',ro', /names no file/],
    ['/a,rw', /"rw" is unknown; it knows overlay\[=…\], /],
    ['/a,ro=1', /"ro" takes no value/],
    ['/a,queues=0', /queues=0 is out of range, 1 to 16/],
    ['/a,queues=1.5', /queues=1.5 is out of range/],
    ['/a,queues=1,queues=2', /"queues" is given 2 times/],
    ['/a,serial', /"serial" needs a value/],
    ['/a,serial=123456789012345678901', /1 to 20 printable ASCII/],
    ['/a,serial=\u00e9', /1 to 20 printable ASCII/],
    ['/a,bandwidth=fast', /bandwidth=fast is no number of bytes/],
    ['/a,io=fast', /io=fast is none of auto, io_uring/],
    ['/a,overlay=/b,overlay=/c', /"overlay" is given 2 times/],
    ['/a,iops=0', /iops=0 is out of range/],
  ])('refuses "%s"', (text, message) => {
    expect(() => parseDisk(text)).toThrow(refusal(message));
  });

  it.each([
    [{ path: '' }, /names no file/],
    [{ path: '/a', queues: 17 }, /disk \/a: queues 17/],
    [{ path: '/a', bandwidth: 0.5 }, /disk \/a: bandwidth 0.5/],
  ])('as an object refuses %j', (config, message) => {
    expect(() => checkDisk(config, 0)).toThrow(refusal(message));
  });
});

describe('--net', () => {
  it('takes a tap, user networking or none', () => {
    expect(parseNetwork('none')).toBeUndefined();
    expect(parseNetwork('tap')).toMatchObject({ kind: 'tap', interface: undefined });
    expect(parseNetwork('tap=vm0,mac=02:00:5e:10:00:01,mtu=9000,queues=4,pcap=/a.pcapng')).toMatchObject({
      ...{ kind: 'tap', interface: 'vm0', mac: '02:00:5e:10:00:01', mtu: 9000, queues: 4 },
      pcap: '/a.pcapng',
    });
    expect(parseNetwork('user,tcp=8080:80,tcp=127.0.0.1:2222:22,udp=53:53')).toMatchObject({
      kind: 'user',
      tcp: [
        { host: 8080, guest: 80, address: undefined },
        { host: 2222, guest: 22, address: '127.0.0.1' },
      ],
      udp: [{ host: 53, guest: 53 }],
    });
  });

  it.each([
    ['', /is not tap, tap=NAME, user or none/],
    ['bridge', /"bridge" is not tap/],
    ['tap=', /names no interface/],
    ['tap=a/b', /"a\/b" is no name of an interface/],
    ['tap=abcdefghijklmnop', /1 to 15 characters/],
    ['none,mtu=1500', /"mtu" is unknown; it takes nothing more/],
    ['tap,tcp=1:2', /"tcp" is unknown/],
    ['tap,mac=1', /mac "1" is no address/],
    ['tap,mac=03:00:00:00:00:01', /group's address/],
    ['tap,mtu=67', /mtu=67 is out of range, 68 to 65535/],
    ['tap,queues=17', /queues=17 is out of range, 1 to 16/],
    ['user,queues=2', /user networking has one pair/],
    ['user,tcp=80', /tcp=80 is not HOST:GUEST/],
    ['user,tcp=0:80', /ports from 1 to 65535/],
    ['user,tcp=1:65536', /ports from 1 to 65535/],
    ['tap,ip=10.0.0.256/24', /ip "10.0.0.256\/24" is not dhcp, none or an address/],
    ['tap,ip=10.0.0.2', /ip "10.0.0.2" is not/],
    ['tap,gateway=10.0.0.1', /gateway needs an address/],
    ['tap,ip=10.0.0.2/24,gateway=router', /gateway "router" is no IPv4 address/],
  ])('refuses "%s"', (text, message) => {
    expect(() => parseNetwork(text)).toThrow(refusal(message));
  });

  it.each<[NetworkConfig, RegExp]>([
    [{ kind: 'tap', mtu: 1.5 }, /net 1: mtu 1.5/],
    [{ kind: 'user', tcp: [{ host: -1, guest: 1 }] }, /net 1: port -1 is out of range/],
    [{ kind: 'user', iops: 0 }, /net 1: iops 0/],
  ])('as an object refuses %j', (config, message) => {
    expect(() => checkNetwork(config, 1)).toThrow(refusal(message));
  });

  it('has the guest configure its interface as it was told', () => {
    expect(networkSetup({ kind: 'tap' }, 0)).toEqual(['ip link set eth0 up']);
    expect(networkSetup({ kind: 'user' }, 1).join()).toContain('udhcpc -i eth1');
    expect(networkSetup({ kind: 'tap', ip: '10.0.0.2/24', gateway: '10.0.0.1' }, 0)).toEqual([
      'ip link set eth0 up',
      "ip addr add '10.0.0.2/24' dev eth0",
      'ip route add default via 10.0.0.1',
    ]);
  });
});

describe('--share', () => {
  it.each([
    ['/srv/data', { directory: '/srv/data', tag: 'data', mountPoint: '/mnt/data', readOnly: false }],
    ['/srv/data/,ro', { directory: '/srv/data/', tag: 'data', mountPoint: '/mnt/data', readOnly: true }],
    ['.:work', { directory: '.', tag: 'work', mountPoint: '/mnt/work', readOnly: false }],
    ['/a:b:/opt/x', { directory: '/a:b', tag: 'x', mountPoint: '/opt/x', readOnly: false }],
  ])('reads "%s"', (text, share) => {
    expect(resolveShare(parseShare(text))).toEqual(share);
  });

  it.each([
    ['', /names no directory/],
    ['.', /"\." is no tag/],
    ['/a:', /no tag and no path behind ":"/],
    ['/a:a b', /"a b" is no tag/],
    ['/a:/', /"" is no tag/],
    [`/a:${'x'.repeat(37)}`, /is no tag of 1 to 36/],
    ['/a,rw', /"rw" is unknown; it knows ro/],
  ])('refuses "%s"', (text, message) => {
    expect(() => parseShare(text)).toThrow(refusal(message));
  });

  it('refuses two of one tag, or at one place', () => {
    expect(() => checkShares([{ directory: '/a/x' }, { directory: '/b/x' }])).toThrow(
      refusal(/"x" is taken/),
    );
    expect(() =>
      checkShares([
        { directory: '/a', mountPoint: '/opt' },
        { directory: '/b', mountPoint: '/opt', tag: 'other' },
      ]),
    ).toThrow(refusal(/"\/opt" is taken/));
    expect(() => resolveShare({ directory: '/a', mountPoint: 'opt' })).toThrow(refusal(/no absolute path/));
  });
});

describe('--vsock', () => {
  it('takes a CID and a path', () => {
    expect(parseVsock('3')).toEqual({ cid: 3, path: undefined });
    expect(parseVsock('42,path=/run/vm.sock')).toEqual({ cid: 42, path: '/run/vm.sock' });
  });

  it.each([
    ['', /"" is no CID/],
    ['2', /CID 2 is out of range, 3 to 4294967294/],
    ['4294967295', /out of range/],
    ['3,path=', /"path" needs a value/],
    [`3,path=/${'x'.repeat(100)}`, /1 to 96 bytes/],
  ])('refuses "%s"', (text, message) => {
    expect(() => parseVsock(text)).toThrow(refusal(message));
  });

  it('as an object refuses a CID that is no number', () => {
    expect(() => checkVsock({ cid: Number.NaN })).toThrow(refusal(/CID NaN/));
  });
});

describe('--balloon', () => {
  it('takes a size or on', () => {
    expect(parseBalloon('on', parseSize)).toMatchObject({ target: 0, deflateOnOom: true });
    expect(parseBalloon('64M,no-deflate-on-oom', parseSize)).toMatchObject({
      ...{ target: 64 * MIB, deflateOnOom: false },
    });
  });

  it('refuses what is no size, and all of the memory', () => {
    expect(() => parseBalloon('off', parseSize)).toThrow(refusal(/"off" is not a size/));
    expect(() => parseBalloon('on,x', parseSize)).toThrow(refusal(/"x" is unknown/));
    expect(() => checkBalloon({ target: 256 * MIB }, 256 * MIB)).toThrow(
      refusal(/256 MiB is out of range, 0 to less than the 256 MiB/),
    );
  });
});
