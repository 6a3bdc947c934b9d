// virtio-fs as a guest program sees it, against virtiofsd behind the peer, both with the cache mode `auto` and without a
// write-back cache in the guest. `node reference-vmm/bench/fs.mjs [ROUNDS]`.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildCpio } from '@vmm/reference-vmm';
import {
  compile,
  guestDrivers,
  guestWith,
  inTurn,
  median,
  ourRun,
  peerRun,
  report,
  scratch,
  timed,
} from './support.mjs';

const VIRTIOFSD = ['/usr/lib/qemu/virtiofsd', '/usr/libexec/virtiofsd'].find((path) => existsSync(path));
const ROUNDS = Number(process.argv[2] ?? 3);
const TREE_FILES = 500;

/** What the guest unpacks. */
const tree = buildCpio(
  [...Array(TREE_FILES).keys()].flatMap((index) => [
    ...(index % 50 === 0 ? [{ type: 'directory', path: `d${index / 50}` }] : []),
    {
      type: 'file',
      path: `d${Math.floor(index / 50)}/f${index}`,
      data: new Uint8Array(3000).fill(0x61),
      mode: 0o644,
    },
  ]),
);
const drivers = await guestDrivers(['virtio_pci', 'virtiofs']);
const load = compile(fileURLToPath(new URL('fs-load.c', import.meta.url)));
const script = `/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox mount -t proc proc /proc
${drivers.load}
/bin/busybox mkdir -p /mnt/share && /bin/busybox mount -t virtiofs bench /mnt/share
/load /mnt/share
cd /mnt/share && /bin/busybox mkdir tree && cd tree
T0=$(/bin/busybox cut -d' ' -f1 /proc/uptime)
/bin/busybox cpio -idm </tree.cpio 2>/dev/null; cd / 
T1=$(/bin/busybox cut -d' ' -f1 /proc/uptime)
echo "RESULT unpack bytes=0 requests=${TREE_FILES} seconds=$(/bin/busybox awk "BEGIN { print $T1 - $T0 }")"
/bin/busybox rm -r /mnt/share/tree
echo DONE
/bin/busybox poweroff -f`;
const guest = await guestWith(script, [
  { type: 'file', path: 'load', data: load, mode: 0o755 },
  ...drivers.files,
  { type: 'file', path: 'tree.cpio', data: tree, mode: 0o644 },
]);

function directory() {
  const path = mkdtempSync(join(scratch, 'share-'));
  mkdirSync(path, { recursive: true });
  return path;
}

async function withVirtiofsd(run) {
  const path = directory();
  const socket = join(scratch, `fs-${Math.random().toString(36).slice(2)}.sock`);
  const daemon = spawn(
    VIRTIOFSD,
    [`--socket-path=${socket}`, '-f', '-o', `source=${path}`, '-o', 'sandbox=chroot', '-o', 'xattr'],
    { stdio: 'ignore' },
  );
  try {
    for (let i = 0; i < 100 && !existsSync(socket); i++) await sleep(50);
    return await run([
      '-object',
      'memory-backend-memfd,id=m,size=256M,share=on',
      '-machine',
      'memory-backend=m',
      '-chardev',
      `socket,id=c,path=${socket}`,
      '-device',
      'vhost-user-fs-pci,chardev=c,tag=bench,queue-size=1024',
    ]);
  } finally {
    daemon.kill('SIGKILL');
    rmSync(path, { recursive: true, force: true });
  }
}

const { ours, theirs } = await inTurn(
  ROUNDS,
  async () => {
    const path = directory();
    try {
      return await timed(...ourRun(guest, ['--transport', 'pci', '--share', `${path}:bench`]), 'DONE');
    } finally {
      rmSync(path, { recursive: true, force: true });
    }
  },
  () =>
    VIRTIOFSD === undefined
      ? { output: '' }
      : withVirtiofsd((options) => timed(...peerRun(guest, options), 'DONE')),
);

function figures(runs) {
  const byName = new Map();
  for (const { output } of runs) {
    for (const [, name, bytes, requests, seconds] of output.matchAll(
      /RESULT (\S+) bytes=(\d+) requests=(\d+) seconds=([\d.]+)/g,
    )) {
      const list = byName.get(name) ?? [];
      list.push(
        Number(bytes) > 0 ? Number(bytes) / 1e6 / Number(seconds) : Number(requests) / Number(seconds),
      );
      byName.set(name, list);
    }
  }
  return byName;
}

const peerFigures = figures(theirs);
console.log('fs: a directory in the page cache, by programs of the guest; the peer has virtiofsd');
console.log(`medians of ${ROUNDS}, and the best, which a busy machine disturbs less`);
for (const [name, list] of figures(ours)) {
  const peerList = peerFigures.get(name);
  const unit = name === 'read' || name === 'write' ? 'MB/s' : 'files/s';
  report(name, unit, median(list), peerList && median(peerList));
  report('  best', unit, Math.max(...list), peerList && Math.max(...peerList));
}
