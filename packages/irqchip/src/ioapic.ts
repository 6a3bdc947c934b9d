import type { GsiRoute, MsiMessage } from '@vmm/hypervisor';
import type { BusDevice } from '@vmm/vm-device';
import { IrqChipError } from './errors.ts';
import * as R from './ioapic-registers.ts';
import { restoreIoApic, saveIoApic, type IoApicFields, type IoApicState } from './ioapic-state.ts';

const MAX_INPUTS = 120;

export interface IoApicOptions {
  /**
   * Sends a message to the local APICs.
   *
   * @returns whether one took it
   */
  readonly send: (message: MsiMessage) => boolean;
  /**
   * Runs with the whole table when the message of an input has changed: edges may then be raised without this model,
   * and the hypervisor knows the vectors whose end {@link IoApic.endOfInterrupt} has to be told.
   */
  readonly onRoutesChanged?: (routes: readonly GsiRoute[]) => void;
  /** Runs when the guest has ended the level-triggered interrupt of an input, before the input is looked at again. */
  readonly onEndOfInterrupt?: (input: number) => void;
  /** Inputs, 1…120. Default 24. */
  readonly inputs?: number;
  /** IOAPICVER: 0x11, or 0x20 which has an EOI register. Default 0x20. */
  readonly version?: 0x11 | 0x20;
  /** IOAPICID after a reset, 0…15. Default 0. */
  readonly id?: number;
}

/**
 * An I/O APIC (82093AA) whose messages go to local APICs elsewhere, in the kernel with a split interrupt controller.
 * Inputs are said to be asserted or not, whatever polarity the guest has programmed. A message is delivered at once, so
 * the delivery status is always idle; the arbitration ID is the ID.
 */
export class IoApic implements BusDevice {
  readonly inputs: number;
  readonly #options: IoApicOptions;
  readonly #version: number;
  readonly #fields: IoApicFields;
  /** The routes that were told last: address and data of each input's message; data 0 for none. */
  readonly #routeAddress: Uint32Array;
  readonly #routeData: Uint32Array;

  /** @throws IrqChipError `INVALID_ARGUMENT` */
  constructor(options: IoApicOptions) {
    const { inputs = 24, version = 0x20, id = 0 } = options;
    if (!Number.isInteger(inputs) || inputs < 1 || inputs > MAX_INPUTS) {
      throw new IrqChipError(
        'INVALID_ARGUMENT',
        `an I/O APIC with ${inputs} inputs: 1 to ${MAX_INPUTS} are possible`,
      );
    }
    if (!Number.isInteger(id) || id < 0 || id > R.ID_MASK) {
      throw new IrqChipError('INVALID_ARGUMENT', `I/O APIC ID ${id}: 0 to ${R.ID_MASK} are possible`);
    }
    this.inputs = inputs;
    this.#options = options;
    this.#version = version;
    this.#fields = {
      id,
      select: 0,
      low: new Uint32Array(inputs).fill(R.RTE_MASK),
      high: new Uint32Array(inputs),
      asserted: new Uint8Array(inputs),
    };
    this.#routeAddress = new Uint32Array(inputs);
    this.#routeData = new Uint32Array(inputs);
  }

  /** The messages of all inputs that have one: a GSI for each input. */
  get routes(): readonly GsiRoute[] {
    const routes: GsiRoute[] = [];
    for (let gsi = 0; gsi < this.inputs; gsi++) {
      const data = this.#routeData[gsi]!;
      if (data === 0) continue;
      routes.push({
        gsi,
        kind: 'msi',
        message: { address: this.#routeAddress[gsi]!, addressHigh: 0, data },
      });
    }
    return routes;
  }

  /** @param offset from the base of the register window, 4 KiB */
  read(offset: number, length: 1 | 2 | 4): number {
    const mask = length === 4 ? 0xffff_ffff : length === 2 ? 0xffff : 0xff;
    switch (offset) {
      case R.IOREGSEL:
        return this.#fields.select;
      case R.IOWIN:
        return (this.#readRegister(this.#fields.select) & mask) >>> 0;
      default:
        return 0;
    }
  }

  write(offset: number, _length: 1 | 2 | 4, value: number): void {
    switch (offset) {
      case R.IOREGSEL:
        this.#fields.select = value & 0xff;
        return;
      case R.IOWIN:
        this.#writeRegister(this.#fields.select, value);
        return;
      case R.IOEOI:
        if (this.#version >= 0x20) this.endOfInterrupt(value & 0xff);
        return;
      default:
        return;
    }
  }

  /**
   * Level of an input.
   *
   * @throws IrqChipError `INVALID_ARGUMENT` when there is no such input
   */
  setLine(input: number, asserted: boolean): void {
    this.#check(input);
    const { asserted: levels, low } = this.#fields;
    const rising = asserted && levels[input] === 0;
    levels[input] = asserted ? 1 : 0;
    // A level that no local APIC has taken yet is offered again.
    if (isLevel(low[input]!)) this.#service(input);
    else if (rising && (low[input]! & R.RTE_MASK) === 0) this.#send(input);
  }

  /** An edge; none when the input is asserted already. */
  pulse(input: number): void {
    this.#check(input);
    if (this.#fields.asserted[input] !== 0) return;
    this.setLine(input, true);
    this.#fields.asserted[input] = 0;
  }

  /** Whether an edge of this input leads to its route's message, whoever raises it. */
  takesEdges(input: number): boolean {
    const entry = this.#fields.low[input]!;
    return (entry & R.RTE_MASK) === 0 && !isLevel(entry);
  }

  /**
   * The guest has ended the interrupts of a vector at its local APIC: inputs that wait for it are looked at again.
   *
   * @param vector 0…255
   */
  endOfInterrupt(vector: number): void {
    const { low } = this.#fields;
    for (let input = 0; input < this.inputs; input++) {
      const entry = low[input]!;
      if ((entry & R.RTE_REMOTE_IRR) === 0 || (entry & R.RTE_VECTOR) !== vector) continue;
      low[input] = entry & ~R.RTE_REMOTE_IRR;
      this.#options.onEndOfInterrupt?.(input);
      this.#service(input);
    }
  }

  /** Reset values of all registers. Inputs keep their levels. */
  reset(): void {
    this.#fields.id = this.#options.id ?? 0;
    this.#fields.select = 0;
    this.#fields.low.fill(R.RTE_MASK);
    this.#fields.high.fill(0);
    this.#updateRoutes();
  }

  save(): IoApicState {
    return saveIoApic(this.#fields);
  }

  /** @throws IrqChipError `INVALID_STATE`, and the model stays as it was */
  restore(state: IoApicState): void {
    restoreIoApic(this.#fields, state);
    this.#updateRoutes();
  }

  #readRegister(index: number): number {
    switch (index) {
      case R.IOAPICID:
      case R.IOAPICARB:
        return (this.#fields.id << R.ID_SHIFT) >>> 0;
      case R.IOAPICVER:
        return this.#version | ((this.inputs - 1) << 16);
      default: {
        const input = (index - R.IOREDTBL) >> 1;
        if (input < 0 || input >= this.inputs) return 0;
        return ((index & 1) === 0 ? this.#fields.low : this.#fields.high)[input]!;
      }
    }
  }

  #writeRegister(index: number, value: number): void {
    if (index === R.IOAPICID) {
      this.#fields.id = (value >>> R.ID_SHIFT) & R.ID_MASK;
      return;
    }
    const input = (index - R.IOREDTBL) >> 1;
    if (input < 0 || input >= this.inputs) return;
    const { low, high } = this.#fields;
    if ((index & 1) === 0) {
      // An entry made edge-triggered waits for no end any more: that is how guests end an interrupt without EOI register.
      const kept = isLevel(value) ? low[input]! & R.RTE_REMOTE_IRR : 0;
      low[input] = (value & R.RTE_LOW_WRITABLE) | kept;
    } else {
      high[input] = value & R.RTE_HIGH_WRITABLE;
    }
    if (this.#updateRoute(input)) this.#options.onRoutesChanged?.(this.routes);
    this.#service(input);
  }

  /** Sends the message of a level-triggered input that is asserted, unless it waits for the end of the last one. */
  #service(input: number): void {
    const { low, asserted } = this.#fields;
    const entry = low[input]!;
    if (asserted[input] === 0 || !isLevel(entry) || (entry & (R.RTE_MASK | R.RTE_REMOTE_IRR)) !== 0) return;
    if (this.#send(input)) low[input] = entry | R.RTE_REMOTE_IRR;
  }

  #send(input: number): boolean {
    const data = this.#routeData[input]!;
    if (data === 0) return false;
    return this.#options.send({ address: this.#routeAddress[input]!, addressHigh: 0, data });
  }

  #updateRoutes(): void {
    for (let input = 0; input < this.inputs; input++) this.#updateRoute(input);
    this.#options.onRoutesChanged?.(this.routes);
  }

  /**
   * A masked level-triggered input keeps its route: the end of an interrupt that was sent before has to be told.
   *
   * @returns whether the route is another one now
   */
  #updateRoute(input: number): boolean {
    const entry = this.#fields.low[input]!;
    const none = !isDeliverable(entry) || ((entry & R.RTE_MASK) !== 0 && !isLevel(entry));
    const address = none ? 0 : messageAddress(entry, this.#fields.high[input]!);
    const data = none ? 0 : messageData(entry);
    if (address === this.#routeAddress[input] && data === this.#routeData[input]) return false;
    this.#routeAddress[input] = address;
    this.#routeData[input] = data;
    return true;
  }

  #check(input: number): void {
    if (!Number.isInteger(input) || input < 0 || input >= this.inputs) {
      throw new IrqChipError('INVALID_ARGUMENT', `input ${input}: there are ${this.inputs}, from 0 on`);
    }
  }
}

function deliveryMode(entry: number): number {
  return (entry & R.RTE_DELIVERY_MODE) >> R.RTE_DELIVERY_MODE_SHIFT;
}

/** SMI, NMI and INIT are edges, whatever the trigger mode says (§3.2.4). */
function isLevel(entry: number): boolean {
  return (entry & R.RTE_LEVEL) !== 0 && deliveryMode(entry) <= R.DELIVERY_LOWEST_PRIORITY;
}

/** There is no 8259A behind the model, so ExtINT has nobody to ask for a vector. */
function isDeliverable(entry: number): boolean {
  switch (deliveryMode(entry)) {
    case R.DELIVERY_FIXED:
    case R.DELIVERY_LOWEST_PRIORITY:
      return (entry & R.RTE_VECTOR) >= R.FIRST_VECTOR;
    case R.DELIVERY_SMI:
    case R.DELIVERY_NMI:
    case R.DELIVERY_INIT:
      return true;
    default:
      return false;
  }
}

function messageAddress(entry: number, high: number): number {
  const destination = (high >>> 24) << R.MSI_DESTINATION_SHIFT;
  const logical = (entry & R.RTE_DESTINATION_MODE) !== 0 ? R.MSI_LOGICAL : 0;
  const hint = deliveryMode(entry) === R.DELIVERY_LOWEST_PRIORITY ? R.MSI_REDIRECTION_HINT : 0;
  return (R.MSI_ADDRESS_BASE | destination | logical | hint) >>> 0;
}

/** Bits 10:0 are the same in both. */
function messageData(entry: number): number {
  return (entry & (R.RTE_VECTOR | R.RTE_DELIVERY_MODE)) | R.MSI_ASSERT | (isLevel(entry) ? R.MSI_LEVEL : 0);
}
