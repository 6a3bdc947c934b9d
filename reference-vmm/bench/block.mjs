// virtio-blk as a guest program sees it, around the guest's page cache.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { compile, guestWith, inTurn, median, ourRun, peerRun, report, scratch, timed } from './support.mjs';

const DISK_BYTES = 64 * 1024 * 1024;
const load = compile(fileURLToPath(new URL('block-load.c', import.meta.url)));
const script = `/bin/busybox mount -t devtmpfs devtmpfs /dev
cd /lib/modules && for m in virtio_ring virtio virtio_mmio virtio_blk; do [ -f $m.ko ] && /bin/busybox insmod $m.ko; done
/load
/bin/busybox poweroff -f`;
const guest = await guestWith(script, [{ type: 'file', path: 'load', data: load, mode: 0o755 }]);
const disk = join(scratch, 'disk.img');
writeFileSync(disk, Buffer.alloc(DISK_BYTES, 0x5a));
const peerDisk = [
  '-global',
  'virtio-mmio.force-legacy=false',
  '-drive',
  `file=${disk},format=raw,if=none,id=d`,
  '-device',
  'virtio-blk-device,drive=d',
];

const { ours, theirs } = await inTurn(
  3,
  () => timed(...ourRun(guest, ['-d', disk]), 'RESULT'),
  () => timed(...peerRun(guest, peerDisk), 'RESULT'),
);

function figures(runs) {
  const byName = new Map();
  for (const { output } of runs) {
    for (const [, name, bytes, requests, seconds] of output.matchAll(
      /RESULT (\S+) bytes=(\d+) requests=(\d+) seconds=([\d.]+)/g,
    )) {
      const list = byName.get(name) ?? [];
      list.push({ rate: Number(bytes) / 1e6 / Number(seconds), iops: Number(requests) / Number(seconds) });
      byName.set(name, list);
    }
  }
  return byName;
}

const peerFigures = figures(theirs);
console.log('block: 64 MiB raw file in the page cache, O_DIRECT in the guest, one request at a time');
for (const [name, list] of figures(ours)) {
  const peerList = peerFigures.get(name);
  const pick = (entries, key) => entries && median(entries.map((entry) => entry[key]));
  if (name.endsWith('4K')) report(name, 'requests/s', pick(list, 'iops'), pick(peerList, 'iops'));
  else report(name, 'MB/s', pick(list, 'rate'), pick(peerList, 'rate'));
}
