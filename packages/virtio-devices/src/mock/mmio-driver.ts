import { MockInterrupt } from '@vmm/vm-device/mock';
import { GuestMemory } from '@vmm/vm-memory';
import { MockSplitDriver } from '@vmm/virtio-queue/mock';
import type { VirtioDevice } from '../device.ts';
import type { VirtioDeviceError } from '../errors.ts';
import { FeatureSet } from '../features.ts';
import * as mmio from '../transport/mmio-registers.ts';
import { VirtioMmioTransport } from '../transport/mmio.ts';
import type { VirtioMmioOptions } from '../transport/mmio.ts';
import {
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_STATUS_ACKNOWLEDGE,
  VIRTIO_STATUS_DEVICE_NEEDS_RESET,
  VIRTIO_STATUS_DRIVER,
  VIRTIO_STATUS_DRIVER_OK,
  VIRTIO_STATUS_FEATURES_OK,
} from '../virtio.ts';

export interface MockMmioDriverOptions {
  /** Default: one region of 8 MiB at 0x8000_0000. */
  readonly memory?: GuestMemory;
  /** Queue Size of every queue; default 16, at most what the device allows. */
  readonly queueSize?: number;
  /** Offered features that the driver does not take. */
  readonly without?: FeatureSet;
  /** Queues that the driver sets up. Default: all. */
  readonly queues?: readonly number[];
  /** Further options of the transport. */
  readonly transport?: Partial<VirtioMmioOptions>;
}

/**
 * A driver for tests: makes a transport for a device, brings it up by the register writes of a real driver
 * and has a mock ring for each queue.
 */
export class MockMmioDriver {
  readonly memory: GuestMemory;
  readonly interrupt: MockInterrupt = new MockInterrupt();
  readonly transport: VirtioMmioTransport;
  /** What the transport reported through `onError`. */
  readonly errors: VirtioDeviceError[] = [];
  /** What the transport reported through `onIgnoredWrite`. */
  readonly ignored: string[] = [];
  /** By queue index; made by {@link setUpQueues}. */
  readonly rings: MockSplitDriver[] = [];
  readonly #options: MockMmioDriverOptions;
  #features: FeatureSet = FeatureSet.EMPTY;

  constructor(device: VirtioDevice, options: MockMmioDriverOptions = {}) {
    this.#options = options;
    this.memory =
      options.memory ??
      new GuestMemory([{ guestAddress: 0x8000_0000, bytes: new Uint8Array(8 * 1024 * 1024) }]);
    this.transport = new VirtioMmioTransport({
      device,
      memory: this.memory,
      interrupt: this.interrupt,
      onError: (error) => this.errors.push(error),
      onIgnoredWrite: (what) => this.ignored.push(what),
      ...options.transport,
    });
  }

  get status(): number {
    return this.read(mmio.VIRTIO_MMIO_STATUS);
  }

  set status(value: number) {
    this.write(mmio.VIRTIO_MMIO_STATUS, value);
  }

  get needsReset(): boolean {
    return (this.status & VIRTIO_STATUS_DEVICE_NEEDS_RESET) !== 0;
  }

  read(offset: number): number {
    return this.transport.read(offset, 4);
  }

  write(offset: number, value: number): void {
    this.transport.write(offset, 4, value);
  }

  /** VIRTIO 1.3 §3.1.1 from reset to DRIVER_OK. */
  start(): this {
    this.negotiate();
    this.setUpQueues();
    this.status |= VIRTIO_STATUS_DRIVER_OK;
    return this;
  }

  /** Reset, ACKNOWLEDGE, DRIVER, features, FEATURES_OK. */
  negotiate(): void {
    this.status = 0;
    this.status |= VIRTIO_STATUS_ACKNOWLEDGE;
    this.status |= VIRTIO_STATUS_DRIVER;
    this.#features = this.readFeatures().minus(this.#options.without ?? FeatureSet.EMPTY);
    this.writeFeatures(this.#features);
    this.status |= VIRTIO_STATUS_FEATURES_OK;
  }

  readFeatures(): FeatureSet {
    this.write(mmio.VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
    const low = this.read(mmio.VIRTIO_MMIO_DEVICE_FEATURES);
    this.write(mmio.VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
    return new FeatureSet(low, this.read(mmio.VIRTIO_MMIO_DEVICE_FEATURES));
  }

  writeFeatures(features: FeatureSet): void {
    this.write(mmio.VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
    this.write(mmio.VIRTIO_MMIO_DRIVER_FEATURES, features.low);
    this.write(mmio.VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
    this.write(mmio.VIRTIO_MMIO_DRIVER_FEATURES, features.high);
  }

  /** Makes a ring for each queue and enables it; the memory is shared out evenly. */
  setUpQueues(): void {
    const { device } = this.transport.core;
    const region = this.memory.regions[0]!;
    const share = Math.floor(region.size / device.queueSizes.length / 16) * 16;
    this.rings.length = 0;
    device.queueSizes.forEach((maximum, index) => {
      const base = region.guestAddress + index * share;
      this.rings.push(
        new MockSplitDriver(this.memory, {
          base,
          end: base + share,
          size: Math.min(maximum, this.#options.queueSize ?? 16),
          eventIdx: this.#features.has(VIRTIO_F_EVENT_IDX),
          indirect: this.#features.has(VIRTIO_F_INDIRECT_DESC),
        }),
      );
      if (this.#options.queues?.includes(index) ?? true) this.enableQueue(index);
    });
  }

  /** Writes the registers of one queue. */
  enableQueue(index: number): void {
    const { size, descriptorArea, driverArea, deviceArea } = this.rings[index]!.config;
    this.write(mmio.VIRTIO_MMIO_QUEUE_SEL, index);
    this.write(mmio.VIRTIO_MMIO_QUEUE_SIZE, size);
    this.#writeAddress(mmio.VIRTIO_MMIO_QUEUE_DESC_LOW, descriptorArea);
    this.#writeAddress(mmio.VIRTIO_MMIO_QUEUE_DRIVER_LOW, driverArea);
    this.#writeAddress(mmio.VIRTIO_MMIO_QUEUE_DEVICE_LOW, deviceArea);
    this.write(mmio.VIRTIO_MMIO_QUEUE_READY, 1);
  }

  /** Makes what was added to a ring available, and notifies the device if it wants to be. */
  kick(index: number): boolean {
    const wanted = this.rings[index]!.publish();
    if (wanted) this.write(mmio.VIRTIO_MMIO_QUEUE_NOTIFY, index);
    return wanted;
  }

  /** What an interrupt handler does: reads and acknowledges InterruptStatus. */
  acknowledge(): number {
    const status = this.read(mmio.VIRTIO_MMIO_INTERRUPT_STATUS);
    this.write(mmio.VIRTIO_MMIO_INTERRUPT_ACK, status);
    return status;
  }

  #writeAddress(low: number, address: number): void {
    this.write(low, address >>> 0);
    this.write(low + 4, Math.floor(address / 2 ** 32));
  }
}
