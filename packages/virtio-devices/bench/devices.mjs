// us per request through a device, from the store to QueueNotify to the used ring, by a driver that only stores
// indices. Printed are the least and the median of 15 rounds; other work on the machine moves the median.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MemoryBlockBackend, VirtioBlock, VirtioConsole, VirtioEntropy } from '@vmm/virtio-devices';
import { MockMmioDriver } from '@vmm/virtio-devices/mock';
import { FileBlockBackend } from '@vmm/virtio-devices/node';
import { GuestMemory } from '@vmm/vm-memory';

const RAM = 0x8000_0000;
const BUFFERS = RAM + (32 << 20);
const DISK = 32 << 20;
const QUEUE_NOTIFY = 0x50;
const ring256 = { queueSize: 256 };

/** Makes chains once and offers them again and again. */
function measure(name, device, queue, batch, buffersOf, prepare) {
  const memory = new GuestMemory([
    { guestAddress: RAM, bytes: new Uint8Array(new SharedArrayBuffer(64 << 20)) },
  ]);
  const driver = new MockMmioDriver(device, { memory, ...ring256 }).start();
  const ring = driver.rings[queue];
  const heads = Array.from({ length: batch }, (_, i) => ring.add(buffersOf(i, memory)));
  for (let at = 0; at < 256; at++) ring.writeAvailEntry(at, heads[at % batch]);
  const avail = memory.uint16View(ring.config.driverArea, 256 + 3);
  let index = 0;
  const batches = Math.ceil(2048 / batch);
  const round = () => {
    for (let i = 0; i < batches; i++) {
      prepare?.(memory, batch);
      index = (index + batch) & 0xffff;
      avail[1] = index;
      driver.transport.write(QUEUE_NOTIFY, 4, queue);
    }
  };
  for (let i = 0; i < 5; i++) round();
  const rounds = [];
  for (let i = 0; i < 15; i++) {
    const start = performance.now();
    round();
    rounds.push(((performance.now() - start) * 1e3) / (batches * batch));
  }
  if (ring.usedIdx !== index) throw new Error(`${name}: ${ring.usedIdx} of ${index} requests were answered`);
  rounds.sort((a, b) => a - b);
  process.stdout.write(
    `${name.padEnd(52)} ${rounds[0].toFixed(2).padStart(8)} ${rounds[7].toFixed(2).padStart(8)} us\n`,
  );
}

let seed = 1;
/** Another sector in each header. */
function randomSectors(memory, batch) {
  for (let i = 0; i < batch; i++) {
    seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fff_ffff;
    memory.writeUint32(BUFFERS + i * 32 + 8, (seed % 4000) * 8);
  }
}

function block(name, backend, batch, segments, write) {
  const size = 4096;
  measure(
    `${name}, ${write ? 'write' : 'read'} ${segments} x 4 KiB, ${batch} a batch`,
    new VirtioBlock({ backend }),
    0,
    batch,
    (i, memory) => {
      const header = BUFFERS + i * 32;
      memory.writeUint32(header, write ? 1 : 0);
      return [
        { address: header, size: 16, isWritable: false },
        ...Array.from({ length: segments }, (_, part) => ({
          address: BUFFERS + 65536 + (i * segments + part) * size * 2,
          size,
          isWritable: !write,
        })),
        { address: header + 16, size: 1, isWritable: true },
      ];
    },
    randomSectors,
  );
}

const directory = mkdtempSync(join(tmpdir(), 'bench-devices-'));
try {
  const path = join(directory, 'disk.img');
  writeFileSync(path, new Uint8Array(DISK));
  for (const batch of [1, 8, 32]) block('block, memory', new MemoryBlockBackend(DISK), batch, 1, false);
  const file = new FileBlockBackend(path);
  for (const batch of [1, 8, 32]) block('block, file', file, batch, 1, false);
  block('block, file', file, 32, 1, true);
  for (const segments of [2, 3, 4, 8, 24]) block('block, file', file, 8, segments, false);
  await file.close();
  measure('entropy, 64 bytes, 8 a batch', new VirtioEntropy({ queueSize: 256 }), 0, 8, () => [
    { writable: 64 },
  ]);
  for (const size of [16, 4096]) {
    const device = new VirtioConsole({ console: { onOutput: () => undefined }, queueSize: 256 });
    measure(`console output, ${size} bytes, 8 a batch`, device, 1, 8, () => [
      { readable: new Uint8Array(size) },
    ]);
  }
} finally {
  rmSync(directory, { recursive: true });
}
