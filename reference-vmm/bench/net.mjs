// virtio-net as a guest program sees it: TCP both ways and its round trips, over the same tap interface, and over user-mode
// networking (passt here, QEMU's own there). Runs itself in a network namespace of its own.
import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { prepareGuest } from '@vmm/reference-vmm';
import {
  compile,
  guestDrivers,
  guestWith,
  inTurn,
  median,
  ourRun,
  peerRun,
  report,
  timed,
} from './support.mjs';

const ROUNDS = Number(process.env.ROUNDS ?? 3);
const SECONDS = Number(process.env.SECONDS ?? 2);
const HOST = '10.9.0.1';

if (process.env.VMM_BENCH_NAMESPACE === undefined) {
  // Outside, since it may have to be fetched.
  await prepareGuest((message) => console.error(message));
  const result = spawnSync('unshare', ['-n', process.execPath, fileURLToPath(import.meta.url)], {
    stdio: 'inherit',
    env: { ...process.env, VMM_BENCH_NAMESPACE: '1' },
  });
  process.exitCode = result.status ?? 1;
} else {
  await main();
}

async function main() {
  const ip = (...args) => execFileSync('ip', args);
  ip('link', 'set', 'lo', 'up');
  ip('tuntap', 'add', 'dev', 'vm0', 'mode', 'tap', 'vnet_hdr');
  ip('addr', 'add', `${HOST}/24`, 'dev', 'vm0');
  ip('link', 'set', 'vm0', 'up');
  // What passt takes addresses and routes from.
  ip('tuntap', 'add', 'dev', 'out0', 'mode', 'tap');
  ip('addr', 'add', '10.44.0.9/24', 'dev', 'out0');
  ip('link', 'set', 'out0', 'up');
  ip('route', 'add', 'default', 'via', '10.44.0.1');
  const servers = await serve();

  const load = compile(fileURLToPath(new URL('net-load.c', import.meta.url)));
  const drivers = await guestDrivers(['virtio_pci', 'virtio_net']);
  const guest = (address, gateway, server) =>
    guestWith(
      `/bin/busybox mount -t proc proc /proc
${drivers.load}
/bin/busybox ip link set eth0 up
/bin/busybox ip addr add ${address}/24 dev eth0
${gateway === undefined ? '' : `/bin/busybox ip route add default via ${gateway}`}
/bin/busybox ping -c 1 -q ${server} >/dev/null
/load ${server} ${SECONDS}
/bin/busybox poweroff -f`,
      [{ type: 'file', path: 'load', data: load, mode: 0o755 }, ...drivers.files],
    );
  const card = ['-device', 'virtio-net-pci,netdev=n,disable-legacy=on'];

  const tap = await guest('10.9.0.2', undefined, HOST);
  await compare(
    'tap',
    () => timed(...ourRun(tap, ['--transport', 'pci', '--net', 'tap=vm0']), 'RESULT'),
    () =>
      timed(
        ...peerRun(tap, ['-netdev', 'tap,id=n,ifname=vm0,script=no,downscript=no,vhost=off', ...card]),
        'RESULT',
      ),
  );

  const ours = await guest('10.44.0.9', '10.44.0.1', '10.44.0.1');
  const theirs = await guest('10.0.2.15', '10.0.2.2', '10.0.2.2');
  await compare(
    'user mode',
    () => timed(...ourRun(ours, ['--transport', 'pci', '--net', 'user,host-loopback']), 'RESULT'),
    () => timed(...peerRun(theirs, ['-netdev', 'user,id=n', ...card]), 'RESULT'),
  );
  for (const server of servers) server.close();
  process.exit();
}

async function compare(name, ours, theirs) {
  const results = await inTurn(ROUNDS, ours, theirs);
  const mine = figures(results.ours);
  const peers = figures(results.theirs);
  console.log(`net, ${name}, virtio-pci, one queue pair, TCP in the guest`);
  for (const [key, list] of mine) {
    const peerList = peers.get(key);
    const pick = (entries, field) => entries && median(entries.map((entry) => entry[field]));
    if (key === 'round-trip') report(key, 'us', pick(list, 'micros'), pick(peerList, 'micros'));
    else report(key, 'MB/s', pick(list, 'rate'), pick(peerList, 'rate'));
  }
}

function figures(runs) {
  const byName = new Map();
  for (const { output } of runs) {
    for (const [, name, bytes, requests, seconds] of output.matchAll(
      /RESULT (\S+) bytes=(\d+) requests=(\d+) seconds=([\d.]+)/g,
    )) {
      const list = byName.get(name) ?? [];
      list.push({
        rate: Number(bytes) / 1e6 / Number(seconds),
        micros: (1e6 * Number(seconds)) / Number(requests),
      });
      byName.set(name, list);
    }
  }
  return byName;
}

/** The host's end: a source, a sink and an echo. */
async function serve() {
  const chunk = Buffer.alloc(256 * 1024, 0x5a);
  const source = createServer((socket) => {
    const push = () => {
      while (!socket.destroyed && socket.write(chunk));
    };
    socket.on('error', () => undefined);
    socket.on('drain', push);
    push();
  }).listen(7001);
  const sink = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => undefined);
    socket.on('data', () => undefined);
    socket.on('end', () => socket.end());
  }).listen(7002);
  const echo = createServer((socket) => {
    socket.setNoDelay();
    socket.on('error', () => undefined);
    socket.on('data', (bytes) => socket.write(bytes));
  }).listen(7003);
  const servers = [source, sink, echo];
  await Promise.all(servers.map((server) => once(server, 'listening')));
  return servers;
}
