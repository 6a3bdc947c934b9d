// ns per chain, from being available to being used. The driver's part is not in the figure: the clock runs while
// the device is at work. Printed are the least and the median of many short rounds; other work on the machine
// moves the median.
import { execFileSync } from 'node:child_process';
import { GuestMemory } from '@vmm/vm-memory';
import {
  createQueue,
  VIRTQ_DESC_F_AVAIL,
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_USED,
  VIRTQ_DESC_F_WRITE,
} from '@vmm/virtio-queue';
import { createMockDriver } from '@vmm/virtio-queue/mock';

const SIZE = 256;
const BASE = 0x8000_0000;
const BUFFERS = BASE + (1 << 20);
const BATCHES = 200;
const ROUNDS = Number(process.env.ROUNDS ?? 301);

/** Makes `count` chains of two descriptors, 512 bytes to read and 512 to write, available again and again. */
function splitDriver(memory, config, layout) {
  const descriptors = memory.uint32View(config.descriptorArea, SIZE * 4);
  const avail = memory.uint16View(config.driverArea, SIZE + 3);
  for (let i = 0; i < SIZE / 2; i++) {
    const read = BUFFERS + i * 1024;
    const two = [read, 0, 512, VIRTQ_DESC_F_NEXT | ((layout ? 1 : 2 * i + 1) << 16)];
    const last = [read + 512, 0, 512, VIRTQ_DESC_F_WRITE];
    if (layout) {
      memory.uint32View(BASE + 0x8_0000 + i * 32, 8).set([...two, ...last]);
      descriptors.set([BASE + 0x8_0000 + i * 32, 0, 32, VIRTQ_DESC_F_INDIRECT], i * 8);
    } else {
      descriptors.set([...two, ...last], i * 8);
    }
  }
  for (let i = 0; i < SIZE; i++) avail[2 + i] = (i % (SIZE / 2)) * 2;
  let index = 0;
  return (count) => {
    index = (index + count) & 0xffff;
    avail[1] = index;
  };
}

function packedDriver(memory, config, layout) {
  const words = memory.uint32View(config.descriptorArea, SIZE * 4);
  let at = 0;
  let state = VIRTQ_DESC_F_AVAIL;
  let next = 0;
  const enter = (address, length, id, flags) => {
    words[at * 4] = address;
    words[at * 4 + 2] = length;
    words[at * 4 + 3] = id | ((flags | state) << 16);
    if (++at === SIZE) {
      at = 0;
      state ^= VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED;
    }
  };
  if (layout) {
    for (let i = 0; i < SIZE / 2; i++) {
      const read = BUFFERS + i * 1024;
      memory
        .uint32View(BASE + 0x8_0000 + i * 32, 8)
        .set([read, 0, 512, 0, read + 512, 0, 512, VIRTQ_DESC_F_WRITE << 16]);
    }
  }
  return (count) => {
    for (let i = 0; i < count; i++) {
      if (layout) {
        enter(BASE + 0x8_0000 + next * 32, 32, next, VIRTQ_DESC_F_INDIRECT);
      } else {
        const read = BUFFERS + next * 1024;
        enter(read, 512, 0, VIRTQ_DESC_F_NEXT);
        enter(read + 512, 512, next, VIRTQ_DESC_F_WRITE);
      }
      next = (next + 1) % (SIZE / 2);
    }
  };
}

function measure(Buffer, packed, { batch = 32, indirect = false, together = false, use, ...options }) {
  const memory = new GuestMemory([{ guestAddress: BASE, bytes: new Uint8Array(new Buffer(16 << 20)) }]);
  const { config } = createMockDriver(memory, { size: SIZE, indirect: true, packed, ...options });
  const publish = (packed ? packedDriver : splitDriver)(memory, config, indirect);
  const queue = createQueue(memory, config);
  let served = 0;
  const run = () => {
    let time = 0;
    for (let round = 0; round < BATCHES; round++) {
      publish(batch);
      const start = performance.now();
      queue.disableNotifications();
      if (together) queue.deferUsed();
      do {
        for (let chain = queue.pop(); chain !== null; chain = queue.pop()) {
          use(queue, chain);
          served++;
        }
      } while (queue.enableNotifications());
      if (together) queue.publishUsed();
      queue.needsInterrupt();
      time += performance.now() - start;
    }
    return (time * 1e6) / (BATCHES * batch);
  };
  for (let i = 0; i < 100; i++) run();
  const rounds = Array.from({ length: ROUNDS }, run).sort((a, b) => a - b);
  if (served !== (ROUNDS + 100) * BATCHES * batch) throw new Error(`${served} chains were served`);
  return `${rounds[0].toFixed(1).padStart(7)} ${rounds[(ROUNDS - 1) / 2].toFixed(1).padStart(7)}`;
}

const header = new Uint8Array(16);
const give = (queue, chain) => queue.addUsed(chain, 512);
const cases = {
  '32 a batch': { use: give },
  '32 a batch, published together': { use: give, together: true },
  '32 a batch, EVENT_IDX': { use: give, eventIdx: true },
  '32 a batch, IN_ORDER': { use: give, inOrder: true },
  '1 a batch': { use: give, batch: 1 },
  '32 a batch, indirect': { use: give, indirect: true },
  '32 a batch, 16-byte header read, status written': {
    use: (queue, chain) => {
      chain.reader.read(header);
      chain.writer.seek(511);
      chain.writer.writeUint8(0);
      queue.addUsed(chain, 512);
    },
  },
  '32 a batch, header by number, view of the rest': {
    use: (queue, chain) => {
      const { reader, writer } = chain;
      reader.readUint32();
      reader.skip(4);
      reader.readUint64();
      writer.take();
      queue.addUsed(chain, 512);
    },
  },
};
// Each column has a process of its own: code that has seen both rings is slower than a guest's.
const [column] = process.argv.slice(2);
if (column !== undefined) {
  const [ring, kind] = column.split(',');
  const Buffer = kind === 'shared' ? SharedArrayBuffer : ArrayBuffer;
  for (const options of Object.values(cases)) {
    process.stdout.write(`${measure(Buffer, ring === 'packed', options)}\n`);
  }
} else {
  process.stdout.write(`node ${process.version}: ns per chain of two descriptors, least and median\n`);
  const columns = ['split', 'packed', 'split,shared', 'packed,shared'].map((name) => [
    name.padStart(15),
    ...execFileSync(process.execPath, [import.meta.filename, name], { encoding: 'utf8' })
      .trimEnd()
      .split('\n'),
  ]);
  ['', ...Object.keys(cases)].forEach((name, row) => {
    process.stdout.write(`${name.padEnd(48)} ${columns.map((each) => each[row]).join('  ')}\n`);
  });
}
