import type { ActivateContext, VirtioDevice } from '../device.ts';
import { drainQueue } from '../drain.ts';
import { FeatureSet } from '../features.ts';

/** A device that records what its transport does with it; gives every buffer back empty. */
export class MockDevice implements VirtioDevice {
  readonly type: number = 42;
  readonly name: string = 'mock';
  readonly features: FeatureSet;
  readonly queueSizes: readonly number[];
  readonly config: Uint8Array = Uint8Array.from({ length: 16 }, (_, index) => index + 1);
  configGeneration = 7;
  /** Names of the methods called, in order, with their arguments. */
  readonly calls: string[] = [];
  context: ActivateContext | undefined;
  /** Methods that throw. */
  readonly failing: Set<string> = new Set();

  constructor(options: { readonly features?: FeatureSet; readonly queueSizes?: readonly number[] } = {}) {
    this.features = options.features ?? FeatureSet.of(0, 5);
    this.queueSizes = options.queueSizes ?? [16, 32];
  }

  configRead(offset: number, length: 1 | 2 | 4): number {
    this.#called('configRead', offset, length);
    let value = 0;
    for (let i = length - 1; i >= 0; i--) value = value * 256 + (this.config[offset + i] ?? 0);
    return value;
  }

  configWrite(offset: number, length: 1 | 2 | 4, value: number): void {
    this.#called('configWrite', offset, length, value);
  }

  activate(context: ActivateContext): void {
    this.context = context;
    this.#called('activate');
  }

  notify(queueIndex: number): void {
    this.#called('notify', queueIndex);
    if (this.context !== undefined) drainQueue(this.context, queueIndex, () => 0);
  }

  reset(): void {
    this.context = undefined;
    this.#called('reset');
  }

  queueReset(queueIndex: number): void {
    this.#called('queueReset', queueIndex);
  }

  pause(): void {
    this.#called('pause');
  }

  resume(): void {
    this.#called('resume');
  }

  save(): unknown {
    return { version: 1, answer: 42 };
  }

  restore(state: unknown): void {
    this.#called('restore', state);
  }

  /** The calls since the last time. */
  take(): string[] {
    return this.calls.splice(0);
  }

  #called(method: string, ...args: readonly unknown[]): void {
    this.calls.push([method, ...args.map((arg) => JSON.stringify(arg))].join(' '));
    if (this.failing.has(method)) throw new Error(`${method} failed`);
  }
}
