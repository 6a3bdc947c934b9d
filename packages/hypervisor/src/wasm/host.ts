import type { DiscardBytes } from '../discard.ts';
import type { MapFileBytes } from '../memory-file.ts';
import type { VcpuThreadConfig } from './thread.ts';

/** A running vCPU thread. */
export interface VcpuThread {
  /** Resolves when the thread has ended by itself or by `terminate`; rejects when it failed. */
  readonly ended: Promise<void>;
  /** Ends the thread wherever it is. */
  terminate(): void;
}

/**
 * What the software hypervisor needs from its surroundings. `node/host.ts` is the one for Node.js; a browser
 * supplies the bytes by `fetch` and threads by `Worker`, which it can on a cross-origin isolated page.
 */
export interface EngineHost {
  /** The compiled engine, `dist/wasm/engine.wasm` of this package. */
  loadEngine(): Promise<Uint8Array>;

  /** Milliseconds of a monotonic clock that all threads share, with an origin of the host's choice. */
  readonly now: () => number;

  /** Calls back from the event loop, after whatever waits there already. */
  defer(callback: () => void): void;

  /** Threads that the machine runs at the same time. */
  readonly parallelism: number;

  /**
   * Starts a thread that calls `runVcpuThread(config, now)` and then ends, where `now` reads the clock of
   * {@link EngineHost.now}. The thread keeps the program alive until it has ended.
   */
  startThread(config: VcpuThreadConfig): VcpuThread;

  /**
   * Gives pages of the engine's memory back to the operating system, so that they read as zero. Absent where JavaScript
   * alone cannot.
   */
  readonly discard?: DiscardBytes | undefined;

  /**
   * Gives a part of the engine's memory the contents of a file. Throws what the system says. Absent where there are no
   * files.
   */
  readonly mapFile?: MapFileBytes | undefined;
}
