import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { GuestMemory } from '@vmm/vm-memory';
import { frameOf, header, NetRig } from '../../test/net-rig.ts';
import { PasstBackend } from './net-passt.ts';

const SCENARIO = fileURLToPath(new URL('../../test/passt-scenario.mjs', import.meta.url));

let directory = '';
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'passt-'));
});
afterAll(() => rmSync(directory, { recursive: true }));

/** A peer of the protocol, with what it was sent. */
class Peer {
  readonly path: string;
  readonly server: Server;
  socket: Socket | undefined;
  received: Buffer = Buffer.alloc(0);

  constructor(name: string) {
    this.path = join(directory, name);
    this.server = createServer((socket) => {
      this.socket = socket;
      socket.on('data', (bytes) => (this.received = Buffer.concat([this.received, bytes])));
    }).listen(this.path);
  }

  async rig(): Promise<NetRig<PasstBackend>> {
    const backend = await PasstBackend.connect(this.path);
    const memory = new GuestMemory([{ guestAddress: 0x8000_0000, bytes: new Uint8Array(32 << 20) }]);
    const rig = new NetRig(backend, {}, { queueSize: 256, memory });
    await until(() => this.socket !== undefined);
    return rig;
  }

  async close(rig: NetRig<PasstBackend>): Promise<void> {
    await rig.backend.close();
    this.socket?.destroy();
    this.server.close();
    await once(this.server, 'close');
  }
}

async function until(check: () => boolean): Promise<void> {
  while (!check()) await new Promise((resolve) => setTimeout(resolve, 2));
}

function packed(...frames: readonly Uint8Array[]): Buffer {
  return Buffer.concat(
    frames.flatMap((frame) => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(frame.length);
      return [length, Buffer.from(frame)];
    }),
  );
}

const alive = (pid: number): boolean => existsSync(`/proc/${pid}`);

describe('frames over a stream socket', () => {
  it('go both ways behind their length, however the stream is cut', async () => {
    const peer = new Peer('both');
    const rig = await peer.rig();
    rig.lend(64, 700);
    const frames = [60, 14, 1514, 300].map((length, seed) => frameOf(length, seed));
    const bytes = packed(...frames);
    for (const [from, to] of [
      [0, 1],
      [1, 3],
      [3, 70],
      [70, 90],
      [90, 1000],
      [1000, bytes.length],
    ] as const) {
      peer.socket!.write(bytes.subarray(from, to));
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    const got: Uint8Array[] = [];
    await until(() => got.push(...rig.received().map(({ frame }) => frame)) >= 4);
    expect(got).toEqual(frames);
    for (const frame of frames) rig.send(frame);
    await until(() => peer.received.length >= bytes.length);
    expect(peer.received.equals(bytes)).toBe(true);
    expect(rig.device.statistics).toMatchObject({ receivedFrames: 4, transmittedFrames: 4 });
    await peer.close(rig);
  });

  it('wait on both sides when the other does not read, and nothing is lost', async () => {
    const peer = new Peer('slow');
    const rig = await peer.rig();
    const frames = Array.from({ length: 60 }, (_, seed) => frameOf(60_000, seed));
    peer.socket!.pause();
    const ring = rig.driver.rings[1]!;
    let used = 0;
    for (const frame of frames) {
      ring.add([{ readable: header() }, { readable: frame }]);
      rig.driver.kick(1);
      used += ring.collect().length;
    }
    expect(used).toBeLessThan(60);
    peer.socket!.resume();
    await until(() => (used += ring.collect().length) === 60);
    await until(() => peer.received.length === 60 * 60_004);
    expect(peer.received.equals(packed(...frames))).toBe(true);

    peer.socket!.write(packed(...frames));
    const got: Uint8Array[] = [];
    rig.lend(4, 30_100);
    await until(() => got.push(...rig.received().map(({ frame }) => frame)) === 2);
    // Without buffers no more is read than is kept.
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(peer.socket!.writableLength).toBeGreaterThan(1_000_000);
    await until(() => {
      rig.lend(2, 30_100);
      return got.push(...rig.received().map(({ frame }) => frame)) >= 60;
    });
    expect(packed(...got).equals(packed(...frames))).toBe(true);
    await peer.close(rig);
  });

  it('a peer that breaks the protocol or goes takes the link down', async () => {
    const peer = new Peer('broken');
    const rig = await peer.rig();
    peer.socket!.write(Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0));
    await until(() => rig.errors.length > 0);
    expect(rig.errors[0]).toContain('announced a frame of 4294967295 bytes');
    expect(rig.device.linkUp).toBe(false);
    expect(rig.send(frameOf(60))).toBe(1);
    await peer.close(rig);
    const second = new Peer('gone');
    const other = await second.rig();
    second.socket!.destroy();
    await until(() => other.errors.length > 0);
    expect(other.errors[0]).toContain('connection was closed');
    await second.close(other);
  });

  it('says when nobody is there', async () => {
    await expect(PasstBackend.connect(join(directory, 'nobody'))).rejects.toMatchObject({
      code: 'NOT_FOUND',
      message: expect.stringContaining('start passt with --socket') as string,
    });
  });
});

describe('passt', () => {
  it('is missing: the error names the package', async () => {
    await expect(PasstBackend.start({ program: 'no-such-passt' })).rejects.toMatchObject({
      code: 'NOT_FOUND',
      message: expect.stringContaining('package passt') as string,
    });
  });

  it.each([
    [{ mtu: 1279 }, 'mtu'],
    [{ tcpPorts: [{ host: 0 }] }, 'host port'],
    [{ udpPorts: [{ host: 1, guest: 65536 }] }, 'guest port'],
    [{ tcpPorts: [{ host: 80, address: 'a b' }] }, 'no address of the host'],
    [{ dns: ['--help'] }, 'dns'],
  ])('refuses %j', async (options, text) => {
    await expect(PasstBackend.start(options)).rejects.toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringContaining(text) as string,
    });
  });

  it('answers DHCP and name queries of the guest, runs without privileges, and ends with close() or kill -9', () => {
    const { stdout, stderr, status } = spawnSync('unshare', ['-n', process.execPath, SCENARIO], {
      encoding: 'utf8',
    });
    expect([status, stderr]).toEqual([0, '']);
    const result = JSON.parse(stdout) as { pids: number[] };
    expect(result).toMatchObject({
      offered: '10.44.0.2',
      router: '10.44.0.1',
      mtu: 9000,
      forwarded: true,
      uid: 65534,
      runningBefore: true,
      runningAfterClose: false,
      runningAfterKill: false,
      refused: {
        code: 'IO_ERROR',
        message: expect.stringMatching(/^passt did not start: .*8023/) as string,
      },
    });
    for (const pid of result.pids) expect(alive(pid)).toBe(false);
  });
});

it('a process that started passt and forgot it may end', async () => {
  const script = `import('@vmm/virtio-devices/node').then(({ PasstBackend }) =>
    PasstBackend.start({ addresses: ['10.44.0.2'], gateways: ['10.44.0.1'], netmask: '24' })).then((passt) => console.log(passt.pid))`;
  const child = spawn(
    'unshare',
    [
      '-n',
      'sh',
      '-c',
      'ip tuntap add dev d0 mode tap && ip link set d0 up && ip addr add 10.44.0.9/24 dev d0 && ip route add default via 10.44.0.1 && exec "$@"',
      'sh',
      process.execPath,
      '--input-type=module',
      '-e',
      script,
    ],
    {
      cwd: fileURLToPath(new URL('../..', import.meta.url)),
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  let output = '';
  child.stdout.on('data', (bytes: Buffer) => (output += bytes.toString()));
  const [code] = (await once(child, 'close')) as [number];
  expect(code).toBe(0);
  await until(() => !alive(Number(output)));
});
