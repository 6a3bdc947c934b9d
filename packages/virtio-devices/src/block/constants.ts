/** Feature bits of the block device, VIRTIO 1.3 §5.2.3. */
export const VIRTIO_BLK_F_SIZE_MAX = 1;
export const VIRTIO_BLK_F_SEG_MAX = 2;
export const VIRTIO_BLK_F_RO = 5;
export const VIRTIO_BLK_F_BLK_SIZE = 6;
export const VIRTIO_BLK_F_FLUSH = 9;
export const VIRTIO_BLK_F_TOPOLOGY = 10;
export const VIRTIO_BLK_F_CONFIG_WCE = 11;
export const VIRTIO_BLK_F_MQ = 12;
export const VIRTIO_BLK_F_DISCARD = 13;
export const VIRTIO_BLK_F_WRITE_ZEROES = 14;

/** Request types, §5.2.6. */
export const VIRTIO_BLK_T_IN = 0;
export const VIRTIO_BLK_T_OUT = 1;
export const VIRTIO_BLK_T_FLUSH = 4;
export const VIRTIO_BLK_T_GET_ID = 8;
export const VIRTIO_BLK_T_DISCARD = 11;
export const VIRTIO_BLK_T_WRITE_ZEROES = 13;

/** Values of the status byte, §5.2.6. */
export const VIRTIO_BLK_S_OK = 0;
export const VIRTIO_BLK_S_IOERR = 1;
export const VIRTIO_BLK_S_UNSUPP = 2;

/** Unit of `sector` and of the capacity, in bytes, §5.2.6. */
export const VIRTIO_BLK_SECTOR_SIZE = 512;
/** Bytes before the data: type, reserved, sector. §5.2.6. */
export const VIRTIO_BLK_HEADER_SIZE = 16;
/** Bytes of the device identifier. §5.2.6. */
export const VIRTIO_BLK_ID_BYTES = 20;
/** Bytes of one `virtio_blk_discard_write_zeroes`. §5.2.6. */
export const VIRTIO_BLK_RANGE_SIZE = 16;
/** Bit of its flags. */
export const VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP = 1;
