// What the addon promises of TapQueue but for frames, in a network namespace of its own: node tap-child.mjs ADDON.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { clearInterval, setInterval } from 'node:timers';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

const BASE = 0x4000_0000;
const script = fileURLToPath(import.meta.url);

/** Runs it; `status` is 0 unless a promise is broken. */
export function runTapChild(addon) {
  return spawnSync('unshare', ['-n', process.execPath, '--expose-gc', script, addon], {
    encoding: 'utf8',
    killSignal: 'SIGKILL',
    timeout: 120_000,
  });
}

function checkConstructor({ TapQueue }) {
  const nothing = () => undefined;
  const before = readdirSync('/proc/self/fd').length;
  for (const args of [[], [5, false, nothing], ['t', false], ['t', false, {}]])
    assert.throws(() => new TapQueue(...args), { name: 'TypeError' });
  assert.throws(() => TapQueue('t', false, nothing), { name: 'TypeError' });
  assert.throws(() => new TapQueue('sixteencharacter', false, nothing), { name: 'RangeError' });
  assert.throws(() => new TapQueue('lo', false, nothing), { code: 'EINVAL', syscall: 'TUNSETIFF' });
  const queue = new TapQueue('t0', true, nothing);
  const second = new TapQueue('t0', true, nothing);
  assert.deepEqual([queue.made, second.made], [true, false]);
  for (const bad of [undefined, 'fe:00:00:00:00:00', new Uint8Array(5), new Uint8Array(7)])
    assert.throws(() => queue.setAddress(bad), { name: 'TypeError' });
  // A group's.
  assert.throws(() => queue.setAddress(Uint8Array.of(1, 0, 0, 0, 0, 1)), { code: 'EADDRNOTAVAIL' });
  queue.close();
  second.close();
  assert.throws(() => queue.setAddress(new Uint8Array(6)), { code: 'EBADF' });
  assert.equal(readdirSync('/proc/self/fd').length, before, 'descriptors are left');
}

function checkChains({ MemoryMap, TapQueue }) {
  const queue = new TapQueue('t%d', false, () => undefined);
  const memory = new Uint8Array(65536);
  const map = new MemoryMap([{ guestAddress: BASE, bytes: memory }]);
  const pairs = Float64Array.of(BASE, 60, BASE + 100, 100);
  const result = new Uint32Array(32);
  const filter = new Uint8Array(522);
  filter[0] = 1;
  const write = (...changed) =>
    queue.write(...Object.assign([map, pairs, Uint32Array.of(0, 2, 4), 0, 2, result], changed));
  const read = (...changed) =>
    queue.read(
      ...Object.assign([map, pairs, Uint32Array.of(0, 2, 4), 0, 2, 8, true, filter, result], changed),
    );
  for (const call of [write, read]) {
    for (const bad of [
      [{}],
      [queue],
      [map, result],
      [map, pairs, pairs],
      [map, pairs, Uint32Array.of(0, 2)],
      [map, pairs, Uint32Array.of(0, 2, 4), 1, 0],
      [map, pairs, Uint32Array.of(0, 2, 4), 0, 3],
      [map, pairs, Uint32Array.of(0, 2, 4), 0xffff_ffff, 0xffff_ffff],
    ])
      assert.throws(() => call(...bad), { name: 'TypeError' });
    for (const ends of [
      [0, 2, 6],
      [0, 3, 4],
      [4, 2, 4],
      [0xffff_fffe, 0, 2],
    ])
      assert.throws(() => call(map, pairs, Uint32Array.from(ends)), { name: 'RangeError' });
  }
  assert.throws(() => write(map, pairs, Uint32Array.of(0, 2, 4), 0, 2, new Uint32Array(1)), {
    name: 'TypeError',
  });
  for (const [at, value] of [
    [5, 'x'],
    [5, 15],
    [6, 1],
    [7, new Uint8Array(521)],
    [8, new Uint32Array(18)],
  ]) {
    const changed = [];
    changed[at] = value;
    assert.throws(() => read(...changed), { name: 'TypeError' });
  }

  // Frames that are no guest memory, or none of the kernel's, are counted and dropped.
  const far = Float64Array.of(BASE - 1, 60, BASE + 65530, 60);
  queue.setUp();
  write(map, far);
  assert.deepEqual([...result.subarray(0, 2)], [2, 2]);
  const many = Float64Array.from({ length: 2 * 1025 }, (_, i) => (i % 2 === 0 ? BASE : 1));
  write(map, many, Uint32Array.of(0, many.length), 0, 1);
  assert.deepEqual([...result.subarray(0, 2)], [1, 1]);
  assert.throws(() => read(map, far), { code: 'EFAULT' });

  // A chain of more pieces than a call takes has room for nothing.
  const { ends, end } = { ends: Uint32Array.of(0, many.length), end: 1 };
  assert.equal(read(map, many, ends, 0, end, 8, false) >= 0, true);
  assert.equal(memory[0], 0);

  assert.equal(queue.mtu(), 1500);
  queue.close();
  queue.close();
  const isClosed = (error) => error.code === 'EBADF' && error.errno === 9;
  assert.throws(() => write(), isClosed);
  assert.throws(() => read(), isClosed);
  assert.throws(() => queue.setOffload(0), isClosed);
  assert.throws(() => queue.setCarrier(true), isClosed);
  assert.throws(() => queue.setPersistent(false), isClosed);
  assert.throws(() => queue.setEnabled(false), isClosed);
}

/** What is asked of the interface by its name is not asked of another that has that name now. */
function checkName({ TapQueue }) {
  const first = new TapQueue('same', false, () => undefined);
  first.close();
  const second = new TapQueue('same', false, () => undefined);
  assert.throws(() => first.mtu(), { code: 'EBADF' });
  assert.throws(() => first.setUp(), { code: 'EBADF' });
  second.close();
}

/** Frames of the kernel's own arrive when the interface goes up. */
async function closeInCallback({ TapQueue }) {
  // A tap does not keep the event loop alive.
  const timer = setInterval(() => undefined, 1000);
  await new Promise((resolve) => {
    let queue = new TapQueue('c%d', false, () => {
      queue?.close();
      queue = undefined;
      globalThis.gc();
      resolve();
    });
    queue.setUp();
  });
  clearInterval(timer);
}

async function endWorkers(addon) {
  for (let i = 0; i < 3; i++) {
    const worker = new Worker(script, { workerData: addon });
    await new Promise((resolve) => worker.once('message', resolve));
    await worker.terminate();
  }
}

if (!isMainThread) {
  const { TapQueue } = createRequire(script)(workerData);
  const queues = Array.from({ length: 4 }, () => new TapQueue('w%d', true, () => undefined));
  parentPort.postMessage(queues.length);
  for (;;) Math.random();
} else if (process.argv[1] === script) {
  const [addon] = process.argv.slice(2);
  const native = createRequire(script)(addon);
  checkConstructor(native);
  checkChains(native);
  checkName(native);
  await closeInCallback(native);
  await endWorkers(addon);
  assert.deepEqual(
    // Of this network namespace; /sys may be mounted for another.
    readFileSync('/proc/self/net/dev', 'utf8').match(/^ *[ctw]\d+:/gm),
    null,
  );
}
