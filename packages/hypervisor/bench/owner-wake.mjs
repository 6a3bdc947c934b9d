// Two ways for a vCPU thread to wake the owner's event loop, without an engine: Atomics.notify on a word for which the
// owner waits by Atomics.waitAsync, and a message. Each round is an exit: wake, answer, go on.
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';

const ROUNDS = 20_000;
const SLOT = 0;
const WAKE = 16;
const SPIN = 0.02;

if (isMainThread) {
  console.log('wake      vCPU polls  owner polls  gap us   p50 us   p90 us   p99 us');
  for (const vcpuSpins of [false, true]) {
    for (const ownerSpins of [false, true]) {
      for (const gap of [0, 200]) {
        for (const mode of ['waitAsync', 'message']) await measure(mode, vcpuSpins, ownerSpins, gap);
      }
    }
  }
} else {
  vcpu(workerData);
}

async function measure(mode, vcpuSpins, ownerSpins, gap) {
  const words = new Int32Array(new SharedArrayBuffer(128));
  const worker = new Worker(new URL(import.meta.url), { workerData: { words, mode, vcpuSpins, gap } });
  let ended = false;
  const drain = () => {
    let end = 0;
    do {
      if (Atomics.load(words, SLOT) === 1) {
        Atomics.store(words, SLOT, 2);
        Atomics.notify(words, SLOT);
        end = ownerSpins ? performance.now() + SPIN : 0;
      }
    } while (end !== 0 && performance.now() < end);
  };
  const turn = () => {
    while (!ended) {
      const seen = Atomics.load(words, WAKE);
      drain();
      const wait = Atomics.waitAsync(words, WAKE, seen);
      if (wait.async) return void wait.value.then(turn);
    }
  };
  if (mode === 'waitAsync') turn();
  const percentiles = await new Promise((resolve) => {
    worker.on('message', (message) => (message === 0 ? drain() : resolve(message)));
  });
  ended = true;
  Atomics.add(words, WAKE, 1);
  Atomics.notify(words, WAKE);
  await worker.terminate();
  const figures = percentiles.map((value) => value.toFixed(1).padStart(8)).join(' ');
  console.log(
    `${mode.padEnd(9)} ${String(vcpuSpins).padEnd(11)} ${String(ownerSpins).padEnd(11)} ${String(gap).padStart(7)} ${figures}`,
  );
}

function vcpu({ words, mode, vcpuSpins, gap }) {
  const latencies = new Float64Array(ROUNDS);
  for (let round = 0; round < ROUNDS; round++) {
    const begin = performance.now() + gap / 1000;
    while (performance.now() < begin);
    const before = performance.now();
    Atomics.store(words, SLOT, 1);
    Atomics.add(words, WAKE, 1);
    if (mode === 'waitAsync') Atomics.notify(words, WAKE);
    else parentPort.postMessage(0);
    const end = before + SPIN;
    while (vcpuSpins && Atomics.load(words, SLOT) !== 2 && performance.now() < end);
    while (Atomics.load(words, SLOT) !== 2) Atomics.wait(words, SLOT, 1);
    Atomics.store(words, SLOT, 0);
    latencies[round] = (performance.now() - before) * 1000;
  }
  latencies.sort();
  parentPort.postMessage([0.5, 0.9, 0.99].map((quantile) => latencies[Math.floor(quantile * ROUNDS)]));
}
