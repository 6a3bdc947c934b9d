// A process that ends while the addon is at work: node block-child.mjs ADDON NAME. Its own exit code is 7.
import { createRequire } from 'node:module';
import { clearInterval, setInterval } from 'node:timers';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { fileURLToPath } from 'node:url';
import { ENGINE_ONLY, Rig } from './block-cases.mjs';

const [addon, name] = isMainThread ? process.argv.slice(2) : workerData;
const native = createRequire(import.meta.url)(addon);
const BASE = 0x4000_0000;

/** A rig with as much in flight as fits, by one engine, and what else there is to be ended. */
function busy(engine) {
  const rig = new Rig(native, { engine, flags: ENGINE_ONLY, bytes: new Uint8Array(16 << 20) });
  for (let i = 0; i < 200; i++) rig.submit([false, i * 4096, [BASE, 65536]], [true, i * 4096, [BASE, 65536]]);
  rig.file.sync();
  // Neither keeps the process alive, and nobody closes them.
  new native.PtyMaster(() => undefined);
  void native.fs.syncfs(native.fs.openRoot('/proc'));
  return rig;
}

const endings = {
  exit() {
    busy('io_uring');
    busy('threads');
    process.exit(7);
  },
  uncaught() {
    busy('io_uring');
    busy('threads');
    process.on('exit', () => (process.exitCode = 7));
    throw new Error('uncaught');
  },
  'exit-in-callback'() {
    const rig = busy('threads');
    rig.collect = () => process.exit(7);
  },
  'uncaught-in-callback'() {
    const rig = busy('io_uring');
    process.on('uncaughtException', () => process.exit(7));
    rig.collect = () => {
      throw new Error('in the callback');
    };
  },
  collected() {
    busy('io_uring');
    busy('threads');
    const timer = setInterval(() => globalThis.gc(), 5);
    setTimeout(() => {
      clearInterval(timer);
      process.exit(7);
    }, 100);
  },
  'end-of-loop'() {
    // What is in flight keeps the process alive until it is done.
    const rig = busy('io_uring');
    let left = 401;
    rig.collect = () => {
      const out = new Int32Array(64);
      for (let count = rig.file.take(out); count > 0; count = rig.file.take(out)) left -= count;
    };
    process.on('exit', () => (process.exitCode = left === 0 ? 7 : 3));
  },
  'worker-terminate'() {
    const worker = new Worker(fileURLToPath(import.meta.url), { workerData: [addon, 'in-worker'] });
    worker.on('message', () => {
      void worker.terminate().then(() => setTimeout(() => process.exit(7), 50));
    });
  },
  'worker-ends'() {
    const worker = new Worker(fileURLToPath(import.meta.url), { workerData: [addon, 'in-worker-exit'] });
    worker.on('exit', () => setTimeout(() => process.exit(7), 50));
  },
  async 'worker-terminate-in-exceptions'() {
    for (let i = 0; i < 5; i++) {
      const worker = new Worker(fileURLToPath(import.meta.url), {
        workerData: [addon, 'in-worker-exceptions'],
      });
      await new Promise((resolve) => worker.once('message', resolve));
      await worker.terminate();
    }
    process.exit(7);
  },
  'in-worker'() {
    busy('io_uring');
    busy('threads');
    parentPort.postMessage('busy');
    for (;;) Math.random();
  },
  'in-worker-exceptions'() {
    const file = new native.BlockFile(0, 'threads', () => undefined);
    file.close();
    parentPort.postMessage('busy');
    for (;;) {
      try {
        file.sync();
      } catch {
        // Again.
      }
    }
  },
  'in-worker-exit'() {
    busy('io_uring');
    busy('threads');
    process.exit(0);
  },
};

endings[name]();
