import type { DescriptorChain } from '@vmm/virtio-queue';
import type { ActivateContext, VirtioDevice } from '../device.ts';
import { drainQueue, MAX_QUEUE_SIZE } from '../drain.ts';
import { checkOption, VirtioDeviceError } from '../errors.ts';
import { FeatureSet } from '../features.ts';
import { VIRTIO_ID_ENTROPY } from '../virtio.ts';

/** Fills all of `target` with random bytes. */
export type RandomSource = (target: Uint8Array) => void;

export interface VirtioEntropyOptions {
  /** Default: the host's `crypto.getRandomValues`. */
  readonly source?: RandomSource;
  /**
   * Most bytes that one request gets, 1 to 65536; a driver that wants more asks again (VIRTIO 1.3 §5.4.6).
   * Default 4096.
   */
  readonly bytesPerRequest?: number;
  /** Queue Size, a power of two up to 1024. Default 64. */
  readonly queueSize?: number;
}

export interface VirtioEntropyStatistics {
  readonly requests: number;
  readonly bytes: number;
}

/** Entropy device, VIRTIO 1.3 §5.4. It has no state. */
export class VirtioEntropy implements VirtioDevice {
  readonly type: number = VIRTIO_ID_ENTROPY;
  readonly name: string = 'entropy';
  readonly features: FeatureSet = FeatureSet.EMPTY;
  readonly queueSizes: readonly number[];
  readonly #source: RandomSource;
  /** `getRandomValues` takes no view of shared memory, which guest memory may be. */
  readonly #scratch: Uint8Array;
  #context: ActivateContext | undefined;
  #requests = 0;
  #bytes = 0;

  /** @throws VirtioDeviceError `INVALID_OPTION`, also when the host has no `crypto` and no source is given */
  constructor(options: VirtioEntropyOptions = {}) {
    this.queueSizes = [checkOption('queueSize', options.queueSize ?? 64, 1, MAX_QUEUE_SIZE)];
    this.#source = options.source ?? hostRandomSource();
    this.#scratch = new Uint8Array(checkOption('bytesPerRequest', options.bytesPerRequest ?? 4096, 1, 65536));
  }

  get statistics(): VirtioEntropyStatistics {
    return { requests: this.#requests, bytes: this.#bytes };
  }

  activate(context: ActivateContext): void {
    this.#context = context;
  }

  notify(queueIndex: number): void {
    if (this.#context !== undefined) drainQueue(this.#context, queueIndex, this.#fill);
  }

  reset(): void {
    this.#context = undefined;
  }

  queueReset(): void {
    // Nothing is kept between two notifications.
  }

  readonly #fill = (chain: DescriptorChain): number => {
    const length = Math.min(chain.writableBytes, this.#scratch.length);
    const bytes = length === this.#scratch.length ? this.#scratch : this.#scratch.subarray(0, length);
    this.#source(bytes);
    chain.writer.write(bytes);
    // What one guest got must not stay where a later defect could show it to another.
    bytes.fill(0);
    this.#requests++;
    this.#bytes += length;
    return length;
  };
}

/** What the host has for random numbers; not part of ECMAScript. */
interface HostCrypto {
  readonly crypto?: { getRandomValues(target: Uint8Array): unknown };
}

function hostRandomSource(): RandomSource {
  const { crypto } = globalThis as HostCrypto;
  if (crypto === undefined) {
    throw new VirtioDeviceError('INVALID_OPTION', 'this host has no crypto.getRandomValues: give a source');
  }
  return (target) => void crypto.getRandomValues(target);
}
