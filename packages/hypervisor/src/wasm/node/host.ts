import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { loadNativeKvm } from '../../kvm/load.ts';
import type { NativeKvm } from '../../kvm/native.ts';
import type { EngineHost, VcpuThread } from '../host.ts';
import type { VcpuThreadConfig } from '../thread.ts';
import { createThreadClock } from './clock.ts';
import { readMemoryFile } from './read-file.ts';

// `src/wasm/node` and `dist/wasm/node` are equally deep, so this is right for sources run as they are, too: a worker
// cannot run those, and the engine lies in dist only.
const compiled = new URL('../../../dist/wasm/', import.meta.url);

let host: EngineHost | undefined;

/** The surroundings that Node.js offers; one object for the process, so that the engine is compiled once. */
export function createNodeHost(): EngineHost {
  if (host !== undefined) return host;
  const addon = findAddon();
  host = {
    loadEngine: async () => readFile(new URL('engine.wasm', compiled)),
    now: createThreadClock(),
    defer: (callback) => void setImmediate(callback),
    parallelism: availableParallelism(),
    startThread,
    // JavaScript has no calls for these.
    discard: addon?.discard,
    mapFile: addon?.mapFile ?? readMemoryFile,
  };
  return host;
}

/** The addon, where this platform has it. */
function findAddon(): NativeKvm | undefined {
  try {
    return loadNativeKvm();
  } catch {
    return undefined;
  }
}

function startThread(config: VcpuThreadConfig): VcpuThread {
  const worker = new Worker(new URL('node/vcpu-worker.js', compiled), {
    name: `vcpu-${config.index}`,
    workerData: config,
    // Loaders and flags of the main program are of no use to the worker and would slow its start.
    execArgv: [],
  });
  const ended = new Promise<void>((resolve, reject) => {
    worker.once('error', reject);
    worker.once('exit', () => resolve());
  });
  return { ended, terminate: () => void worker.terminate() };
}
