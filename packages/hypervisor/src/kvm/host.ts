import { constants } from 'node:buffer';
import { availableParallelism } from 'node:os';
import type { NativeKvm } from './native.ts';

/** Most bytes of one external buffer that V8 takes (Node.js 22 and later). */
const LARGEST_BUFFER = 64 * 2 ** 30;

/** What the backend needs of its surroundings. */
export interface KvmHost {
  readonly native: NativeKvm;
  /** Device node of KVM. */
  readonly device: string;
  /** Threads that the machine runs at the same time. */
  readonly parallelism: number;
  /** Bytes of one region at most. */
  readonly maxRegionSize: number;
}

export function nodeKvmHost(native: NativeKvm, device: string): KvmHost {
  return {
    native,
    device,
    parallelism: availableParallelism(),
    // Node.js 20: 4 GiB.
    maxRegionSize: Math.floor(Math.min(constants.MAX_LENGTH, LARGEST_BUFFER) / 4096) * 4096,
  };
}
