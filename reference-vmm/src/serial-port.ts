import { aarch64 } from '@vmm/arch';
import type { ReadShadow, Vm } from '@vmm/hypervisor';
import type { Bus } from '@vmm/vm-device';
import { Pl011, UARTDR, UARTFR } from '@vmm/vm-superio';
import type { IrqChip } from './irq-chip.ts';

/**
 * The PL011 with what makes its output cheap: characters are stored without an exit, and the flag register,
 * which a driver reads before each, is answered by the hypervisor.
 */
export class SerialPort {
  readonly #uart: Pl011;
  readonly #flags: ReadShadow | undefined;
  #release: () => void = () => undefined;
  #drained: Promise<void> | undefined;

  constructor(vm: Vm, bus: Bus, irqChip: IrqChip, onOutput: (bytes: Uint8Array) => void) {
    const { guestAddress: base, size } = aarch64.PL011;
    const uart = new Pl011({
      interrupt: irqChip.line(aarch64.PL011_INTID, 'level'),
      output: onOutput,
      holdInput: true,
      onDrained: () => this.#release(),
      onFlagsChanged: (value) => this.#flags?.set(value),
    });
    this.#uart = uart;
    this.#flags = vm.shadowRead(base + UARTFR, uart.flags);
    vm.coalesceWrites(base + UARTDR, 4, (_address, length, value) => {
      if (length === 1 || length === 2 || length === 4) uart.write(UARTDR, length, value);
    });
    bus.register(base, size, uart, 'PL011');
  }

  /** Types bytes; resolves when they have all been taken. */
  async write(bytes: Uint8Array): Promise<void> {
    for (let rest = bytes; ;) {
      rest = rest.subarray(this.#uart.enqueueInput(rest));
      if (rest.length === 0) return;
      this.#drained ??= new Promise((resolve) => {
        this.#release = () => {
          this.#drained = undefined;
          resolve();
        };
      });
      await this.#drained;
    }
  }

  /** Hands over what has been printed. */
  flush(): void {
    this.#uart.flush();
  }
}
