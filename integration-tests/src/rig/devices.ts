// Runs inside of a machine with KVM: one VM that uses all of its devices, and what came of it as one line of JSON.
//
//   node devices.ts TRANSPORT RING GUEST-ARCHIVE
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { VmBuilder, type Vmm } from '@vmm/reference-vmm';

const MIB = 1024 * 1024;
const BULK = 2 * MIB;
const TAP = 'vmtest0';
const HOST = '10.77.0.1';
const GUEST = '10.77.0.2';
const ECHO_PORT = 1000;
/** Bytes that the guest uses for a while, of its 256 MiB. */
const USED = 64 * MIB;
const BALLOON = 32 * MIB;

/** What {@link run} found out; the test outside says what it has to be. */
export interface DeviceReport {
  readonly end: unknown;
  /** What the guest said, by step. */
  readonly guest: Readonly<Record<string, readonly string[]>>;
  readonly upload: { readonly sent: string; readonly received: string };
  readonly download: { readonly sent: string; readonly received: string };
  readonly ping: string;
  readonly tree: { readonly before: readonly string[]; readonly after: readonly string[] };
  readonly echo: { readonly sent: string; readonly received: string };
  /** Resident bytes of this process. */
  readonly resident: { readonly used: number; readonly reported: number; readonly inflated: number };
  /** Bytes that the guest had given to its balloon when it was full. */
  readonly balloon: number;
  readonly errors: readonly string[];
  readonly needsResets: number;
}

/**
 * Each step says what it found, and waits for the host between `ready` and the next line of standard input where it has
 * something to do.
 */
const SCRIPT = `
step() { echo "step $1"; }
wait_host() { echo "ready $1"; read -r _; }
step features; for d in /sys/bus/virtio/devices/*; do cat $d/features; done
step block
mkfs.ext4 -q -F /dev/vda && mkdir /disk && mount -t ext4 /dev/vda /disk
dd if=/dev/urandom of=/disk/data bs=1M count=2 2>/dev/null
before=$(sha256sum </disk/data); umount /disk; e2fsck -f -n /dev/vda >/dev/null 2>&1; echo "fsck $?"
mount -t ext4 -o ro /dev/vda /disk; [ "$before" = "$(sha256sum </disk/data)" ] && echo same; umount /disk
step net
wait_host tap
until ip link show eth0 | grep -q LOWER_UP; do sleep 1; done
for i in 1 2 3; do ping -c 1 -W 60 ${HOST}; done | grep -c 'bytes from'
nc ${HOST} $DOWN_PORT </dev/null | sha256sum
dd if=/dev/urandom of=/tmp/up bs=1M count=2 2>/dev/null; sha256sum </tmp/up
nc ${HOST} $UP_PORT </tmp/up; rm /tmp/up
wait_host ping
step fs
cp -a /mnt/tree/in /tmp/copy && cp -a /tmp/copy /mnt/tree/out && echo copied; rm -r /tmp/copy
step vsock
vsock listen stream ${ECHO_PORT} echo >/tmp/vsock &
until grep -q listening /tmp/vsock; do usleep 50000; done
wait_host vsock
step balloon
dd if=/dev/zero of=/tmp/used bs=1M count=${USED / MIB} 2>/dev/null
wait_host used
rm /tmp/used
wait_host reported
wait_host inflated
step messages
dmesg | grep -iE 'virtio|vsock|fuse|ext4' | grep -iE 'error|fail|warn|bug' || true
kill %1
exit 0
`;

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** A tree with what a copy may lose. */
function makeTree(root: string): void {
  mkdirSync(join(root, 'deep/er'), { recursive: true });
  for (let index = 0; index < 20; index++)
    writeFileSync(join(root, `deep/${index}`), randomBytes(index * 997));
  writeFileSync(join(root, 'deep/er/executable'), '#!/bin/sh\n');
  chmodSync(join(root, 'deep/er/executable'), 0o751);
  chmodSync(join(root, 'deep/er'), 0o1777);
  symlinkSync('../../nowhere', join(root, 'deep/er/link'));
  linkSync(join(root, 'deep/7'), join(root, 'deep/er/seven'));
  writeFileSync(join(root, 'näme with spaces'), '');
  utimesSync(join(root, 'deep/7'), 1_000_000_000, 1_234_567_890);
}

/** One line for each entry; hard links by the first name of their file. */
function listTree(root: string): string[] {
  const files = new Map<number, string>();
  const entries = readdirSync(root, { recursive: true, encoding: 'utf8' }).sort();
  return entries.map((entry) => {
    const path = join(root, entry);
    const stat = lstatSync(path);
    const content = stat.isSymbolicLink()
      ? readlinkSync(path)
      : stat.isFile()
        ? sha256(readFileSync(path))
        : '';
    const first = files.get(stat.ino) ?? entry;
    files.set(stat.ino, first);
    const time = stat.isFile() ? Math.trunc(stat.mtimeMs / 1000) : '';
    return [entry, stat.mode.toString(8), stat.uid, stat.gid, time, content, first].join(' ');
  });
}

/**
 * Serves one connection with bytes, or takes all that comes and then ends it, as busybox's nc ends at the end of either;
 * tells the sum of what came.
 */
async function server(bytes?: Uint8Array): Promise<{ port: number; received: Promise<string> }> {
  let settle: (sum: string) => void;
  const received = new Promise<string>((resolve) => (settle = resolve));
  const listener = createServer({ allowHalfOpen: true }, (socket) => {
    const hash = createHash('sha256');
    socket.on('data', (chunk) => hash.update(chunk));
    socket.on('end', () => {
      settle(`${hash.digest('hex')}  -`);
      socket.end();
    });
    if (bytes !== undefined) socket.end(bytes);
    listener.close();
  });
  await new Promise<void>((resolve) => listener.listen(0, resolve));
  return { port: (listener.address() as AddressInfo).port, received };
}

async function echo(vm: Vmm, data: Uint8Array): Promise<string> {
  const stream = await vm.vsock!.connect(ECHO_PORT);
  stream.end(data);
  const hash = createHash('sha256');
  for await (const chunk of stream) hash.update(chunk as Uint8Array);
  return hash.digest('hex');
}

/** Waits until resident memory has fallen below a limit; a guest that gives nothing back is found by the limit of time. */
async function residentBelow(limit: number, seconds: number): Promise<number> {
  for (let tries = 0; ; tries++) {
    const resident = process.memoryUsage.rss();
    if (resident < limit || tries === seconds * 4) return resident;
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}

/** Pings three times; for the last of several, programs wait for a time of their own. */
async function pings(address: string): Promise<string> {
  let output = '';
  for (let count = 0; count < 3; count++)
    output += (await promisify(execFile)('ping', ['-c', '1', '-W', '60', address])).stdout;
  return output;
}

async function run(
  transport: 'mmio' | 'pci',
  ring: 'split' | 'packed',
  archive: string,
): Promise<DeviceReport> {
  const directory = mkdtempSync(join(tmpdir(), 'devices-'));
  const errors: string[] = [];
  const disk = join(directory, 'disk.img');
  writeFileSync(disk, '');
  truncateSync(disk, 24 * MIB);
  const tree = join(directory, 'tree');
  makeTree(join(tree, 'in'));
  const download = randomBytes(BULK);
  const down = await server(download);
  const up = await server();
  const data = randomBytes(BULK);
  // Types are stripped only: no `await using`.
  const vm = await new VmBuilder()
    .hypervisor('kvm')
    .transport(transport)
    .ring(ring)
    .blockDevice(disk)
    .networkDevice({ kind: 'tap', interface: TAP, ip: `${GUEST}/24` })
    .shareDirectory(tree)
    .vsock(42)
    .balloon()
    .guestArchive(archive)
    .command('sh', '-c', `DOWN_PORT=${down.port} UP_PORT=${up.port}${SCRIPT}`)
    // Kernels look for a PCI host where there is none.
    .host({
      debug: (message) => {
        if (!message.endsWith('met no device')) errors.push(message);
      },
    })
    .build();
  try {
    vm.console.resume();
    const said: string[] = [];
    vm.streams!.stderr.on('data', (bytes: Buffer) => errors.push(bytes.toString()));
    vm.start();

    const guest: Record<string, string[]> = {};
    const resident = { used: 0, reported: 0, inflated: 0 };
    let ping = '';
    let echoed = '';
    let balloon = 0;
    let lines = said;
    for await (const line of createInterface({ input: vm.streams!.stdout })) {
      const [word, name = ''] = line.split(' ', 2);
      if (word === 'step') {
        guest[name] = lines = [];
      } else if (word === 'ready') {
        if (name === 'tap') {
          await promisify(execFile)('ip', ['addr', 'add', `${HOST}/24`, 'dev', TAP]);
          await promisify(execFile)('ip', ['link', 'set', TAP, 'up']);
        } else if (name === 'ping') {
          ping = await pings(GUEST);
        } else if (name === 'vsock') {
          echoed = await echo(vm, data);
        } else if (name === 'used') {
          resident.used = process.memoryUsage.rss();
        } else if (name === 'reported') {
          resident.reported = await residentBelow(resident.used - USED / 2, 120);
        } else {
          vm.balloon!.setTarget(BALLOON);
          while (vm.balloon!.actual < BALLOON) await new Promise((resolve) => setTimeout(resolve, 50));
          balloon = vm.balloon!.actual;
          resident.inflated = process.memoryUsage.rss();
        }
        vm.streams!.stdin.write('\n');
      } else {
        lines.push(line);
      }
    }
    const end = await vm.stopped;
    return {
      ...{ end, guest, ping, resident, errors },
      upload: { sent: guest['net']?.[2] ?? '', received: await up.received },
      download: { sent: `${sha256(download)}  -`, received: guest['net']?.[1] ?? '' },
      tree: { before: listTree(join(tree, 'in')), after: listTree(join(tree, 'out')) },
      echo: { sent: sha256(data), received: echoed },
      balloon,
      needsResets: vm.devices.reduce((sum, each) => sum + each.transport.statistics.needsResets, 0),
    };
  } finally {
    await vm[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true, force: true });
  }
}

const [, , transport, ring, archive] = process.argv;
if (
  (transport !== 'mmio' && transport !== 'pci') ||
  (ring !== 'split' && ring !== 'packed') ||
  archive === undefined
)
  throw new Error('usage: devices.ts mmio|pci split|packed ARCHIVE');
process.stdout.write(`${JSON.stringify(await run(transport, ring, archive))}\n`);
process.exit();
