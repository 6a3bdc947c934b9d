import type { SharedMemoryRegion } from '../device.ts';
import { VirtioDeviceError } from '../errors.ts';
import { VIRTIO_PCI_NOTIFY_MULTIPLIER } from './pci-registers.ts';

/** BAR of the registers, and of the shared memory regions. */
export const REGISTER_BAR = 0;
export const SHARED_MEMORY_BAR = 4;

/** Places of the structures in the BAR of the registers, a page each. */
export const COMMON_OFFSET = 0x0000;
export const ISR_OFFSET = 0x1000;
export const DEVICE_OFFSET = 0x2000;
export const DEVICE_SIZE = 0x1000;
const MSIX_TABLE_OFFSET = 0x3000;

const MSIX_ENTRY_SIZE = 16;
const PAGE = 0x1000;

/** Where everything is in the BAR of the registers. */
export interface RegisterLayout {
  readonly msixTable: number;
  readonly msixPba: number;
  readonly notify: number;
  readonly notifySize: number;
  /** Bytes of the BAR. */
  readonly size: number;
}

export function registerLayout(vectors: number, queues: number): RegisterLayout {
  const msixPba = pageUp(MSIX_TABLE_OFFSET + vectors * MSIX_ENTRY_SIZE);
  const notify = pageUp(msixPba + 8 * Math.ceil(vectors / 64));
  const notifySize = Math.max(queues, 1) * VIRTIO_PCI_NOTIFY_MULTIPLIER;
  return {
    msixTable: MSIX_TABLE_OFFSET,
    msixPba,
    notify,
    notifySize,
    size: powerOfTwoUp(notify + notifySize),
  };
}

/** Places of shared memory regions in their BAR. */
export interface SharedMemoryLayout {
  readonly regions: readonly { readonly region: SharedMemoryRegion; readonly offset: number }[];
  /** Bytes of the BAR. */
  readonly size: number;
}

/**
 * Largest regions first, each aligned to its size as far as that is a power of two: huge pages stay possible.
 *
 * @throws VirtioDeviceError `INVALID_OPTION`
 */
export function sharedMemoryLayout(regions: readonly SharedMemoryRegion[]): SharedMemoryLayout {
  let end = 0;
  const placed = [...regions]
    .sort((a, b) => b.size - a.size)
    .map((region) => {
      if (!Number.isSafeInteger(region.size) || region.size <= 0 || region.size % PAGE !== 0) {
        throw new VirtioDeviceError(
          'INVALID_OPTION',
          `shared memory region ${region.id} must be a multiple of ${PAGE} bytes, not ${region.size}`,
        );
      }
      const offset = end;
      end += powerOfTwoUp(region.size);
      return { region, offset };
    });
  return { regions: placed, size: powerOfTwoUp(Math.max(end, PAGE)) };
}

function pageUp(value: number): number {
  return Math.ceil(value / PAGE) * PAGE;
}

function powerOfTwoUp(value: number): number {
  return 2 ** Math.ceil(Math.log2(value));
}
