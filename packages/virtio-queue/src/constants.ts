/** The buffer continues in the descriptor that `next` names. VIRTIO 1.3 §2.7.5. */
export const VIRTQ_DESC_F_NEXT = 1;
/** The device writes the buffer; otherwise it reads it. §2.7.5. */
export const VIRTQ_DESC_F_WRITE = 2;
/** The buffer is a table of descriptors. §2.7.5.3. */
export const VIRTQ_DESC_F_INDIRECT = 4;

/** In the available ring's flags: the driver wants no interrupts. §2.7.6. */
export const VIRTQ_AVAIL_F_NO_INTERRUPT = 1;
/** In the used ring's flags: the device wants no notifications. §2.7.8. */
export const VIRTQ_USED_F_NO_NOTIFY = 1;

/** In a packed ring: differ in a descriptor the driver made available, are equal in one the device used. §2.8.1. */
export const VIRTQ_DESC_F_AVAIL: number = 1 << 7;
export const VIRTQ_DESC_F_USED: number = 1 << 15;

/** Flags of an event suppression structure: all events, none, or that of one descriptor (EVENT_IDX). §2.8.10. */
export const RING_EVENT_FLAGS_ENABLE = 0;
export const RING_EVENT_FLAGS_DISABLE = 1;
export const RING_EVENT_FLAGS_DESC = 2;
/** The wrap counter beside a 15-bit offset in a packed ring. §2.8.14. */
export const RING_WRAP_COUNTER: number = 1 << 15;

/** Bit numbers of the ring features. §6. */
export const VIRTIO_F_INDIRECT_DESC = 28;
export const VIRTIO_F_EVENT_IDX = 29;
export const VIRTIO_F_RING_PACKED = 34;
export const VIRTIO_F_IN_ORDER = 35;

/** Largest queue. §2.7, §2.8. */
export const MAX_QUEUE_SIZE = 32768;
/** Largest total of a chain's bytes. §2.7.5.2; a packed ring's chains have the same limit here. */
export const MAX_CHAIN_BYTES: number = 2 ** 32;
/** Bytes of one descriptor. §2.7.5, §2.8.13. */
export const DESCRIPTOR_SIZE = 16;

/** Alignment of the areas of a split queue, in bytes. §2.7. */
export const DESCRIPTOR_AREA_ALIGNMENT = 16;
export const DRIVER_AREA_ALIGNMENT = 2;
export const DEVICE_AREA_ALIGNMENT = 4;

/** Alignment of both event suppression structures, and their bytes. §2.8.10.1. */
export const EVENT_SUPPRESSION_ALIGNMENT = 4;
export const EVENT_SUPPRESSION_SIZE = 4;

/** Bytes of the Descriptor Area of either queue. §2.7, §2.8.10.1. */
export function descriptorAreaSize(size: number): number {
  return DESCRIPTOR_SIZE * size;
}

/** Bytes of the Driver Area (available ring) of a split queue. §2.7. */
export function driverAreaSize(size: number): number {
  return 6 + 2 * size;
}

/** Bytes of the Device Area (used ring) of a split queue. §2.7. */
export function deviceAreaSize(size: number): number {
  return 6 + 8 * size;
}
