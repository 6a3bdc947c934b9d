import { GuestMemory } from '@vmm/vm-memory';
import type { MockVirtioDriver, CreateDriverOptions } from '../src/mock/index.ts';
import { createDriver } from '../src/mock/index.ts';
import type { Subject } from './hostile-subjects.ts';

export const QUEUE_SIZE = 8;
export const BASE = 0x8000_0000;
export const REGION: number = 512 * 1024;
/** Bytes before and after guest memory in the same buffer, which nobody may write. */
const GUARD = 4096;
const GUARD_BYTE = 0x5a;
const GUARD_BYTES = new Uint8Array(GUARD).fill(GUARD_BYTE);
/** Turns of the event loop after which a device that still asks for another is said to be stuck. */
const TURNS = 100_000;

/** A device, a driver for it, and the turns of the event loop in the test's hands. */
export class Battle {
  readonly subject: Subject;
  readonly driver: MockVirtioDriver;
  readonly #host = new Uint8Array(REGION + 2 * GUARD).fill(GUARD_BYTE);
  readonly #tasks: (() => void)[] = [];

  constructor(make: () => Subject, how: CreateDriverOptions) {
    this.subject = make();
    const bytes = this.#host.subarray(GUARD, GUARD + REGION).fill(0);
    this.driver = createDriver(this.subject.device, {
      queueSize: QUEUE_SIZE,
      memory: new GuestMemory([{ guestAddress: BASE, bytes }]),
      ...how,
      transportOptions: { defer: (task) => this.#tasks.push(task) },
    });
  }

  /** Tasks that were put off. */
  get tasks(): number {
    return this.#tasks.length;
  }

  /** A copy of guest memory. */
  snapshot(): Uint8Array {
    return this.#host.slice(GUARD, GUARD + REGION);
  }

  /** Lets the device do what it put off. Every turn stands for more chains that were made available. */
  async settle(): Promise<void> {
    for (let turn = 0; this.#tasks.length > 0; turn++) {
      expect(turn).toBeLessThan(TURNS);
      this.#tasks.shift()!();
    }
    for (let i = 0; i < 20; i++) await Promise.resolve();
    if (this.#tasks.length > 0) await this.settle();
  }

  /** Whether nothing outside guest memory was written, and a new driver finds a device that works. */
  async worksAfterReset(): Promise<boolean> {
    const { driver, subject } = this;
    driver.start();
    expect(driver.needsReset).toBe(false);
    subject.request(driver);
    driver.kick(subject.queue);
    await this.settle();
    return subject.answered(driver) && this.guardsAreIntact();
  }

  guardsAreIntact(): boolean {
    const ends = [this.#host.subarray(0, GUARD), this.#host.subarray(GUARD + REGION)];
    return ends.every((end) => Buffer.compare(end, GUARD_BYTES) === 0);
  }
}
