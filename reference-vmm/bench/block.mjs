// virtio-blk as a guest program sees it, around the guest's page cache: every transport and ring, the file by the addon and
// by Node's own calls, against the peer with the same transport and ring. Both cache writes in the host's page cache, and
// nothing flushes. `node reference-vmm/bench/block.mjs [ROUNDS] [TRANSPORT,RING…]` runs a part.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  compile,
  guestDrivers,
  guestWith,
  median,
  ourRun,
  peer,
  peerRun,
  scratch,
  timed,
} from './support.mjs';

const DISK_BYTES = 64 * 1024 * 1024;
const [rounds = '3', ...only] = process.argv.slice(2);
const ROUNDS = Number(rounds);
const COLUMNS = [
  { transport: 'mmio', ring: 'split' },
  { transport: 'mmio', ring: 'packed' },
  { transport: 'pci', ring: 'split' },
  { transport: 'pci', ring: 'packed' },
].filter(({ transport, ring }) => only.length === 0 || only.includes(`${transport},${ring}`));

const load = compile(fileURLToPath(new URL('block-load.c', import.meta.url)));
const drivers = await guestDrivers(['virtio_mmio', 'virtio_pci', 'virtio_blk']);
const script = `/bin/busybox mount -t devtmpfs devtmpfs /dev
${drivers.load}
/load
/bin/busybox poweroff -f`;
const guest = await guestWith(script, [
  { type: 'file', path: 'load', data: load, mode: 0o755 },
  ...drivers.files,
]);
const disk = join(scratch, 'disk.img');
writeFileSync(disk, Buffer.alloc(DISK_BYTES, 0x5a));

const ours = ({ transport, ring }, io) =>
  timed(...ourRun(guest, ['-d', `${disk},io=${io}`, '--transport', transport, '--ring', ring]), 'RESULT');
const theirs = ({ transport, ring }) =>
  timed(
    ...peerRun(guest, [
      '-global',
      'virtio-mmio.force-legacy=false',
      '-drive',
      `file=${disk},format=raw,if=none,id=d`,
      '-device',
      `${transport === 'pci' ? 'virtio-blk-pci,disable-legacy=on' : 'virtio-blk-device'},drive=d,packed=${ring === 'packed' ? 'on' : 'off'}`,
    ]),
    'RESULT',
  );

/** Measurement to figures. */
const figures = new Map();

function note(way, column, { output }) {
  for (const [, name, bytes, requests, seconds] of output.matchAll(
    /RESULT (\S+) bytes=(\d+) requests=(\d+) seconds=([\d.]+)/g,
  )) {
    const figure = (name.endsWith('4K') ? Number(requests) : Number(bytes) / 1e6) / Number(seconds);
    const key = `${name} ${way} ${column}`;
    figures.set(key, [...(figures.get(key) ?? []), figure]);
  }
}

const shown = ({ median, best }) => `${median.toFixed(0)} (${best.toFixed(0)})`;
const ratio = (one, other) =>
  `${(one.median / other.median).toFixed(2)} (${(one.best / other.best).toFixed(2)})`;

for (let round = 0; round < ROUNDS; round++) {
  for (const [column, how] of COLUMNS.entries()) {
    note('addon', column, await ours(how, 'auto'));
    if (column === 0) note('portable', column, await ours(how, 'portable'));
    if (peer !== undefined) note('peer', column, await theirs(how));
  }
}

console.log('block: 64 MiB raw file in the page cache, O_DIRECT in the guest, one request at a time');
console.log(`medians of ${ROUNDS}, in brackets the best, which a busy machine disturbs less`);
const names = [...new Set([...figures.keys()].map((key) => key.split(' ')[0]))];
for (const name of names) {
  const unit = name.endsWith('4K') ? 'requests/s' : 'MB/s';
  const pick = (way, column) => {
    const list = figures.get(`${name} ${way} ${column}`);
    return list && { median: median(list), best: Math.max(...list) };
  };
  for (const [column, { transport, ring }] of COLUMNS.entries()) {
    const own = pick('addon', column);
    const other = pick('peer', column);
    const portable = pick('portable', column);
    const parts = [`${name}, ${transport} ${ring}`.padEnd(36), shown(own), unit];
    if (other !== undefined) parts.push(`  QEMU TCG ${shown(other)}, ratio ${ratio(own, other)}`);
    if (portable !== undefined)
      parts.push(`  without addon ${shown(portable)}, ratio ${ratio(own, portable)}`);
    console.log(parts.join(' '));
  }
}
