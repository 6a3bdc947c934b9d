// ns per chain, available ring to used ring. The driver's part (one index store a batch) is in the figure.
// Printed are the least and the median of many short rounds; other work on the machine moves the median.
import { GuestMemory } from '@vmm/vm-memory';
import { createSplitQueue } from '@vmm/virtio-queue';
import { MockSplitDriver } from '@vmm/virtio-queue/mock';

const SIZE = 256;
const BATCHES = 200;
const ROUNDS = 301;

function measure(name, Buffer, options, batch, use) {
  const memory = new GuestMemory([
    { guestAddress: 0x8000_0000, bytes: new Uint8Array(new Buffer(16 << 20)) },
  ]);
  const driver = new MockSplitDriver(memory, { size: SIZE, indirect: true, ...options });
  for (let i = 0; i < batch; i++) {
    driver.add([{ readable: new Uint8Array(512) }, { writable: 512 }], options.layout ?? 'direct');
  }
  // The ring's entries must repeat as the index goes on.
  const heads = Array.from({ length: batch }, (_, i) =>
    memory.readUint16(driver.config.driverArea + 4 + i * 2),
  );
  for (let i = 0; i < SIZE; i++) driver.writeAvailEntry(i, heads[i % batch]);
  const avail = memory.uint16View(driver.config.driverArea, SIZE + 3);
  const queue = createSplitQueue(memory, driver.config);
  let index = 0;
  let interrupts = 0;
  const run = () => {
    for (let round = 0; round < BATCHES; round++) {
      index = (index + batch) & 0xffff;
      avail[1] = index;
      queue.disableNotifications();
      do {
        for (let chain = queue.pop(); chain !== null; chain = queue.pop()) use(queue, chain);
      } while (queue.enableNotifications());
      if (queue.needsInterrupt()) interrupts++;
    }
  };
  for (let i = 0; i < 100; i++) run();
  const rounds = [];
  for (let i = 0; i < ROUNDS; i++) {
    const start = performance.now();
    run();
    rounds.push(((performance.now() - start) * 1e6) / (BATCHES * batch));
  }
  rounds.sort((a, b) => a - b);
  if (interrupts === 0 && !options.eventIdx) throw new Error('no interrupt was wanted');
  process.stdout.write(
    `${name.padEnd(52)} ${rounds[0].toFixed(1).padStart(8)} ${rounds[(ROUNDS - 1) / 2].toFixed(1).padStart(8)} ns\n`,
  );
}

const header = new Uint8Array(16);
const give = (queue, chain) => queue.addUsed(chain, 512);
for (const [kind, Buffer] of [
  ['ArrayBuffer', ArrayBuffer],
  ['SharedArrayBuffer', SharedArrayBuffer],
]) {
  process.stdout.write(`${kind}, chains of two descriptors\n`);
  measure('  32 a batch', Buffer, {}, 32, give);
  measure('  32 a batch, EVENT_IDX', Buffer, { eventIdx: true }, 32, give);
  measure('  1 a batch', Buffer, {}, 1, give);
  measure('  32 a batch, indirect', Buffer, { layout: 'indirect' }, 32, give);
  measure('  32 a batch, 16-byte header read, status written', Buffer, {}, 32, (queue, chain) => {
    chain.reader.read(header);
    chain.writer.seek(511);
    chain.writer.writeUint8(0);
    queue.addUsed(chain, 512);
  });
  measure('  32 a batch, header by number, view of the rest', Buffer, {}, 32, (queue, chain) => {
    const { reader, writer } = chain;
    reader.readUint32();
    reader.skip(4);
    reader.readUint64();
    writer.take();
    queue.addUsed(chain, 512);
  });
}
