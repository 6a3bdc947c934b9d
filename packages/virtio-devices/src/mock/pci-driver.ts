import * as pci from '@vmm/vm-device';
import { Bus, PciRoot } from '@vmm/vm-device';
import { MockInterrupt, MockMsiController } from '@vmm/vm-device/mock';
import type { QueueConfig } from '@vmm/virtio-queue';
import type { MockDriver, MockSplitDriver } from '@vmm/virtio-queue/mock';
import type { VirtioDevice } from '../device.ts';
import { FeatureSet } from '../features.ts';
import * as reg from '../transport/pci-registers.ts';
import { VirtioPciTransport } from '../transport/pci.ts';
import type { VirtioPciOptions } from '../transport/pci.ts';
import { MockVirtioDriver } from './virtio-driver.ts';
import type { MockVirtioDriverOptions } from './virtio-driver.ts';

export interface MockPciDriverOptions extends MockVirtioDriverOptions {
  /** How the driver wants interrupts. Default `msix`: a vector for the configuration, and one for each queue. */
  readonly interrupts?: 'msix' | 'intx';
  /** Further options of the transport. */
  readonly transport?: Partial<VirtioPciOptions>;
}

/** Where the driver found a structure. */
interface Structure {
  readonly bar: number;
  readonly offset: number;
  /** `notify_off_multiplier`. */
  readonly multiplier: number;
}

const MMIO_WINDOW = { address: 0xc000_0000, size: 0x1000_0000 };
const MEMORY64_WINDOW = { address: 0x40_0000_0000, size: 0x40_0000_0000 };

/** A driver for a device behind virtio-pci, on a PCI root of its own. Every access goes through ECAM or the bus. */
export class MockPciDriver<Ring extends MockDriver = MockSplitDriver> extends MockVirtioDriver<Ring> {
  override readonly transport: VirtioPciTransport;
  override readonly interrupt: { take(): number };
  readonly bus: Bus = new Bus({ name: 'mock pci' });
  readonly root: PciRoot;
  readonly msi: MockMsiController = new MockMsiController();
  /** INTA to INTD. */
  readonly lines: readonly MockInterrupt[] = Array.from({ length: 4 }, () => new MockInterrupt());
  /** Where the function is. */
  readonly address: pci.PciAddress;
  readonly #msix: boolean;
  readonly #structures = new Map<number, Structure>();
  /** Offsets of the capabilities by ID; of those that are vendor-specific by `cfg_type`. */
  readonly #capabilities = new Map<number, number>();
  #taken = 0;
  #acknowledged = 0;

  constructor(device: VirtioDevice, options: MockPciDriverOptions = {}) {
    super(options);
    this.#msix = (options.interrupts ?? 'msix') === 'msix';
    this.root = new PciRoot({
      mmio: this.bus,
      memory32: MMIO_WINDOW,
      memory64: MEMORY64_WINDOW,
      msi: this.msi,
      interrupts: this.lines,
    });
    this.transport = new VirtioPciTransport({ device, ...this.transportOptions(), ...options.transport });
    this.address = this.root.add(this.transport.function);
    this.interrupt = { take: () => this.#take() };
    this.probe();
  }

  /** Finds the structures, and enables the function and its interrupts. */
  probe(): void {
    this.#findStructures();
    this.configWrite(pci.PCI_COMMAND, 2, pci.PCI_COMMAND_MEMORY | pci.PCI_COMMAND_MASTER);
    if (!this.#msix) return;
    const { msix } = this;
    const table = this.configRead(msix + 4, 4);
    const vectors = (this.configRead(msix + 2, 2) & 0x7ff) + 1;
    for (let vector = 0; vector < vectors; vector++) {
      const entry = this.barAddress(table & 7) + (table & ~7) + vector * 16;
      this.bus.write(entry, 4, 0xfee0_0000);
      this.bus.write(entry + 4, 4, 0);
      this.bus.write(entry + 8, 4, vector);
      this.bus.write(entry + 12, 4, 0);
    }
    this.configWrite(msix + 2, 2, pci.PCI_MSIX_CONTROL_ENABLE);
  }

  /** Offset of the MSI-X capability. */
  get msix(): number {
    return this.#capabilities.get(-pci.PCI_CAP_ID_MSIX)!;
  }

  configRead(offset: number, length: 1 | 2 | 4): number {
    return this.root.ecam.read(this.#ecam(offset), length);
  }

  configWrite(offset: number, length: 1 | 2 | 4, value: number): void {
    this.root.ecam.write(this.#ecam(offset), length, value);
  }

  /** What a BAR was set to. */
  barAddress(index: number): number {
    const low = this.configRead(pci.PCI_BASE_ADDRESS_0 + 4 * index, 4);
    const wide = (low & pci.PCI_BASE_ADDRESS_64BIT) !== 0;
    const high = wide ? this.configRead(pci.PCI_BASE_ADDRESS_0 + 4 * index + 4, 4) : 0;
    return high * 2 ** 32 + ((low & ~0xf) >>> 0);
  }

  /** Offset in configuration space of the virtio capability of a `cfg_type`. */
  capability(type: number): number | undefined {
    return this.#capabilities.get(type);
  }

  /** Guest physical address of the structure of a `cfg_type`. */
  structure(type: number): number {
    const found = this.#structures.get(type);
    if (found === undefined) throw new RangeError(`mock driver: no structure of type ${type}`);
    return this.barAddress(found.bar) + found.offset;
  }

  /** Guest physical address for notifications of a queue. */
  notifyAddress(index: number): number {
    this.writeCommon(reg.VIRTIO_PCI_COMMON_QUEUE_SELECT, 2, index);
    const { multiplier } = this.#structures.get(reg.VIRTIO_PCI_CAP_NOTIFY_CFG)!;
    const offset = this.readCommon(reg.VIRTIO_PCI_COMMON_QUEUE_NOTIFY_OFF, 2);
    return this.structure(reg.VIRTIO_PCI_CAP_NOTIFY_CFG) + offset * multiplier;
  }

  readCommon(offset: number, length: 1 | 2 | 4): number {
    return this.bus.read(this.structure(reg.VIRTIO_PCI_CAP_COMMON_CFG) + offset, length);
  }

  writeCommon(offset: number, length: 1 | 2 | 4, value: number): void {
    this.bus.write(this.structure(reg.VIRTIO_PCI_CAP_COMMON_CFG) + offset, length, value);
  }

  override get status(): number {
    return this.readCommon(reg.VIRTIO_PCI_COMMON_DEVICE_STATUS, 1);
  }

  override set status(value: number) {
    this.writeCommon(reg.VIRTIO_PCI_COMMON_DEVICE_STATUS, 1, value);
  }

  override readFeatures(): FeatureSet {
    this.writeCommon(reg.VIRTIO_PCI_COMMON_DEVICE_FEATURE_SELECT, 4, 0);
    const low = this.readCommon(reg.VIRTIO_PCI_COMMON_DEVICE_FEATURE, 4);
    this.writeCommon(reg.VIRTIO_PCI_COMMON_DEVICE_FEATURE_SELECT, 4, 1);
    return new FeatureSet(low, this.readCommon(reg.VIRTIO_PCI_COMMON_DEVICE_FEATURE, 4));
  }

  override writeFeatureWord(select: number, value: number): void {
    this.writeCommon(reg.VIRTIO_PCI_COMMON_DRIVER_FEATURE_SELECT, 4, select);
    this.writeCommon(reg.VIRTIO_PCI_COMMON_DRIVER_FEATURE, 4, value);
  }

  override setUpQueues(): void {
    if (this.#msix) this.writeCommon(reg.VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR, 2, 0);
    super.setUpQueues();
  }

  override enableQueue(index: number, changes: Partial<QueueConfig> = {}): void {
    const { size, descriptorArea, driverArea, deviceArea } = { ...this.rings[index]!.config, ...changes };
    this.writeCommon(reg.VIRTIO_PCI_COMMON_QUEUE_SELECT, 2, index);
    this.writeCommon(reg.VIRTIO_PCI_COMMON_QUEUE_SIZE, 2, size);
    this.#writeAddress(reg.VIRTIO_PCI_COMMON_QUEUE_DESC, descriptorArea);
    this.#writeAddress(reg.VIRTIO_PCI_COMMON_QUEUE_DRIVER, driverArea);
    this.#writeAddress(reg.VIRTIO_PCI_COMMON_QUEUE_DEVICE, deviceArea);
    if (this.#msix) this.writeCommon(reg.VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR, 2, index + 1);
    this.writeCommon(reg.VIRTIO_PCI_COMMON_QUEUE_ENABLE, 2, 1);
  }

  override isEnabled(index: number): boolean {
    this.writeCommon(reg.VIRTIO_PCI_COMMON_QUEUE_SELECT, 2, index);
    return this.readCommon(reg.VIRTIO_PCI_COMMON_QUEUE_ENABLE, 2) === 1;
  }

  override resetQueue(index: number): void {
    this.writeCommon(reg.VIRTIO_PCI_COMMON_QUEUE_SELECT, 2, index);
    this.writeCommon(reg.VIRTIO_PCI_COMMON_QUEUE_RESET, 2, 1);
  }

  override notify(index: number): void {
    this.bus.write(this.notifyAddress(index), 2, index);
  }

  override readConfig(offset: number, length: 1 | 2 | 4): number {
    return this.bus.read(this.structure(reg.VIRTIO_PCI_CAP_DEVICE_CFG) + offset, length);
  }

  override writeConfig(offset: number, length: 1 | 2 | 4, value: number): void {
    this.bus.write(this.structure(reg.VIRTIO_PCI_CAP_DEVICE_CFG) + offset, length, value);
  }

  override readConfigGeneration(): number {
    return this.readCommon(reg.VIRTIO_PCI_COMMON_CONFIG_GENERATION, 1);
  }

  /** Which vectors sent messages, or ISR status. */
  override acknowledge(): number {
    if (!this.#msix) return this.bus.read(this.structure(reg.VIRTIO_PCI_CAP_ISR_CFG), 1);
    let cause = 0;
    for (const { message } of this.msi.sent.slice(this.#acknowledged)) {
      cause |= message?.data === 0 ? reg.VIRTIO_PCI_ISR_CONFIG : reg.VIRTIO_PCI_ISR_QUEUE;
    }
    this.#acknowledged = this.msi.sent.length;
    return cause;
  }

  #take(): number {
    if (!this.#msix) return this.lines[this.root.interruptLine(this.address.device, 1)]!.level ? 1 : 0;
    const count = this.msi.sent.length - this.#taken;
    this.#taken = this.msi.sent.length;
    return count;
  }

  #findStructures(): void {
    let at = this.configRead(pci.PCI_CAPABILITIES_POINTER, 1);
    for (let i = 0; at !== 0 && i < 48; i++, at = this.configRead(at + 1, 1)) {
      const id = this.configRead(at, 1);
      if (id !== pci.PCI_CAP_ID_VENDOR_SPECIFIC) {
        this.#capabilities.set(-id, at);
        continue;
      }
      const type = this.configRead(at + 3, 1);
      if (this.#capabilities.has(type)) continue;
      this.#capabilities.set(type, at);
      this.#structures.set(type, {
        bar: this.configRead(at + 4, 1),
        offset: this.configRead(at + 8, 4),
        multiplier: type === reg.VIRTIO_PCI_CAP_NOTIFY_CFG ? this.configRead(at + 16, 4) : 0,
      });
    }
  }

  #writeAddress(low: number, address: number): void {
    this.writeCommon(low, 4, address >>> 0);
    this.writeCommon(low + 4, 4, Math.floor(address / 2 ** 32));
  }

  #ecam(offset: number): number {
    const { device, function: fn } = this.address;
    return ((device * 8 + fn) << 12) + offset;
  }
}
