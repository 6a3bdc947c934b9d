import type { HypervisorInterrupt } from '../../vm.ts';

/** An interrupt input that is made before KVM can take it, and connected later. */
export class DeferredInterrupt implements HypervisorInterrupt {
  readonly gsi: number;
  readonly #create: () => HypervisorInterrupt;
  #input: HypervisorInterrupt | undefined;
  #triggered = false;
  #disposed = false;

  constructor(gsi: number, create: () => HypervisorInterrupt) {
    this.gsi = gsi;
    this.#create = create;
  }

  connect(): void {
    if (this.#disposed) return;
    this.#input = this.#create();
    if (this.#triggered) this.#input.trigger();
  }

  trigger(): void {
    if (this.#input === undefined) this.#triggered = true;
    else this.#input.trigger();
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#input?.[Symbol.dispose]();
  }
}
