// Devices as programs of a stock amd64 guest see them on KVM, in the rig: ours and QEMU's (microvm with PCI Express) with
// the same kernel, initramfs, command line and host files, in one boot of the rig. Figures there say something only as
// ratios. ROUNDS are boots of each, medians of their second passes are printed.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runInRig } from '../../scripts/rig/index.mjs';
import { compile, guestDrivers, guestWith, measurements, median, report, scratch } from './support.mjs';

const ROUNDS = Number(process.env.ROUNDS ?? 3);
const TRANSPORT = 'pci';
const VSOCK_BYTES = 4 * 1024 * 1024;
const VSOCK_ROUND_TRIPS = 300;
const NET_SECONDS = 2;
const BLOCK_DIVISOR = 8;
const FS_DIVISOR = 8;

const rate = ({ bytes, seconds }) => bytes / 1e6 / seconds;
const perSecond = ({ requests, seconds }) => requests / seconds;
const megabytes = ['MB/s', rate];
const requests = ['requests/s', perSecond];
const files = ['files/s', perSecond];
const vsock = ['MB/s', ({ seconds }) => VSOCK_BYTES / 1e6 / seconds];
const DEVICES = {
  block: {
    'sequential-read-1M': megabytes,
    'sequential-write-1M': megabytes,
    'random-read-4K': requests,
    'random-write-4K': requests,
  },
  net: {
    'guest-to-host': megabytes,
    'host-to-guest': megabytes,
    'round-trip': ['us', (values) => 1e6 / perSecond(values)],
  },
  vsock: {
    send: vsock,
    receive: vsock,
    duplex: vsock,
    latency: ['us', ({ seconds }) => (1e6 * seconds) / VSOCK_ROUND_TRIPS],
  },
  fs: {
    write: megabytes,
    read: megabytes,
    create: files,
    stat: files,
    list: files,
    'open-read-close': files,
    unlink: files,
  },
};

const program = (path, source) => ({
  type: 'file',
  path,
  data: compile(fileURLToPath(new URL(source, import.meta.url)), 'x86_64'),
  mode: 0o755,
});
const names = ['virtio_pci', 'virtio_blk', 'virtio_net', 'virtiofs', 'vmw_vsock_virtio_transport'];
const drivers = await guestDrivers(names, 'x86_64');
const script = `export PATH=/bin
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox mount -t proc proc /proc
${drivers.load}
/bin/busybox ip link set eth0 up
/bin/busybox ip addr add 10.9.0.2/24 dev eth0
/bin/busybox ping -c 1 -q 10.9.0.1 >/dev/null
echo reno >/proc/sys/net/ipv4/tcp_congestion_control
/bin/busybox mkdir -p /mnt && /bin/busybox mount -t virtiofs bench /mnt
for pass in warm-up measured; do
/block-load ${BLOCK_DIVISOR}
/net-load 10.9.0.1 ${NET_SECONDS}
/vsock connect stream 5001 send ${VSOCK_BYTES}
/vsock connect stream 5002 receive
/vsock connect stream 5000 duplex ${VSOCK_BYTES}
/vsock connect stream 5000 latency ${VSOCK_ROUND_TRIPS}
/fs-load /mnt ${FS_DIVISOR}
done
echo ALL-DONE
/bin/busybox reboot -f`;
const guest = await guestWith(
  script,
  [
    ...drivers.files,
    program('block-load', 'block-load.c'),
    program('net-load', 'net-load.c'),
    program('vsock', '../../integration-tests/src/vsock-guest.c'),
    program('fs-load', 'fs-load.c'),
  ],
  'x86_64',
);
const hostLoad = join(scratch, 'host-load');
writeFileSync(hostLoad, program('host-load', 'rig/host-load.c').data, { mode: 0o755 });

const { stdout, stderr, code } = await runInRig({
  arch: 'x86_64',
  qemu: true,
  argv: ['node', 'reference-vmm/bench/rig/devices.mjs'],
  files: [
    { host: guest.initrd, guest: '/bench/initrd.cpio' },
    { host: hostLoad, guest: '/bench/host-load' },
  ],
  env: { ROUNDS: `${ROUNDS}`, TRANSPORT, VSOCK_BYTES: `${VSOCK_BYTES}` },
  timeoutMs: 2_400_000,
  progress: (message) => console.error(`rig: ${message}`),
});
if (code !== 0) throw new Error(`the benchmark failed in the rig (${code})\n${stdout}${stderr}`);
const { ours, peer, missing, peerVersion } = JSON.parse(stdout.toString());

console.log(
  `x86_64 rig: Debian kernel ${guest.version}, 256 MiB, one vCPU, virtio-${TRANSPORT}, split rings, ` +
    `median of ${ROUNDS} boots; ${peerVersion}, microvm, KVM`,
);
console.log('  second pass of each boot; our process compiles its JavaScript in the first');
console.log('  block: 32 MiB raw file in the page cache, O_DIRECT in the guest, one request at a time');
console.log(
  '  net: one tap interface without vhost, one queue pair, TCP (Reno) with a C program of the host',
);
console.log('  vsock: one connection; host end Node.js streams here, vhost-vsock and a C program there');
console.log('  fs: a directory in tmpfs; HostDirectory here, virtiofsd there');
for (const [device, units] of Object.entries(DEVICES)) {
  for (const [name, [unit, value]] of Object.entries(units)) {
    const pick = (runs, side) => {
      const found = runs.map((output) => measurements(output).get(name)).filter((each) => each !== undefined);
      if (found.length === runs.length) return median(found.map(value));
      if (side === 'peer' && missing[device] !== undefined) return undefined;
      throw new Error(`${device} ${name}: ${found.length} of ${runs.length} runs of ${side}\n${runs.at(-1)}`);
    };
    report(`${device} ${name}`, unit, pick(ours, 'ours'), pick(peer, 'peer'), undefined, 'QEMU KVM');
  }
}
for (const [device, why] of Object.entries(missing)) console.log(`${device}: not compared, ${why}`);
