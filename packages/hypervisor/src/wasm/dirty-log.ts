import { HypervisorError } from '../errors.ts';
import type { GuestMemoryRegion } from '../vm.ts';
import type { Engine } from './engine.ts';
import type { SharedState } from './shared.ts';

const GUEST_PAGE = 4096;

/**
 * How long vCPUs may take to drop their writable TLB entries, in milliseconds. They look several thousand times a second;
 * only one whose thread was ended in the middle, or a machine without any processor time left, takes so long.
 */
const REVOKE_LIMIT = 10_000;

/** Which pages vCPUs store to: the owner's side of `assembly/dirty-log.ts`. */
export class DirtyLog {
  readonly #shared: SharedState;
  readonly #engine: Engine;
  readonly #now: () => number;
  readonly #flag: number;
  readonly #log: number;

  /** @param now a monotonic clock in milliseconds */
  constructor(shared: SharedState, engine: Engine, now: () => number) {
    const { layout } = shared;
    this.#shared = shared;
    this.#engine = engine;
    this.#now = now;
    this.#flag = (layout.HEADER + layout.HEADER_DIRTY_LOG) / 4;
    this.#log = layout.DIRTY_LOG / 4;
  }

  get on(): boolean {
    return Atomics.load(this.#shared.words, this.#flag) !== 0;
  }

  /** @throws HypervisorError `WRONG_STATE`, `ENGINE_FAULT` */
  start(): void {
    if (this.on) throw new HypervisorError('WRONG_STATE', 'the dirty log is on already');
    const { words, layout } = this.#shared;
    words.fill(0, this.#log, this.#log + layout.DIRTY_LOG_SIZE / 4);
    Atomics.store(words, this.#flag, 1);
    this.#revoke();
  }

  /** TLB entries that are not writable for its sake become so again when they are next stored through. */
  stop(): void {
    Atomics.store(this.#shared.words, this.#flag, 0);
  }

  /**
   * @param offset where the region lies in the engine's memory
   * @throws HypervisorError `WRONG_STATE`, `ENGINE_FAULT`
   */
  take(region: GuestMemoryRegion, offset: number): Uint32Array {
    if (!this.on) throw new HypervisorError('WRONG_STATE', 'the dirty log is off');
    const { words } = this.#shared;
    // No two regions share a word: REGION_ALIGNMENT.
    const first = this.#log + offset / GUEST_PAGE / 32;
    const bits = new Uint32Array(Math.ceil(region.bytes.length / GUEST_PAGE / 32));
    for (let index = 0; index < bits.length; index++) {
      if (Atomics.load(words, first + index) !== 0) bits[index] = Atomics.exchange(words, first + index, 0);
    }
    this.#revoke();
    return bits;
  }

  #revoke(): void {
    this.#engine.revokeWrites();
    if (this.#engine.writesRevoked() !== 0) return;
    const limit = this.#now() + REVOKE_LIMIT;
    while (this.#engine.writesRevoked() === 0) {
      if (this.#now() > limit)
        throw new HypervisorError('ENGINE_FAULT', 'a vCPU does not take part in the dirty log');
    }
  }
}
