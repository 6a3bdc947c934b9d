// One way for a process or a worker to end while vCPU threads run; the test looks at the exit code and waits for the end.
// node child.mjs ADDON CASE
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
import { PROGRAMS, THREAD, makeGuest, makeVcpu, untilState } from './guest.mjs';

const [addon, name] = isMainThread ? process.argv.slice(2) : workerData;
const native = createRequire(import.meta.url)(addon);

/** A guest with two running threads; the second one exits again and again. */
function running() {
  const guest = makeGuest(native, PROGRAMS.spins);
  guest.vcpu.start(0);
  const second = makeVcpu(guest.vm, 1);
  guest.memory.set(PROGRAMS.exits, 0x1000);
  second.start(20);
  guest.vm.ref();
  return { ...guest, second };
}

function worker(inside) {
  const thread = new Worker(new URL(import.meta.url), { workerData: [addon, inside] });
  const ready = new Promise((resolve) => thread.once('message', resolve));
  return { thread, ready };
}

async function collect(rounds = 10) {
  for (let round = 0; round < rounds; round++) {
    globalThis.gc();
    await sleep(1);
  }
}

const CASES = {
  exit: () => {
    running();
    process.exit(7);
  },
  'exit-later': () => {
    running();
    setTimeout(() => process.exit(7), 50);
  },
  uncaught: () => {
    running();
    setTimeout(() => {
      throw new Error('on purpose');
    }, 20);
  },
  'uncaught-in-events': () => {
    const { vm, vcpu } = makeGuest(native, PROGRAMS.exits, () => {
      throw new Error('on purpose');
    });
    vm.ref();
    vcpu.start(0);
  },
  // Once, and the events that were not taken call again.
  'uncaught-and-handled': () => {
    let calls = 0;
    let errors = 0;
    const { vm, vcpu } = makeGuest(native, PROGRAMS.exits, () => {
      if (++calls === 1) throw new Error('on purpose');
      assert.equal(errors, 1);
      vm.close();
      process.exitCode = 7;
    });
    process.once('uncaughtException', () => errors++);
    vm.ref();
    vcpu.start(0);
  },
  unused: async () => {
    const thread = new Worker(new URL(import.meta.url), { workerData: [addon, 'inside-unused'] });
    await new Promise((resolve) => thread.once('exit', resolve));
    process.exitCode = 7;
  },
  'inside-unused': () => undefined,
  // Nothing keeps the loop alive: the process ends by itself.
  'end-of-loop': () => {
    running().vm.unref();
    process.exitCode = 7;
  },
  'worker-terminate': async () => {
    const { thread, ready } = worker('inside-threads');
    await ready;
    await thread.terminate();
    process.exitCode = 7;
  },
  'worker-terminate-in-run': async () => {
    const { thread, ready } = worker('inside-run');
    await ready;
    await sleep(20);
    await thread.terminate();
    process.exitCode = 7;
  },
  'worker-terminate-in-exceptions': async () => {
    for (let count = 0; count < 5; count++) {
      const { thread, ready } = worker('inside-exceptions');
      await ready;
      await thread.terminate();
    }
    process.exitCode = 7;
  },
  'exit-while-worker-in-run': async () => {
    const { ready } = worker('inside-run');
    await ready;
    await sleep(20);
    process.exit(7);
  },
  'worker-ends': async () => {
    const { thread, ready } = worker('inside-end');
    await ready;
    await new Promise((resolve) => thread.once('exit', resolve));
    process.exitCode = 7;
  },
  'inside-threads': () => {
    running();
    parentPort.postMessage('ready');
  },
  'inside-run': () => {
    const { vcpu } = makeGuest(native, PROGRAMS.spins);
    parentPort.postMessage('ready');
    vcpu.run();
  },
  'inside-exceptions': () => {
    const { vm } = makeGuest(native, PROGRAMS.spins);
    vm.close();
    parentPort.postMessage('ready');
    for (;;) assert.throws(() => vm.createVcpu(1));
  },
  'inside-end': () => {
    running().vm.unref();
    parentPort.postMessage('ready');
  },
  // Dropped while its threads run: the collector takes VM, memory and threads away.
  collected: async () => {
    const registry = new FinalizationRegistry(() => gone++);
    let gone = 0;
    for (let count = 0; count < 10; count++) {
      const guest = running();
      guest.vm.unref();
      registry.register(guest.vm, undefined);
    }
    while (gone === 0) await collect(1);
    // The finalizers close the VMs after the registry has told of them, some now, some when the process ends.
    await collect();
    process.exitCode = 7;
  },
  // What keeps a VM alive: one of its vCPUs, and ref().
  kept: async () => {
    const { vcpu } = makeGuest(native, PROGRAMS.exits);
    const weak = (() => new WeakRef(running().vm))();
    await collect();
    assert.equal(vcpu.run(), 0);
    assert.notEqual(weak.deref(), undefined);
    weak.deref().close();
    process.exitCode = 7;
  },
  'double-close': async () => {
    const { vm, vcpu, second, memory } = running();
    vcpu.close();
    vcpu.close();
    vm.close();
    vm.close();
    second.close();
    vm.unref();
    assert.equal(memory.length, 0);
    assert.throws(() => vm.poll(new Int32Array(1)), { code: 'EBADF' });
    await collect();
    process.exitCode = 7;
  },
  'vm-first': async () => {
    const { vm, vcpu, second, memory } = running();
    const page = vcpu.runPage;
    vm.close();
    assert.equal(page.byteLength, 0);
    assert.equal(memory.length, 0);
    for (const closed of [vcpu, second]) {
      assert.throws(() => closed.run(), { code: 'EBADF' });
      assert.throws(() => closed.start(0), { code: 'EBADF' });
      assert.throws(() => closed.kick(), { code: 'EBADF' });
      assert.equal(closed.state(), THREAD.NONE);
      closed.close();
    }
    process.exitCode = 7;
  },
  'close-in-exit': async () => {
    const { vm, second } = running();
    await untilState(second, THREAD.EXIT);
    second.close();
    vm.close();
    process.exitCode = 7;
  },
  'close-in-events': () => {
    const { vm, vcpu } = makeGuest(native, PROGRAMS.exits, () => {
      vcpu.close();
      vm.close();
      process.exitCode = 7;
    });
    vm.ref();
    vcpu.start(0);
  },
};

await CASES[name]();
