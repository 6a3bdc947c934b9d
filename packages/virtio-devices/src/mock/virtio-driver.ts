import { GuestMemory } from '@vmm/vm-memory';
import type { QueueConfig } from '@vmm/virtio-queue';
import { createMockDriver } from '@vmm/virtio-queue/mock';
import type { MockDriver } from '@vmm/virtio-queue/mock';
import type { VirtioDeviceError } from '../errors.ts';
import { FeatureSet } from '../features.ts';
import { PACKED_RING_FEATURES, SPLIT_RING_FEATURES } from '../ring-features.ts';
import { deferToNextTurn } from '../transport/defer.ts';
import type { TransportOptions, VirtioTransport } from '../transport/types.ts';
import {
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_IN_ORDER,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_RING_PACKED,
  VIRTIO_STATUS_ACKNOWLEDGE,
  VIRTIO_STATUS_DEVICE_NEEDS_RESET,
  VIRTIO_STATUS_DRIVER,
  VIRTIO_STATUS_DRIVER_OK,
  VIRTIO_STATUS_FEATURES_OK,
} from '../virtio.ts';

export interface MockVirtioDriverOptions {
  /** Default: one region of 8 MiB at 0x8000_0000. */
  readonly memory?: GuestMemory;
  /** Format of the rings. Default `split`. */
  readonly ring?: 'split' | 'packed';
  /** Offers VIRTIO_F_IN_ORDER. Default false. */
  readonly inOrder?: boolean;
  /** Queue Size of every queue; default 16, at most what the device allows. */
  readonly queueSize?: number;
  /** Offered features that the driver does not take. */
  readonly without?: FeatureSet;
  /** Queues that the driver sets up. Default: all. */
  readonly queues?: readonly number[];
}

/** Ring features to offer so that a driver which takes all of them has the rings that `options` name. */
export function ringFeaturesOf({ ring = 'split', inOrder = false }: MockVirtioDriverOptions): FeatureSet {
  const features = ring === 'packed' ? PACKED_RING_FEATURES : SPLIT_RING_FEATURES;
  return inOrder ? features.union(FeatureSet.of(VIRTIO_F_IN_ORDER)) : features;
}

/**
 * A driver for tests: brings a device up by the register accesses of a real driver, and has a mock ring for each queue.
 * What depends on the transport is in its subclasses.
 */
export abstract class MockVirtioDriver<Ring extends MockDriver = MockDriver> {
  abstract readonly transport: VirtioTransport;
  /** Interrupts that the guest got: `take()` answers how many since the last call. */
  abstract readonly interrupt: { take(): number };
  readonly memory: GuestMemory;
  /** What the transport reported through `onError`. */
  readonly errors: VirtioDeviceError[] = [];
  /** What the transport reported through `onIgnoredWrite`. */
  readonly ignored: string[] = [];
  /** By queue index; made by {@link setUpQueues}. */
  readonly rings: Ring[] = [];
  readonly #options: MockVirtioDriverOptions;
  #features: FeatureSet = FeatureSet.EMPTY;

  protected constructor(options: MockVirtioDriverOptions) {
    this.#options = options;
    this.memory =
      options.memory ??
      new GuestMemory([{ guestAddress: 0x8000_0000, bytes: new Uint8Array(8 * 1024 * 1024) }]);
  }

  /** The device status field. */
  abstract get status(): number;
  abstract set status(value: number);

  abstract readFeatures(): FeatureSet;
  /** @param select 0 for bits 31:0, 1 for bits 63:32 */
  abstract writeFeatureWord(select: number, value: number): void;
  /**
   * Writes the registers of one queue, and enables it.
   *
   * @param changes what to write instead of what the ring says
   */
  abstract enableQueue(index: number, changes?: Partial<QueueConfig>): void;
  /** Whether the queue reads as enabled. */
  abstract isEnabled(index: number): boolean;
  /** §2.6.1. */
  abstract resetQueue(index: number): void;
  /** A notification, whether the device wants one or not. */
  abstract notify(index: number): void;
  abstract readConfig(offset: number, length: 1 | 2 | 4): number;
  abstract writeConfig(offset: number, length: 1 | 2 | 4, value: number): void;
  abstract readConfigGeneration(): number;
  /**
   * What an interrupt handler does: answers why there were interrupts since the last call (1: queues, 2:
   * configuration) and acknowledges them.
   */
  abstract acknowledge(): number;

  writeFeatures(features: FeatureSet): void {
    this.writeFeatureWord(0, features.low);
    this.writeFeatureWord(1, features.high);
  }

  get needsReset(): boolean {
    return (this.status & VIRTIO_STATUS_DEVICE_NEEDS_RESET) !== 0;
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

  /** Makes a ring for each queue and enables it; the memory is shared out evenly. */
  setUpQueues(): void {
    const { device } = this.transport.core;
    const region = this.memory.regions[0]!;
    const share = Math.floor(region.size / device.queueSizes.length / 16) * 16;
    this.rings.length = 0;
    device.queueSizes.forEach((maximum, index) => {
      const base = region.guestAddress + index * share;
      const ring = createMockDriver(this.memory, {
        base,
        end: base + share,
        size: Math.min(maximum, this.#options.queueSize ?? 16),
        eventIdx: this.#features.has(VIRTIO_F_EVENT_IDX),
        indirect: this.#features.has(VIRTIO_F_INDIRECT_DESC),
        packed: this.#features.has(VIRTIO_F_RING_PACKED),
        inOrder: this.#features.has(VIRTIO_F_IN_ORDER),
      });
      // The caller chose the type together with the features.
      this.rings.push(ring as Ring);
      if (this.#options.queues?.includes(index) ?? true) this.enableQueue(index);
    });
  }

  /** Makes what was added to a ring available, and notifies the device if it wants to be. */
  kick(index: number): boolean {
    const wanted = this.rings[index]!.publish();
    if (wanted) this.notify(index);
    return wanted;
  }

  /** Options of the transport that are the same for all. */
  protected transportOptions(): Pick<
    TransportOptions,
    'memory' | 'ringFeatures' | 'defer' | 'onError' | 'onIgnoredWrite'
  > {
    return {
      memory: this.memory,
      ringFeatures: ringFeaturesOf(this.#options),
      // A kick is served before it returns, however much there was to do before it.
      defer: deferToNextTurn,
      onError: (error) => this.errors.push(error),
      onIgnoredWrite: (what) => this.ignored.push(what),
    };
  }
}
