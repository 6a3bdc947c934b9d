import { ArchError } from '../errors.ts';
import { windowBehind, type AddressRange } from '../range.ts';

export type { AddressRange } from '../range.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

/** RAM below the devices. */
export const RAM_LOW: AddressRange = { guestAddress: 0, size: 3 * GIB };
/** RAM beyond the first 4 GiB, to the end of a 40-bit physical address space. */
export const RAM_HIGH: AddressRange = { guestAddress: 4 * GIB, size: 2 ** 40 - 4 * GIB };
/** Smallest guest memory in bytes: the first MiB, and something behind it. */
export const MIN_RAM_SIZE: number = 2 * MIB;
/** Largest guest memory in bytes. */
export const MAX_RAM_SIZE: number = RAM_LOW.size + RAM_HIGH.size;

/** Global descriptor table that the boot CPU starts with. */
export const BOOT_GDT: AddressRange = { guestAddress: 0x500, size: 0x20 };
/** `hvm_start_info` of a PVH start, with its module list and memory map. */
export const PVH_START_INFO: AddressRange = { guestAddress: 0x6000, size: 0x1000 };
/** `boot_params`, the "zero page" (Linux Documentation/arch/x86/zero-page.rst). */
export const BOOT_PARAMS: AddressRange = { guestAddress: 0x7000, size: 0x1000 };
/** Seed for the kernel's random number generator, as `setup_data`. */
export const SETUP_DATA: AddressRange = { guestAddress: 0x8000, size: 0x1000 };
/** Page tables that the boot CPU starts with: PML4, page-directory-pointer table, four page directories. */
export const BOOT_PAGE_TABLES: AddressRange = { guestAddress: 0x9000, size: 0x6000 };
/** Kernel command line with its NUL. */
export const CMDLINE: AddressRange = { guestAddress: 0x20000, size: 0x10000 };
/** MP floating pointer structure and configuration table: the last KiB of base memory (MP 1.4 §4). */
export const MP_TABLE: AddressRange = { guestAddress: 0x9fc00, size: KIB };
/** What a PC has video memory and firmware in; no usable memory for the guest. */
export const BIOS_HOLE: AddressRange = { guestAddress: 0xa0000, size: 0x60000 };
/** RSDP and ACPI tables (ACPI 6.5 §5.2.5.1: the RSDP is looked for from 0xE0000 on). */
export const ACPI_TABLES: AddressRange = { guestAddress: 0xe0000, size: 0x20000 };
/** Where kernels may lie. */
export const HIGH_MEMORY_START: number = MIB;

/** PCI memory window. */
export const PCI_MMIO: AddressRange = { guestAddress: 0xc000_0000, size: 256 * MIB };
/** Registers of virtio-mmio devices, one page each. */
export const VIRTIO_MMIO: AddressRange = { guestAddress: 0xd000_0000, size: 256 * MIB };
/** Distance of two virtio-mmio devices in bytes. */
export const VIRTIO_MMIO_STRIDE = 4096;
/** Room for the configuration space of 256 PCI buses, 1 MiB each. */
export const PCI_ECAM: AddressRange = { guestAddress: 0xe000_0000, size: 256 * MIB };
/** I/O APIC. */
export const IO_APIC: AddressRange = { guestAddress: 0xfec0_0000, size: 4 * KIB };
/** Local APICs (Intel SDM Vol. 3 §11.4.1). */
export const LOCAL_APIC: AddressRange = { guestAddress: 0xfee0_0000, size: 4 * KIB };
/** Page of KVM's identity map, for real mode on Intel CPUs (KVM_SET_IDENTITY_MAP_ADDR). */
export const KVM_IDENTITY_MAP: AddressRange = { guestAddress: 0xfffb_c000, size: 4 * KIB };
/** Pages of KVM's task state segment, for real mode on Intel CPUs (KVM_SET_TSS_ADDR). */
export const KVM_TSS: AddressRange = { guestAddress: 0xfffb_d000, size: 12 * KIB };

/** A range of I/O ports. */
export interface PortRange {
  readonly port: number;
  readonly size: number;
}

/** 16550A serial port. */
export const COM1: PortRange = { port: 0x3f8, size: 8 };
/** PCI configuration mechanism #1: CONFIG_ADDRESS and CONFIG_DATA (PCI Local Bus 3.0 §3.2.2.3.2). */
export const PCI_CONFIG: PortRange = { port: 0xcf8, size: 8 };
/** i8042 keyboard controller: data and command port. */
export const I8042_DATA: PortRange = { port: 0x60, size: 1 };
export const I8042_COMMAND: PortRange = { port: 0x64, size: 1 };
/** CMOS RAM and real time clock: index and data port. */
export const CMOS: PortRange = { port: 0x70, size: 2 };
/** i8254 timer, and the port that gates its third channel. */
export const PIT: PortRange = { port: 0x40, size: 4 };
export const PIT_GATE: PortRange = { port: 0x61, size: 1 };
/** ACPI sleep control and status, and reset register (ACPI 6.5 §4.8.3.7, §4.8.3.6), a byte each. */
export const ACPI_POWER: PortRange = { port: 0x600, size: 3 };
export const ACPI_SLEEP_CONTROL_PORT = 0x600;
export const ACPI_SLEEP_STATUS_PORT = 0x601;
export const ACPI_RESET_PORT = 0x602;
/** What a guest writes to {@link ACPI_RESET_PORT}. */
export const ACPI_RESET_VALUE = 0x01;

/** Inputs of the I/O APIC, global system interrupts from 0 on. */
export const IO_APIC_INPUTS = 24;
/** Identifier of the I/O APIC. */
export const IO_APIC_ID = 0;
/** ISA IRQ 0 (the i8254) is wired to this input of the I/O APIC. */
export const PIT_GSI = 2;
/** PCI's INTA to INTD, level-triggered: inputs of the I/O APIC that are not ISA's. */
export const PCI_GSIS: readonly [number, number, number, number] = [16, 17, 18, 19];
/** Edge-triggered, active high, as all other interrupts here. */
export const I8042_GSI = 1;
export const COM1_GSI = 4;
export const RTC_GSI = 8;
/** Of the power button: the input that ACPI has on a PC. */
export const POWER_BUTTON_GSI = 9;

/**
 * Global system interrupts of the virtio-mmio devices: what the PC's own devices and ACPI (9) and the FPU (13) leave
 * over of the I/O APIC's inputs.
 */
const VIRTIO_MMIO_GSIS: readonly number[] = [5, 6, 7, 10, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23];
/** Largest number of virtio-mmio devices, one interrupt each. */
export const MAX_VIRTIO_MMIO: number = VIRTIO_MMIO_GSIS.length;

/** Largest number of vCPUs: local APIC identifiers 0…253, equal to the vCPUs' numbers, fit the xAPIC's 8 bits. */
export const MAX_VCPUS = 254;

/**
 * Where guest memory of a given size goes: up to 3 GiB at 0, the rest from 4 GiB on.
 *
 * @param bytes a multiple of 4096, {@link MIN_RAM_SIZE}…{@link MAX_RAM_SIZE}
 * @throws ArchError `INVALID_ARGUMENT`
 */
export function memoryRegions(bytes: number): AddressRange[] {
  if (!Number.isSafeInteger(bytes) || bytes < MIN_RAM_SIZE || bytes % 4096 !== 0 || bytes > MAX_RAM_SIZE) {
    throw new ArchError(
      'INVALID_ARGUMENT',
      `memory of ${bytes} bytes: a multiple of 4096 from ${MIN_RAM_SIZE} to ${MAX_RAM_SIZE} is possible`,
    );
  }
  const low = { guestAddress: RAM_LOW.guestAddress, size: Math.min(bytes, RAM_LOW.size) };
  if (bytes === low.size) return [low];
  return [low, { guestAddress: RAM_HIGH.guestAddress, size: bytes - low.size }];
}

/** Bytes of {@link pciMmio64}'s window, and what its address is a multiple of: within reach of 37-bit processors. */
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

/** Address range types of the memory map that firmware hands over (ACPI 6.5 §15). */
export const E820_RAM = 1;
export const E820_RESERVED = 2;

/** An entry of the memory map. */
export interface MemoryMapEntry extends AddressRange {
  readonly type: typeof E820_RAM | typeof E820_RESERVED;
}

/**
 * The memory map that a guest of the given memory size is told, in order of address, nothing overlapping. Reserved are
 * the MP table, the BIOS hole with the ACPI tables, PCI ECAM and KVM's own pages.
 *
 * @param bytes as for {@link memoryRegions}
 * @throws ArchError `INVALID_ARGUMENT`
 */
export function memoryMap(bytes: number): MemoryMapEntry[] {
  const [low, high] = memoryRegions(bytes);
  const lowEnd = (low?.guestAddress ?? 0) + (low?.size ?? 0);
  const entries: MemoryMapEntry[] = [
    { guestAddress: 0, size: MP_TABLE.guestAddress, type: E820_RAM },
    { ...MP_TABLE, type: E820_RESERVED },
    { ...BIOS_HOLE, type: E820_RESERVED },
    { guestAddress: HIGH_MEMORY_START, size: lowEnd - HIGH_MEMORY_START, type: E820_RAM },
    { ...PCI_ECAM, type: E820_RESERVED },
    {
      guestAddress: KVM_IDENTITY_MAP.guestAddress,
      size: KVM_IDENTITY_MAP.size + KVM_TSS.size,
      type: E820_RESERVED,
    },
  ];
  if (high !== undefined) entries.push({ ...high, type: E820_RAM });
  return entries;
}

/** A device with registers in guest physical memory and one interrupt. */
export interface MmioDeviceSlot {
  readonly address: number;
  /** Global system interrupt: edge-triggered, active high, of this device alone. */
  readonly gsi: number;
}

/**
 * Address and interrupt of a virtio-mmio device.
 *
 * @param index 0…{@link MAX_VIRTIO_MMIO}-1
 * @throws ArchError `INVALID_ARGUMENT`
 */
export function virtioMmioSlot(index: number): MmioDeviceSlot {
  const gsi = VIRTIO_MMIO_GSIS[index];
  if (gsi === undefined) {
    throw new ArchError(
      'INVALID_ARGUMENT',
      `virtio-mmio device ${index}: there are ${MAX_VIRTIO_MMIO}, from 0 on`,
    );
  }
  return { address: VIRTIO_MMIO.guestAddress + index * VIRTIO_MMIO_STRIDE, gsi };
}
