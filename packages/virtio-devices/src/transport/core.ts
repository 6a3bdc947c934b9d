import type { GuestMemory } from '@vmm/vm-memory';
import type { VirtioDevice } from '../device.ts';
import { messageOf, VirtioDeviceError } from '../errors.ts';
import { FeatureSet } from '../features.ts';
import { RING_FEATURES, SPLIT_RING_FEATURES } from '../ring-features.ts';
import {
  VIRTIO_F_RING_RESET,
  VIRTIO_F_VERSION_1,
  VIRTIO_STATUS_ACKNOWLEDGE,
  VIRTIO_STATUS_DEVICE_NEEDS_RESET,
  VIRTIO_STATUS_DRIVER,
  VIRTIO_STATUS_DRIVER_OK,
  VIRTIO_STATUS_FAILED,
  VIRTIO_STATUS_FEATURES_OK,
} from '../virtio.ts';
import { createActivation } from './context.ts';
import type { Activation } from './context.ts';
import { deferToNextTurn, runInTurn } from './defer.ts';
import type { GuardedQueue } from './guarded-queue.ts';
import { FeatureNegotiation } from './negotiation.ts';
import { openQueue, QueueSlot } from './queue-slot.ts';
import type {
  TransportBindings,
  TransportCoreState,
  TransportOptions,
  TransportStatistics,
} from './types.ts';

const DRIVER_BITS =
  VIRTIO_STATUS_ACKNOWLEDGE |
  VIRTIO_STATUS_DRIVER |
  VIRTIO_STATUS_DRIVER_OK |
  VIRTIO_STATUS_FEATURES_OK |
  VIRTIO_STATUS_FAILED;

/**
 * What every transport does alike: feature negotiation, the status machine (VIRTIO 1.3 §2.1, §3.1), queue
 * set-up, activation, reset, faults, pause and state. A transport maps registers onto its methods.
 *
 * No method that a guest access leads to throws.
 */
export class VirtioTransportCore {
  readonly device: VirtioDevice;
  readonly name: string;
  readonly memory: GuestMemory;
  readonly features: FeatureNegotiation;
  readonly slots: readonly QueueSlot[];

  #status = 0;
  #active = false;
  #activation: Activation | undefined;
  #muted = false;
  #paused = false;
  #configGeneration = 0;
  /** Distinguishes activations, so that what an earlier one left in flight does nothing. */
  #epoch = 0;
  readonly #bindings: TransportBindings;
  readonly #options: TransportOptions;
  readonly #defer: (task: () => void) => void;
  /** {@link serve} by queue. */
  readonly #servers: readonly (() => void)[];
  readonly #statistics = {
    notifications: 0,
    queueInterrupts: 0,
    configInterrupts: 0,
    activations: 0,
    resets: 0,
    needsResets: 0,
    ignoredWrites: 0,
  };

  /** @throws VirtioDeviceError `INVALID_OPTION` when the device declares impossible queue sizes */
  constructor(options: TransportOptions, bindings: TransportBindings) {
    const { device } = options;
    this.#options = options;
    this.#bindings = bindings;
    this.device = device;
    this.memory = options.memory;
    this.name = options.name ?? device.name;
    this.#defer = options.defer ?? deferToNextTurn;
    const ring = options.ringFeatures ?? SPLIT_RING_FEATURES;
    if (!ring.isSubsetOf(RING_FEATURES)) {
      throw new VirtioDeviceError('INVALID_OPTION', `ringFeatures ${ring.toString()} are not supported`);
    }
    this.features = new FeatureNegotiation(
      device.features
        .union(ring)
        .union(FeatureSet.of(VIRTIO_F_VERSION_1))
        .union(device.queueReset === undefined ? FeatureSet.EMPTY : FeatureSet.of(VIRTIO_F_RING_RESET)),
    );
    this.slots = device.queueSizes.map((size, index) => new QueueSlot(index, size));
    this.#servers = this.slots.map(
      ({ index }) =>
        () =>
          this.serve(index),
    );
  }

  get status(): number {
    return this.#status;
  }

  /** Features that both sides agreed on; none before FEATURES_OK. */
  get negotiated(): FeatureSet {
    return this.features.negotiated;
  }

  /** DRIVER_OK is set and the device works. */
  get active(): boolean {
    return this.#active;
  }

  get paused(): boolean {
    return this.#paused;
  }

  /**
   * Changes with the configuration space (§2.5.1): the device's own counter, or the number of configuration change
   * notifications. 32 bits.
   */
  get configGeneration(): number {
    return (this.device.configGeneration ?? this.#configGeneration) >>> 0;
  }

  /** What the driver made available waits for a later turn of the event loop. */
  get pending(): boolean {
    return this.#activation?.pending ?? false;
  }

  get statistics(): TransportStatistics {
    return { ...this.#statistics };
  }

  writeDriverFeatures(select: number, value: number): void {
    const open = VIRTIO_STATUS_DRIVER;
    const closed = VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_FAILED;
    if ((this.#status & open) === 0 || (this.#status & closed) !== 0) {
      this.ignore('features written outside of negotiation (§3.1.1)');
    } else {
      this.features.writeDriver(select, value);
    }
  }

  /** A write of the device status field. Bits take effect in the order of §3.1.1; 0 resets. */
  writeStatus(value: number): void {
    if (value === 0) {
      this.reset();
      return;
    }
    const status = this.#status;
    if ((status & VIRTIO_STATUS_FAILED) !== 0) {
      this.ignore('status written after FAILED (§2.1.1)');
      return;
    }
    if ((status & VIRTIO_STATUS_DEVICE_NEEDS_RESET) !== 0 && (value & VIRTIO_STATUS_FAILED) === 0) {
      this.ignore('status written after DEVICE_NEEDS_RESET (§2.1.2)');
      return;
    }
    if ((status & DRIVER_BITS & ~value) !== 0) {
      this.ignore('a status bit cleared without a reset (§2.1.1)');
      return;
    }
    const added = value & DRIVER_BITS & ~status;
    if ((value & ~(DRIVER_BITS | VIRTIO_STATUS_DEVICE_NEEDS_RESET)) !== 0) {
      this.ignore('an undefined status bit set (§2.1)');
    }
    if ((added & VIRTIO_STATUS_FAILED) !== 0) {
      this.#status |= VIRTIO_STATUS_FAILED;
      this.#silence();
      return;
    }
    if ((added & VIRTIO_STATUS_ACKNOWLEDGE) !== 0) this.#status |= VIRTIO_STATUS_ACKNOWLEDGE;
    if ((added & VIRTIO_STATUS_DRIVER) !== 0 && this.#after(VIRTIO_STATUS_ACKNOWLEDGE)) {
      this.#status |= VIRTIO_STATUS_DRIVER;
    }
    if ((added & VIRTIO_STATUS_FEATURES_OK) !== 0 && this.#after(VIRTIO_STATUS_DRIVER)) this.#negotiate();
    if ((added & VIRTIO_STATUS_DRIVER_OK) !== 0 && this.#after(VIRTIO_STATUS_FEATURES_OK)) this.#activate();
  }

  /** Whether the driver may set up `slot` now. */
  mayConfigure(slot: QueueSlot): boolean {
    const status = this.#status;
    if ((status & VIRTIO_STATUS_FEATURES_OK) === 0 || (status & VIRTIO_STATUS_FAILED) !== 0) return false;
    return !slot.ready;
  }

  /** A write of 1 or 0 to a queue's enable register. */
  enableQueue(slot: QueueSlot, enable: boolean): void {
    if (!enable) {
      this.resetQueue(slot);
      return;
    }
    if (!this.mayConfigure(slot)) {
      if (!slot.ready) this.ignore('a queue enabled before FEATURES_OK (§3.1.1)');
      return;
    }
    if ((this.#status & VIRTIO_STATUS_DRIVER_OK) === 0) {
      slot.ready = true;
      return;
    }
    if (!this.#active || !this.negotiated.has(VIRTIO_F_RING_RESET)) {
      this.ignore('a queue enabled after DRIVER_OK (§3.1.1)');
      return;
    }
    try {
      slot.queue = openQueue(slot, this.memory, this.negotiated, this.#onQueueFault);
      slot.ready = true;
    } catch (cause) {
      this.#fail('DRIVER_FAULT', `queue ${slot.index} cannot be enabled`, cause);
      return;
    }
    this.notify(slot.index);
  }

  /** Stops a queue and puts its registers back, §2.6.1. */
  resetQueue(slot: QueueSlot): void {
    const wasLive = slot.queue !== undefined;
    slot.reset();
    if (!wasLive || !this.#active) return;
    try {
      this.device.queueReset?.(slot.index);
    } catch (cause) {
      this.#fail('DEVICE_FAULT', `reset of queue ${slot.index}`, cause);
    }
  }

  /** The driver made buffers available. */
  notify(index: number): void {
    const slot = this.slots[index];
    if (slot === undefined) {
      this.ignore('a queue notified that does not exist');
      return;
    }
    if (!this.#active) {
      // Seen again at DRIVER_OK: a device takes no buffers before it (§3.1.1).
      slot.notifiedEarly = true;
      return;
    }
    if (this.#paused || slot.queue === undefined) return;
    if (this.#options.defer !== undefined) this.serve(index);
    else if (!runInTurn(this.#servers[index]!)) this.#activation?.context.renotify(index);
  }

  /** Has the device look at a queue now. */
  serve(index: number): void {
    if (!this.#active || this.#paused || this.slots[index]?.queue === undefined) return;
    this.#statistics.notifications++;
    try {
      this.device.notify(index);
    } catch (cause) {
      this.#fail('DEVICE_FAULT', `notification of queue ${index}`, cause);
    }
  }

  readConfig(offset: number, length: 1 | 2 | 4): number {
    try {
      return this.device.configRead?.(offset, length) ?? 0;
    } catch (cause) {
      this.#fail('DEVICE_FAULT', `read of configuration offset ${offset}`, cause);
      return 0;
    }
  }

  writeConfig(offset: number, length: 1 | 2 | 4, value: number): void {
    if ((this.#status & VIRTIO_STATUS_DRIVER) === 0) {
      this.ignore('the configuration space written before DRIVER (§3.1.1)');
      return;
    }
    try {
      this.device.configWrite?.(offset, length, value);
    } catch (cause) {
      this.#fail('DEVICE_FAULT', `write of configuration offset ${offset}`, cause);
    }
  }

  /** Back to the state after power-on: a write of 0 to the status field, or the owner's wish. */
  reset(): void {
    this.#statistics.resets++;
    // What the device was notified of and put off is still served, e.g. a guest's last words.
    if (this.#active && !this.#paused) {
      this.#muted = true;
      this.#activation?.catchUp();
      this.#muted = false;
    }
    this.#silence();
    this.#status = 0;
    this.features.reset();
    for (const slot of this.slots) slot.reset();
    try {
      this.device.reset();
    } catch (cause) {
      this.#fail('DEVICE_FAULT', 'reset', cause);
    }
  }

  /** Takes no new work; resolves when nothing is in flight. The vCPUs must be stopped. */
  async pause(): Promise<void> {
    if (this.#paused) return;
    this.#paused = true;
    await this.device.pause?.();
  }

  /** Undoes `pause()`, or starts what `restore()` prepared. */
  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    try {
      this.device.resume?.();
    } catch (cause) {
      this.#fail('DEVICE_FAULT', 'resume', cause);
    }
    for (const slot of this.slots) {
      if (slot.queue === undefined) continue;
      // A restored queue does not know what its driver was told.
      if (slot.queue.needsInterrupt()) this.#raiseQueue(slot.index);
      this.notify(slot.index);
    }
  }

  /** @throws VirtioDeviceError `WRONG_STATE` unless paused */
  save(): TransportCoreState {
    if (!this.#paused) throw new VirtioDeviceError('WRONG_STATE', `${this.name}: pause() before save()`);
    return {
      deviceType: this.device.type,
      status: this.#status,
      ...this.features.save(),
      configGeneration: this.#configGeneration,
      queues: this.slots.map((slot) => slot.save()),
      device: this.device.save?.() ?? null,
    };
  }

  /**
   * Takes over a validated state; the transport is paused afterwards.
   *
   * @throws VirtioDeviceError `WRONG_STATE` when the driver has begun with the device, `INVALID_STATE`
   */
  restore(state: TransportCoreState): void {
    if (this.#status !== 0) {
      throw new VirtioDeviceError('WRONG_STATE', `${this.name}: restore() needs a device after reset`);
    }
    if (state.deviceType !== this.device.type || state.queues.length !== this.slots.length) {
      throw new VirtioDeviceError('INVALID_STATE', `${this.name}: the state is of another device`);
    }
    const needsReset = (state.status & VIRTIO_STATUS_DEVICE_NEEDS_RESET) !== 0;
    const failed = (state.status & VIRTIO_STATUS_FAILED) !== 0;
    const active = (state.status & VIRTIO_STATUS_DRIVER_OK) !== 0 && !needsReset && !failed;
    try {
      this.features.restore(state);
      this.slots.forEach((slot, index) => slot.restore(state.queues[index]!));
      const queues = this.slots.map((slot, index): GuardedQueue | undefined => {
        const { ring } = state.queues[index]!;
        if (!active || !slot.ready) return undefined;
        if (typeof ring !== 'object' || ring === null) {
          throw new VirtioDeviceError('INVALID_STATE', `queue ${index} has no ring state`);
        }
        return openQueue(slot, this.memory, this.negotiated, this.#onQueueFault, ring);
      });
      if (state.device !== null) {
        if (this.device.restore === undefined) {
          throw new VirtioDeviceError('INVALID_STATE', `${this.name} takes no state`);
        }
        this.device.restore(state.device);
      }
      this.#paused = true;
      this.#status = state.status;
      this.#configGeneration = state.configGeneration;
      if (active) this.#start(queues);
    } catch (cause) {
      this.#paused = false;
      this.reset();
      if (cause instanceof VirtioDeviceError) throw cause;
      throw new VirtioDeviceError('INVALID_STATE', `${this.name}: ${messageOf(cause)}`, { cause });
    }
  }

  /** Counts and reports a write that the standard forbids. */
  ignore(what: string): void {
    this.#statistics.ignoredWrites++;
    this.#options.onIgnoredWrite?.(`${this.name}: ${what}`);
  }

  #after(bit: number): boolean {
    if ((this.#status & bit) !== 0) return true;
    this.ignore('a status bit set out of order (§3.1.1)');
    return false;
  }

  #negotiate(): void {
    const refusal = this.features.agree();
    if (refusal === undefined) this.#status |= VIRTIO_STATUS_FEATURES_OK;
    else this.ignore(refusal);
  }

  #activate(): void {
    try {
      const queues = this.slots.map((slot) =>
        slot.ready ? openQueue(slot, this.memory, this.negotiated, this.#onQueueFault) : undefined,
      );
      this.#status |= VIRTIO_STATUS_DRIVER_OK;
      this.#start(queues);
    } catch (cause) {
      this.#silence();
      this.#status &= ~VIRTIO_STATUS_DRIVER_OK;
      // No notification: there is none before DRIVER_OK (§2.1.2).
      this.#status |= VIRTIO_STATUS_DEVICE_NEEDS_RESET;
      this.#statistics.needsResets++;
      this.#report('ACTIVATION_FAILED', 'DRIVER_OK refused', cause);
      return;
    }
    this.#statistics.activations++;
    for (const slot of this.slots) {
      if (!slot.notifiedEarly) continue;
      slot.notifiedEarly = false;
      this.notify(slot.index);
    }
  }

  #start(queues: (GuardedQueue | undefined)[]): void {
    for (const slot of this.slots) slot.queues = queues;
    this.#active = true;
    this.#epoch++;
    const epoch = this.#epoch;
    this.#activation = createActivation({
      core: this,
      queues,
      isCurrent: () => this.#active && this.#epoch === epoch,
      raiseQueue: (index) => this.#raiseQueue(index),
      raiseConfig: () => this.#raiseConfig(),
      fail: (reason, cause) => this.#fail('DEVICE_FAULT', reason, cause),
      defer: this.#defer,
    });
    this.device.activate(this.#activation.context);
    // The device may have failed already through needsReset().
    if (this.active) this.#bindings.activated();
  }

  #raiseQueue(index: number): void {
    if (this.#muted) return;
    this.#statistics.queueInterrupts++;
    this.#bindings.raiseQueue(index);
  }

  #raiseConfig(): void {
    this.#configGeneration = (this.#configGeneration + 1) >>> 0;
    if (this.#muted) return;
    this.#statistics.configInterrupts++;
    this.#bindings.raiseConfig();
  }

  readonly #onQueueFault = (index: number, cause: unknown): void => {
    this.#fail('DRIVER_FAULT', `queue ${index}`, cause);
  };

  /** DEVICE_NEEDS_RESET, §2.1.2. */
  #fail(code: 'DRIVER_FAULT' | 'DEVICE_FAULT', what: string, cause: unknown): void {
    if ((this.#status & VIRTIO_STATUS_DEVICE_NEEDS_RESET) !== 0) return;
    const announce = this.#active;
    this.#silence();
    this.#status |= VIRTIO_STATUS_DEVICE_NEEDS_RESET;
    this.#statistics.needsResets++;
    if (announce) this.#raiseConfig();
    this.#report(code, what, cause);
  }

  /** Cuts the device off from its queues and its driver until the next activation. */
  #silence(): void {
    for (const slot of this.slots) slot.close();
    if (!this.#active) return;
    this.#active = false;
    this.#activation = undefined;
    this.#bindings.deactivated();
  }

  #report(code: 'ACTIVATION_FAILED' | 'DRIVER_FAULT' | 'DEVICE_FAULT', what: string, cause: unknown): void {
    const reason = cause === undefined ? '' : `: ${messageOf(cause)}`;
    this.#options.onError?.(new VirtioDeviceError(code, `${this.name}: ${what}${reason}`, { cause }));
  }
}
