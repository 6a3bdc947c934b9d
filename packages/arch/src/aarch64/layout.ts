import { ArchError } from '../errors.ts';
import { windowBehind, type AddressRange } from '../range.ts';

export type { AddressRange } from '../range.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

/** RAM below the devices. */
export const RAM_LOW: AddressRange = { guestAddress: 0, size: GIB };
/** RAM beyond the first GiB, to the end of a 40-bit physical address space (KVM's default). */
export const RAM_HIGH: AddressRange = { guestAddress: 0x8000_0000, size: 2 ** 40 - 0x8000_0000 };
/** Largest guest memory in bytes. */
export const MAX_RAM_SIZE: number = RAM_LOW.size + RAM_HIGH.size;

/** GIC distributor. */
export const GICD: AddressRange = { guestAddress: 0x4000_0000, size: 64 * KIB };
/** GICv2 CPU interface. */
export const GICC: AddressRange = { guestAddress: 0x4001_0000, size: 64 * KIB };
/** PL011 serial port. */
export const PL011: AddressRange = { guestAddress: 0x4002_0000, size: 64 * KIB };
/** Registers of virtio-mmio devices, one page each. */
export const VIRTIO_MMIO: AddressRange = { guestAddress: 0x4003_0000, size: 0x4800_0000 - 0x4003_0000 };
/** Distance of two virtio-mmio devices in bytes. */
export const VIRTIO_MMIO_STRIDE = 4096;

/** GICv3 redistributors: RD_base and SGI_base frame of each vCPU. */
export const GICR: AddressRange = { guestAddress: 0x4800_0000, size: 64 * MIB };
/** Size of one vCPU's redistributor in bytes (IHI 0069 §12.10). */
export const GICR_STRIDE: number = 128 * KIB;
/** Largest number of vCPUs, by the redistributor window. */
export const MAX_VCPUS: number = GICR.size / GICR_STRIDE;
/** GICv3 interrupt translation service (reserved). */
export const GITS: AddressRange = { guestAddress: 0x4c00_0000, size: 128 * KIB };
/** GICv2m frame: message-signalled interrupts as shared peripheral ones. */
export const GICV2M: AddressRange = { guestAddress: 0x4c02_0000, size: 4 * KIB };
/** PL031 real time clock. */
export const PL031: AddressRange = { guestAddress: 0x4c10_0000, size: 4 * KIB };
/** PL061 general purpose input and output. */
export const PL061: AddressRange = { guestAddress: 0x4c11_0000, size: 4 * KIB };
/** Room for the configuration space of 256 PCI buses, 1 MiB each. */
export const PCI_ECAM: AddressRange = { guestAddress: 0x5000_0000, size: 256 * MIB };
/** PCI memory window. */
export const PCI_MMIO: AddressRange = { guestAddress: 0x6000_0000, size: 511 * MIB };
/** PCI I/O window (reserved). */
export const PCI_IO: AddressRange = { guestAddress: 0x7ff0_0000, size: 64 * KIB };

/** First shared peripheral interrupt's INTID (IHI 0069 §2.2.1). */
export const SPI_BASE = 32;
/** End of the shared peripheral interrupts: 1020, down to what a controller has in steps of 32. */
export const SPI_END = 992;
/** Interrupts of the fixed devices, as INTIDs. */
export const PL011_INTID = 32;
export const PL031_INTID = 33;
export const PL061_INTID = 34;
/** Pin of the PL061 that the power button drives high. */
export const POWER_BUTTON_PIN = 0;
/** PCI's INTA to INTD, level-triggered. */
export const PCI_INTIDS: readonly [number, number, number, number] = [36, 37, 38, 39];
/** First virtio-mmio device's INTID; those between are left to devices at fixed addresses. */
export const VIRTIO_MMIO_INTID = 48;
/** Largest number of virtio-mmio devices, one SPI each. */
export const MAX_VIRTIO_MMIO: number = SPI_END - VIRTIO_MMIO_INTID;

/** Shared peripheral interrupts of the {@link GICV2M} frame. */
export const GICV2M_SPIS = 128;

/** Private peripheral interrupts of the generic timer, by PPI number: INTID - 16 (Arm BSA §3.8). */
export const TIMER_PPI_SECURE_PHYSICAL = 13;
export const TIMER_PPI_PHYSICAL = 14;
export const TIMER_PPI_VIRTUAL = 11;
export const TIMER_PPI_HYPERVISOR = 10;

/**
 * Where guest memory of a given size goes: up to 1 GiB at 0, the rest from 0x8000_0000.
 *
 * @param bytes a multiple of 4096, 4096…{@link MAX_RAM_SIZE}
 * @throws ArchError `INVALID_ARGUMENT`
 */
export function memoryRegions(bytes: number): AddressRange[] {
  if (!Number.isSafeInteger(bytes) || bytes <= 0 || bytes % 4096 !== 0 || bytes > MAX_RAM_SIZE) {
    throw new ArchError(
      'INVALID_ARGUMENT',
      `memory of ${bytes} bytes: a multiple of 4096 from 4096 to ${MAX_RAM_SIZE} is possible`,
    );
  }
  const low = { guestAddress: RAM_LOW.guestAddress, size: Math.min(bytes, RAM_LOW.size) };
  if (bytes === low.size) return [low];
  return [low, { guestAddress: RAM_HIGH.guestAddress, size: bytes - low.size }];
}

/** Bytes of {@link pciMmio64}'s window, and what its address is a multiple of. */
const PCI_MMIO64_SIZE = 64 * GIB;

/**
 * PCI's window for 64-bit prefetchable memory behind the guest's memory: 64 GiB, or none where that is too large for it.
 *
 * @param bytes as for {@link memoryRegions}
 * @throws ArchError `INVALID_ARGUMENT`
 */
export function pciMmio64(bytes: number): AddressRange | undefined {
  return windowBehind(memoryRegions(bytes), PCI_MMIO64_SIZE, RAM_HIGH);
}

/** A device with registers in guest physical memory and one interrupt. */
export interface MmioDeviceSlot {
  readonly address: number;
  /** Interrupt identifier of the GIC: a shared peripheral interrupt, 32…991. */
  readonly intid: number;
}

/**
 * Address and interrupt of a virtio-mmio device.
 *
 * @param index 0…{@link MAX_VIRTIO_MMIO}-1
 * @throws ArchError `INVALID_ARGUMENT`
 */
export function virtioMmioSlot(index: number): MmioDeviceSlot {
  if (!Number.isInteger(index) || index < 0 || index >= MAX_VIRTIO_MMIO) {
    throw new ArchError(
      'INVALID_ARGUMENT',
      `virtio-mmio device ${index}: there are ${MAX_VIRTIO_MMIO}, from 0 on`,
    );
  }
  return {
    address: VIRTIO_MMIO.guestAddress + index * VIRTIO_MMIO_STRIDE,
    intid: VIRTIO_MMIO_INTID + index,
  };
}

/**
 * Number of interrupt identifiers that the interrupt controller needs (`GicV3Config.irqs`): a multiple of 32,
 * 64…992.
 *
 * @param virtioMmioDevices 0…{@link MAX_VIRTIO_MMIO}
 */
export function interruptIdentifiers(virtioMmioDevices: number): number {
  const end = virtioMmioDevices === 0 ? VIRTIO_MMIO_INTID : virtioMmioSlot(virtioMmioDevices - 1).intid + 1;
  return Math.ceil(end / 32) * 32;
}

/**
 * Interrupts of the {@link GICV2M} frame, which come behind those of the virtio-mmio devices: the controller needs
 * {@link GICV2M_SPIS} identifiers more then.
 *
 * @param virtioMmioDevices 0…{@link MAX_VIRTIO_MMIO}
 * @throws ArchError `INVALID_ARGUMENT` where there is no room for them
 */
export function gicV2mInterrupts(virtioMmioDevices: number): {
  readonly base: number;
  readonly count: number;
} {
  const base = interruptIdentifiers(virtioMmioDevices);
  if (base + GICV2M_SPIS > SPI_END) {
    throw new ArchError('INVALID_ARGUMENT', `${GICV2M_SPIS} interrupts behind ${virtioMmioDevices} devices`);
  }
  return { base, count: GICV2M_SPIS };
}

/**
 * Affinity fields of a vCPU's MPIDR_EL1 (bits 23:0): 16 vCPUs to a cluster, as KVM and the GIC's SGI target
 * lists have it (IHI 0069 §12.11, ICC_SGI1R_EL1.TargetList).
 *
 * @param id vCPU number, 0…{@link MAX_VCPUS}-1
 */
export function mpidr(id: number): number {
  return (id & 0xf) | (((id >> 4) & 0xff) << 8);
}
