import { HypervisorError } from '../errors.ts';
import type { HypervisorDoorbell, ReadShadow } from '../vm.ts';
import type { SharedState } from './shared.ts';
import { checkRange, checkUnsigned, hex } from '../validate.ts';

interface DoorbellEntry {
  readonly address: number;
  readonly length: number;
  readonly match: number | undefined;
  readonly onRing: () => void;
}

interface CoalescedEntry {
  readonly address: number;
  readonly length: number;
  readonly onWrite: (address: number, length: number, value: number) => void;
}

/**
 * Guest accesses that the engine takes without an exit: doorbells, coalesced writes and shadowed reads. Their
 * tables lie in the VM header, where all vCPUs read them at any time; an entry becomes visible by its flags,
 * which are stored last.
 */
export class Ports {
  readonly #shared: SharedState;
  readonly #doorbells: (DoorbellEntry | undefined)[];
  readonly #coalesced: (CoalescedEntry | undefined)[];
  readonly #shadows: (number | undefined)[];

  constructor(shared: SharedState) {
    const { layout } = shared;
    this.#shared = shared;
    this.#doorbells = new Array<undefined>(layout.MAX_DOORBELLS).fill(undefined);
    this.#coalesced = new Array<undefined>(layout.MAX_COALESCED).fill(undefined);
    this.#shadows = new Array<undefined>(layout.MAX_SHADOWS).fill(undefined);
  }

  createDoorbell(
    address: number,
    length: 2 | 4,
    match: number | undefined,
    onRing: () => void,
  ): HypervisorDoorbell {
    checkRange('doorbell', address, length, length);
    if (match !== undefined) checkUnsigned('doorbell value', match, length);
    for (const other of this.#doorbells) {
      if (other?.address === address && other.length === length && other.match === match) {
        throw new HypervisorError(
          'OVERLAP',
          `there is a doorbell at ${hex(address)} for the same value already`,
        );
      }
    }
    const index = freeIndex(this.#doorbells, 'doorbells');
    const { words, layout } = this.#shared;
    const entry = { address, length, match, onRing };
    const base = layout.HEADER + layout.HEADER_DOORBELLS + index * layout.DOORBELL_STRIDE;
    const flags = (base + layout.DOORBELL_FLAGS) / 4;
    this.#shared.writeNumber((base + layout.DOORBELL_ADDRESS) / 4, address);
    words[(base + layout.DOORBELL_LENGTH) / 4] = length;
    words[(base + layout.DOORBELL_MATCH) / 4] = match ?? 0;
    this.#doorbells[index] = entry;
    const hasMatch = match === undefined ? 0 : layout.DOORBELL_HAS_MATCH;
    Atomics.store(words, flags, layout.DOORBELL_ACTIVE | hasMatch);
    return {
      address,
      [Symbol.dispose]: () => {
        if (this.#doorbells[index] !== entry) return;
        Atomics.store(words, flags, 0);
        this.#doorbells[index] = undefined;
      },
    };
  }

  coalesceWrites(address: number, length: number, onWrite: CoalescedEntry['onWrite']): Disposable {
    checkRange('coalesced writes', address, length, 1);
    for (const other of this.#coalesced) {
      if (other !== undefined && address < other.address + other.length && other.address < address + length) {
        throw new HypervisorError(
          'OVERLAP',
          `writes from ${hex(other.address)} to ${hex(other.address + other.length - 1)} are coalesced already`,
        );
      }
    }
    checkUnsigned('length of coalesced writes', length, 4);
    const index = freeIndex(this.#coalesced, 'ranges of coalesced writes');
    const { words, layout } = this.#shared;
    const entry = { address, length, onWrite };
    const base = layout.HEADER + layout.HEADER_COALESCED + index * layout.COALESCED_STRIDE;
    const flags = (base + layout.COALESCED_FLAGS) / 4;
    this.#shared.writeNumber((base + layout.COALESCED_ADDRESS) / 4, address);
    words[(base + layout.COALESCED_LENGTH) / 4] = length;
    this.#coalesced[index] = entry;
    Atomics.store(words, flags, 1);
    return {
      [Symbol.dispose]: () => {
        if (this.#coalesced[index] !== entry) return;
        Atomics.store(words, flags, 0);
        this.#coalesced[index] = undefined;
      },
    };
  }

  shadowRead(address: number, value: number): ReadShadow {
    checkRange('shadowed read', address, 4, 4);
    checkUnsigned('shadowed value', value, 4);
    if (this.#shadows.includes(address)) {
      throw new HypervisorError('OVERLAP', `reads of ${hex(address)} are shadowed already`);
    }
    const index = freeIndex(this.#shadows, 'shadowed reads');
    const { words, layout } = this.#shared;
    const base = layout.HEADER + layout.HEADER_SHADOWS + index * layout.SHADOW_STRIDE;
    const flags = (base + layout.SHADOW_FLAGS) / 4;
    const place = (base + layout.SHADOW_VALUE) / 4;
    this.#shared.writeNumber((base + layout.SHADOW_ADDRESS) / 4, address);
    Atomics.store(words, place, value);
    Atomics.store(words, flags, 1);
    this.#shadows[index] = address;
    let active = true;
    return {
      set: (next) => {
        checkUnsigned('shadowed value', next, 4);
        if (active) Atomics.store(words, place, next);
      },
      [Symbol.dispose]: () => {
        if (!active) return;
        active = false;
        Atomics.store(words, flags, 0);
        this.#shadows[index] = undefined;
      },
    };
  }

  /** Calls back for what the guest did since the last call; true if there was anything. */
  drain(): boolean {
    const rangLow = this.#drainDoorbells(0);
    const rangHigh = this.#drainDoorbells(1);
    const wrote = this.drainWrites();
    return rangLow || rangHigh || wrote;
  }

  #drainDoorbells(half: 0 | 1): boolean {
    const { words, layout } = this.#shared;
    const word = (layout.HEADER + layout.HEADER_DOORBELL_PENDING) / 4 + half;
    if (Atomics.load(words, word) === 0) return false;
    let pending = Atomics.exchange(words, word, 0);
    try {
      while (pending !== 0) {
        const bit = 31 - Math.clz32(pending & -pending);
        pending &= pending - 1;
        this.#doorbells[half * 32 + bit]?.onRing();
      }
    } finally {
      // After a callback that throws, the others are still due.
      if (pending !== 0) Atomics.or(words, word, pending);
    }
    return true;
  }

  /** Delivers coalesced writes in the order in which the guest made them; true if there were any. */
  drainWrites(): boolean {
    const { words, layout } = this.#shared;
    const head = (layout.HEADER + layout.HEADER_COALESCED_HEAD) / 4;
    const tail = (layout.HEADER + layout.HEADER_COALESCED_TAIL) / 4;
    const ring = layout.HEADER + layout.HEADER_COALESCED_RING;
    let any = false;
    for (let count = 0; ; count++) {
      const index = words[tail]!;
      if (index === Atomics.load(words, head)) break;
      if (count === layout.COALESCED_RING_ENTRIES) {
        // A guest that writes for ever must not keep the owner here. The engine wakes the owner only when it finds
        // it to have taken everything, so this one comes back by itself.
        this.#shared.wakeOwner();
        break;
      }
      const entry = (ring + index * layout.COALESCED_RING_STRIDE) / 4;
      const address = this.#shared.readNumber(entry + layout.RING_ADDRESS / 4);
      const length = words[entry + layout.RING_LENGTH / 4]!;
      const value = words[entry + layout.RING_VALUE / 4]! >>> 0;
      // Taken before the callback, which may come back here.
      Atomics.store(words, tail, (index + 1) % layout.COALESCED_RING_ENTRIES);
      any = true;
      this.#findCoalesced(address)?.onWrite(address, length, value);
    }
    return any;
  }

  #findCoalesced(address: number): CoalescedEntry | undefined {
    for (const entry of this.#coalesced) {
      if (entry !== undefined && address >= entry.address && address < entry.address + entry.length)
        return entry;
    }
    return undefined;
  }
}

function freeIndex(entries: readonly unknown[], what: string): number {
  const index = entries.indexOf(undefined);
  if (index < 0)
    throw new HypervisorError('UNSUPPORTED', `all ${entries.length} ${what} of this backend are in use`);
  return index;
}
