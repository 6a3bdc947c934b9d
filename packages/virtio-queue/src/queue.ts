import type { GuestMemory } from '@vmm/vm-memory';
import type { DescriptorChain } from './chain.ts';

/** What the driver wrote before it enabled the queue; guest physical addresses. VIRTIO 1.3 §2.7, §4.2.2. */
export interface QueueConfig {
  /** Number of descriptors: 1 … 32768, a power of 2 for a split ring. */
  readonly size: number;
  /** Descriptor Area (a packed ring's Descriptor Ring), 16-byte aligned. */
  readonly descriptorArea: number;
  /** Driver Area: available ring, 2-byte aligned, or Driver Event Suppression, 4-byte aligned. */
  readonly driverArea: number;
  /** Device Area: used ring or Device Event Suppression, 4-byte aligned. */
  readonly deviceArea: number;
  /** VIRTIO_F_EVENT_IDX was negotiated. */
  readonly eventIdx: boolean;
  /** VIRTIO_F_INDIRECT_DESC was negotiated. */
  readonly indirect: boolean;
  /** VIRTIO_F_RING_PACKED was negotiated. Default false. */
  readonly packed?: boolean;
  /** VIRTIO_F_IN_ORDER was negotiated. Default false. */
  readonly inOrder?: boolean;
}

/** Plain, versioned state of a queue between two chains. */
export interface QueueState {
  readonly version: 1;
  /** As `config.packed` says. */
  readonly format: 'split' | 'packed';
  readonly config: QueueConfig;
  /**
   * Where the next chain is read. Split: an index modulo 2^16. Packed: the offset in the ring in bits 0-14, the
   * wrap counter in bit 15, as §2.8.14 has it.
   */
  readonly nextAvail: number;
  /** Where the next used chain is written; the same as `nextAvail`. */
  readonly nextUsed: number;
}

/**
 * The device's side of one virtqueue. Device models use nothing else and never know the ring format.
 *
 * The loop of a device: `disableNotifications()`, `pop()` until it answers null, work on the chains,
 * `addUsed()` for each, `enableNotifications()` and pop again if that answers true; one interrupt if
 * `needsInterrupt()`. Whatever the guest did wrong is thrown by `pop()` as a {@link VirtioQueueError}
 * and is sticky: the queue answers nothing more until it is reset.
 */
export interface Queue {
  readonly format: 'split' | 'packed';
  readonly size: number;
  readonly memory: GuestMemory;
  /**
   * The next chain the driver made available, or null. The object belongs to the queue and is valid until
   * its `addUsed()`; up to `size` chains may be out at once.
   *
   * @throws VirtioQueueError when the ring or the chain breaks the standard's rules
   */
  pop(): DescriptorChain | null;
  /**
   * Gives the chain that was popped last back as if it had not been popped.
   *
   * @throws VirtioQueueError `CHAIN_NOT_OUT` when `chain` is not the one popped last or is not out
   */
  undoPop(chain: DescriptorChain): void;
  /**
   * Gives the chain back to the driver; any order will do. With VIRTIO_F_IN_ORDER the queue itself keeps it until all
   * chains popped before it were given back. Does nothing once the queue is broken, so that requests in flight
   * may complete late.
   *
   * @param bytesWritten bytes the device stored, counted from the start of the chain's writable part
   * @throws VirtioQueueError `CHAIN_NOT_OUT`, `INVALID_ARGUMENT`
   */
  addUsed(chain: DescriptorChain, bytesWritten: number): void;
  /**
   * From now on addUsed() lets the driver see nothing, until {@link publishUsed}: for buffers of which the driver
   * must see all or none, and for one atomic store instead of many.
   */
  deferUsed(): void;
  /** Lets the driver see at once all that addUsed() was given since {@link deferUsed}, and ends deferring. */
  publishUsed(): void;
  /**
   * Whether the driver wants an interrupt for what became visible to it since the last call (§2.7.7.2, §2.8.10).
   * A chain that IN_ORDER or {@link deferUsed} keeps back is not visible.
   */
  needsInterrupt(): boolean;
  /** Asks the driver not to notify (advisory). */
  disableNotifications(): void;
  /** Asks for notifications again; true when chains arrived meanwhile, so that the caller pops again. */
  enableNotifications(): boolean;
  /** @throws VirtioQueueError `CHAINS_OUT` unless every popped chain was used, and published, or undone */
  save(): QueueState;
}
