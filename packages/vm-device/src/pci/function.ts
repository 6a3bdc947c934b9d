import type { BusDevice, MsiController } from '../device.ts';
import { VmDeviceError } from '../errors.ts';
import { PciBar } from './bar.ts';
import type { PciBarOptions } from './bar.ts';
import { PciCapabilities } from './capabilities.ts';
import type { PciCapability, PciCapabilityOptions } from './capabilities.ts';
import { PciConfigSpace } from './config-space.ts';
import { EXPRESS_BODY, EXPRESS_DEVICE_CONTROL, EXPRESS_INITIATE_FLR, EXPRESS_WRITABLE } from './express.ts';
import { PciMsix } from './msix.ts';
import type { PciMsixState } from './msix.ts';
import * as pci from './registers.ts';

/** MSI-X of a function: how many vectors, and where table and Pending Bit Array are. */
export interface PciMsixOptions {
  /** 1 to 2048. */
  readonly vectors: number;
  /** A memory BAR of the function; these ranges of it do not reach its device. */
  readonly bar: number;
  /** Multiples of 8. */
  readonly tableOffset: number;
  readonly pbaOffset: number;
}

export interface PciFunctionOptions {
  /** Used in messages. */
  readonly name: string;
  readonly vendorId: number;
  readonly deviceId: number;
  /** Default 0. */
  readonly revision?: number;
  /** Base class, sub-class and programming interface: 24 bits. */
  readonly classCode: number;
  /** Default 0. */
  readonly subsystemVendorId?: number;
  readonly subsystemId?: number;
  readonly bars?: readonly PciBarOptions[];
  readonly msix?: PciMsixOptions;
  /** Has an interrupt on pin A. Default false. */
  readonly intx?: boolean;
  /** Has the PCI Express capability of a root complex integrated endpoint. Default false. */
  readonly express?: boolean;
  /** The function was reset, by the machine or by the guest (Function Level Reset). Must not throw. */
  readonly onReset?: () => void;
}

/** What a function needs of the place it is plugged into; a {@link PciRoot} is that. */
export interface PciFunctionHost {
  /** Bus, device and function, as one number (requester ID). */
  readonly deviceId: number;
  readonly msi: MsiController | undefined;
  /** The BAR is to be decoded at this address, or not at all. */
  mapBar(bar: PciBar, address: number | undefined): void;
  /** Level of the function's interrupt pin. */
  setIntx(level: boolean): void;
}

/** Plain, versioned state of a {@link PciFunction}. */
export interface PciFunctionState {
  readonly version: 1;
  readonly config: Uint8Array;
  readonly msix: PciMsixState | null;
}

/**
 * One function of a PCI device: its configuration space (type 0 header, PCI Local Bus 3.0 §6.1), Base Address
 * registers, capabilities, MSI-X and interrupt pin. No access of the guest throws.
 */
export class PciFunction {
  readonly name: string;
  readonly bars: readonly PciBar[];
  /** Present when the function has MSI-X. */
  readonly msix: PciMsix | undefined;
  readonly #space = new PciConfigSpace();
  readonly #capabilities: PciCapabilities;
  readonly #onReset: (() => void) | undefined;
  #host: PciFunctionHost | undefined;
  #msixControl = 0;
  #intx = false;
  #initial: Uint8Array | undefined;

  /** @throws VmDeviceError `INVALID_ARGUMENT` */
  constructor(options: PciFunctionOptions) {
    this.name = options.name;
    this.#onReset = options.onReset;
    const space = this.#space;
    this.#capabilities = new PciCapabilities(space, options.name);
    space.set(pci.PCI_VENDOR_ID, 2, options.vendorId);
    space.set(pci.PCI_DEVICE_ID, 2, options.deviceId);
    space.set(pci.PCI_REVISION_ID, 1, options.revision ?? 0);
    space.set(pci.PCI_CLASS_CODE, 3, options.classCode);
    space.set(pci.PCI_SUBSYSTEM_VENDOR_ID, 2, options.subsystemVendorId ?? 0);
    space.set(pci.PCI_SUBSYSTEM_ID, 2, options.subsystemId ?? 0);
    space.set(pci.PCI_INTERRUPT_PIN, 1, options.intx === true ? 1 : 0);
    space.allowWrite(pci.PCI_CACHE_LINE_SIZE, 1, 0xff);
    space.allowWrite(pci.PCI_INTERRUPT_LINE, 1, 0xff);
    space.allowClear(pci.PCI_STATUS, 2, pci.PCI_STATUS_ERRORS);
    this.msix = options.msix === undefined ? undefined : new PciMsix(options.msix.vectors);
    this.bars = this.#makeBars(options);
    const has = (kind: 'io' | 'memory'): boolean =>
      this.bars.some((bar) => (bar.kind === 'io') === (kind === 'io'));
    space.allowWrite(
      pci.PCI_COMMAND,
      2,
      (has('io') ? pci.PCI_COMMAND_IO : 0) |
        (has('memory') ? pci.PCI_COMMAND_MEMORY : 0) |
        pci.PCI_COMMAND_MASTER |
        pci.PCI_COMMAND_PARITY |
        pci.PCI_COMMAND_SERR |
        pci.PCI_COMMAND_INTX_DISABLE,
    );
    if (options.express === true) this.#addExpress();
    if (options.msix !== undefined) this.#addMsix(options.msix);
  }

  /** Software enabled MSI-X: the interrupt pin is silent. */
  get msixEnabled(): boolean {
    return this.msix?.enabled ?? false;
  }

  /** Whether the function answers on a bus. */
  get attached(): boolean {
    return this.#host !== undefined;
  }

  /** Bus, device and function as one number; undefined before the function is plugged in. */
  get deviceId(): number | undefined {
    return this.#host?.deviceId;
  }

  /**
   * Appends a capability to the list, before the function is plugged in.
   *
   * @param body what follows ID and next pointer
   * @throws VmDeviceError `EXHAUSTED` when the 192 bytes for capabilities are used up
   */
  addCapability(id: number, body: ArrayLike<number>, options: PciCapabilityOptions = {}): PciCapability {
    return this.#capabilities.add(id, body, options);
  }

  /** A configuration read of software; what is not implemented reads as 0. */
  readConfig(offset: number, length: 1 | 2 | 4): number {
    this.#capabilities.beforeRead(offset, length);
    return this.#space.read(offset, length);
  }

  /** A configuration write of software; read-only bits do not change. */
  writeConfig(offset: number, length: 1 | 2 | 4, value: number): void {
    if (offset >= pci.PCI_CONFIG_SIZE) return;
    this.#space.write(offset, length, value);
    const end = offset + length;
    if (offset < pci.PCI_COMMAND + 2 && end > pci.PCI_COMMAND) {
      this.#updateBars();
      this.#updatePin();
    } else if (offset < pci.PCI_BASE_ADDRESS_0 + 24 && end > pci.PCI_BASE_ADDRESS_0) {
      this.#updateBars();
    }
    this.#capabilities.afterWrite(offset, length);
  }

  /** As an access at `offset` of what a BAR decodes, whether it is decoded or not. */
  readBar(index: number, offset: number, length: 1 | 2 | 4): number {
    const bar = this.#bar(index);
    if (bar === undefined || !(offset >= 0 && offset + length <= bar.size)) return 0;
    try {
      return bar.device.read(offset, length);
    } catch {
      return 0;
    }
  }

  writeBar(index: number, offset: number, length: 1 | 2 | 4, value: number): void {
    const bar = this.#bar(index);
    if (bar === undefined || !(offset >= 0 && offset + length <= bar.size)) return;
    try {
      bar.device.write(offset, length, value);
    } catch {
      // As the bus does.
    }
  }

  /**
   * The function asks for service by its interrupt pin, or does so no longer. Shows in the Status register; the
   * pin follows unless software disabled it or enabled MSI-X.
   */
  setInterrupt(asserted: boolean): void {
    if (asserted === this.#intx) return;
    this.#intx = asserted;
    const status = this.#space.read(pci.PCI_STATUS, 2) & ~pci.PCI_STATUS_INTERRUPT;
    this.#space.set(pci.PCI_STATUS, 2, status | (asserted ? pci.PCI_STATUS_INTERRUPT : 0));
    this.#updatePin();
  }

  /** Plugs the function in; its Base Address registers hold their first addresses by now. For {@link PciRoot}. */
  attach(host: PciFunctionHost, multiFunction: boolean): void {
    this.#host = host;
    if (multiFunction) this.setMultiFunction();
    this.#initial = this.#space.bytes.slice();
    this.msix?.attach(host.msi, host.deviceId);
    this.#updateBars();
    this.#updatePin();
  }

  /** Sets the bit of the Header Type register. For {@link PciRoot}. */
  setMultiFunction(): void {
    for (const bytes of [this.#space.bytes, this.#initial]) {
      if (bytes !== undefined) bytes[pci.PCI_HEADER_TYPE]! |= pci.PCI_HEADER_TYPE_MULTI_FUNCTION;
    }
  }

  /** Power-on state; Base Address registers have their first addresses again. */
  reset(): void {
    this.#onReset?.();
    if (this.#initial !== undefined) this.#space.bytes.set(this.#initial);
    this.#intx = false;
    this.#space.set(pci.PCI_STATUS, 2, this.#space.read(pci.PCI_STATUS, 2) & ~pci.PCI_STATUS_INTERRUPT);
    this.msix?.reset();
    this.#updateBars();
    this.#updatePin();
  }

  save(): PciFunctionState {
    return { version: 1, config: this.#space.bytes.slice(), msix: this.msix?.save() ?? null };
  }

  /**
   * Takes over the state of a function made with the same options.
   *
   * @throws VmDeviceError `INVALID_STATE`; the function is unchanged then
   */
  restore(state: unknown): void {
    const { config, msix } = this.#check(state);
    this.#space.bytes.set(config);
    this.#intx = (this.#space.read(pci.PCI_STATUS, 2) & pci.PCI_STATUS_INTERRUPT) !== 0;
    if (msix !== null) this.msix?.restore(msix);
    this.#updateBars();
    this.#updateMsix();
    this.#updatePin();
  }

  #check(state: unknown): { readonly config: Uint8Array; readonly msix: PciMsixState | null } {
    const invalid = (what: string): VmDeviceError =>
      new VmDeviceError('INVALID_STATE', `${this.name}: ${what} is not that of this function`);
    if (typeof state !== 'object' || state === null) throw invalid('the state');
    const { version, config, msix } = state as { readonly [key in keyof PciFunctionState]?: unknown };
    if (version !== 1) throw invalid(`version ${String(version)} of the state`);
    const volatile = (offset: number): number => (offset === pci.PCI_STATUS ? pci.PCI_STATUS_INTERRUPT : 0);
    if (!(config instanceof Uint8Array) || !this.#space.accepts(config, volatile)) {
      throw invalid('the configuration space');
    }
    if (this.msix === undefined ? msix !== null : !this.msix.accepts(msix)) throw invalid('the MSI-X table');
    return { config, msix: msix as PciMsixState | null };
  }

  #makeBars(options: PciFunctionOptions): readonly PciBar[] {
    const { bars = [], msix, name } = options;
    const taken = new Set<number>();
    for (const { index, kind } of bars) {
      for (const register of kind === 'memory64' ? [index, index + 1] : [index]) {
        if (taken.has(register)) {
          throw new VmDeviceError('INVALID_ARGUMENT', `${name}: BAR ${register} is used twice`);
        }
        taken.add(register);
      }
    }
    if (msix !== undefined && !bars.some(({ index, kind }) => index === msix.bar && kind !== 'io')) {
      throw new VmDeviceError('INVALID_ARGUMENT', `${name}: MSI-X needs the memory BAR ${msix.bar}`);
    }
    return bars.map((bar) => {
      const device = msix?.bar === bar.index ? this.#withMsix(bar, msix) : bar.device;
      return new PciBar(this.#space, { ...bar, ...(device === undefined ? {} : { device }) }, name);
    });
  }

  /** What a BAR decodes that has the MSI-X table and the Pending Bit Array in it. */
  #withMsix(bar: PciBarOptions, { tableOffset, pbaOffset }: PciMsixOptions): BusDevice {
    const msix = this.msix!;
    const tableEnd = tableOffset + msix.tableSize;
    const pbaEnd = pbaOffset + msix.pbaSize;
    const disjoint = tableEnd <= pbaOffset || pbaEnd <= tableOffset;
    if (tableOffset % 8 !== 0 || pbaOffset % 8 !== 0 || !disjoint || Math.max(tableEnd, pbaEnd) > bar.size) {
      throw new VmDeviceError('INVALID_ARGUMENT', `${this.name}: MSI-X does not fit into BAR ${bar.index}`);
    }
    return {
      read: (offset, length) => {
        if (offset >= tableOffset && offset < tableEnd) return msix.readTable(offset - tableOffset, length);
        if (offset >= pbaOffset && offset < pbaEnd) return msix.readPba(offset - pbaOffset, length);
        return bar.device?.read(offset, length) ?? 0;
      },
      write: (offset, length, value) => {
        if (offset >= tableOffset && offset < tableEnd) msix.writeTable(offset - tableOffset, length, value);
        else if (!(offset >= pbaOffset && offset < pbaEnd)) bar.device?.write(offset, length, value);
      },
    };
  }

  /** §6.8.2.3 to §6.8.2.5. */
  #addMsix({ vectors, bar, tableOffset, pbaOffset }: PciMsixOptions): void {
    const body = new Uint8Array(10);
    const view = new DataView(body.buffer);
    view.setUint16(0, vectors - 1, true);
    view.setUint32(2, tableOffset | bar, true);
    view.setUint32(6, pbaOffset | bar, true);
    const { offset } = this.addCapability(pci.PCI_CAP_ID_MSIX, body, {
      writable: [0, (pci.PCI_MSIX_CONTROL_ENABLE | pci.PCI_MSIX_CONTROL_MASK) >>> 8],
      onWrite: () => {
        this.#updateMsix();
        this.#updatePin();
      },
    });
    this.#msixControl = offset + 2;
  }

  #addExpress(): void {
    const { offset } = this.addCapability(pci.PCI_CAP_ID_EXPRESS, EXPRESS_BODY, {
      writable: EXPRESS_WRITABLE,
      onWrite: () => {
        const control = this.#space.read(offset + EXPRESS_DEVICE_CONTROL, 2);
        if ((control & EXPRESS_INITIATE_FLR) !== 0) this.#functionLevelReset(offset, control);
      },
    });
  }

  /** PCI Express Base 3.0 §6.6.2; done when the write is, and the bit reads as 0. */
  #functionLevelReset(offset: number, control: number): void {
    this.#space.set(offset + EXPRESS_DEVICE_CONTROL, 2, control & ~EXPRESS_INITIATE_FLR);
    this.reset();
  }

  #bar(index: number): PciBar | undefined {
    return this.bars.find((bar) => bar.index === index);
  }

  #updateBars(): void {
    const command = this.#space.read(pci.PCI_COMMAND, 2);
    for (const bar of this.bars) {
      const enable = bar.kind === 'io' ? pci.PCI_COMMAND_IO : pci.PCI_COMMAND_MEMORY;
      this.#host?.mapBar(bar, (command & enable) !== 0 ? bar.address : undefined);
    }
  }

  #updateMsix(): void {
    if (this.#msixControl === 0) return;
    const control = this.#space.read(this.#msixControl, 2);
    this.msix?.configure(
      (control & pci.PCI_MSIX_CONTROL_ENABLE) !== 0,
      (control & pci.PCI_MSIX_CONTROL_MASK) !== 0,
    );
  }

  #updatePin(): void {
    const disabled = (this.#space.read(pci.PCI_COMMAND, 2) & pci.PCI_COMMAND_INTX_DISABLE) !== 0;
    this.#host?.setIntx(this.#intx && !disabled && !this.msixEnabled);
  }
}
