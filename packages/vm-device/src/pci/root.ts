import { AddressAllocator } from '../allocator.ts';
import type { AddressRange } from '../allocator.ts';
import type { BusDevice, Interrupt, MsiController } from '../device.ts';
import { VmDeviceError } from '../errors.ts';
import type { PciBar } from './bar.ts';
import { BarMap } from './bar-map.ts';
import type { BarBus } from './bar-map.ts';
import { ConfigPorts } from './config-ports.ts';
import { PciFunction } from './function.ts';
import type { PciFunctionState } from './function.ts';
import * as pci from './registers.ts';

export interface PciRootOptions {
  /** Where memory BARs are registered. */
  readonly mmio: BarBus;
  /** Addresses below 4 GiB for memory BARs; the same as in the machine's description. */
  readonly memory32: AddressRange;
  /** Addresses for prefetchable 64-bit BARs. Default: they share `memory32`. */
  readonly memory64?: AddressRange;
  /** Where I/O BARs are registered, and the ports for them. Default: functions with I/O BARs are refused. */
  readonly ports?: BarBus;
  readonly io?: AddressRange;
  /** Takes message-signalled interrupts. Default: they go nowhere; describe none to the guest then. */
  readonly msi?: MsiController;
  /**
   * Level-triggered lines. Pin A to D (1 to 4) of device d is on line `interruptLine(d, pin)`, which is
   * (d + pin - 1) modulo their number. Default: interrupt pins go nowhere.
   */
  readonly interrupts?: readonly Interrupt[];
  /** Buses that the ECAM range covers, 1 to 256; only bus 0 has functions. Default 1. */
  readonly buses?: number;
  /** IDs of the host bridge at 00:00.0. Default 1b36:0008, a generic PCI Express host bridge. */
  readonly hostBridge?: { readonly vendorId: number; readonly deviceId: number };
}

/** Where a function is. */
export interface PciAddress {
  readonly bus: number;
  /** 0 to 31. */
  readonly device: number;
  /** 0 to 7. */
  readonly function: number;
}

/** What a root counted since it was made. */
export interface PciStatistics {
  readonly configReads: number;
  readonly configWrites: number;
  /** Times that a BAR was given an address which it cannot have. */
  readonly refusedBars: number;
}

/** Plain, versioned state of a {@link PciRoot} without the functions that were added to it. */
export interface PciRootState {
  readonly version: 1;
  readonly configAddress: number;
  readonly hostBridge: PciFunctionState;
}

/**
 * A PCI Express root complex with one bus: ECAM and the ports CF8 to CFF for configuration, windows for Base Address
 * registers, interrupt lines. A host bridge is at 00:00.0; all others are root complex integrated endpoints.
 */
export class PciRoot {
  /** Configuration space in memory (PCI Express Base 3.0 §7.2.2), of {@link ecamSize} bytes. */
  readonly ecam: BusDevice;
  readonly ecamSize: number;
  /** Configuration mechanism #1 (PCI Local Bus 3.0 §3.2.2.3.2): eight ports from CF8. */
  readonly configPorts: BusDevice;
  readonly hostBridge: PciFunction;

  readonly #options: PciRootOptions;
  readonly #ports: ConfigPorts;
  readonly #memory: BarMap;
  readonly #io: BarMap | undefined;
  readonly #windows: { readonly [window in 'memory32' | 'memory64' | 'io']: AddressAllocator | undefined };
  /** By device * 8 + function. */
  readonly #functions: (PciFunction | undefined)[] = [];
  /** How many functions assert each line. */
  readonly #asserted: number[];
  #configReads = 0;
  #configWrites = 0;

  /** @throws VmDeviceError `INVALID_ARGUMENT` */
  constructor(options: PciRootOptions) {
    const { buses = 1, memory32, memory64, io, hostBridge } = options;
    if (!Number.isInteger(buses) || buses < 1 || buses > 256) {
      throw new VmDeviceError('INVALID_ARGUMENT', `a PCI root has from 1 to 256 buses, not ${buses}`);
    }
    if (memory32.address + memory32.size > 2 ** 32) {
      throw new VmDeviceError('INVALID_ARGUMENT', 'the window memory32 must end below 4 GiB');
    }
    const window = (range: AddressRange | undefined): AddressAllocator | undefined =>
      range === undefined ? undefined : new AddressAllocator(range.address, range.size);
    this.#options = options;
    this.#windows = { memory32: window(memory32), memory64: window(memory64), io: window(io) };
    this.#memory = new BarMap(options.mmio, memory64 === undefined ? [memory32] : [memory32, memory64]);
    this.#io = options.ports === undefined || io === undefined ? undefined : new BarMap(options.ports, [io]);
    this.#asserted = (options.interrupts ?? []).map(() => 0);
    this.ecamSize = buses * pci.PCI_ECAM_BUS_SIZE;
    this.ecam = {
      read: (offset, length) => this.#read(offset >>> 12, offset & 0xfff, length),
      write: (offset, length, value) => this.#write(offset >>> 12, offset & 0xfff, length, value),
    };
    this.#ports = new ConfigPorts({
      read: (id, offset, length) => this.#read(id, offset, length),
      write: (id, offset, length, value) => this.#write(id, offset, length, value),
    });
    this.configPorts = this.#ports;
    this.hostBridge = new PciFunction({
      name: 'host bridge',
      vendorId: hostBridge?.vendorId ?? 0x1b36,
      deviceId: hostBridge?.deviceId ?? 0x0008,
      classCode: 0x06_00_00,
    });
    this.add(this.hostBridge, 0);
  }

  /** Functions that are plugged in, the host bridge first, by ascending address. */
  get functions(): readonly { readonly address: PciAddress; readonly function: PciFunction }[] {
    return this.#functions.flatMap((fn, id) =>
      fn === undefined ? [] : [{ address: addressOf(id), function: fn }],
    );
  }

  get statistics(): PciStatistics {
    return {
      configReads: this.#configReads,
      configWrites: this.#configWrites,
      refusedBars: this.#memory.refused + (this.#io?.refused ?? 0),
    };
  }

  /** Index of the line that pin 1 (A) to 4 (D) of a device is on. */
  interruptLine(device: number, pin: number): number {
    return (device + pin - 1) % Math.max(this.#asserted.length, 1);
  }

  /**
   * Plugs a function in and gives its BARs addresses, so that it works for a guest that assigns none.
   *
   * @param slot device number, 0 to 31, of which the function takes the next free function number. Default: the
   *   lowest device that has none; when all have one, the lowest with a free function number
   * @throws VmDeviceError `EXHAUSTED` when no slot or no address is left, `INVALID_ARGUMENT`
   */
  add(added: PciFunction, slot?: number): PciAddress {
    if (added.attached) throw new VmDeviceError('INVALID_ARGUMENT', `${added.name} is plugged in already`);
    const id = this.#freeId(slot, added.name);
    this.#assignBars(added);
    const line = this.interruptLine(id >>> 3, 1);
    let level = false;
    const host = {
      deviceId: id,
      msi: this.#options.msi,
      mapBar: (bar: PciBar, address: number | undefined): void => {
        (bar.kind === 'io' ? this.#io : this.#memory)?.move(bar, address);
      },
      setIntx: (asserted: boolean): void => {
        if (asserted === level) return;
        level = asserted;
        this.#drive(line, asserted);
      },
    };
    this.#functions[id] = added;
    const first = id & ~7;
    if ((id & 7) !== 0) this.#functions[first]?.setMultiFunction();
    added.attach(host, (id & 7) !== 0);
    return addressOf(id);
  }

  /** Resets every function, as a reset of the machine does. */
  reset(): void {
    this.#ports.address = 0;
    for (const fn of this.#functions) fn?.reset();
  }

  /** State of the root itself; that of each function is its owner's to save. */
  save(): PciRootState {
    return { version: 1, configAddress: this.#ports.address, hostBridge: this.hostBridge.save() };
  }

  /** @throws VmDeviceError `INVALID_STATE`; the root is unchanged then */
  restore(state: unknown): void {
    if (typeof state !== 'object' || state === null) {
      throw new VmDeviceError('INVALID_STATE', 'the state of a PCI root must be an object');
    }
    const { version, configAddress, hostBridge } = state as {
      readonly [key in keyof PciRootState]?: unknown;
    };
    if (version !== 1 || typeof configAddress !== 'number' || configAddress !== configAddress >>> 0) {
      throw new VmDeviceError('INVALID_STATE', 'the state of the PCI root is damaged or of another version');
    }
    this.hostBridge.restore(hostBridge);
    this.#ports.address = configAddress;
  }

  /** An access that nothing claims reads as ones, §6.1; so does one that crosses a doubleword. */
  #read(id: number, offset: number, length: 1 | 2 | 4): number {
    this.#configReads++;
    const fn = this.#functions[id];
    if (fn === undefined || (offset & 3) + length > 4)
      return length === 4 ? 0xffff_ffff : 2 ** (8 * length) - 1;
    return fn.readConfig(offset, length);
  }

  #write(id: number, offset: number, length: 1 | 2 | 4, value: number): void {
    this.#configWrites++;
    if ((offset & 3) + length <= 4) this.#functions[id]?.writeConfig(offset, length, value);
  }

  #drive(line: number, asserted: boolean): void {
    const before = this.#asserted[line];
    if (before === undefined) return;
    const now = before + (asserted ? 1 : -1);
    this.#asserted[line] = now;
    if ((before === 0) !== (now === 0)) this.#options.interrupts?.[line]?.setLevel(now !== 0);
  }

  #freeId(slot: number | undefined, name: string): number {
    const free = (device: number): number | undefined => {
      for (
        let id = device * pci.PCI_FUNCTIONS_PER_DEVICE;
        id < (device + 1) * pci.PCI_FUNCTIONS_PER_DEVICE;
        id++
      ) {
        if (this.#functions[id] === undefined) return id;
      }
      return undefined;
    };
    if (slot !== undefined) {
      if (!Number.isInteger(slot) || slot < 0 || slot >= pci.PCI_DEVICES_PER_BUS) {
        throw new VmDeviceError('INVALID_ARGUMENT', `a PCI slot is from 0 to 31, not ${slot}`);
      }
      const id = free(slot);
      if (id === undefined) throw new VmDeviceError('EXHAUSTED', `PCI slot ${slot} has no room for ${name}`);
      return id;
    }
    const candidates = Array.from({ length: pci.PCI_DEVICES_PER_BUS }, (_, device) => free(device));
    // Device 0 stays the host bridge's own.
    const id =
      candidates.find((each) => each !== undefined && (each & 7) === 0) ??
      candidates.find((each) => each !== undefined && each >= pci.PCI_FUNCTIONS_PER_DEVICE);
    if (id === undefined) throw new VmDeviceError('EXHAUSTED', `no PCI slot is left for ${name}`);
    return id;
  }

  #assignBars(added: PciFunction): void {
    const taken: { readonly window: AddressAllocator; readonly range: AddressRange }[] = [];
    try {
      for (const bar of added.bars) {
        const window = this.#windowOf(bar);
        const alignment = bar.kind === 'io' ? bar.size : Math.max(bar.size, 0x1000);
        const range = window.allocate(bar.size, { alignment });
        taken.push({ window, range });
        bar.address = range.address;
      }
    } catch (cause) {
      for (const { window, range } of taken) window.free(range);
      throw cause;
    }
  }

  #windowOf(bar: PciBar): AddressAllocator {
    const { memory32, memory64, io } = this.#windows;
    const window =
      bar.kind === 'io'
        ? this.#io && io
        : bar.kind === 'memory64' && bar.prefetchable
          ? (memory64 ?? memory32)
          : memory32;
    if (window === undefined) {
      throw new VmDeviceError('INVALID_ARGUMENT', `${bar.name}: this PCI root has no I/O ports`);
    }
    return window;
  }
}

function addressOf(id: number): PciAddress {
  return { bus: 0, device: id >>> 3, function: id & 7 };
}
