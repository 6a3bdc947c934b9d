import type { BusDevice, Doorbell, DoorbellRegistry, Interrupt } from '@vmm/vm-device';
import { messageOf, VirtioDeviceError } from '../errors.ts';
import { StateReader } from '../state.ts';
import { VirtioTransportCore } from './core.ts';
import type {
  TransportBindings,
  TransportCoreState,
  TransportOptions,
  TransportStatistics,
  VirtioTransport,
} from './types.ts';
import {
  VIRTIO_MMIO_MAGIC,
  VIRTIO_MMIO_VERSION,
  VIRTIO_MMIO_MAGIC_VALUE,
  VIRTIO_MMIO_VERSION_REGISTER,
  VIRTIO_MMIO_DEVICE_ID,
  VIRTIO_MMIO_VENDOR_ID,
  VIRTIO_MMIO_DEVICE_FEATURES,
  VIRTIO_MMIO_DEVICE_FEATURES_SEL,
  VIRTIO_MMIO_DRIVER_FEATURES,
  VIRTIO_MMIO_DRIVER_FEATURES_SEL,
  VIRTIO_MMIO_QUEUE_SEL,
  VIRTIO_MMIO_QUEUE_SIZE_MAX,
  VIRTIO_MMIO_QUEUE_SIZE,
  VIRTIO_MMIO_QUEUE_READY,
  VIRTIO_MMIO_QUEUE_NOTIFY,
  VIRTIO_MMIO_INTERRUPT_STATUS,
  VIRTIO_MMIO_INTERRUPT_ACK,
  VIRTIO_MMIO_STATUS,
  VIRTIO_MMIO_QUEUE_DESC_LOW,
  VIRTIO_MMIO_QUEUE_DESC_HIGH,
  VIRTIO_MMIO_QUEUE_DRIVER_LOW,
  VIRTIO_MMIO_QUEUE_DRIVER_HIGH,
  VIRTIO_MMIO_QUEUE_DEVICE_LOW,
  VIRTIO_MMIO_QUEUE_DEVICE_HIGH,
  VIRTIO_MMIO_SHM_SEL,
  VIRTIO_MMIO_SHM_LEN_LOW,
  VIRTIO_MMIO_SHM_LEN_HIGH,
  VIRTIO_MMIO_SHM_BASE_LOW,
  VIRTIO_MMIO_SHM_BASE_HIGH,
  VIRTIO_MMIO_QUEUE_RESET,
  VIRTIO_MMIO_CONFIG_GENERATION,
  VIRTIO_MMIO_CONFIG,
  VIRTIO_MMIO_INT_VRING,
  VIRTIO_MMIO_INT_CONFIG,
} from './mmio-registers.ts';
import type { QueueSlot } from './queue-slot.ts';
import { parseCoreState } from './state.ts';

export interface VirtioMmioOptions extends TransportOptions {
  /** Described to the guest as edge-triggered: one edge for each notification. */
  readonly interrupt: Interrupt;
  /** Guest physical address of the registers; needed for doorbells. */
  readonly address?: number;
  /**
   * Takes the driver's stores to QueueNotify, one doorbell for each enabled queue, from DRIVER_OK to the
   * reset. Without it, or when it refuses one, these stores come through the bus.
   */
  readonly doorbells?: DoorbellRegistry;
  /** Told every change of InterruptStatus, so that a hypervisor can answer its reads without an exit. */
  readonly interruptStatus?: { set(value: number): void };
  /**
   * Guest physical address of each of the device's shared memory regions, in their order. Default: the driver sees
   * none.
   */
  readonly sharedMemory?: readonly number[];
  /** VendorID, 32 bits. Default 0x4d4d_5654 ("TVMM"). */
  readonly vendorId?: number;
}

/** Plain, versioned state of a {@link VirtioMmioTransport} and its device. */
export interface VirtioMmioState {
  readonly version: 1;
  readonly transport: 'mmio';
  readonly core: TransportCoreState;
  readonly deviceFeaturesSel: number;
  readonly driverFeaturesSel: number;
  readonly queueSel: number;
  readonly sharedMemorySel: number;
  readonly interruptStatus: number;
}

/** Virtio over MMIO, version 2 (VIRTIO 1.3 §4.2), as a device on a bus. */
export class VirtioMmioTransport implements BusDevice, VirtioTransport {
  readonly core: VirtioTransportCore;
  readonly #interrupt: Interrupt;
  readonly #options: VirtioMmioOptions;
  readonly #doorbells: Doorbell[] = [];
  readonly #vendorId: number;
  #deviceFeaturesSel = 0;
  #driverFeaturesSel = 0;
  #queueSel = 0;
  #sharedMemorySel = 0;
  #interruptStatus = 0;

  /** @throws VirtioDeviceError `INVALID_OPTION` */
  constructor(options: VirtioMmioOptions) {
    if (options.doorbells !== undefined && options.address === undefined) {
      throw new VirtioDeviceError('INVALID_OPTION', 'doorbells need the address of the registers');
    }
    this.#options = options;
    this.#interrupt = options.interrupt;
    this.#vendorId = (options.vendorId ?? 0x4d4d_5654) >>> 0;
    const bindings: TransportBindings = {
      raiseQueue: () => this.#raise(VIRTIO_MMIO_INT_VRING),
      raiseConfig: () => this.#raise(VIRTIO_MMIO_INT_CONFIG),
      activated: () => this.#createDoorbells(),
      deactivated: () => this.#removeDoorbells(),
    };
    this.core = new VirtioTransportCore(options, bindings);
    const { sharedMemory = [] } = options.device;
    if (options.sharedMemory !== undefined && options.sharedMemory.length !== sharedMemory.length) {
      throw new VirtioDeviceError(
        'INVALID_OPTION',
        `${this.core.name} has ${sharedMemory.length} shared memory regions, not ${options.sharedMemory.length}`,
      );
    }
    sharedMemory.forEach((region, index) => {
      const address = options.sharedMemory?.[index];
      if (address !== undefined) options.onSharedMemory?.(region, address);
    });
  }

  get statistics(): TransportStatistics {
    return this.core.statistics;
  }

  read(offset: number, length: 1 | 2 | 4): number {
    if (offset >= VIRTIO_MMIO_CONFIG) return this.core.readConfig(offset - VIRTIO_MMIO_CONFIG, length);
    if (length !== 4) {
      this.core.ignore(`a read of ${length} bytes at register ${offset} (§4.2.2.2)`);
      return 0;
    }
    const slot = this.core.slots[this.#queueSel];
    switch (offset) {
      case VIRTIO_MMIO_MAGIC_VALUE:
        return VIRTIO_MMIO_MAGIC;
      case VIRTIO_MMIO_VERSION_REGISTER:
        return VIRTIO_MMIO_VERSION;
      case VIRTIO_MMIO_DEVICE_ID:
        return this.core.device.type;
      case VIRTIO_MMIO_VENDOR_ID:
        return this.#vendorId;
      case VIRTIO_MMIO_DEVICE_FEATURES:
        return this.core.features.readDevice(this.#deviceFeaturesSel);
      case VIRTIO_MMIO_QUEUE_SIZE_MAX:
        return slot?.maxSize ?? 0;
      case VIRTIO_MMIO_QUEUE_READY:
        return slot?.ready === true ? 1 : 0;
      case VIRTIO_MMIO_INTERRUPT_STATUS:
        return this.#interruptStatus;
      case VIRTIO_MMIO_STATUS:
        return this.core.status;
      case VIRTIO_MMIO_SHM_LEN_LOW:
      case VIRTIO_MMIO_SHM_LEN_HIGH:
      case VIRTIO_MMIO_SHM_BASE_LOW:
      case VIRTIO_MMIO_SHM_BASE_HIGH:
        return this.#readSharedMemory(offset);
      case VIRTIO_MMIO_CONFIG_GENERATION:
        return this.core.configGeneration;
      default:
        // QueueReset is done when its write is: it reads as 0 (§4.2.2).
        return 0;
    }
  }

  write(offset: number, length: 1 | 2 | 4, value: number): void {
    if (offset >= VIRTIO_MMIO_CONFIG) {
      this.core.writeConfig(offset - VIRTIO_MMIO_CONFIG, length, value);
      return;
    }
    if (length !== 4) {
      this.core.ignore(`a write of ${length} bytes at register ${offset} (§4.2.2.2)`);
      return;
    }
    switch (offset) {
      case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
        this.#deviceFeaturesSel = value;
        return;
      case VIRTIO_MMIO_DRIVER_FEATURES:
        this.core.writeDriverFeatures(this.#driverFeaturesSel, value);
        return;
      case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
        this.#driverFeaturesSel = value;
        return;
      case VIRTIO_MMIO_QUEUE_SEL:
        this.#queueSel = value;
        return;
      case VIRTIO_MMIO_QUEUE_NOTIFY:
        this.core.notify(value);
        return;
      case VIRTIO_MMIO_INTERRUPT_ACK:
        this.#setInterruptStatus(this.#interruptStatus & ~value);
        return;
      case VIRTIO_MMIO_STATUS:
        this.#writeStatus(value);
        return;
      case VIRTIO_MMIO_SHM_SEL:
        this.#sharedMemorySel = value;
        return;
      default:
        this.#writeQueue(offset, value);
    }
  }

  /** A reset of the machine: as if the driver had reset the device. */
  reset(): void {
    this.#writeStatus(0);
  }

  /** Stops the device for a snapshot; the vCPUs must be stopped. Resolves when nothing is in flight. */
  pause(): Promise<void> {
    return this.core.pause();
  }

  /** Goes on after `pause()` or `restore()`. */
  resume(): void {
    // An edge may have been lost with the interrupt controller that it went to.
    if (this.core.paused && this.#interruptStatus !== 0) this.#interrupt.trigger();
    this.core.resume();
  }

  /** @throws VirtioDeviceError `WRONG_STATE` unless paused */
  save(): VirtioMmioState {
    return {
      version: 1,
      transport: 'mmio',
      core: this.core.save(),
      deviceFeaturesSel: this.#deviceFeaturesSel,
      driverFeaturesSel: this.#driverFeaturesSel,
      queueSel: this.#queueSel,
      sharedMemorySel: this.#sharedMemorySel,
      interruptStatus: this.#interruptStatus,
    };
  }

  /**
   * Takes over a saved state into a transport with a device of the same options, not yet touched by a driver.
   * The transport is paused afterwards: call `resume()`.
   *
   * @throws VirtioDeviceError `INVALID_STATE`, `WRONG_STATE`; the transport is as after reset then
   */
  restore(state: unknown): void {
    const reader = new StateReader('virtio-mmio state', state);
    reader.version(1);
    if (reader.unknown('transport') !== 'mmio') {
      throw new VirtioDeviceError('INVALID_STATE', 'the state is of another transport');
    }
    const deviceFeaturesSel = reader.uint32('deviceFeaturesSel');
    const driverFeaturesSel = reader.uint32('driverFeaturesSel');
    const queueSel = reader.uint32('queueSel');
    const sharedMemorySel = reader.uint32('sharedMemorySel');
    const interruptStatus = reader.integer('interruptStatus', 0, 3);
    this.core.restore(parseCoreState(reader.unknown('core')));
    this.#deviceFeaturesSel = deviceFeaturesSel;
    this.#driverFeaturesSel = driverFeaturesSel;
    this.#queueSel = queueSel;
    this.#sharedMemorySel = sharedMemorySel;
    this.#setInterruptStatus(interruptStatus);
  }

  #writeStatus(value: number): void {
    this.core.writeStatus(value);
    if (value !== 0) return;
    this.#deviceFeaturesSel = 0;
    this.#driverFeaturesSel = 0;
    this.#queueSel = 0;
    this.#sharedMemorySel = 0;
    this.#setInterruptStatus(0);
  }

  /** Base and length of the selected region, both -1 when there is none (§4.2.2). */
  #readSharedMemory(offset: number): number {
    const regions = this.core.device.sharedMemory ?? [];
    const index = regions.findIndex(({ id }) => id === this.#sharedMemorySel);
    const address = this.#options.sharedMemory?.[index];
    if (index < 0 || address === undefined) return 0xffff_ffff;
    const { size } = regions[index]!;
    switch (offset) {
      case VIRTIO_MMIO_SHM_LEN_LOW:
        return size >>> 0;
      case VIRTIO_MMIO_SHM_LEN_HIGH:
        return Math.floor(size / 2 ** 32);
      case VIRTIO_MMIO_SHM_BASE_LOW:
        return address >>> 0;
      default:
        return Math.floor(address / 2 ** 32);
    }
  }

  #writeQueue(offset: number, value: number): void {
    const slot = this.core.slots[this.#queueSel];
    if (slot === undefined) {
      this.core.ignore(`register ${offset} written with a queue selected that does not exist`);
      return;
    }
    if (offset === VIRTIO_MMIO_QUEUE_READY) {
      this.core.enableQueue(slot, (value & 1) === 1);
      return;
    }
    if (offset === VIRTIO_MMIO_QUEUE_RESET) {
      if (value === 1) this.core.resetQueue(slot);
      return;
    }
    if (!this.core.mayConfigure(slot)) {
      this.core.ignore(
        `register ${offset} of queue ${slot.index} written before FEATURES_OK or while enabled`,
      );
      return;
    }
    this.#writeQueueSetup(slot, offset, value);
  }

  #writeQueueSetup(slot: QueueSlot, offset: number, value: number): void {
    switch (offset) {
      case VIRTIO_MMIO_QUEUE_SIZE:
        slot.size = value;
        return;
      case VIRTIO_MMIO_QUEUE_DESC_LOW:
        slot.descriptorLow = value;
        return;
      case VIRTIO_MMIO_QUEUE_DESC_HIGH:
        slot.descriptorHigh = value;
        return;
      case VIRTIO_MMIO_QUEUE_DRIVER_LOW:
        slot.driverLow = value;
        return;
      case VIRTIO_MMIO_QUEUE_DRIVER_HIGH:
        slot.driverHigh = value;
        return;
      case VIRTIO_MMIO_QUEUE_DEVICE_LOW:
        slot.deviceLow = value;
        return;
      case VIRTIO_MMIO_QUEUE_DEVICE_HIGH:
        slot.deviceHigh = value;
        return;
      default:
        this.core.ignore(`register ${offset} is not writable`);
    }
  }

  /**
   * Triggers even when the bit was set: a driver that acknowledges first and then looks at its queues loses
   * nothing, and neither does one whose acknowledgement is still on its way here.
   */
  #raise(bit: number): void {
    this.#setInterruptStatus(this.#interruptStatus | bit);
    this.#interrupt.trigger();
  }

  #setInterruptStatus(value: number): void {
    if (value === this.#interruptStatus) return;
    this.#interruptStatus = value;
    this.#options.interruptStatus?.set(value);
  }

  #createDoorbells(): void {
    const { doorbells, address } = this.#options;
    if (doorbells === undefined || address === undefined) return;
    for (const slot of this.core.slots) {
      if (!slot.ready) continue;
      const { index } = slot;
      try {
        this.#doorbells.push(
          doorbells.createDoorbell(address + VIRTIO_MMIO_QUEUE_NOTIFY, 4, index, () =>
            this.core.notify(index),
          ),
        );
      } catch (cause) {
        // Not fatal: the store exits and reaches write() instead.
        this.core.ignore(`no doorbell for queue ${index}: ${messageOf(cause)}`);
      }
    }
  }

  #removeDoorbells(): void {
    for (const doorbell of this.#doorbells.splice(0)) doorbell[Symbol.dispose]();
  }
}
