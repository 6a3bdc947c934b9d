import type { VirtioTransportCore } from './core.ts';
import * as reg from './pci-registers.ts';
import { VIRTIO_MSI_NO_VECTOR } from './pci-registers.ts';
import type { QueueSlot } from './queue-slot.ts';

/** Plain state of a {@link PciCommonConfig}. */
export interface PciCommonState {
  readonly deviceFeatureSelect: number;
  readonly driverFeatureSelect: number;
  readonly queueSelect: number;
  readonly configVector: number;
  /** By queue index. */
  readonly queueVectors: readonly number[];
}

/** The common configuration structure, VIRTIO 1.3 §4.1.4.3. */
export class PciCommonConfig {
  configVector: number = VIRTIO_MSI_NO_VECTOR;
  readonly queueVectors: number[];
  readonly #core: VirtioTransportCore;
  readonly #vectors: number;
  readonly #onStatus: (value: number) => void;
  #deviceFeatureSelect = 0;
  #driverFeatureSelect = 0;
  #queueSelect = 0;

  /**
   * @param vectors size of the MSI-X table
   * @param onStatus takes writes of `device_status`
   */
  constructor(core: VirtioTransportCore, vectors: number, onStatus: (value: number) => void) {
    this.#core = core;
    this.#vectors = vectors;
    this.#onStatus = onStatus;
    this.queueVectors = core.slots.map(() => VIRTIO_MSI_NO_VECTOR);
  }

  reset(): void {
    this.#deviceFeatureSelect = 0;
    this.#driverFeatureSelect = 0;
    this.#queueSelect = 0;
    this.configVector = VIRTIO_MSI_NO_VECTOR;
    this.queueVectors.fill(VIRTIO_MSI_NO_VECTOR);
  }

  /** Any part of a doubleword: a driver may read neighbouring fields at once. */
  read(offset: number, length: 1 | 2 | 4): number {
    const value = this.#readWord(offset & ~3) >>> (8 * (offset & 3));
    return length === 4 ? value : length === 2 ? value & 0xffff : value & 0xff;
  }

  /** A field in its own width, or half of one of 64 bits (§4.1.3.1); other accesses do nothing. */
  write(offset: number, length: 1 | 2 | 4, value: number): void {
    switch (length) {
      case 1:
        if (offset === reg.VIRTIO_PCI_COMMON_DEVICE_STATUS) this.#onStatus(value);
        else this.#ignore(offset, length);
        return;
      case 2:
        this.#write16(offset, value);
        return;
      case 4:
        this.#write32(offset, value);
    }
  }

  save(): PciCommonState {
    return {
      deviceFeatureSelect: this.#deviceFeatureSelect,
      driverFeatureSelect: this.#driverFeatureSelect,
      queueSelect: this.#queueSelect,
      configVector: this.configVector,
      queueVectors: [...this.queueVectors],
    };
  }

  restore(state: PciCommonState): void {
    this.#deviceFeatureSelect = state.deviceFeatureSelect;
    this.#driverFeatureSelect = state.driverFeatureSelect;
    this.#queueSelect = state.queueSelect;
    this.configVector = this.#assignable(state.configVector);
    this.queueVectors.forEach((_, index) => {
      this.queueVectors[index] = this.#assignable(state.queueVectors[index] ?? VIRTIO_MSI_NO_VECTOR);
    });
  }

  #readWord(offset: number): number {
    const core = this.#core;
    switch (offset) {
      case reg.VIRTIO_PCI_COMMON_DEVICE_FEATURE_SELECT:
        return this.#deviceFeatureSelect;
      case reg.VIRTIO_PCI_COMMON_DEVICE_FEATURE:
        return core.features.readDevice(this.#deviceFeatureSelect);
      case reg.VIRTIO_PCI_COMMON_DRIVER_FEATURE_SELECT:
        return this.#driverFeatureSelect;
      case reg.VIRTIO_PCI_COMMON_DRIVER_FEATURE:
        return core.features.readDriver(this.#driverFeatureSelect);
      case reg.VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR:
        return pair(this.configVector, core.slots.length);
      case reg.VIRTIO_PCI_COMMON_DEVICE_STATUS:
        return pair(core.status | ((core.configGeneration & 0xff) << 8), this.#queueSelect);
      default:
        return this.#readQueue(offset);
    }
  }

  #readQueue(offset: number): number {
    const slot = this.#core.slots[this.#queueSelect];
    if (slot === undefined) {
      return offset === reg.VIRTIO_PCI_COMMON_QUEUE_SIZE ? pair(0, VIRTIO_MSI_NO_VECTOR) : 0;
    }
    switch (offset) {
      case reg.VIRTIO_PCI_COMMON_QUEUE_SIZE:
        return pair(slot.size, this.queueVectors[slot.index]!);
      case reg.VIRTIO_PCI_COMMON_QUEUE_ENABLE:
        return pair(slot.ready ? 1 : 0, slot.index);
      case reg.VIRTIO_PCI_COMMON_QUEUE_DESC:
        return slot.descriptorLow;
      case reg.VIRTIO_PCI_COMMON_QUEUE_DESC + 4:
        return slot.descriptorHigh;
      case reg.VIRTIO_PCI_COMMON_QUEUE_DRIVER:
        return slot.driverLow;
      case reg.VIRTIO_PCI_COMMON_QUEUE_DRIVER + 4:
        return slot.driverHigh;
      case reg.VIRTIO_PCI_COMMON_QUEUE_DEVICE:
        return slot.deviceLow;
      case reg.VIRTIO_PCI_COMMON_QUEUE_DEVICE + 4:
        return slot.deviceHigh;
      default:
        // queue_reset is done when its write is: it reads as 0 (§4.1.4.3.1).
        return 0;
    }
  }

  #write16(offset: number, value: number): void {
    switch (offset) {
      case reg.VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR:
        this.configVector = this.#assignable(value);
        return;
      case reg.VIRTIO_PCI_COMMON_QUEUE_SELECT:
        this.#queueSelect = value;
        return;
      case reg.VIRTIO_PCI_COMMON_QUEUE_SIZE: {
        const slot = this.#configurable(offset);
        if (slot !== undefined) slot.size = value;
        return;
      }
      case reg.VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR:
        if (this.#queueSelect < this.queueVectors.length) {
          this.queueVectors[this.#queueSelect] = this.#assignable(value);
        } else this.#ignore(offset, 2);
        return;
      case reg.VIRTIO_PCI_COMMON_QUEUE_ENABLE: {
        const slot = this.#core.slots[this.#queueSelect];
        // 0 is forbidden (§4.1.4.3.2).
        if (slot === undefined || value !== 1) this.#ignore(offset, 2);
        else this.#core.enableQueue(slot, true);
        return;
      }
      case reg.VIRTIO_PCI_COMMON_QUEUE_RESET: {
        const slot = this.#core.slots[this.#queueSelect];
        if (slot === undefined || value !== 1) {
          this.#ignore(offset, 2);
          return;
        }
        this.queueVectors[slot.index] = VIRTIO_MSI_NO_VECTOR;
        this.#core.resetQueue(slot);
        return;
      }
      default:
        this.#ignore(offset, 2);
    }
  }

  #write32(offset: number, value: number): void {
    switch (offset) {
      case reg.VIRTIO_PCI_COMMON_DEVICE_FEATURE_SELECT:
        this.#deviceFeatureSelect = value;
        return;
      case reg.VIRTIO_PCI_COMMON_DRIVER_FEATURE_SELECT:
        this.#driverFeatureSelect = value;
        return;
      case reg.VIRTIO_PCI_COMMON_DRIVER_FEATURE:
        this.#core.writeDriverFeatures(this.#driverFeatureSelect, value);
        return;
      case reg.VIRTIO_PCI_COMMON_QUEUE_DESC:
      case reg.VIRTIO_PCI_COMMON_QUEUE_DESC + 4:
      case reg.VIRTIO_PCI_COMMON_QUEUE_DRIVER:
      case reg.VIRTIO_PCI_COMMON_QUEUE_DRIVER + 4:
      case reg.VIRTIO_PCI_COMMON_QUEUE_DEVICE:
      case reg.VIRTIO_PCI_COMMON_QUEUE_DEVICE + 4: {
        const slot = this.#configurable(offset);
        if (slot !== undefined) writeAddress(slot, offset, value);
        return;
      }
      default:
        this.#ignore(offset, 4);
    }
  }

  /** The selected queue if the driver may set it up now. */
  #configurable(offset: number): QueueSlot | undefined {
    const slot = this.#core.slots[this.#queueSelect];
    if (slot === undefined) {
      this.#core.ignore(`common configuration ${offset} written with a queue selected that does not exist`);
      return undefined;
    }
    if (this.#core.mayConfigure(slot)) return slot;
    this.#core.ignore(
      `common configuration ${offset} of queue ${slot.index} written before FEATURES_OK or while enabled`,
    );
    return undefined;
  }

  /** What a vector reads as after it was written (§4.1.5.1.2). */
  #assignable(vector: number): number {
    return vector < this.#vectors ? vector : VIRTIO_MSI_NO_VECTOR;
  }

  #ignore(offset: number, length: number): void {
    this.#core.ignore(`a write of ${length} bytes at common configuration ${offset} (§4.1.3.1)`);
  }
}

function writeAddress(slot: QueueSlot, offset: number, value: number): void {
  switch (offset) {
    case reg.VIRTIO_PCI_COMMON_QUEUE_DESC:
      slot.descriptorLow = value;
      return;
    case reg.VIRTIO_PCI_COMMON_QUEUE_DESC + 4:
      slot.descriptorHigh = value;
      return;
    case reg.VIRTIO_PCI_COMMON_QUEUE_DRIVER:
      slot.driverLow = value;
      return;
    case reg.VIRTIO_PCI_COMMON_QUEUE_DRIVER + 4:
      slot.driverHigh = value;
      return;
    case reg.VIRTIO_PCI_COMMON_QUEUE_DEVICE:
      slot.deviceLow = value;
      return;
    default:
      slot.deviceHigh = value;
  }
}

/** Two 16-bit fields as the doubleword that they are in. */
function pair(low: number, high: number): number {
  return (low | (high << 16)) >>> 0;
}
