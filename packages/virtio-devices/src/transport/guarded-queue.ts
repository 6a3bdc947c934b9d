import type { GuestMemory } from '@vmm/vm-memory';
import type { DescriptorChain, Queue, QueueState } from '@vmm/virtio-queue';

/**
 * What a device gets of a queue: the first thing that goes wrong, and the end of the activation, silence it
 * for good. A device that finishes a request later needs no check of its own.
 */
export class GuardedQueue implements Queue {
  readonly format: 'split' | 'packed';
  readonly size: number;
  readonly memory: GuestMemory;
  readonly #index: number;
  readonly #onFault: (index: number, cause: unknown) => void;
  #inner: Queue | undefined;

  constructor(inner: Queue, index: number, onFault: (index: number, cause: unknown) => void) {
    this.#inner = inner;
    this.#index = index;
    this.#onFault = onFault;
    this.format = inner.format;
    this.size = inner.size;
    this.memory = inner.memory;
  }

  /** From now on the queue is empty and swallows what is given back. */
  close(): void {
    this.#inner = undefined;
  }

  get closed(): boolean {
    return this.#inner === undefined;
  }

  pop(): DescriptorChain | null {
    if (this.#inner === undefined) return null;
    try {
      return this.#inner.pop();
    } catch (cause) {
      this.#fault(cause);
      return null;
    }
  }

  undoPop(chain: DescriptorChain): void {
    try {
      this.#inner?.undoPop(chain);
    } catch (cause) {
      this.#fault(cause);
    }
  }

  addUsed(chain: DescriptorChain, bytesWritten: number): void {
    try {
      this.#inner?.addUsed(chain, bytesWritten);
    } catch (cause) {
      this.#fault(cause);
    }
  }

  deferUsed(): void {
    this.#inner?.deferUsed();
  }

  publishUsed(): void {
    this.#inner?.publishUsed();
  }

  needsInterrupt(): boolean {
    return this.#inner?.needsInterrupt() ?? false;
  }

  disableNotifications(): void {
    this.#inner?.disableNotifications();
  }

  enableNotifications(): boolean {
    return this.#inner?.enableNotifications() ?? false;
  }

  /** @throws Error when the queue is closed */
  save(): QueueState {
    if (this.#inner === undefined) throw new Error(`queue ${this.#index} is closed`);
    return this.#inner.save();
  }

  #fault(cause: unknown): void {
    this.close();
    this.#onFault(this.#index, cause);
  }
}
