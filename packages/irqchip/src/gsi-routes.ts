import { HypervisorError, type GsiRoute, type MsiMessage, type X86IrqChip } from '@vmm/hypervisor';
import { IdAllocator, VmDeviceError } from '@vmm/vm-device';

/** GSIs of KVM's routing table (KVM_MAX_IRQ_ROUTES on x86). */
const GSI_END = 4096;
/** The table has as many entries as there are GSIs, and a wired GSI may have two: one at an 8259A, one at the I/O APIC. */
const WIRED_ENTRIES_PER_GSI = 2;

/**
 * The one owner of a VM's table of routes: those of the wired interrupts, and one for each message-signalled interrupt that
 * has a GSI of its own. The hypervisor takes the whole table or nothing, and waits for all vCPUs to have taken it over, so
 * that messages, which guests write in several steps and more than once, are handed over when the next interrupt is sent.
 */
export class GsiRoutes {
  readonly #chip: Pick<X86IrqChip, 'setRoutes'>;
  readonly #gsis: IdAllocator;
  readonly #messages = new Map<number, MsiMessage>();
  #wired: readonly GsiRoute[] = [];
  #changed = false;

  /** @param wired GSIs of wired interrupts, 0 to this minus one */
  constructor(chip: Pick<X86IrqChip, 'setRoutes'>, wired: number) {
    this.#chip = chip;
    this.#gsis = new IdAllocator(wired, GSI_END - 1 - WIRED_ENTRIES_PER_GSI * wired);
  }

  /** Routes of the wired interrupts, which hold from now on. */
  setWired(routes: readonly GsiRoute[]): void {
    this.#wired = routes;
    this.reload();
  }

  /** Hands the whole table over. */
  reload(): void {
    this.#chip.setRoutes([
      ...this.#wired,
      ...Array.from(this.#messages, ([gsi, message]): GsiRoute => ({ gsi, kind: 'msi', message })),
    ]);
    this.#changed = false;
  }

  /** A GSI for a message-signalled interrupt; undefined when there is none left. */
  allocate(): number | undefined {
    try {
      return this.#gsis.allocate();
    } catch (error) {
      if (error instanceof VmDeviceError && error.code === 'EXHAUSTED') return undefined;
      throw error;
    }
  }

  /** From the next {@link flush} on. */
  setMessage(gsi: number, message: MsiMessage): void {
    this.#messages.set(gsi, message);
    this.#changed = true;
  }

  free(gsi: number): void {
    // A route that stays in the table until the next change leads from a GSI that nobody raises.
    this.#messages.delete(gsi);
    this.#gsis.free(gsi);
  }

  /**
   * Hands over what has changed.
   *
   * @returns whether the messages hold; if not, the table is as it was
   */
  flush(): boolean {
    if (!this.#changed) return true;
    try {
      this.reload();
      return true;
    } catch (error) {
      if (error instanceof HypervisorError && error.code !== 'DISPOSED') return false;
      throw error;
    }
  }
}
