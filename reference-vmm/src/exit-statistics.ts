import type { VcpuExit } from '@vmm/hypervisor';

/** Exits of one kind at one address. */
export interface ExitSite {
  readonly reason: 'mmio' | 'io';
  readonly write: boolean;
  /** Guest physical address, or port. */
  readonly address: number;
  readonly count: number;
}

/** Exits that reached the VMM, since the VM started. */
export interface ExitStatistics {
  readonly total: number;
  readonly byReason: Readonly<Record<VcpuExit['reason'], number>>;
  /** The most frequent first. */
  readonly sites: readonly ExitSite[];
}

/** Addresses that are told apart; the guest chooses them. */
const MAX_SITES = 4096;

const SITES = ['mmio read', 'mmio write', 'io read', 'io write'] as const;

/** Counts exits by kind, and accesses by address. */
export class ExitCounter {
  readonly #reasons: Record<VcpuExit['reason'], number> = {
    mmio: 0,
    io: 0,
    systemEvent: 0,
    halt: 0,
    interrupted: 0,
    shutdown: 0,
    eoi: 0,
    internalError: 0,
  };
  readonly #sites: readonly Map<number, number>[] = SITES.map(() => new Map<number, number>());

  count(exit: VcpuExit): void {
    this.#reasons[exit.reason]++;
    if (exit.reason === 'mmio') this.#site(exit.write ? 1 : 0, exit.address);
    else if (exit.reason === 'io') this.#site(exit.write ? 3 : 2, exit.port);
  }

  get statistics(): ExitStatistics {
    const sites = this.#sites.flatMap((counts, index) =>
      [...counts].map(([address, count]): ExitSite => ({
        reason: index < 2 ? 'mmio' : 'io',
        write: index % 2 === 1,
        address,
        count,
      })),
    );
    return {
      total: Object.values(this.#reasons).reduce((sum, count) => sum + count, 0),
      byReason: { ...this.#reasons },
      sites: sites.sort((a, b) => b.count - a.count || a.address - b.address),
    };
  }

  #site(index: number, address: number): void {
    const counts = this.#sites[index]!;
    const count = counts.get(address);
    if (count !== undefined) counts.set(address, count + 1);
    else if (counts.size < MAX_SITES) counts.set(address, 1);
  }
}
