import type { GuestMemory } from '@vmm/vm-memory';
import type { DescriptorChain } from './chain.ts';
import type { FullConfig } from './config.ts';
import { VirtioQueueError, type VirtioQueueErrorCode } from './errors.ts';
import type { Queue, QueueState } from './queue.ts';

/** Largest value of a le32. */
const MAX_UINT32 = 0xffff_ffff;

/** What a head is to the queue. `KEPT`: the device is done, and IN_ORDER does not let the driver know yet. */
const FREE = 0;
const OUT = 1;
const KEPT = 2;

/**
 * What both ring formats have in common: which chains are out, in which order they go back to the driver, and
 * that the first error stays.
 */
export abstract class Ring implements Queue {
  abstract readonly format: 'split' | 'packed';
  readonly size: number;
  readonly memory: GuestMemory;
  protected readonly config: FullConfig;
  protected error: VirtioQueueError | undefined;
  /** By head; of a head that is not out, whatever was there last. */
  protected readonly chains: (DescriptorChain | undefined)[];
  /** Chains popped, modulo 2^16. */
  protected sequence: number;
  /** Ring entries used and not published, in the unit of the format. */
  protected unpublished = 0;
  /** Ring entries published since needsInterrupt() was last asked. */
  #unsignalled = 0;
  #deferring = false;
  readonly #states: Uint8Array;
  #outCount = 0;
  /** Heads by the number of their pop, modulo a power of 2 that is not less than the size. */
  readonly #popped: Uint16Array;
  readonly #poppedMask: number;
  #mustSignal: boolean;
  /** IN_ORDER: the pop whose chain is the next one for the driver. */
  #oldest: number;
  /** IN_ORDER: by head, the bytes written to a chain that is kept. */
  readonly #keptLengths: Float64Array;

  protected constructor(memory: GuestMemory, config: FullConfig, sequence: number, mustSignal: boolean) {
    const { size } = config;
    this.memory = memory;
    this.size = size;
    this.config = config;
    this.sequence = sequence;
    this.chains = Array.from({ length: size }, () => undefined);
    this.#states = new Uint8Array(size);
    this.#popped = new Uint16Array(2 ** Math.ceil(Math.log2(size)));
    this.#poppedMask = this.#popped.length - 1;
    this.#mustSignal = mustSignal;
    this.#oldest = sequence;
    this.#keptLengths = new Float64Array(config.inOrder ? size : 0);
  }

  abstract pop(): DescriptorChain | null;
  abstract disableNotifications(): void;
  abstract enableNotifications(): boolean;

  undoPop(chain: DescriptorChain): void {
    if (this.error !== undefined) return;
    const { head } = chain;
    const previous = (this.sequence - 1) & 0xffff;
    if (!this.#isOut(chain) || this.#popped[previous & this.#poppedMask] !== head) {
      throw new VirtioQueueError('CHAIN_NOT_OUT', `chain ${head} is not the one popped last`);
    }
    if (this.memory.dirty !== undefined) chain.markWritten();
    chain.clear();
    this.#states[head] = FREE;
    this.#outCount--;
    this.sequence = previous;
    this.takeBack(chain);
  }

  addUsed(chain: DescriptorChain, bytesWritten: number): void {
    if (this.error !== undefined) return;
    const { head } = chain;
    if (!this.#isOut(chain)) throw new VirtioQueueError('CHAIN_NOT_OUT', `chain ${head} is not out`);
    if (!(Number.isInteger(bytesWritten) && bytesWritten >= 0 && bytesWritten <= chain.writableBytes)) {
      throw new VirtioQueueError(
        'INVALID_ARGUMENT',
        `${bytesWritten} bytes written to chain ${head}, which has ${chain.writableBytes}`,
      );
    }
    if (this.memory.dirty !== undefined) chain.markWritten();
    chain.clear();
    this.release(chain);
    // 2^32 does not fit; the field may be too small but not too large (§2.7.8.2).
    const length = Math.min(bytesWritten, MAX_UINT32);
    if (this.config.inOrder) {
      this.#finish(head, length);
    } else {
      this.#states[head] = FREE;
      this.#outCount--;
      this.writeUsed(head, length, this.#deferring);
      if (!this.#deferring) this.#publish();
    }
  }

  deferUsed(): void {
    this.#deferring = true;
  }

  publishUsed(): void {
    this.#deferring = false;
    if (this.error === undefined && this.unpublished > 0) this.#publish();
  }

  needsInterrupt(): boolean {
    if (this.error !== undefined) return false;
    const count = this.#unsignalled;
    this.#unsignalled = 0;
    if (this.#mustSignal) {
      this.#mustSignal = false;
      return true;
    }
    return count > 0 && this.wantsInterrupt(count);
  }

  save(): QueueState {
    if (this.#outCount > 0 || this.unpublished > 0) {
      throw new VirtioQueueError('CHAINS_OUT', `${this.#outCount} chains are out, or some not published`);
    }
    const next = this.position();
    return { version: 1, format: this.format, config: { ...this.config }, nextAvail: next, nextUsed: next };
  }

  /** Where the ring goes on, in the form of a saved state. */
  protected abstract position(): number;
  /** Whether the driver wants an interrupt for the last `count`, more than 0, entries used. */
  protected abstract wantsInterrupt(count: number): boolean;
  /**
   * Writes that the device is done with a chain, and counts it in {@link unpublished}.
   *
   * @param hide whether the driver must not see it before {@link showUsed}
   */
  protected abstract writeUsed(head: number, length: number, hide: boolean): void;
  /** Lets the driver see everything written. */
  protected abstract showUsed(): void;
  /** Moves the position back by the chain, which was popped last and is cleared. */
  protected abstract takeBack(chain: DescriptorChain): void;
  /** The device is done with the object, which is cleared. */
  protected abstract release(chain: DescriptorChain): void;

  protected isFree(head: number): boolean {
    return this.#states[head] === FREE;
  }

  /** Notes that the device has the chain `head`. */
  protected give(chain: DescriptorChain, head: number): void {
    const { sequence } = this;
    this.chains[head] = chain;
    this.#states[head] = OUT;
    this.#popped[sequence & this.#poppedMask] = head;
    this.sequence = (sequence + 1) & 0xffff;
    this.#outCount++;
  }

  protected fail(code: VirtioQueueErrorCode, message: string): VirtioQueueError {
    this.error = new VirtioQueueError(code, message);
    return this.error;
  }

  /** Lets the driver have the chain and those kept that were popped next after it, if it is its turn. */
  #finish(head: number, length: number): void {
    this.#states[head] = KEPT;
    this.#keptLengths[head] = length;
    let next = this.#popped[this.#oldest & this.#poppedMask]!;
    if (next !== head) return;
    do {
      this.#states[next] = FREE;
      this.#outCount--;
      this.writeUsed(next, this.#keptLengths[next]!, this.#deferring);
      this.#oldest = (this.#oldest + 1) & 0xffff;
      next = this.#popped[this.#oldest & this.#poppedMask]!;
    } while (this.#oldest !== this.sequence && this.#states[next] === KEPT);
    if (!this.#deferring) this.#publish();
  }

  #publish(): void {
    this.showUsed();
    this.#unsignalled += this.unpublished;
    this.unpublished = 0;
  }

  #isOut(chain: DescriptorChain): boolean {
    const { head } = chain;
    return this.chains[head] === chain && this.#states[head] === OUT;
  }
}
