import type { MsiController, MsiInterrupt } from '../device.ts';
import { VmDeviceError } from '../errors.ts';
import { PCI_MSIX_ENTRY_SIZE, PCI_MSIX_MAX_VECTORS } from './registers.ts';

/** Plain state of a {@link PciMsix}. */
export interface PciMsixState {
  /** Four words for each vector, as the guest sees them. */
  readonly table: readonly number[];
  /** The Pending Bit Array, in words. */
  readonly pending: readonly number[];
}

/** Counts of a {@link PciMsix} since it was made. */
export interface PciMsixStatistics {
  /** Messages sent. */
  readonly sent: number;
  /** Interrupts that met a mask and became pending. */
  readonly masked: number;
  /** Interrupts that the machine had no means to deliver. */
  readonly dropped: number;
}

const WORDS = PCI_MSIX_ENTRY_SIZE / 4;
const VECTOR_CONTROL = 3;
const MASKED = 1;

/** The MSI-X table and Pending Bit Array of a function, PCI Local Bus 3.0 §6.8.2. */
export class PciMsix {
  readonly vectors: number;
  readonly #table: Uint32Array;
  readonly #pending: Uint32Array;
  readonly #interrupts: (MsiInterrupt | undefined)[];
  /** The interrupt has another message than the table. */
  readonly #stale: boolean[];
  #controller: MsiController | undefined;
  #deviceId = 0;
  #enabled = false;
  #functionMasked = false;
  readonly #statistics = { sent: 0, masked: 0, dropped: 0 };

  /** @throws VmDeviceError `INVALID_ARGUMENT` */
  constructor(vectors: number) {
    if (!Number.isInteger(vectors) || vectors < 1 || vectors > PCI_MSIX_MAX_VECTORS) {
      throw new VmDeviceError(
        'INVALID_ARGUMENT',
        `MSI-X has from 1 to ${PCI_MSIX_MAX_VECTORS} vectors, not ${vectors}`,
      );
    }
    this.vectors = vectors;
    this.#table = new Uint32Array(vectors * WORDS);
    this.#pending = new Uint32Array(2 * Math.ceil(vectors / 64));
    this.#interrupts = Array.from({ length: vectors }, () => undefined);
    this.#stale = Array.from({ length: vectors }, () => true);
    this.#maskAll();
  }

  /** Bytes of the table. */
  get tableSize(): number {
    return this.vectors * PCI_MSIX_ENTRY_SIZE;
  }

  /** Bytes of the Pending Bit Array, whole quadwords. */
  get pbaSize(): number {
    return this.#pending.byteLength;
  }

  get enabled(): boolean {
    return this.#enabled;
  }

  get statistics(): PciMsixStatistics {
    return { ...this.#statistics };
  }

  /** Where messages go. */
  attach(controller: MsiController | undefined, deviceId: number): void {
    this.#release();
    this.#controller = controller;
    this.#deviceId = deviceId;
  }

  /** Message Control was written. */
  configure(enabled: boolean, functionMasked: boolean): void {
    if (this.#enabled && !enabled) {
      this.#pending.fill(0);
      for (let vector = 0; vector < this.vectors; vector++) this.#forget(vector);
    }
    this.#enabled = enabled;
    this.#functionMasked = functionMasked;
    this.#sendPending();
  }

  /** Sends the vector's message, or makes it pending while it is masked. Does nothing while MSI-X is disabled. */
  trigger(vector: number): void {
    if (!this.#enabled || !(vector < this.vectors)) return;
    if (this.#isMasked(vector)) {
      this.#statistics.masked++;
      this.#pending[vector >>> 5]! |= 1 << (vector & 31);
      return;
    }
    this.#send(vector);
  }

  /** What made interrupts pending is gone. */
  clearPending(): void {
    this.#pending.fill(0);
  }

  /** @param offset bytes from the start of the table */
  readTable(offset: number, length: 1 | 2 | 4): number {
    return partOf(this.#table[offset >>> 2] ?? 0, offset, length);
  }

  /** Takes aligned words only, §6.8.2. */
  writeTable(offset: number, length: 1 | 2 | 4, value: number): void {
    const word = offset >>> 2;
    if (length !== 4 || (offset & 3) !== 0 || word >= this.#table.length) return;
    const vector = Math.floor(word / WORDS);
    const field = word % WORDS;
    if (field === VECTOR_CONTROL) {
      this.#table[word] = value & MASKED;
      this.#sendIfPending(vector);
      return;
    }
    this.#table[word] = field === 0 ? value & ~3 : value;
    this.#stale[vector] = true;
  }

  /** @param offset bytes from the start of the Pending Bit Array */
  readPba(offset: number, length: 1 | 2 | 4): number {
    return partOf(this.#pending[offset >>> 2] ?? 0, offset, length);
  }

  /** As after power-on: disabled, every vector masked. */
  reset(): void {
    this.configure(false, false);
    this.#pending.fill(0);
    this.#maskAll();
  }

  save(): PciMsixState {
    return { table: [...this.#table], pending: [...this.#pending] };
  }

  /** Whether `state` is one that {@link restore} takes. */
  accepts(state: unknown): state is PciMsixState {
    if (typeof state !== 'object' || state === null || !('table' in state) || !('pending' in state))
      return false;
    return isWords(state.table, this.#table.length) && isWords(state.pending, this.#pending.length);
  }

  /** Call {@link configure} afterwards. */
  restore(state: PciMsixState): void {
    this.#enabled = false;
    for (let word = 0; word < this.#table.length; word++) {
      const value = state.table[word]!;
      const field = word % WORDS;
      this.#table[word] = field === VECTOR_CONTROL ? value & MASKED : field === 0 ? value & ~3 : value;
    }
    this.#stale.fill(true);
    this.#pending.set(state.pending);
    for (let vector = this.vectors; vector < this.#pending.length * 32; vector++) this.#takePending(vector);
  }

  #isMasked(vector: number): boolean {
    return this.#functionMasked || (this.#table[vector * WORDS + VECTOR_CONTROL]! & MASKED) !== 0;
  }

  #sendPending(): void {
    for (let word = 0; word < this.#pending.length; word++) {
      if (this.#pending[word] === 0) continue;
      for (let bit = 0; bit < 32; bit++) this.#sendIfPending(word * 32 + bit);
    }
  }

  #sendIfPending(vector: number): void {
    if (this.#enabled && vector < this.vectors && !this.#isMasked(vector) && this.#takePending(vector)) {
      this.#send(vector);
    }
  }

  #takePending(vector: number): boolean {
    const bit = 1 << (vector & 31);
    const word = vector >>> 5;
    if ((this.#pending[word]! & bit) === 0) return false;
    this.#pending[word]! &= ~bit;
    return true;
  }

  /** Interrupts are made, and told their message, when they are first sent: most vectors of a function never are. */
  #send(vector: number): void {
    try {
      const interrupt = (this.#interrupts[vector] ??= this.#controller?.createMsi(this.#deviceId));
      if (interrupt === undefined) {
        this.#statistics.dropped++;
        return;
      }
      if (this.#stale[vector] === true) {
        const at = vector * WORDS;
        interrupt.setMessage({
          address: this.#table[at]!,
          addressHigh: this.#table[at + 1]!,
          data: this.#table[at + 2]!,
        });
        this.#stale[vector] = false;
      }
      interrupt.trigger();
      this.#statistics.sent++;
    } catch {
      // The machine is out of routes, say: the guest loses an interrupt, and nobody else anything.
      this.#statistics.dropped++;
    }
  }

  #forget(vector: number): void {
    this.#stale[vector] = true;
    try {
      this.#interrupts[vector]?.setMessage(undefined);
    } catch {
      this.#statistics.dropped++;
    }
  }

  #release(): void {
    this.#interrupts.forEach((interrupt, vector) => {
      interrupt?.[Symbol.dispose]();
      this.#interrupts[vector] = undefined;
      this.#stale[vector] = true;
    });
  }

  #maskAll(): void {
    this.#table.fill(0);
    for (let vector = 0; vector < this.vectors; vector++) {
      this.#table[vector * WORDS + VECTOR_CONTROL] = MASKED;
    }
    this.#stale.fill(true);
  }
}

/** The bytes of a word that an access at `offset` of it sees; what lies beyond the word reads as 0. */
function partOf(word: number, offset: number, length: 1 | 2 | 4): number {
  const shifted = word >>> (8 * (offset & 3));
  return length === 4 ? shifted : length === 2 ? shifted & 0xffff : shifted & 0xff;
}

function isWords(value: unknown, length: number): value is readonly number[] {
  if (!Array.isArray(value) || value.length !== length) return false;
  return value.every((word: unknown) => typeof word === 'number' && word === word >>> 0);
}
