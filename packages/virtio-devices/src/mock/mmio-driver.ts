import { MockInterrupt } from '@vmm/vm-device/mock';
import type { QueueConfig } from '@vmm/virtio-queue';
import type { MockDriver, MockSplitDriver } from '@vmm/virtio-queue/mock';
import type { VirtioDevice } from '../device.ts';
import { FeatureSet } from '../features.ts';
import * as mmio from '../transport/mmio-registers.ts';
import { VirtioMmioTransport } from '../transport/mmio.ts';
import type { VirtioMmioOptions } from '../transport/mmio.ts';
import { MockVirtioDriver } from './virtio-driver.ts';
import type { MockVirtioDriverOptions } from './virtio-driver.ts';

export interface MockMmioDriverOptions extends MockVirtioDriverOptions {
  /** Further options of the transport. */
  readonly transport?: Partial<VirtioMmioOptions>;
}

/** A driver for a device behind virtio-mmio. */
export class MockMmioDriver<Ring extends MockDriver = MockSplitDriver> extends MockVirtioDriver<Ring> {
  override readonly interrupt: MockInterrupt = new MockInterrupt();
  override readonly transport: VirtioMmioTransport;

  constructor(device: VirtioDevice, options: MockMmioDriverOptions = {}) {
    super(options);
    this.transport = new VirtioMmioTransport({
      device,
      interrupt: this.interrupt,
      ...this.transportOptions(),
      ...options.transport,
    });
  }

  override get status(): number {
    return this.read(mmio.VIRTIO_MMIO_STATUS);
  }

  override set status(value: number) {
    this.write(mmio.VIRTIO_MMIO_STATUS, value);
  }

  read(offset: number): number {
    return this.transport.read(offset, 4);
  }

  write(offset: number, value: number): void {
    this.transport.write(offset, 4, value);
  }

  override readFeatures(): FeatureSet {
    this.write(mmio.VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
    const low = this.read(mmio.VIRTIO_MMIO_DEVICE_FEATURES);
    this.write(mmio.VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
    return new FeatureSet(low, this.read(mmio.VIRTIO_MMIO_DEVICE_FEATURES));
  }

  override writeFeatureWord(select: number, value: number): void {
    this.write(mmio.VIRTIO_MMIO_DRIVER_FEATURES_SEL, select);
    this.write(mmio.VIRTIO_MMIO_DRIVER_FEATURES, value);
  }

  override enableQueue(index: number, changes: Partial<QueueConfig> = {}): void {
    const { size, descriptorArea, driverArea, deviceArea } = { ...this.rings[index]!.config, ...changes };
    this.write(mmio.VIRTIO_MMIO_QUEUE_SEL, index);
    this.write(mmio.VIRTIO_MMIO_QUEUE_SIZE, size);
    this.#writeAddress(mmio.VIRTIO_MMIO_QUEUE_DESC_LOW, descriptorArea);
    this.#writeAddress(mmio.VIRTIO_MMIO_QUEUE_DRIVER_LOW, driverArea);
    this.#writeAddress(mmio.VIRTIO_MMIO_QUEUE_DEVICE_LOW, deviceArea);
    this.write(mmio.VIRTIO_MMIO_QUEUE_READY, 1);
  }

  override isEnabled(index: number): boolean {
    this.write(mmio.VIRTIO_MMIO_QUEUE_SEL, index);
    return this.read(mmio.VIRTIO_MMIO_QUEUE_READY) === 1;
  }

  override resetQueue(index: number): void {
    this.write(mmio.VIRTIO_MMIO_QUEUE_SEL, index);
    this.write(mmio.VIRTIO_MMIO_QUEUE_RESET, 1);
  }

  override notify(index: number): void {
    this.write(mmio.VIRTIO_MMIO_QUEUE_NOTIFY, index);
  }

  override readConfig(offset: number, length: 1 | 2 | 4): number {
    return this.transport.read(mmio.VIRTIO_MMIO_CONFIG + offset, length);
  }

  override writeConfig(offset: number, length: 1 | 2 | 4, value: number): void {
    this.transport.write(mmio.VIRTIO_MMIO_CONFIG + offset, length, value);
  }

  override readConfigGeneration(): number {
    return this.read(mmio.VIRTIO_MMIO_CONFIG_GENERATION);
  }

  /** Reads and acknowledges InterruptStatus. */
  override acknowledge(): number {
    const status = this.read(mmio.VIRTIO_MMIO_INTERRUPT_STATUS);
    this.write(mmio.VIRTIO_MMIO_INTERRUPT_ACK, status);
    return status;
  }

  #writeAddress(low: number, address: number): void {
    this.write(low, address >>> 0);
    this.write(low + 4, Math.floor(address / 2 ** 32));
  }
}
