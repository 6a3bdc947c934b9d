import type { GsiRoute, X86IrqChip, X86IrqChipState, X86Vm } from '@vmm/hypervisor';
import type { MsiController, MsiInterrupt } from '@vmm/vm-device';
import { IrqChipError } from './errors.ts';
import { GsiRoutes } from './gsi-routes.ts';
import { IoApic } from './ioapic.ts';
import type { IoApicState } from './ioapic-state.ts';
import { checkResample, edgeEnd, makeLine, resampledEnd, type GsiLineOptions } from './gsi-lines.ts';
import {
  stateFields,
  type InterruptLine,
  type IrqChip,
  type IrqChipState,
  type Trigger,
} from './irq-chip.ts';
import { InputSet, type LineEnd } from './lines.ts';
import { VmMsi } from './vm-msi.ts';

const STATE_VERSION = 1;
const MODEL = 'vm-x86';

/** Inputs of the I/O APIC, in the kernel and here. */
const INPUTS = 24;
/** Inputs of one 8259A. */
const PIC_INPUTS = 8;
/** The master 8259A's input for the slave, which no device has. */
const PIC_CASCADE = 2;
/** Where the I/O APIC of a PC has the timer of ISA interrupt 0. */
const IOAPIC_TIMER_PIN = 2;
const TIMER_GSI = 0;

export interface VmIrqChipOptions {
  /**
   * `kernel`: 8259As, I/O APIC and local APICs are the hypervisor's. `split`: only the local APICs are; the I/O APIC is
   * {@link IoApic}, and there are no 8259As.
   */
  readonly mode: 'kernel' | 'split';
  /** The hypervisor's i8254 on GSI 0; `kernel` only, where it is the default. */
  readonly pit?: boolean;
}

/** State of {@link VmIrqChip}. */
export interface VmIrqChipState extends IrqChipState {
  readonly mode: 'kernel' | 'split';
  readonly chip: X86IrqChipState;
  /** In split mode. */
  readonly ioApic?: IoApicState;
  /** GSIs of level-triggered lines that are high; in kernel mode. */
  readonly asserted: readonly number[];
}

/**
 * The interrupt controllers of a PC. Inputs are global system interrupts, 0…23. Message-signalled interrupts go to the local
 * APICs; they are not part of the state, since their devices know their messages.
 */
export interface VmIrqChip extends IrqChip<VmIrqChipState>, MsiController {
  readonly mode: 'kernel' | 'split';
  /** In split mode: belongs on the MMIO bus, 4 KiB at 0xFEC0_0000. */
  readonly ioApic: IoApic | undefined;

  /**
   * @throws IrqChipError `IN_USE` for GSI 0 with a PIT and GSI 2 in kernel mode too, where the I/O APIC's input 2 has
   *   the timer; `INVALID_ARGUMENT`, also for `onResample` of an edge-triggered line
   */
  createLine(gsi: number, trigger: Trigger, options?: GsiLineOptions): InterruptLine;

  /** What an `eoi` exit tells. */
  endOfInterrupt(vector: number): void;
}

/**
 * Creates the interrupt controllers of a VM, once for each VM and before its first vCPU.
 *
 * @throws IrqChipError `INVALID_ARGUMENT` for a PIT in split mode; HypervisorError for what the hypervisor refuses
 */
export function createVmIrqChip(
  vm: Pick<X86Vm, 'createIrqChip' | 'createInterrupt'>,
  options: VmIrqChipOptions,
): VmIrqChip {
  const { mode } = options;
  if (mode === 'split') {
    if (options.pit === true) {
      throw new IrqChipError('INVALID_ARGUMENT', 'a split interrupt controller has no PIT');
    }
    return new SplitIrqChip(vm, vm.createIrqChip({ mode, inputs: INPUTS }));
  }
  const pit = options.pit ?? true;
  const chip = vm.createIrqChip({ mode, pit });
  return new KernelIrqChip(vm, chip, pit);
}

/** ISA interrupts lead to the 8259As and the I/O APIC, the others to the I/O APIC, each to the input of its number. */
function kernelRoutes(): readonly GsiRoute[] {
  const routes: GsiRoute[] = [];
  for (let gsi = 0; gsi < INPUTS; gsi++) {
    if (gsi === PIC_CASCADE) continue;
    if (gsi < PIC_INPUTS) routes.push({ gsi, kind: 'irqchip', chip: 'pic-master', pin: gsi });
    else if (gsi < 2 * PIC_INPUTS) {
      routes.push({ gsi, kind: 'irqchip', chip: 'pic-slave', pin: gsi - PIC_INPUTS });
    }
    routes.push({ gsi, kind: 'irqchip', chip: 'ioapic', pin: gsi === TIMER_GSI ? IOAPIC_TIMER_PIN : gsi });
  }
  return routes;
}

type InterruptMaker = Pick<X86Vm, 'createInterrupt'>;

class KernelIrqChip implements VmIrqChip {
  readonly mode = 'kernel';
  readonly ioApic = undefined;
  readonly inputs: number = INPUTS;
  readonly #vm: InterruptMaker;
  readonly #chip: X86IrqChip;
  readonly #set = new InputSet('GSI', INPUTS);
  readonly #routes: GsiRoutes;
  readonly #asserted = new Uint8Array(INPUTS);

  constructor(vm: InterruptMaker, chip: X86IrqChip, pit: boolean) {
    this.#vm = vm;
    this.#chip = chip;
    this.#routes = new GsiRoutes(chip, INPUTS);
    this.#routes.setWired(kernelRoutes());
    if (pit) this.#set.take(TIMER_GSI);
    this.#set.take(PIC_CASCADE);
  }

  createLine(gsi: number, trigger: Trigger, options: GsiLineOptions = {}): InterruptLine {
    const { onResample } = checkResample(trigger, options);
    return makeLine(this.#set, gsi, () => {
      if (trigger === 'edge') return edgeEnd(this.#vm, gsi);
      return onResample === undefined ? this.#levelEnd(gsi) : resampledEnd(this.#vm, gsi, onResample);
    });
  }

  createMsi(): MsiInterrupt {
    return new VmMsi({ vm: this.#vm, chip: this.#chip, routes: this.#routes });
  }

  endOfInterrupt(): void {
    // The I/O APIC in the kernel has been told.
  }

  save(): VmIrqChipState {
    return {
      version: STATE_VERSION,
      model: MODEL,
      mode: this.mode,
      chip: this.#chip.save(),
      asserted: this.#highLines(),
    };
  }

  restore(state: VmIrqChipState): void {
    const { chip, asserted } = checkState(state, this.mode);
    this.#chip.restore(chip);
    // The table of the state has the messages of the devices that were there.
    this.#routes.reload();
    for (let gsi = 0; gsi < INPUTS; gsi++) {
      const high = asserted.includes(gsi);
      if (!high && this.#asserted[gsi] === 0) continue;
      this.#asserted[gsi] = high ? 1 : 0;
      this.#chip.setLine(gsi, high);
    }
  }

  #levelEnd(gsi: number): LineEnd {
    return {
      trigger: () => this.#chip.pulseLine(gsi),
      setLevel: (high) => {
        if (high === (this.#asserted[gsi] !== 0)) return;
        this.#chip.setLine(gsi, high);
        this.#asserted[gsi] = high ? 1 : 0;
      },
    };
  }

  #highLines(): number[] {
    return Array.from(this.#asserted.keys()).filter((gsi) => this.#asserted[gsi] !== 0);
  }
}

class SplitIrqChip implements VmIrqChip {
  readonly mode = 'split';
  readonly ioApic: IoApic;
  readonly inputs: number = INPUTS;
  readonly #vm: InterruptMaker;
  readonly #chip: X86IrqChip;
  readonly #set = new InputSet('GSI', INPUTS);
  readonly #routes: GsiRoutes;
  readonly #resample = new Map<number, () => void>();

  constructor(vm: InterruptMaker, chip: X86IrqChip) {
    this.#vm = vm;
    this.#chip = chip;
    this.#routes = new GsiRoutes(chip, INPUTS);
    this.ioApic = new IoApic({
      inputs: INPUTS,
      send: (message) => chip.signalMsi(message),
      onRoutesChanged: (routes) => this.#routes.setWired(routes),
      onEndOfInterrupt: (input) => this.#resample.get(input)?.(),
    });
  }

  createLine(gsi: number, trigger: Trigger, options: GsiLineOptions = {}): InterruptLine {
    const { onResample } = checkResample(trigger, options);
    return makeLine(this.#set, gsi, () => {
      if (trigger === 'edge') return this.#edgeEnd(gsi);
      return this.#levelEnd(gsi, onResample);
    });
  }

  createMsi(): MsiInterrupt {
    return new VmMsi({ vm: this.#vm, chip: this.#chip, routes: this.#routes });
  }

  endOfInterrupt(vector: number): void {
    this.ioApic.endOfInterrupt(vector);
  }

  save(): VmIrqChipState {
    return {
      version: STATE_VERSION,
      model: MODEL,
      mode: this.mode,
      chip: this.#chip.save(),
      ioApic: this.ioApic.save(),
      asserted: [],
    };
  }

  restore(state: VmIrqChipState): void {
    const { chip, ioApic } = checkState(state, this.mode);
    const before = this.ioApic.save();
    this.ioApic.restore(ioApic);
    try {
      this.#chip.restore(chip);
    } catch (error) {
      this.ioApic.restore(before);
      throw error;
    }
    // The table of the state has the messages of the devices that were there.
    this.#routes.reload();
  }

  /** An edge that the entry takes goes the hypervisor's way, along the route; the model decides about all else. */
  #edgeEnd(gsi: number): LineEnd {
    const { ioApic } = this;
    return edgeEnd(this.#vm, gsi, (raise) => (ioApic.takesEdges(gsi) ? raise() : ioApic.pulse(gsi)));
  }

  #levelEnd(gsi: number, onResample: (() => void) | undefined): LineEnd {
    const { ioApic } = this;
    if (onResample === undefined) {
      return {
        trigger: () => ioApic.pulse(gsi),
        setLevel: (high) => ioApic.setLine(gsi, high),
      };
    }
    this.#resample.set(gsi, () => {
      ioApic.setLine(gsi, false);
      onResample();
    });
    return {
      trigger: () => ioApic.setLine(gsi, true),
      setLevel: (high) => ioApic.setLine(gsi, high),
      close: () => void this.#resample.delete(gsi),
    };
  }
}

interface CheckedState {
  readonly chip: X86IrqChipState;
  readonly ioApic: IoApicState;
  readonly asserted: readonly number[];
}

/** The hypervisor and the model check their own parts. */
function checkState(state: unknown, mode: 'kernel' | 'split'): CheckedState {
  const given = stateFields(state);
  const { version, model, chip, ioApic, asserted } = given;
  if (version !== STATE_VERSION || model !== MODEL || given['mode'] !== mode) {
    throw new IrqChipError(
      'INVALID_STATE',
      `a state of '${String(model)}' version ${String(version)} mode '${String(given['mode'])}' is not one of '${MODEL}' version ${STATE_VERSION} mode '${mode}'`,
    );
  }
  if (
    typeof chip !== 'object' ||
    chip === null ||
    !Array.isArray(asserted) ||
    !asserted.every((gsi) => Number.isInteger(gsi) && gsi >= 0 && gsi < INPUTS)
  ) {
    throw new IrqChipError('INVALID_STATE', `a state of '${MODEL}' without its parts`);
  }
  return {
    chip: chip as X86IrqChipState,
    ioApic: ioApic as IoApicState,
    asserted: asserted as readonly number[],
  };
}
