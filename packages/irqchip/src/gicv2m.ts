import { HypervisorError, type HypervisorInterrupt, type Vm } from '@vmm/hypervisor';
import type { BusDevice, MsiController, MsiInterrupt, MsiMessage } from '@vmm/vm-device';
import { IrqChipError } from './errors.ts';
import { INTID_END, SPI_BASE, type Gic, type GicLine } from './gic.ts';

/** Bytes of a frame (Arm Server Base System Architecture, appendix E). */
export const GICV2M_FRAME_SIZE = 0x1000;

/** Registers of a frame. */
const MSI_TYPER = 0x008;
const MSI_SETSPI_NS = 0x040;
const MSI_IIDR = 0xfcc;

/** MSI_TYPER: INTID of the first SPI, number of SPIs. */
const TYPER_BASE_SHIFT = 16;
/** What the fields of MSI_TYPER hold. */
const MAX_COUNT = 0x3ff;
/** MSI_IIDR: implementer Arm. Product, variant and revision 0 are those of a frame without peculiarities. */
const IIDR_ARM = 0x43b;

export interface GicV2mOptions {
  readonly vm: Pick<Vm, 'createInterrupt'>;
  /** Whose SPIs the frame raises; they are the frame's from now on. */
  readonly gic: Pick<Gic, 'createLine'>;
  /** Guest physical address of the frame, a multiple of 4096. */
  readonly address: number;
  /** INTID of the first SPI. */
  readonly base: number;
  /** Number of SPIs. */
  readonly count: number;
}

/**
 * A GICv2m frame (Arm Server Base System Architecture, appendix E): message-signalled interrupts as edges of SPIs, with a
 * GICv2, and with a GICv3 that has no LPIs. A message is a store of the INTID to MSI_SETSPI_NS. Put the frame on the MMIO
 * bus, for guests that make such stores themselves. It has no state.
 */
export class GicV2m implements BusDevice, MsiController, Disposable {
  readonly base: number;
  readonly count: number;
  readonly #vm: Pick<Vm, 'createInterrupt'>;
  readonly #setSpi: number;
  readonly #lines: GicLine[] = [];
  readonly #inputs: (HypervisorInterrupt | undefined)[] = [];

  /** @throws IrqChipError `INVALID_ARGUMENT` for SPIs that there are not, `IN_USE` for those that another device has */
  constructor({ vm, gic, address, base, count }: GicV2mOptions) {
    if (!Number.isInteger(base) || !Number.isInteger(count) || base < SPI_BASE || count < 1) {
      throw new IrqChipError('INVALID_ARGUMENT', `a GICv2m frame of ${count} interrupts from ${base} on`);
    }
    if (base + count > INTID_END || count > MAX_COUNT) {
      throw new IrqChipError('INVALID_ARGUMENT', `a GICv2m frame of interrupts beyond ${INTID_END - 1}`);
    }
    this.base = base;
    this.count = count;
    this.#vm = vm;
    this.#setSpi = address + MSI_SETSPI_NS;
    try {
      for (let intid = base; intid < base + count; intid++) {
        this.#lines.push(gic.createLine(intid - SPI_BASE, 'edge'));
      }
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  createMsi(): MsiInterrupt {
    let intid: number | undefined;
    return {
      setMessage: (message) => {
        intid = message === undefined ? undefined : this.#intidOf(message);
      },
      trigger: () => {
        if (intid !== undefined) this.#raise(intid);
      },
      [Symbol.dispose]: () => (intid = undefined),
    };
  }

  read(offset: number, length: 1 | 2 | 4): number {
    if (length !== 4) return 0;
    switch (offset) {
      case MSI_TYPER:
        return (this.base << TYPER_BASE_SHIFT) | this.count;
      case MSI_IIDR:
        return IIDR_ARM;
      default:
        return 0;
    }
  }

  /** Stores of 16 bits to MSI_SETSPI_NS count as well: PCI's data field has no more. */
  write(offset: number, length: 1 | 2 | 4, value: number): void {
    if (offset === MSI_SETSPI_NS && length >= 2 && this.#has(value)) this.#raise(value);
  }

  /** Gives the SPIs back. */
  [Symbol.dispose](): void {
    for (const input of this.#inputs.splice(0)) input?.[Symbol.dispose]();
    for (const line of this.#lines.splice(0)) line[Symbol.dispose]();
  }

  #has(intid: number): boolean {
    return intid >= this.base && intid < this.base + this.count;
  }

  #intidOf({ address, addressHigh, data }: MsiMessage): number | undefined {
    return addressHigh * 2 ** 32 + address === this.#setSpi && this.#has(data) ? data : undefined;
  }

  /** Through an input of its own, which needs no call of the hypervisor, or else the line. */
  #raise(intid: number): void {
    const index = intid - this.base;
    const line = this.#lines[index];
    if (line === undefined) return;
    try {
      const input = (this.#inputs[index] ??= this.#vm.createInterrupt(line.spi));
      input.trigger();
    } catch (error) {
      if (!(error instanceof HypervisorError)) throw error;
      // No file descriptor is left, or the VM is gone, which the line knows how to bear.
      line.trigger();
    }
  }
}
