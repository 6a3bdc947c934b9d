import { VIRTIO_MMIO_STRIDE, virtioMmioSlot } from './layout.ts';

/**
 * The kernel parameter that tells of a virtio-mmio device where ACPI does not, for kernels with
 * CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES (Linux drivers/virtio/virtio_mmio.c): `virtio_mmio.device=4K@0xd0000000:5`.
 *
 * @param index 0…{@link MAX_VIRTIO_MMIO}-1
 * @throws ArchError `INVALID_ARGUMENT`
 */
export function virtioMmioParameter(index: number): string {
  const { address, gsi } = virtioMmioSlot(index);
  return `virtio_mmio.device=${VIRTIO_MMIO_STRIDE / 1024}K@0x${address.toString(16)}:${gsi}`;
}
