import {
  HypervisorError,
  type HypervisorInterrupt,
  type MsiMessage,
  type X86IrqChip,
  type X86Vm,
} from '@vmm/hypervisor';
import type { MsiInterrupt } from '@vmm/vm-device';
import type { GsiRoutes } from './gsi-routes.ts';

/** Bits 31:20 of the address of a message to local APICs (Intel SDM Vol. 3 §11.11.1). */
const LOCAL_APICS = 0xfee;

/** What the message-signalled interrupts of a VM have in common. */
export interface MsiParts {
  readonly vm: Pick<X86Vm, 'createInterrupt'>;
  readonly chip: Pick<X86IrqChip, 'signalMsi'>;
  readonly routes: GsiRoutes;
}

/**
 * A message-signalled interrupt of a PC. It gets a GSI with a route when it has its first message, and is raised along that;
 * where there is no GSI or no file descriptor left, the message is sent by a call of the hypervisor.
 */
export class VmMsi implements MsiInterrupt {
  readonly #parts: MsiParts;
  #message: MsiMessage | undefined;
  #input: HypervisorInterrupt | undefined;
  #armed = false;
  #disposed = false;

  constructor(parts: MsiParts) {
    this.#parts = parts;
  }

  setMessage(message: MsiMessage | undefined): void {
    this.#armed = false;
    // Elsewhere it would be a store to memory, which nobody waits for.
    if (this.#disposed || message === undefined || !reachesLocalApics(message)) return;
    this.#armed = true;
    if (this.#input !== undefined && this.#message !== undefined && equal(this.#message, message)) return;
    const { address, addressHigh, data } = message;
    this.#message = { address, addressHigh, data };
    this.#input ??= this.#connect();
    if (this.#input !== undefined) this.#parts.routes.setMessage(this.#input.gsi, this.#message);
  }

  trigger(): void {
    if (!this.#armed) return;
    try {
      this.#send();
    } catch (error) {
      // Completions of a device may come after the end of the VM.
      if (!(error instanceof HypervisorError && error.code === 'DISPOSED')) throw error;
      this.#armed = false;
    }
  }

  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#armed = false;
    const input = this.#input;
    if (input === undefined) return;
    input[Symbol.dispose]();
    this.#parts.routes.free(input.gsi);
  }

  #connect(): HypervisorInterrupt | undefined {
    const { vm, routes } = this.#parts;
    const gsi = routes.allocate();
    if (gsi === undefined) return undefined;
    try {
      return vm.createInterrupt(gsi);
    } catch (error) {
      routes.free(gsi);
      if (error instanceof HypervisorError) return undefined;
      throw error;
    }
  }

  #send(): void {
    const { chip, routes } = this.#parts;
    if (this.#input !== undefined && routes.flush()) {
      this.#input.trigger();
      return;
    }
    try {
      chip.signalMsi(this.#message!);
    } catch (error) {
      // The hypervisor does not take a message that the guest has made up.
      if (!(error instanceof HypervisorError && error.code === 'INVALID_ARGUMENT')) throw error;
    }
  }
}

function reachesLocalApics({ address, addressHigh }: MsiMessage): boolean {
  return addressHigh === 0 && address >>> 20 === LOCAL_APICS;
}

function equal(a: MsiMessage, b: MsiMessage): boolean {
  return a.address === b.address && a.data === b.data && a.addressHigh === b.addressHigh;
}
