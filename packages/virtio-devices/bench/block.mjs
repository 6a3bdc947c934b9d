// What a request on a raw file costs, without a guest: Node's calls, the addon, and its engines for what has to wait.
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GuestMemory } from '@vmm/vm-memory';
import { BlockBatch } from '@vmm/virtio-devices';
import { requireHost } from '../dist/node/load.js';
import { NATIVE_ENGINE_ONLY } from '../dist/node/native-block.js';
import { NativeFileIo } from '../dist/node/native-file-io.js';
import { PortableFileIo } from '../dist/node/portable-file-io.js';

const FILE_BYTES = 64 * 1024 * 1024;
const MILLISECONDS = 250;

const memory = new GuestMemory([{ guestAddress: 0x4000_0000, bytes: new Uint8Array(16 * 1024 * 1024) }]);
const [region] = memory.regions;
const folder = mkdtempSync(join(tmpdir(), 'bench-block-'));
const path = join(folder, 'disk.img');
writeFileSync(path, Buffer.alloc(FILE_BYTES, 0x5a));
const host = requireHost('the benchmark');
const fd = openSync(path, 'r+');

const ways = {
  'portable (pread, pwrite)': new PortableFileIo(openSync(path, 'r+')),
  addon: new NativeFileIo(host, fd, 'auto', 0),
  'addon, io_uring': new NativeFileIo(host, fd, 'io_uring', NATIVE_ENGINE_ONLY),
  'addon, threads': new NativeFileIo(host, fd, 'threads', NATIVE_ENGINE_ONLY),
};

/** A chain as far as BlockBatch looks at it: one piece at an offset of the memory. */
function chain(offset, size) {
  return { memory, readableCount: 0, size: () => size, region: () => region, offset: () => offset };
}

let seed = 1;
const random = () => (seed = (seed * 48271) % 2147483647);

async function measure(io, write, size, depth) {
  const batch = new BlockBatch();
  let requests = 0;
  const end = performance.now() + MILLISECONDS;
  const started = performance.now();
  while (performance.now() < end) {
    batch.begin();
    for (let i = 0; i < depth; i++) {
      const position = (random() % (FILE_BYTES / size)) * size;
      batch.add(chain(i * size, size), write, position, 0, size);
    }
    const done = io.submit(batch);
    if (done !== undefined) await done;
    for (let i = 0; i < depth; i++) if (batch.error(i) !== undefined) throw batch.error(i);
    requests += depth;
  }
  return ((performance.now() - started) * 1000) / requests;
}

try {
  for (const write of [false, true]) {
    for (const size of [4096, 131072]) {
      for (const depth of [1, 8, 32]) {
        const results = {};
        for (const [name, io] of Object.entries(ways)) results[name] = await measure(io, write, size, depth);
        const base = results['portable (pread, pwrite)'];
        const text = Object.entries(results).map(
          ([name, us]) => `${name} ${us.toFixed(2)} us (${(base / us).toFixed(2)}x)`,
        );
        console.log(`${write ? 'write' : 'read'} ${size / 1024} KiB, ${depth} at a time: ${text.join('; ')}`);
      }
    }
  }
} finally {
  for (const io of Object.values(ways)) io.close();
  closeSync(fd);
  rmSync(folder, { recursive: true });
}
