/** PCI vendor ID of virtio devices, and what their type is added to for the device ID, VIRTIO 1.3 §4.1.2. */
export const VIRTIO_PCI_VENDOR_ID = 0x1af4;
export const VIRTIO_PCI_DEVICE_ID_BASE = 0x1040;
/** PCI revision of devices without a legacy interface, §4.1.2.1. */
export const VIRTIO_PCI_REVISION = 1;

/** `cfg_type` of the vendor-specific capabilities, §4.1.4. */
export const VIRTIO_PCI_CAP_COMMON_CFG = 1;
export const VIRTIO_PCI_CAP_NOTIFY_CFG = 2;
export const VIRTIO_PCI_CAP_ISR_CFG = 3;
export const VIRTIO_PCI_CAP_DEVICE_CFG = 4;
export const VIRTIO_PCI_CAP_PCI_CFG = 5;
export const VIRTIO_PCI_CAP_SHARED_MEMORY_CFG = 8;

/** Offsets in the common configuration structure, §4.1.4.3. */
export const VIRTIO_PCI_COMMON_DEVICE_FEATURE_SELECT = 0x00;
export const VIRTIO_PCI_COMMON_DEVICE_FEATURE = 0x04;
export const VIRTIO_PCI_COMMON_DRIVER_FEATURE_SELECT = 0x08;
export const VIRTIO_PCI_COMMON_DRIVER_FEATURE = 0x0c;
export const VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR = 0x10;
export const VIRTIO_PCI_COMMON_NUM_QUEUES = 0x12;
export const VIRTIO_PCI_COMMON_DEVICE_STATUS = 0x14;
export const VIRTIO_PCI_COMMON_CONFIG_GENERATION = 0x15;
export const VIRTIO_PCI_COMMON_QUEUE_SELECT = 0x16;
export const VIRTIO_PCI_COMMON_QUEUE_SIZE = 0x18;
export const VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR = 0x1a;
export const VIRTIO_PCI_COMMON_QUEUE_ENABLE = 0x1c;
export const VIRTIO_PCI_COMMON_QUEUE_NOTIFY_OFF = 0x1e;
export const VIRTIO_PCI_COMMON_QUEUE_DESC = 0x20;
export const VIRTIO_PCI_COMMON_QUEUE_DRIVER = 0x28;
export const VIRTIO_PCI_COMMON_QUEUE_DEVICE = 0x30;
export const VIRTIO_PCI_COMMON_QUEUE_NOTIF_CONFIG_DATA = 0x38;
export const VIRTIO_PCI_COMMON_QUEUE_RESET = 0x3a;
/** Bytes of the structure, the administration queue's fields included. */
export const VIRTIO_PCI_COMMON_SIZE = 0x40;

/** No vector is assigned, or the one that was written cannot be, §4.1.5.1.2. */
export const VIRTIO_MSI_NO_VECTOR = 0xffff;

/** Bits of ISR status, §4.1.4.5. */
export const VIRTIO_PCI_ISR_QUEUE = 1;
export const VIRTIO_PCI_ISR_CONFIG = 2;

/** Bytes between the notification addresses of two queues (`notify_off_multiplier`, §4.1.4.4). */
export const VIRTIO_PCI_NOTIFY_MULTIPLIER = 4;
