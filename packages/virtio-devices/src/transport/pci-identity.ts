import * as virtio from '../virtio.ts';

/** Class codes (base class, sub-class, programming interface; PCI Code and ID Assignment) by device type. */
const CLASS_CODES: ReadonlyMap<number, number> = new Map([
  [virtio.VIRTIO_ID_NET, 0x02_00_00],
  [virtio.VIRTIO_ID_BLOCK, 0x01_80_00],
  [virtio.VIRTIO_ID_CONSOLE, 0x07_80_00],
  [virtio.VIRTIO_ID_ENTROPY, 0x10_80_00],
  [virtio.VIRTIO_ID_BALLOON, 0x05_80_00],
  [virtio.VIRTIO_ID_SCSI, 0x01_00_00],
  [virtio.VIRTIO_ID_9P, 0x01_80_00],
  [virtio.VIRTIO_ID_GPU, 0x03_80_00],
  [virtio.VIRTIO_ID_INPUT, 0x09_80_00],
  [virtio.VIRTIO_ID_VSOCK, 0x02_80_00],
  [virtio.VIRTIO_ID_CRYPTO, 0x10_80_00],
  [virtio.VIRTIO_ID_MEM, 0x05_80_00],
  [virtio.VIRTIO_ID_SOUND, 0x04_01_00],
  [virtio.VIRTIO_ID_FS, 0x01_80_00],
  [virtio.VIRTIO_ID_PMEM, 0x05_80_00],
]);

/** A device that fits no class. */
const UNASSIGNED_CLASS = 0xff_00_00;

export function classCodeOf(deviceType: number): number {
  return CLASS_CODES.get(deviceType) ?? UNASSIGNED_CLASS;
}
