import type { ExitAction, VcpuExit } from '@vmm/hypervisor';
import { ExitCounter } from './exit-statistics.ts';
import type { Machine } from './machine/machine.ts';

/** How the vCPUs came to an end. */
export type VcpuEnd =
  | { readonly kind: 'shutdown' }
  | { readonly kind: 'reset' }
  | { readonly kind: 'failed'; readonly message: string };

/** What of a machine exits concern. */
export type ExitTargets = Pick<Machine, 'mmio' | 'ports' | 'onPower' | 'endOfInterrupt'>;

/** Answers the exits of all vCPUs, on the thread that owns the machine. */
export class EventLoop {
  readonly exits: ExitCounter = new ExitCounter();
  readonly #machine: ExitTargets;
  readonly #onEnd: (end: VcpuEnd) => void;
  #ended = false;

  constructor(machine: ExitTargets, onEnd: (end: VcpuEnd) => void) {
    this.#machine = machine;
    this.#onEnd = onEnd;
    machine.onPower = (request) => this.#end({ kind: request });
  }

  readonly handle = (exit: VcpuExit): ExitAction => {
    this.exits.count(exit);
    switch (exit.reason) {
      case 'mmio': {
        const { mmio } = this.#machine;
        if (exit.write) {
          mmio.write(exit.address, exit.length, exit.value, exit.valueHigh);
        } else {
          exit.value = mmio.read(exit.address, exit.length);
          exit.valueHigh = mmio.readHigh;
        }
        break;
      }
      case 'io': {
        const { ports } = this.#machine;
        if (exit.write) ports?.write(exit.port, exit.length, exit.value);
        else exit.value = ports?.read(exit.port, exit.length) ?? 0;
        break;
      }
      case 'eoi':
        this.#machine.endOfInterrupt(exit.vector);
        break;
      case 'systemEvent':
        this.#end({ kind: exit.event });
        break;
      case 'shutdown':
        this.#end({ kind: 'reset' });
        break;
      case 'internalError':
        this.#end({ kind: 'failed', message: exit.message });
        break;
      case 'halt':
      case 'interrupted':
        break;
    }
    return this.#ended ? 'stop' : 'resume';
  };

  #end(end: VcpuEnd): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#onEnd(end);
  }
}
