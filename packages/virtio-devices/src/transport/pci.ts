import { PCI_MSIX_MAX_VECTORS, PciFunction } from '@vmm/vm-device';
import type { BusDevice, Doorbell, DoorbellRegistry, PciBarOptions, PciFunctionState } from '@vmm/vm-device';
import { checkOption, messageOf, VirtioDeviceError } from '../errors.ts';
import { StateReader } from '../state.ts';
import { VirtioTransportCore } from './core.ts';
import { addVirtioCapabilities } from './pci-capabilities.ts';
import { PciCommonConfig } from './pci-common.ts';
import type { PciCommonState } from './pci-common.ts';
import { classCodeOf } from './pci-identity.ts';
import * as layout from './pci-layout.ts';
import * as reg from './pci-registers.ts';
import { parseCoreState } from './state.ts';
import type { TransportCoreState, TransportOptions, TransportStatistics, VirtioTransport } from './types.ts';

export interface VirtioPciOptions extends TransportOptions {
  /**
   * Takes the driver's stores to the queues' notification addresses, from DRIVER_OK to the reset, wherever the BAR is.
   * Without it, or when it refuses one, these stores come through the bus.
   */
  readonly doorbells?: DoorbellRegistry;
  /** Size of the MSI-X table, 1 to 2048. Default: one vector for each queue and one for the configuration. */
  readonly vectors?: number;
  /** Class code, 24 bits. Default: what fits the device's type. */
  readonly classCode?: number;
}

/** Plain, versioned state of a {@link VirtioPciTransport} and its device. */
export interface VirtioPciState {
  readonly version: 1;
  readonly transport: 'pci';
  readonly function: PciFunctionState;
  readonly common: PciCommonState;
  readonly isr: number;
  readonly core: TransportCoreState;
}

/** Virtio over PCI without the legacy interface (VIRTIO 1.3 §4.1), as a function to add to a PCI root. */
export class VirtioPciTransport implements VirtioTransport {
  readonly core: VirtioTransportCore;
  /** Plug it into a `PciRoot`, from where it has its addresses and interrupts. */
  readonly function: PciFunction;
  readonly #options: VirtioPciOptions;
  readonly #common: PciCommonConfig;
  readonly #registers: layout.RegisterLayout;
  readonly #doorbells: Doorbell[] = [];
  #isr = 0;
  /** Address of the registers while they are decoded. */
  #address: number | undefined;
  #restored = false;

  /** @throws VirtioDeviceError `INVALID_OPTION`; VmDeviceError `EXHAUSTED` with more shared memory regions than fit */
  constructor(options: VirtioPciOptions) {
    const { device } = options;
    this.#options = options;
    this.core = new VirtioTransportCore(options, {
      raiseQueue: (index) => this.#raiseQueue(index),
      raiseConfig: () => this.#raiseConfig(),
      activated: () => this.#createDoorbells(),
      deactivated: () => this.#removeDoorbells(),
    });
    const vectors = checkOption(
      'vectors',
      options.vectors ?? Math.min(device.queueSizes.length + 1, PCI_MSIX_MAX_VECTORS),
      1,
      PCI_MSIX_MAX_VECTORS,
    );
    this.#common = new PciCommonConfig(this.core, vectors, (value) => this.#writeStatus(value));
    this.#registers = layout.registerLayout(vectors, device.queueSizes.length);
    const sharedMemory =
      device.sharedMemory === undefined || device.sharedMemory.length === 0
        ? undefined
        : layout.sharedMemoryLayout(device.sharedMemory);
    this.function = new PciFunction({
      name: `virtio ${this.core.name}`,
      vendorId: reg.VIRTIO_PCI_VENDOR_ID,
      deviceId: reg.VIRTIO_PCI_DEVICE_ID_BASE + device.type,
      revision: reg.VIRTIO_PCI_REVISION,
      classCode: options.classCode ?? classCodeOf(device.type),
      subsystemVendorId: reg.VIRTIO_PCI_VENDOR_ID,
      subsystemId: reg.VIRTIO_PCI_DEVICE_ID_BASE + device.type,
      bars: this.#bars(sharedMemory),
      msix: {
        vectors,
        bar: layout.REGISTER_BAR,
        tableOffset: this.#registers.msixTable,
        pbaOffset: this.#registers.msixPba,
      },
      intx: true,
      express: true,
      onReset: () => this.#writeStatus(0),
    });
    addVirtioCapabilities(this.function, this.#registers, sharedMemory, device.configRead !== undefined);
  }

  get statistics(): TransportStatistics {
    return this.core.statistics;
  }

  /** A reset of the machine: the function is as after power-on, with its first addresses. */
  reset(): void {
    this.function.reset();
  }

  pause(): Promise<void> {
    return this.core.pause();
  }

  resume(): void {
    // A change may have been announced to an interrupt controller that is gone.
    if (this.#restored && this.core.active) this.function.msix?.trigger(this.#common.configVector);
    this.#restored = false;
    this.core.resume();
  }

  save(): VirtioPciState {
    return {
      version: 1,
      transport: 'pci',
      core: this.core.save(),
      function: this.function.save(),
      common: this.#common.save(),
      isr: this.#isr,
    };
  }

  /**
   * Takes over a saved state into a transport with a device of the same options, plugged in and not yet touched by
   * a driver. The transport is paused afterwards: call `resume()`.
   *
   * @throws VirtioDeviceError `INVALID_STATE`, `WRONG_STATE`; the transport is as after reset then
   */
  restore(state: unknown): void {
    const reader = new StateReader('virtio-pci state', state);
    reader.version(1);
    if (reader.unknown('transport') !== 'pci') {
      throw new VirtioDeviceError('INVALID_STATE', 'the state is of another transport');
    }
    const isr = reader.integer('isr', 0, reg.VIRTIO_PCI_ISR_QUEUE | reg.VIRTIO_PCI_ISR_CONFIG);
    const common = parseCommonState(reader.unknown('common'), this.core.slots.length);
    const core = parseCoreState(reader.unknown('core'));
    if (this.core.status !== 0) {
      throw new VirtioDeviceError('WRONG_STATE', `${this.core.name}: restore() needs a device after reset`);
    }
    try {
      this.function.restore(reader.unknown('function'));
    } catch (cause) {
      throw new VirtioDeviceError('INVALID_STATE', messageOf(cause), { cause });
    }
    try {
      this.core.restore(core);
    } catch (cause) {
      this.function.reset();
      throw cause;
    }
    this.#common.restore(common);
    this.#isr = isr;
    this.#restored = true;
  }

  #bars(sharedMemory: layout.SharedMemoryLayout | undefined): readonly PciBarOptions[] {
    const registers: BusDevice = {
      read: (offset, length) => this.#read(offset, length),
      write: (offset, length, value) => this.#write(offset, length, value),
    };
    const bars: PciBarOptions[] = [
      {
        index: layout.REGISTER_BAR,
        kind: 'memory32',
        size: this.#registers.size,
        device: registers,
        onMapped: (address) => {
          this.#removeDoorbells();
          this.#address = address;
          if (this.core.active) this.#createDoorbells();
        },
      },
    ];
    if (sharedMemory !== undefined) {
      bars.push({
        index: layout.SHARED_MEMORY_BAR,
        kind: 'memory64',
        prefetchable: true,
        size: sharedMemory.size,
        onMapped: (address) => this.#mapSharedMemory(sharedMemory, address),
      });
    }
    return bars;
  }

  #read(offset: number, length: 1 | 2 | 4): number {
    if (offset < layout.COMMON_OFFSET + reg.VIRTIO_PCI_COMMON_SIZE) return this.#common.read(offset, length);
    if (offset === layout.ISR_OFFSET) return this.#readIsr();
    if (offset >= layout.DEVICE_OFFSET && offset < layout.DEVICE_OFFSET + layout.DEVICE_SIZE) {
      return this.core.readConfig(offset - layout.DEVICE_OFFSET, length);
    }
    return 0;
  }

  #write(offset: number, length: 1 | 2 | 4, value: number): void {
    const { notify, notifySize } = this.#registers;
    if (offset >= notify && offset < notify + notifySize) {
      const distance = offset - notify;
      if (distance % reg.VIRTIO_PCI_NOTIFY_MULTIPLIER === 0) {
        this.core.notify(distance / reg.VIRTIO_PCI_NOTIFY_MULTIPLIER);
      } else this.core.ignore(`a notification at ${distance}, which is no queue's address (§4.1.4.4)`);
    } else if (offset < layout.COMMON_OFFSET + reg.VIRTIO_PCI_COMMON_SIZE) {
      this.#common.write(offset, length, value);
    } else if (offset >= layout.DEVICE_OFFSET && offset < layout.DEVICE_OFFSET + layout.DEVICE_SIZE) {
      this.core.writeConfig(offset - layout.DEVICE_OFFSET, length, value);
    } else this.core.ignore(`a write of ${length} bytes at ${offset}, where no register is`);
  }

  #writeStatus(value: number): void {
    this.core.writeStatus(value);
    if (value !== 0) return;
    this.#common.reset();
    this.#isr = 0;
    this.function.setInterrupt(false);
    this.function.msix?.clearPending();
  }

  /** Reading clears, and takes the interrupt back (§4.1.4.5). */
  #readIsr(): number {
    const isr = this.#isr;
    this.#isr = 0;
    this.function.setInterrupt(false);
    return isr;
  }

  /** §4.1.5.3. */
  #raiseQueue(index: number): void {
    const { msix } = this.function;
    if (msix?.enabled === true) msix.trigger(this.#common.queueVectors[index]!);
    else this.#raiseIntx(reg.VIRTIO_PCI_ISR_QUEUE);
  }

  /** §4.1.5.4. */
  #raiseConfig(): void {
    const { msix } = this.function;
    if (msix?.enabled === true) {
      this.#isr |= reg.VIRTIO_PCI_ISR_CONFIG;
      msix.trigger(this.#common.configVector);
    } else this.#raiseIntx(reg.VIRTIO_PCI_ISR_CONFIG);
  }

  #raiseIntx(bit: number): void {
    this.#isr |= bit;
    this.function.setInterrupt(true);
  }

  #createDoorbells(): void {
    const { doorbells } = this.#options;
    const address = this.#address;
    if (doorbells === undefined || address === undefined) return;
    for (const { index, ready } of this.core.slots) {
      if (!ready) continue;
      const at = address + this.#registers.notify + index * reg.VIRTIO_PCI_NOTIFY_MULTIPLIER;
      try {
        this.#doorbells.push(doorbells.createDoorbell(at, 2, undefined, () => this.core.notify(index)));
      } catch (cause) {
        // Not fatal: the store exits and reaches #write() instead.
        this.core.ignore(`no doorbell for queue ${index}: ${messageOf(cause)}`);
      }
    }
  }

  #removeDoorbells(): void {
    for (const doorbell of this.#doorbells.splice(0)) doorbell[Symbol.dispose]();
  }

  #mapSharedMemory({ regions }: layout.SharedMemoryLayout, address: number | undefined): void {
    for (const { region, offset } of regions) {
      try {
        this.#options.onSharedMemory?.(region, address === undefined ? undefined : address + offset);
      } catch (cause) {
        this.core.ignore(`shared memory region ${region.id} cannot be mapped: ${messageOf(cause)}`);
      }
    }
  }
}

/** @throws VirtioDeviceError `INVALID_STATE` */
function parseCommonState(state: unknown, queues: number): PciCommonState {
  const reader = new StateReader('common configuration state', state);
  const vector = (name: string): number => reader.integer(name, 0, reg.VIRTIO_MSI_NO_VECTOR);
  const queueVectors = reader.array('queueVectors');
  if (queueVectors.length !== queues || !queueVectors.every((each) => typeof each === 'number')) {
    throw new VirtioDeviceError('INVALID_STATE', `queueVectors must be ${queues} numbers`);
  }
  return {
    deviceFeatureSelect: reader.uint32('deviceFeatureSelect'),
    driverFeatureSelect: reader.uint32('driverFeatureSelect'),
    queueSelect: reader.integer('queueSelect', 0, 0xffff),
    configVector: vector('configVector'),
    queueVectors,
  };
}
