import type { GuestMemory } from '@vmm/vm-memory';
import { DescriptorChain } from './chain.ts';
import type { FullConfig } from './config.ts';
import { VirtioQueueError, type VirtioQueueErrorCode } from './errors.ts';
import type { Queue, QueueState } from './queue.ts';

/** Largest value of a le32. */
const MAX_UINT32 = 0xffff_ffff;

/** Instead of a length: the device is not done with the chain. */
const NOT_KEPT = -1;

/**
 * What both ring formats have in common: which chains are out, in which order they go back to the driver, and
 * that the first error stays.
 *
 * Fields of rings have values of their types from the start, or get them in the constructor only (`declare`): the
 * optimiser checks those at every use that were undefined once.
 */
export abstract class Ring implements Queue {
  abstract readonly format: 'split' | 'packed';
  readonly size: number = 0;
  declare readonly memory: GuestMemory;
  declare protected readonly config: FullConfig;
  protected error: VirtioQueueError | undefined;
  /** Chains popped, modulo 2^16. */
  protected sequence = 0;
  /** Chain objects that the device does not have. The last put back is apart, which costs less than an array. */
  #atHand: DescriptorChain | undefined;
  readonly #spare: DescriptorChain[] = [];
  /** Ring entries used and not visible to the driver, in the unit of the format. */
  #unpublished = 0;
  /** Ring entries that became visible since needsInterrupt() was last asked. */
  #unsignalled = 0;
  #deferring = false;
  /** By head: entries of the ring that its chain takes while the driver does not have it back, otherwise 0. */
  readonly #entries: Uint16Array = new Uint16Array(0);
  /** Heads by the number of their pop, modulo a power of 2 that is not less than the size. */
  readonly #popped: Uint16Array = new Uint16Array(0);
  readonly #poppedMask: number = 0;
  #mustSignal = false;
  readonly #inOrder: boolean = false;
  /** IN_ORDER: the pop whose chain is the next one for the driver. */
  #oldest = 0;
  /** IN_ORDER: by head, the bytes written to a chain that is kept until those before it are used. */
  readonly #keptLengths: Float64Array = new Float64Array(0);

  protected constructor(memory: GuestMemory, config: FullConfig, sequence: number, mustSignal: boolean) {
    const { size } = config;
    this.memory = memory;
    this.size = size;
    this.config = config;
    this.sequence = sequence;
    this.#entries = new Uint16Array(size);
    this.#popped = new Uint16Array(2 ** Math.ceil(Math.log2(size)));
    this.#poppedMask = this.#popped.length - 1;
    this.#mustSignal = mustSignal;
    this.#inOrder = config.inOrder;
    this.#oldest = sequence;
    this.#keptLengths = new Float64Array(config.inOrder ? size : 0).fill(NOT_KEPT);
  }

  abstract pop(): DescriptorChain | null;
  abstract disableNotifications(): void;
  abstract enableNotifications(): boolean;

  undoPop(chain: DescriptorChain): void {
    if (this.error !== undefined) return;
    const { head } = chain;
    const previous = (this.sequence - 1) & 0xffff;
    if (chain.holder !== this || this.#popped[previous & this.#poppedMask] !== head) {
      throw new VirtioQueueError('CHAIN_NOT_OUT', `chain ${head} is not the one popped last`);
    }
    if (this.memory.dirty !== undefined) chain.markWritten();
    this.sequence = previous;
    this.takeBack(this.#entries[head]!);
    this.#entries[head] = 0;
    this.put(chain);
  }

  addUsed(chain: DescriptorChain, bytesWritten: number): void {
    if (this.error !== undefined) return;
    if (chain.holder !== this) throw notOut(chain);
    if (!(Number.isInteger(bytesWritten) && bytesWritten >= 0 && bytesWritten <= chain.writableBytes)) {
      throw noLength(chain, bytesWritten);
    }
    const { head } = chain;
    if (this.memory.dirty !== undefined) chain.markWritten();
    this.put(chain);
    // 2^32 does not fit; the field may be too small but not too large (§2.7.8.2).
    const length = bytesWritten > MAX_UINT32 ? MAX_UINT32 : bytesWritten;
    if (this.#inOrder) {
      this.#finish(head, length);
    } else {
      const entries = this.#entries[head]!;
      this.#entries[head] = 0;
      this.writeUsed(head, length, entries, this.#deferring);
      if (this.#deferring) this.#unpublished += entries;
      else this.#unsignalled += entries;
    }
  }

  deferUsed(): void {
    this.#deferring = true;
  }

  publishUsed(): void {
    this.#deferring = false;
    if (this.error === undefined) this.#publish();
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
    if (this.#unpublished > 0 || this.#entries.some((entries) => entries > 0)) {
      throw new VirtioQueueError('CHAINS_OUT', 'chains are out, or used and not published');
    }
    const next = this.position();
    return { version: 1, format: this.format, config: { ...this.config }, nextAvail: next, nextUsed: next };
  }

  /** Where the ring goes on, in the form of a saved state. */
  protected abstract position(): number;
  /** Whether the driver wants an interrupt for the last `count`, more than 0, entries used. */
  protected abstract wantsInterrupt(count: number): boolean;
  /**
   * Tells the driver that the device is done with a chain.
   *
   * @param entries what the chain took
   * @param hide whether the driver must not see it before {@link showUsed}
   */
  protected abstract writeUsed(head: number, length: number, entries: number, hide: boolean): void;
  /** Lets the driver see everything that was hidden. */
  protected abstract showUsed(): void;
  /** Moves the position back by the entries of the chain that was popped last. */
  protected abstract takeBack(entries: number): void;

  protected isFree(head: number): boolean {
    return this.#entries[head] === 0;
  }

  /** An empty chain object. */
  protected take(): DescriptorChain {
    const chain = this.#atHand;
    if (chain === undefined) return this.#spare.pop() ?? new DescriptorChain(this.memory);
    this.#atHand = undefined;
    return chain;
  }

  /** Takes a chain object back, which {@link take} gave. */
  protected put(chain: DescriptorChain): void {
    chain.holder = undefined;
    chain.clear();
    if (this.#atHand !== undefined) this.#spare.push(this.#atHand);
    this.#atHand = chain;
  }

  /** Notes that the device has the chain `head`, which takes so many entries of the ring. */
  protected give(chain: DescriptorChain, head: number, entries: number): void {
    const { sequence } = this;
    chain.identify(head);
    chain.holder = this;
    this.#entries[head] = entries;
    this.#popped[sequence & this.#poppedMask] = head;
    this.sequence = (sequence + 1) & 0xffff;
  }

  protected fail(code: VirtioQueueErrorCode, message: string): VirtioQueueError {
    this.error = new VirtioQueueError(code, message);
    return this.error;
  }

  /** Lets the driver have the chain and those kept that were popped next after it, if it is its turn. */
  #finish(head: number, length: number): void {
    this.#keptLengths[head] = length;
    let next = this.#popped[this.#oldest & this.#poppedMask]!;
    if (next !== head) return;
    do {
      const entries = this.#entries[next]!;
      this.#entries[next] = 0;
      this.writeUsed(next, this.#keptLengths[next]!, entries, true);
      this.#unpublished += entries;
      this.#keptLengths[next] = NOT_KEPT;
      this.#oldest = (this.#oldest + 1) & 0xffff;
      next = this.#popped[this.#oldest & this.#poppedMask]!;
    } while (this.#oldest !== this.sequence && this.#keptLengths[next] !== NOT_KEPT);
    if (!this.#deferring) this.#publish();
  }

  #publish(): void {
    if (this.#unpublished === 0) return;
    this.showUsed();
    this.#unsignalled += this.#unpublished;
    this.#unpublished = 0;
  }
}

function notOut(chain: DescriptorChain): VirtioQueueError {
  return new VirtioQueueError('CHAIN_NOT_OUT', `chain ${chain.head} is not out`);
}

function noLength(chain: DescriptorChain, bytesWritten: number): VirtioQueueError {
  return new VirtioQueueError(
    'INVALID_ARGUMENT',
    `${bytesWritten} bytes written to chain ${chain.head}, which has ${chain.writableBytes}`,
  );
}
