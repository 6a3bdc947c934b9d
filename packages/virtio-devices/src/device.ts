import type { GuestMemory } from '@vmm/vm-memory';
import type { Queue } from '@vmm/virtio-queue';
import type { FeatureSet } from './features.ts';

/** How an activated device reaches its driver. Every call is harmless once the device was reset. */
export interface DeviceInterrupt {
  /** A used buffer notification (VIRTIO 1.3 §2.3). Call it when the queue's `needsInterrupt()` says so. */
  queue(index: number): void;
  /** A configuration change notification. */
  config(): void;
  /**
   * Sets DEVICE_NEEDS_RESET: queues answer nothing more and `notify()` is not called until the driver resets
   * the device. For what goes wrong outside a call of the transport; inside one, throw.
   */
  needsReset(reason: string, cause?: unknown): void;
}

/** What a device works with from DRIVER_OK until its reset. */
export interface ActivateContext {
  readonly memory: GuestMemory;
  /** Negotiated features, the transport's among them. */
  readonly features: FeatureSet;
  readonly interrupt: DeviceInterrupt;
  /**
   * By queue index; undefined when the driver did not enable that queue. Look a queue up when it is needed:
   * the entry changes when the driver resets the queue. The queues given here never throw: what `pop()`
   * meets puts the device into DEVICE_NEEDS_RESET and answers null, and the queue is silent from then on.
   */
  readonly queues: readonly (Queue | undefined)[];
  /**
   * Calls `notify(index)` in a later turn of the event loop, once for any number of calls. A device that
   * met its budget of work stops with this, so that a busy queue does not hold up the others.
   */
  renotify(index: number): void;
}

/** A range of device memory that the driver maps (VIRTIO 1.3 §2.10). */
export interface SharedMemoryRegion {
  /** shmid, 0…255. */
  readonly id: number;
  /** Bytes, a multiple of 4096. */
  readonly size: number;
}

/**
 * A device model. It knows neither its transport nor the format of its queues.
 *
 * In order: `configRead`/`configWrite` at any time; `activate` when the driver sets DRIVER_OK; `notify`
 * from then on; `pause`, `save`, `resume` around a snapshot; `reset` ends the activation. `restore` comes
 * before everything else, on a device made with the same options. What a method throws after a driver's
 * access never reaches the guest's vCPU: it puts the device into DEVICE_NEEDS_RESET.
 */
export interface VirtioDevice {
  /** Device ID, VIRTIO 1.3 §5. */
  readonly type: number;
  /** For messages, e.g. `block`. */
  readonly name: string;
  /** Feature bits of this device type. The transport adds the reserved ones (§6) that it supports itself. */
  readonly features: FeatureSet;
  /** Largest Queue Size of each queue: powers of two up to 32768. */
  readonly queueSizes: readonly number[];
  /** Counts changes of the configuration space (§2.5.1); needed when fields wider than 4 bytes change. */
  readonly configGeneration?: number;
  /** Shared memory regions; their place is the transport's business. */
  readonly sharedMemory?: readonly SharedMemoryRegion[];
  /** Counters since the device was made; plain numbers. */
  readonly statistics?: object;

  /**
   * Reads the configuration space, little-endian. Absent: there is none.
   *
   * @param offset any number from 0 to the end of the transport's window; beyond the last field answer 0
   */
  configRead?(offset: number, length: 1 | 2 | 4): number;
  configWrite?(offset: number, length: 1 | 2 | 4, value: number): void;

  /**
   * The driver set DRIVER_OK. Throwing refuses it.
   */
  activate(context: ActivateContext): void;

  /**
   * The driver made buffers available in a queue. Pop until the queue is empty or a budget is met.
   */
  notify(queueIndex: number): void;

  /**
   * Back to the state before `activate()`; also called when it was not active. Requests in flight are
   * forgotten: their `addUsed()` does nothing.
   */
  reset(): void;

  /**
   * The driver reset one queue (VIRTIO_F_RING_RESET, §2.6.1): forget what belongs to it. When it was enabled
   * again, `notify()` follows. Present: the feature is offered.
   */
  queueReset?(queueIndex: number): void;

  /**
   * Stop taking new work; resolve when nothing is in flight. Calls from the host's side are still accepted
   * and kept for later. The queues' state may be saved from then on.
   */
  pause?(): void | Promise<void>;
  /** Go on. `notify()` follows for every queue. */
  resume?(): void;

  /** A plain, versioned object that `restore()` accepts; called when paused. Absent: there is no state. */
  save?(): unknown;
  /**
   * Takes over a saved state, before `activate()`.
   *
   * @throws VirtioDeviceError `INVALID_STATE`; the device is unchanged then
   */
  restore?(state: unknown): void;
}
