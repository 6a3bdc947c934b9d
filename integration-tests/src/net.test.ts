import { jest } from '@jest/globals';
import { execFile, execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { FrameStream, type VirtioNetStatistics } from '@vmm/virtio-devices';
import { VmBuilder } from '@vmm/reference-vmm';
import { answerPings } from '../../packages/virtio-devices/examples/answer-pings.ts';
import { GuestShell } from './guest-shell.ts';
import { BOOT_TIMEOUT, ROOT, Scratch, sha256 } from './support.ts';

jest.setTimeout(BOOT_TIMEOUT);

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

const ROUTER_MAC = Uint8Array.of(2, 0, 0, 0, 0, 1);
const ROUTER = Uint8Array.of(10, 1, 2, 1);

interface PeerResult {
  readonly stdout: string;
  readonly stderr: string;
  readonly stopped: unknown;
  readonly statistics: VirtioNetStatistics;
  /** What had been counted when the guest began to send. */
  readonly beforeUpload?: VirtioNetStatistics;
  readonly sum: string;
  readonly uploads: readonly string[];
}

/** Runs a guest on a tap interface in a network namespace of its own (net-peer.mjs). */
async function onTap(
  script: string,
  options: { transport?: string; ring?: string; queues?: number; megabytes?: number; pcap?: string } = {},
): Promise<PeerResult> {
  const { transport = 'mmio', ring = 'split', queues = 1, megabytes = 1, pcap = '' } = options;
  const { stdout } = await promisify(execFile)('unshare', [
    '-n',
    process.execPath,
    join(ROOT, 'integration-tests/src/net-peer.mjs'),
    transport,
    ring,
    String(queues),
    String(megabytes),
    pcap,
    script,
  ]);
  return JSON.parse(stdout) as PeerResult;
}

const TRANSFERS = 'nc 10.9.0.1 7001 >/tmp/x && sha256sum </tmp/x; nc 10.9.0.1 7002 </tmp/x';

/** Pings an address three times; for the last of several, busybox waits a second only. */
const PINGS = (address: string): string =>
  `for i in 1 2 3; do ping -c 1 -W 60 ${address} | grep -o '1 packets received'; done`;
const PONGS = '1 packets received\n1 packets received\n1 packets received';

describe('a tap interface, stock kernel', () => {
  it.each([
    ['mmio', 'split'],
    ['pci', 'split'],
    ['pci', 'packed'],
  ])('over %s with %s rings: ping, and megabytes both ways, in large segments', async (transport, ring) => {
    const result = await onTap(
      `cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu; ${PINGS('10.9.0.1')}; ${TRANSFERS}`,
      { transport, ring, megabytes: 4 },
    );
    expect(result).toMatchObject({ stderr: '', stopped: { kind: 'exited', code: 0 } });
    expect(result.stdout).toBe(`02:00:00:00:00:02\n1400\n${PONGS}\n${result.sum}  -\n`);
    expect(result.uploads).toEqual([result.sum]);
    const { receivedBytes, transmittedBytes, transmittedFrames } = result.statistics;
    const before = result.beforeUpload!;
    // More than a frame of that MTU holds, on average of each transfer without the other's acknowledgements: the kernels
    // left segmentation to each other.
    expect(before.receivedBytes / before.receivedFrames).toBeGreaterThan(1414);
    expect(
      (transmittedBytes - before.transmittedBytes) / (transmittedFrames - before.transmittedFrames),
    ).toBeGreaterThan(1414);
    expect(receivedBytes).toBeGreaterThan(4_000_000);
    expect(transmittedBytes).toBeGreaterThan(4_000_000);
    expect(transmittedFrames).toBeGreaterThan(0);
    expect(result.statistics).toMatchObject({ transmitDropped: 0, receiveTooLarge: 0, controlErrors: 0 });
  });

  it('has as many queues as the guest has processors, when asked', async () => {
    const result = await onTap(
      `ls -d /sys/class/net/eth0/queues/rx-* | wc -l; ${PINGS('10.9.0.1')}; ${TRANSFERS}`,
      { queues: 2 },
    );
    expect(result).toMatchObject({ stderr: '', stopped: { kind: 'exited', code: 0 } });
    expect(result.stdout).toBe(`2\n${PONGS}\n${result.sum}  -\n`);
    expect(result.uploads).toEqual([result.sum]);
  });

  it('is recorded as tcpdump reads it', async () => {
    const pcap = scratch.file('ping.pcapng');
    const { stdout } = await onTap(PINGS('10.9.0.1'), { pcap });
    expect(stdout).toBe(`${PONGS}\n`);
    const packets = execFileSync('tcpdump', ['-r', pcap, '-n', 'icmp'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const kinds = packets
      .trim()
      .split('\n')
      .map((line) =>
        /IP (\S+ > \S+): ICMP echo (request|reply), .* seq (\d+)/.exec(line)?.slice(1).join(' '),
      );
    const ping = ['10.9.0.2 > 10.9.0.1 request 0', '10.9.0.1 > 10.9.0.2 reply 0'];
    expect(kinds).toEqual([...ping, ...ping, ...ping]);
  });
});

it('a guest that goes on from a snapshot with a tap that was made anew knows its neighbour', async () => {
  const { stdout } = await promisify(execFile)('unshare', [
    '-n',
    process.execPath,
    join(ROOT, 'integration-tests/src/restored-peer.mjs'),
    scratch.file('snapshot'),
  ]);
  const { first, second } = JSON.parse(stdout) as Record<
    'first' | 'second',
    { readonly stdout: string; readonly address: string }
  >;
  expect(first.stdout).toMatch(/^1 packets received\n10\.9\.0\.1 .*lladdr fe:/);
  expect(first.stdout).toContain(first.address);
  expect(second.address).toBe(first.address);
  expect(second.stdout).toContain('1 packets received\n');
});

describe('user-mode networking', () => {
  it.each(['mmio', 'pci'] as const)(
    'over %s: DHCP, a download from a server of the host, and a port of the guest',
    async (transport) => {
      const data = randomBytes(4_000_000);
      const server = createServer((_request, response) => response.end(data)).listen(0, '127.0.0.1');
      await new Promise((resolve) => server.once('listening', resolve));
      const { port } = server.address() as AddressInfo;
      const forwarded = await freePort();
      const shell = await GuestShell.start(
        new VmBuilder()
          .hypervisor('wasm')
          .transport(transport)
          .networkDevice({
            kind: 'user',
            hostLoopback: true,
            tcp: [{ host: forwarded, guest: 2000, address: '127.0.0.1' }],
          }),
      );
      try {
        const gateway = (await shell.run("ip route | sed -n 's/^default via \\([0-9.]*\\) .*/\\1/p'")).trim();
        expect(gateway).toMatch(/^\d+\.\d+\.\d+\.\d+$/);
        expect(await shell.run(`wget -q -O /tmp/x http://${gateway}:${port}/ && sha256sum </tmp/x`)).toBe(
          `${sha256(data)}  -`,
        );
        await shell.run('echo "from the guest" >/tmp/hello; (nc -l -p 2000 </tmp/hello >/tmp/heard &)');
        await shell.run('until netstat -ltn | grep -q :2000; do usleep 10000; done');
        const client = connect(forwarded, '127.0.0.1');
        client.end('from the host\n');
        expect(await text(client)).toBe('from the guest\n');
        await shell.run('until [ -s /tmp/heard ]; do usleep 10000; done');
        expect(await shell.run('cat /tmp/heard')).toBe('from the host');
      } finally {
        await shell[Symbol.asyncDispose]();
        server.close();
      }
    },
  );
});

describe('a network in JavaScript', () => {
  let shell: GuestShell;
  const nic = new FrameStream();
  const device = () => shell.vm.networkDevices[0]!;

  beforeAll(async () => {
    void answerPings(nic, ROUTER_MAC, ROUTER);
    const builder = new VmBuilder()
      .hypervisor('wasm')
      .transport('pci')
      .networkDevice({ kind: 'backend', backend: nic, mac: '02:00:00:00:00:02', ip: '10.1.2.3/24' });
    shell = await GuestShell.start(builder);
  });
  afterAll(() => shell[Symbol.asyncDispose]());

  it('answers ARP and ping with thirty lines', async () => {
    expect(await shell.run(PINGS('10.1.2.1'))).toBe(PONGS);
    expect(await shell.run('ip neigh show 10.1.2.1')).toContain('02:00:00:00:00:01');
    expect(nic.statistics.sent).toBeGreaterThanOrEqual(4);
  });

  it('the guest sees the link go down and up', async () => {
    const carrier = (state: number): Promise<string> =>
      shell.run(`until [ "$(cat /sys/class/net/eth0/carrier)" = ${state} ]; do usleep 10000; done`);
    await carrier(1);
    device().setLink(false);
    await carrier(0);
    device().setLink(true);
    await carrier(1);
    expect(await shell.run('ping -c 1 -W 60 10.1.2.1 | grep received')).toContain('1 packets received');
  });

  it('the guest filters and changes its address through the control queue', async () => {
    await shell.run('ip link set eth0 down; ip link set eth0 address 02:00:00:00:00:77; ip link set eth0 up');
    expect(device().mac).toEqual(Uint8Array.of(2, 0, 0, 0, 0, 0x77));
    expect(await shell.run('ping -c 1 -W 60 10.1.2.1 | grep received')).toContain('1 packets received');
    const before = device().statistics.receiveFiltered;
    nic.send(Uint8Array.from([...[2, 0, 0, 0, 0, 0x55], ...ROUTER_MAC, 0x88, 0xb5, ...new Uint8Array(46)]));
    expect(device().statistics.receiveFiltered).toBe(before + 1);
    expect(device().statistics).toMatchObject({ controlErrors: 0 });
  });
});

/** A port that nobody listens at, for now. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
