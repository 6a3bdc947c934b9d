// A disk image behind a virtio block device: the mock driver writes a sector, flushes and reads it back.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VirtioBlock, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT } from '@vmm/virtio-devices';
import { MockMmioDriver } from '@vmm/virtio-devices/mock';
import { FileBlockBackend } from '@vmm/virtio-devices/node';

/** `struct virtio_blk_req` up to the data. */
function header(type: number, sector: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(16));
  view.setUint32(0, type, true);
  view.setBigUint64(8, BigInt(sector), true);
  return new Uint8Array(view.buffer);
}

const directory = mkdtempSync(join(tmpdir(), 'disk-'));
const path = join(directory, 'disk.img');
writeFileSync(path, new Uint8Array(1024 * 1024));
const backend = new FileBlockBackend(path);
try {
  const guest = new MockMmioDriver(new VirtioBlock({ backend, id: 'example' })).start();
  const [ring] = guest.rings;
  assert(ring !== undefined);
  const sector = new Uint8Array(512).fill(0x5a);
  ring.add([{ readable: header(VIRTIO_BLK_T_OUT, 7) }, { readable: sector }, { writable: 1 }]);
  ring.add([{ readable: header(VIRTIO_BLK_T_IN, 7) }, { writable: 512 }, { writable: 1 }]);
  ring.add([{ readable: header(VIRTIO_BLK_T_FLUSH, 0) }, { writable: 1 }]);
  guest.kick(0);
  const [write, read] = ring.collect();
  assert.deepEqual(write?.written, Uint8Array.of(0));
  assert.deepEqual(read?.written, Uint8Array.of(...sector, 0));
} finally {
  await backend.close();
  rmSync(directory, { recursive: true });
}
