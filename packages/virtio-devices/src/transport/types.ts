import type { GuestMemory } from '@vmm/vm-memory';
import type { SharedMemoryRegion, VirtioDevice } from '../device.ts';
import type { VirtioDeviceError } from '../errors.ts';
import type { FeatureSet } from '../features.ts';
import type { VirtioTransportCore } from './core.ts';
import type { QueueSlotState } from './queue-slot.ts';

export interface TransportOptions {
  readonly device: VirtioDevice;
  readonly memory: GuestMemory;
  /** Used in messages. Default: the device's name. */
  readonly name?: string;
  /**
   * Reserved features (VIRTIO 1.3 §6) to offer besides VERSION_1, and RING_RESET when the device has `queueReset`:
   * any of INDIRECT_DESC, EVENT_IDX, RING_PACKED and IN_ORDER. Default {@link SPLIT_RING_FEATURES}.
   */
  readonly ringFeatures?: FeatureSet;
  /**
   * A shared memory region of the device begins to be at this guest physical address, moves, or goes (undefined):
   * the place to map its memory for the guest. Addresses are multiples of 4096.
   */
  readonly onSharedMemory?: (region: SharedMemoryRegion, address: number | undefined) => void;
  /**
   * The device entered DEVICE_NEEDS_RESET (`DRIVER_FAULT`, `DEVICE_FAULT`) or refused DRIVER_OK
   * (`ACTIVATION_FAILED`); the cause is attached. At most once between two resets. Must not throw.
   */
  readonly onError?: (error: VirtioDeviceError) => void;
  /**
   * A write of the driver that the standard forbids was ignored. The guest decides how often this runs.
   * Must not throw.
   */
  readonly onIgnoredWrite?: (what: string) => void;
  /**
   * Runs a task in a later turn of the event loop. Default `setImmediate`, or `setTimeout` where there is none, and once
   * notifications have kept a turn for 5 ms, those of all devices wait for the next one. With a function of its own a
   * host has that in its hands, and notifications are served at once.
   */
  readonly defer?: ((task: () => void) => void) | undefined;
}

/** What the bus-specific part of a transport does for the core. */
export interface TransportBindings {
  /** Delivers a used buffer notification of a queue. */
  raiseQueue(index: number): void;
  /** Delivers a configuration change notification. */
  raiseConfig(): void;
  /** The device is active: doorbells may be registered. */
  activated(): void;
  /** The device is no longer active, or no longer answers: doorbells go. */
  deactivated(): void;
}

export interface TransportStatistics {
  /** Notifications that reached the device. */
  readonly notifications: number;
  /** Used buffer notifications sent to the driver. */
  readonly queueInterrupts: number;
  /** Configuration change notifications sent to the driver. */
  readonly configInterrupts: number;
  readonly activations: number;
  readonly resets: number;
  /** Times the device entered DEVICE_NEEDS_RESET. */
  readonly needsResets: number;
  /** Writes that the standard forbids and that were ignored. */
  readonly ignoredWrites: number;
}

/** Plain state of the part that all transports share. */
export interface TransportCoreState {
  readonly deviceType: number;
  readonly status: number;
  readonly offeredLow: number;
  readonly offeredHigh: number;
  readonly driverLow: number;
  readonly driverHigh: number;
  readonly driverBeyond: boolean;
  readonly negotiated: boolean;
  readonly configGeneration: number;
  readonly queues: readonly QueueSlotState[];
  readonly device: unknown;
}

/** What a machine does with a device and its transport, whichever it is. */
export interface VirtioTransport {
  readonly core: VirtioTransportCore;
  readonly statistics: TransportStatistics;
  /** A reset of the machine: as if the driver had reset the device. */
  reset(): void;
  /** Stops the device for a snapshot; the vCPUs must be stopped. Resolves when nothing is in flight. */
  pause(): Promise<void>;
  /** Goes on after `pause()` or `restore()`. */
  resume(): void;
  /** @throws VirtioDeviceError `WRONG_STATE` unless paused */
  save(): unknown;
  /** @throws VirtioDeviceError `INVALID_STATE`, `WRONG_STATE`; the transport is as after reset then */
  restore(state: unknown): void;
}
