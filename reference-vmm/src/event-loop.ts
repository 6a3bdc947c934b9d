import type { ExitAction, VcpuExit } from '@vmm/hypervisor';
import type { Bus } from '@vmm/vm-device';

/** How the vCPUs came to an end. */
export type VcpuEnd =
  | { readonly kind: 'shutdown' }
  | { readonly kind: 'reset' }
  | { readonly kind: 'failed'; readonly message: string };

/** Answers the exits of all vCPUs, on the thread that owns the machine. */
export class EventLoop {
  readonly #mmio: Bus;
  readonly #onEnd: (end: VcpuEnd) => void;

  constructor(mmio: Bus, onEnd: (end: VcpuEnd) => void) {
    this.#mmio = mmio;
    this.#onEnd = onEnd;
  }

  readonly handle = (exit: VcpuExit): ExitAction => {
    switch (exit.reason) {
      case 'mmio':
        if (exit.write) {
          this.#mmio.write(exit.address, exit.length, exit.value, exit.valueHigh);
        } else {
          exit.value = this.#mmio.read(exit.address, exit.length);
          exit.valueHigh = this.#mmio.readHigh;
        }
        return 'resume';
      case 'systemEvent':
        this.#onEnd({ kind: exit.event });
        return 'stop';
      case 'internalError':
        this.#onEnd({ kind: 'failed', message: exit.message });
        return 'stop';
      case 'io':
        this.#onEnd({
          kind: 'failed',
          message: `port I/O at 0x${exit.port.toString(16)} on a machine without ports`,
        });
        return 'stop';
      case 'shutdown':
        this.#onEnd({ kind: 'reset' });
        return 'stop';
      case 'eoi':
      case 'halt':
      case 'interrupted':
        return 'resume';
    }
  };
}
