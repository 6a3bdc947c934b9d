import { HypervisorError } from '../../errors.ts';
import { decodeState, encodeState, invalid, stateObject } from '../../state-codec.ts';
import { checkUnsigned } from '../../validate.ts';
import type { GsiRoute, MsiMessage, X86IrqChip, X86IrqChipState } from '../../x86.ts';
import type { IoctlArgument } from '../native.ts';
import { isSystemError } from '../system-error.ts';
import { KVM_IRQ_LINE, KVM_SET_GSI_ROUTING, KVM_SIGNAL_MSI } from '../uapi.ts';
import { checkGsi, checkMessage, decodeRoutes, encodeRoutes } from './routes.ts';
import {
  IRQCHIP_SIZE,
  KVM_GET_IRQCHIP,
  KVM_GET_PIT2,
  KVM_IRQCHIP_IOAPIC,
  KVM_IRQCHIP_PIC_MASTER,
  KVM_IRQCHIP_PIC_SLAVE,
  KVM_SET_IRQCHIP,
  KVM_SET_PIT2,
  PIT_STATE_SIZE,
} from './uapi.ts';

const MAGIC = 0x4338_364b;
const STATE_VERSION = 1;
const WHAT = 'the state of the interrupt controllers';

const CHIPS = [KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_IRQCHIP_IOAPIC];

const MSI_SIZE = 32;

/** What the chip needs of its VM. */
export interface IrqChipOwner {
  ioctl(
    what: string,
    request: number,
    argument: IoctlArgument,
    codes?: Readonly<Partial<Record<string, HypervisorError['code']>>>,
  ): number;
  checkUsable(): void;
  checkStill(what: string): void;
}

const REFUSED = { EINVAL: 'INVALID_ARGUMENT' } as const;

/** The interrupt controllers of KVM: all of them, or the local APICs only. */
export class X86KvmIrqChip implements X86IrqChip {
  readonly mode: 'kernel' | 'split';
  readonly #vm: IrqChipOwner;
  readonly #pit: boolean;
  readonly #line = new Uint8Array(8);
  readonly #lineWords = new Uint32Array(this.#line.buffer);
  readonly #msi = new Uint8Array(MSI_SIZE);
  readonly #msiWords = new Uint32Array(this.#msi.buffer);
  /** `undefined`: the table that KVM has begun with. */
  #routes: readonly GsiRoute[] | undefined;

  constructor(vm: IrqChipOwner, mode: 'kernel' | 'split', pit: boolean) {
    this.#vm = vm;
    this.mode = mode;
    this.#pit = pit;
  }

  setLine(gsi: number, level: boolean): void {
    this.#vm.checkUsable();
    if (this.mode === 'split') {
      throw new HypervisorError('UNSUPPORTED', 'a split interrupt controller has no lines in the kernel');
    }
    checkGsi(gsi);
    this.#lineWords[0] = gsi;
    this.#lineWords[1] = level ? 1 : 0;
    this.#vm.ioctl('KVM_IRQ_LINE', KVM_IRQ_LINE, this.#line, REFUSED);
  }

  pulseLine(gsi: number): void {
    this.setLine(gsi, true);
    this.setLine(gsi, false);
  }

  signalMsi(message: MsiMessage): boolean {
    this.#vm.checkUsable();
    checkMessage(message);
    const words = this.#msiWords;
    words[0] = message.address;
    words[1] = message.addressHigh;
    words[2] = message.data;
    try {
      return this.#vm.ioctl('KVM_SIGNAL_MSI', KVM_SIGNAL_MSI, this.#msi, REFUSED) > 0;
    } catch (error) {
      // KVM answers -1, which is EPERM, when no local APIC is meant.
      if (error instanceof HypervisorError && isSystemError(error.cause) && error.cause.code === 'EPERM')
        return false;
      throw error;
    }
  }

  setRoutes(routes: readonly GsiRoute[]): void {
    this.#vm.checkUsable();
    const copy = structuredClone(routes);
    const table = encodeRoutes(copy, this.mode);
    this.#vm.ioctl('KVM_SET_GSI_ROUTING', KVM_SET_GSI_ROUTING, table, REFUSED);
    this.#routes = copy;
  }

  save(): X86IrqChipState {
    this.#vm.checkUsable();
    this.#vm.checkStill('the state of the interrupt controllers can be saved');
    const routes = this.#routes === undefined ? new Uint8Array(0) : encodeRoutes(this.#routes, this.mode);
    const chips = this.mode === 'kernel' ? CHIPS.map((chip) => this.#readChip(chip)) : [];
    const pit = this.#pit ? [this.#read('KVM_GET_PIT2', KVM_GET_PIT2, PIT_STATE_SIZE)] : [];
    const parts = [...chips, ...pit, routes];
    const payload = new Uint8Array(4 + parts.reduce((sum, part) => sum + part.length, 0));
    new DataView(payload.buffer).setUint32(0, this.#layout(), true);
    let at = 4;
    for (const part of parts) {
      payload.set(part, at);
      at += part.length;
    }
    return { version: STATE_VERSION, mode: this.mode, opaque: encodeState(MAGIC, STATE_VERSION, payload) };
  }

  /** Which parts a state of this chip has. */
  #layout(): number {
    return (this.mode === 'kernel' ? 1 : 0) | (this.#pit ? 2 : 0);
  }

  #readChip(chip: number): Uint8Array {
    const bytes = new Uint8Array(IRQCHIP_SIZE);
    bytes[0] = chip;
    this.#vm.ioctl('KVM_GET_IRQCHIP', KVM_GET_IRQCHIP, bytes);
    return bytes;
  }

  #read(what: string, request: number, size: number): Uint8Array {
    const bytes = new Uint8Array(size);
    this.#vm.ioctl(what, request, bytes);
    return bytes;
  }

  restore(state: X86IrqChipState): void {
    this.#vm.checkUsable();
    this.#vm.checkStill('the state of the interrupt controllers can be restored');
    const { version, mode, opaque } = stateObject(WHAT, state);
    if (version !== STATE_VERSION || mode !== this.mode) {
      throw invalid(WHAT, `it is version ${String(version)} for '${String(mode)}'`);
    }
    const view = decodeState(WHAT, MAGIC, STATE_VERSION, opaque);
    const chipBytes = this.mode === 'kernel' ? CHIPS.length * IRQCHIP_SIZE : 0;
    const fixed = 4 + chipBytes + (this.#pit ? PIT_STATE_SIZE : 0);
    if (view.byteLength < fixed) throw invalid(WHAT, 'its length does not fit');
    if (view.getUint32(0, true) !== this.#layout()) {
      throw invalid(WHAT, 'it is for other interrupt controllers');
    }
    const part = (at: number, size: number): Uint8Array =>
      new Uint8Array(view.buffer, view.byteOffset + at, size).slice();
    const routeBytes = part(fixed, view.byteLength - fixed);
    const routes = routeBytes.length === 0 ? undefined : decodeRoutes(WHAT, routeBytes);
    const chips = this.mode === 'kernel' ? CHIPS.map((_, n) => part(4 + n * IRQCHIP_SIZE, IRQCHIP_SIZE)) : [];
    chips.forEach((bytes, index) => {
      // struct kvm_irqchip.chip_id
      if (new DataView(bytes.buffer).getUint32(0, true) !== CHIPS[index]) {
        throw invalid(WHAT, 'its chips are in another order');
      }
    });
    if (routes !== undefined) this.setRoutes(routes);
    for (const bytes of chips) this.#vm.ioctl('KVM_SET_IRQCHIP', KVM_SET_IRQCHIP, bytes, REFUSED);
    if (this.#pit) {
      this.#vm.ioctl('KVM_SET_PIT2', KVM_SET_PIT2, part(4 + chipBytes, PIT_STATE_SIZE), REFUSED);
    }
  }
}

/** @throws HypervisorError `INVALID_ARGUMENT` for a number of IOAPIC inputs that there cannot be. */
export function checkInputs(inputs: number): void {
  checkUnsigned('inputs of the IOAPIC', inputs, 4);
  // Intel 82093AA §3.2.2: the index of the last redirection entry has 8 bits, of which 240 entries are reachable.
  if (inputs < 1 || inputs > 240) {
    throw new HypervisorError('INVALID_ARGUMENT', `${inputs} inputs of the IOAPIC: there are 1 to 240`);
  }
}
