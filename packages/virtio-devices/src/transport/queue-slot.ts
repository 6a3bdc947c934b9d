import type { GuestMemory } from '@vmm/vm-memory';
import { createQueue, restoreQueue } from '@vmm/virtio-queue';
import type { QueueConfig } from '@vmm/virtio-queue';
import { VirtioDeviceError } from '../errors.ts';
import type { FeatureSet } from '../features.ts';
import {
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_IN_ORDER,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_RING_PACKED,
  VIRTQUEUE_MAX_SIZE,
} from '../virtio.ts';
import { GuardedQueue } from './guarded-queue.ts';

/** Plain state of a {@link QueueSlot}. */
export interface QueueSlotState {
  readonly size: number;
  readonly ready: boolean;
  readonly descriptorLow: number;
  readonly descriptorHigh: number;
  readonly driverLow: number;
  readonly driverHigh: number;
  readonly deviceLow: number;
  readonly deviceHigh: number;
  /** What the queue's `save()` gave; null unless the device is active. */
  readonly ring: unknown;
}

/** The registers of one virtqueue, and the queue itself while the device is active. */
export class QueueSlot {
  readonly index: number;
  readonly maxSize: number;
  size: number;
  /** The driver enabled the queue. */
  ready = false;
  descriptorLow = 0;
  descriptorHigh = 0;
  driverLow = 0;
  driverHigh = 0;
  deviceLow = 0;
  deviceHigh = 0;
  /** The driver notified the queue before DRIVER_OK. */
  notifiedEarly = false;
  /** The queues of the activation, by index; a device holds the same array. */
  queues: (GuardedQueue | undefined)[] = [];

  /** @throws VirtioDeviceError `INVALID_OPTION` */
  constructor(index: number, maxSize: number) {
    if (!Number.isInteger(Math.log2(maxSize)) || maxSize > VIRTQUEUE_MAX_SIZE) {
      throw new VirtioDeviceError(
        'INVALID_OPTION',
        `the size of queue ${index} must be a power of two up to ${VIRTQUEUE_MAX_SIZE}, not ${maxSize}`,
      );
    }
    this.index = index;
    this.maxSize = maxSize;
    this.size = maxSize;
  }

  /** Present while the device is active and the queue enabled. */
  get queue(): GuardedQueue | undefined {
    return this.queues[this.index];
  }

  set queue(queue: GuardedQueue | undefined) {
    this.queues[this.index] = queue;
  }

  close(): void {
    this.queue?.close();
    this.queue = undefined;
  }

  reset(): void {
    this.close();
    this.size = this.maxSize;
    this.ready = false;
    this.descriptorLow = 0;
    this.descriptorHigh = 0;
    this.driverLow = 0;
    this.driverHigh = 0;
    this.deviceLow = 0;
    this.deviceHigh = 0;
    this.notifiedEarly = false;
  }

  save(): QueueSlotState {
    return {
      size: this.size,
      ready: this.ready,
      descriptorLow: this.descriptorLow,
      descriptorHigh: this.descriptorHigh,
      driverLow: this.driverLow,
      driverHigh: this.driverHigh,
      deviceLow: this.deviceLow,
      deviceHigh: this.deviceHigh,
      ring: this.queue?.save() ?? null,
    };
  }

  restore(state: QueueSlotState): void {
    this.reset();
    this.size = state.size;
    this.ready = state.ready;
    this.descriptorLow = state.descriptorLow;
    this.descriptorHigh = state.descriptorHigh;
    this.driverLow = state.driverLow;
    this.driverHigh = state.driverHigh;
    this.deviceLow = state.deviceLow;
    this.deviceHigh = state.deviceHigh;
  }
}

/**
 * The queue that the registers describe.
 *
 * @param ring saved state to go on from
 * @throws VirtioQueueError, VirtioDeviceError when the registers describe no queue
 */
export function openQueue(
  slot: QueueSlot,
  memory: GuestMemory,
  features: FeatureSet,
  onFault: (index: number, cause: unknown) => void,
  ring?: object,
): GuardedQueue {
  if (slot.size > slot.maxSize) {
    throw new VirtioDeviceError(
      'ACTIVATION_FAILED',
      `queue ${slot.index} has size ${slot.size}, its maximum is ${slot.maxSize}`,
    );
  }
  const config: QueueConfig = {
    size: slot.size,
    descriptorArea: slot.descriptorLow + slot.descriptorHigh * 2 ** 32,
    driverArea: slot.driverLow + slot.driverHigh * 2 ** 32,
    deviceArea: slot.deviceLow + slot.deviceHigh * 2 ** 32,
    eventIdx: features.has(VIRTIO_F_EVENT_IDX),
    indirect: features.has(VIRTIO_F_INDIRECT_DESC),
    packed: features.has(VIRTIO_F_RING_PACKED),
    inOrder: features.has(VIRTIO_F_IN_ORDER),
  };
  const queue = ring === undefined ? createQueue(memory, config) : restoreQueue(memory, { ...ring, config });
  // A packed ring's Device Event Suppression begins as "notify of every buffer"; a split ring's avail_event does not.
  if (config.packed === true && config.eventIdx && ring === undefined) queue.enableNotifications();
  return new GuardedQueue(queue, slot.index, onFault);
}
