import type { AddressRange } from '../allocator.ts';
import type { BusDevice } from '../device.ts';
import type { PciBar } from './bar.ts';

/** The part of a bus that BARs need; a `Bus` is one. */
export interface BarBus {
  register(address: number, size: number, device: BusDevice, name?: string): Disposable;
}

/**
 * Keeps BARs registered where software put them. A BAR outside the windows, or over another one, answers nothing
 * until it is moved or the other is: a guest that sizes BARs with decoding enabled, or that means harm, disturbs no
 * other device.
 */
export class BarMap {
  /** Addresses that a BAR could not have. */
  refused = 0;
  readonly #bus: BarBus;
  readonly #windows: readonly AddressRange[];
  readonly #registrations = new Map<PciBar, Disposable>();
  /** Where BARs are to be that are not registered. */
  readonly #waiting = new Map<PciBar, number>();

  constructor(bus: BarBus, windows: readonly AddressRange[]) {
    this.#bus = bus;
    this.#windows = windows;
  }

  /** @param address undefined: decode no longer */
  move(bar: PciBar, address: number | undefined): void {
    if (address === (bar.mapped ?? this.#waiting.get(bar))) return;
    this.#waiting.delete(bar);
    const registration = this.#registrations.get(bar);
    if (registration !== undefined) {
      registration[Symbol.dispose]();
      this.#registrations.delete(bar);
    }
    if (address === undefined) bar.setMapped(undefined);
    else if (!this.#register(bar, address)) {
      this.refused++;
      bar.setMapped(undefined);
      this.#waiting.set(bar, address);
    }
    if (registration === undefined) return;
    for (const [other, wanted] of this.#waiting) {
      if (other !== bar && this.#register(other, wanted)) this.#waiting.delete(other);
    }
  }

  #register(bar: PciBar, address: number): boolean {
    const inside = this.#windows.some(
      (window) => address >= window.address && address + bar.size <= window.address + window.size,
    );
    if (!inside) return false;
    try {
      this.#registrations.set(bar, this.#bus.register(address, bar.size, bar.device, bar.name));
    } catch {
      return false;
    }
    bar.setMapped(address);
    return true;
  }
}
