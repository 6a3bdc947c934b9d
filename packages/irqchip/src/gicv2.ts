import type { BusDevice } from '@vmm/vm-device';
import { IrqChipError } from './errors.ts';
import { GicV2Core, SIGNAL_FIQ, SIGNAL_IRQ } from './gicv2-core.ts';
import { interfaceRead, interfaceWrite } from './gicv2-cpu-interface.ts';
import { distributorRead, distributorWrite } from './gicv2-distributor.ts';
import { restoreGicV2, saveGicV2, type GicV2State } from './gicv2-state.ts';
import {
  checkPpi,
  gicV2Description,
  GICV2_MAX_CPUS,
  INTID_END,
  PPI_BASE,
  ppiSpecifier,
  SPI_BASE,
  type Gic,
  type GicLine,
  type GicV2Description,
  type InterruptSpecifier,
} from './gic.ts';
import type { Trigger } from './irq-chip.ts';
import { SpiSet } from './lines.ts';

export interface GicV2Options {
  /** Number of CPUs, 1…8. */
  readonly cpus: number;
  /** Interrupt identifiers, 64…992 in steps of 32, or 1020. Default 256. */
  readonly irqs?: number;
  /** Guest physical address of the distributor, 4 KiB: for the description only. */
  readonly distributor: number;
  /** Guest physical address of the CPU interface, 8 KiB: for the description only. */
  readonly cpuInterface: number;
  /** Runs when the IRQ line of a CPU changes. Must not throw. */
  readonly onIrq: (cpu: number, level: boolean) => void;
  /** Runs when the FIQ line of a CPU changes. Must not throw. */
  readonly onFiq?: (cpu: number, level: boolean) => void;
}

/**
 * A GICv2 (IHI 0048B.b) without the Security Extensions, with interrupt grouping and five bits of priority. Registers
 * are banked by CPU, and a bus does not say which CPU makes an access: put the frames of the accessing CPU,
 * {@link GicV2.distributor} and {@link GicV2.cpuInterface}, on a bus of its own, or choose them before the access.
 */
export class GicV2 implements Gic<GicV2State> {
  readonly description: GicV2Description;
  readonly spis: number;
  readonly #core: GicV2Core;
  readonly #lines: SpiSet;
  readonly #distributors: readonly BusDevice[];
  readonly #interfaces: readonly BusDevice[];
  readonly #irq: boolean[];
  readonly #fiq: boolean[];
  readonly #onIrq: GicV2Options['onIrq'];
  readonly #onFiq: GicV2Options['onFiq'];

  /** @throws IrqChipError `INVALID_ARGUMENT` */
  constructor(options: GicV2Options) {
    const { cpus, irqs = 256, distributor, cpuInterface } = options;
    if (!Number.isInteger(cpus) || cpus < 1 || cpus > GICV2_MAX_CPUS) {
      throw new IrqChipError(
        'INVALID_ARGUMENT',
        `a GICv2 for ${cpus} CPUs: 1 to ${GICV2_MAX_CPUS} are possible`,
      );
    }
    if (!Number.isInteger(irqs) || irqs < 64 || irqs > INTID_END || (irqs % 32 !== 0 && irqs !== INTID_END)) {
      throw new IrqChipError('INVALID_ARGUMENT', `${irqs} interrupts: not 1020, or 64 to 992 in steps of 32`);
    }
    this.description = gicV2Description(distributor, cpuInterface);
    this.spis = irqs - SPI_BASE;
    this.#onIrq = options.onIrq;
    this.#onFiq = options.onFiq;
    this.#irq = new Array<boolean>(cpus).fill(false);
    this.#fiq = new Array<boolean>(cpus).fill(false);
    const core = new GicV2Core(cpus, irqs, (cpu, signal) => this.#signalled(cpu, signal));
    this.#core = core;
    this.#lines = new SpiSet(this.spis, {
      setSpi: (intid, level) => core.setLine(intid, level),
      pulseSpi: (intid) => core.pulse(intid),
    });
    const all = Array.from({ length: cpus }, (_, cpu) => cpu);
    this.#distributors = all.map((cpu) => ({
      read: (offset, length) => distributorRead(core, cpu, offset, length),
      write: (offset, length, value) => distributorWrite(core, cpu, offset, length, value),
    }));
    this.#interfaces = all.map((cpu) => ({
      read: (offset, length) => interfaceRead(core, cpu, offset, length),
      write: (offset, length, value) => interfaceWrite(core, cpu, offset, length, value),
    }));
  }

  get inputs(): number {
    return this.spis;
  }

  /** The distributor's frame, 4 KiB, as a CPU sees it. */
  distributor(cpu: number): BusDevice {
    return this.#frame(this.#distributors, cpu);
  }

  /** A CPU's own interface, 8 KiB. */
  cpuInterface(cpu: number): BusDevice {
    return this.#frame(this.#interfaces, cpu);
  }

  /** Level of a CPU's IRQ line. */
  irq(cpu: number): boolean {
    return this.#irq[cpu] === true;
  }

  /** Level of a CPU's FIQ line. */
  fiq(cpu: number): boolean {
    return this.#fiq[cpu] === true;
  }

  /**
   * Sets the level of a private peripheral interrupt.
   *
   * @param ppi 0…15: INTID - 16
   * @throws IrqChipError `INVALID_ARGUMENT`
   */
  setPpi(cpu: number, ppi: number, level: boolean): void {
    this.#checkCpu(cpu);
    checkPpi(ppi);
    this.#core.setPrivateLine(cpu, PPI_BASE + ppi, level);
  }

  createLine(spi: number, trigger: Trigger): GicLine {
    return this.#lines.create(spi, trigger);
  }

  allocateLine(trigger: Trigger): GicLine {
    return this.#lines.create(undefined, trigger);
  }

  ppiSpecifier(ppi: number, trigger: Trigger): InterruptSpecifier {
    return ppiSpecifier(ppi, trigger, this.#core.cpus);
  }

  /** Reset values of all registers. Lines keep their levels, and a level-sensitive one is pending again. */
  reset(): void {
    this.#core.setReset();
    this.#core.evaluateAll();
  }

  save(): GicV2State {
    return saveGicV2(this.#core);
  }

  restore(state: GicV2State): void {
    restoreGicV2(this.#core, state);
    this.#core.evaluateAll();
  }

  #signalled(cpu: number, signal: number): void {
    const irq = signal === SIGNAL_IRQ;
    const fiq = signal === SIGNAL_FIQ;
    if (irq !== this.#irq[cpu]) {
      this.#irq[cpu] = irq;
      this.#onIrq(cpu, irq);
    }
    if (fiq !== this.#fiq[cpu]) {
      this.#fiq[cpu] = fiq;
      this.#onFiq?.(cpu, fiq);
    }
  }

  #frame(frames: readonly BusDevice[], cpu: number): BusDevice {
    this.#checkCpu(cpu);
    return frames[cpu]!;
  }

  #checkCpu(cpu: number): void {
    if (!Number.isInteger(cpu) || cpu < 0 || cpu >= this.#core.cpus) {
      throw new IrqChipError('INVALID_ARGUMENT', `CPU ${cpu}: there are ${this.#core.cpus}, from 0 on`);
    }
  }
}
