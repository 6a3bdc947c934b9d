import { Worker } from 'node:worker_threads';
import { compileGic } from './module.ts';
import { GicMachine } from './machine.ts';

/** Runs in a worker: sets and clears one bit of a shared word again and again and looks whether it stays. */
const TOGGLE = `
const { parentPort, workerData } = require('node:worker_threads');
const { bytes, memory, block, start, address, bit, rounds } = workerData;
const { exports: e } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory } });
const words = new Int32Array(memory.buffer);
Atomics.add(words, start / 4, 1);
while (Atomics.load(words, start / 4) < 2);
let wrong = 0;
const mask = 1n << BigInt(bit);
for (let i = 0; i < rounds; i++) {
  e.gicMmioWrite(block, address + 0x104n, 4, mask);
  if ((e.gicMmioRead(block, address + 0x104n, 4) & mask) === 0n) wrong++;
  e.gicMmioWrite(block, address + 0x184n, 4, mask);
  if ((e.gicMmioRead(block, address + 0x104n, 4) & mask) !== 0n) wrong++;
}
parentPort.postMessage(wrong);
`;

/** Runs in a worker: answers each SGI 1 with an SGI 1 to the other vCPU, asleep on its attention word in between. */
const PING = `
const { parentPort, workerData } = require('node:worker_threads');
const { bytes, memory, block, attention, other, first, rounds } = workerData;
const { exports: e } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory } });
const words = new Int32Array(memory.buffer);
const send = () => e.gicSystemWrite(block, 0xc65d, (1n << 24n) | (1n << BigInt(other)));
if (first) send();
let taken = 0;
let wrong = 0;
while (taken < rounds) {
  while (!e.gicIrqPending(block)) {
    Atomics.wait(words, attention / 4, 0);
    Atomics.store(words, attention / 4, 0);
  }
  if (e.gicSystemRead(block, 0xc660) !== 1n) wrong++;
  e.gicSystemWrite(block, 0xc661, 1n);
  taken++;
  if (!first || taken < rounds) send();
}
parentPort.postMessage(wrong);
`;

async function inWorker(source: string, workerData: unknown): Promise<unknown> {
  const worker = new Worker(source, { eval: true, workerData });
  try {
    return await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
  } finally {
    await worker.terminate();
  }
}

describe('GICv3 of the engine: several threads', () => {
  it('loses no change of a word that two vCPUs change at the same time', async () => {
    const m = new GicMachine({ vcpus: 2 });
    const common = {
      bytes: compileGic(),
      memory: m.memory,
      start: m.constant('STATIC_BASE') - 64,
      address: 0x4000_0000n,
      rounds: 200_000,
    };
    const wrong = await Promise.all(
      [0, 1].map((c) => inWorker(TOGGLE, { ...common, block: m.block(c), bit: c + 3 })),
    );
    expect(wrong).toEqual([0, 0]);
  });

  it('wakes a sleeping vCPU for every SGI', async () => {
    const m = new GicMachine({ vcpus: 2 });
    m.boot();
    for (const c of [0, 1]) m.enable(1, { cpu: c });
    const wrong = await Promise.all(
      [0, 1].map((c) =>
        inWorker(PING, {
          bytes: compileGic(),
          memory: m.memory,
          block: m.block(c),
          rounds: 2000,
          other: 1 - c,
          first: c === 0,
          attention: m.block(c) + m.constant('CPU_ATTENTION'),
        }),
      ),
    );
    expect(wrong).toEqual([0, 0]);
  });
});
