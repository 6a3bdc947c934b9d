/**
 * Numbers and layouts of Linux's KVM interface that both architectures share: linux/kvm.h, described in the kernel's
 * Documentation/virt/kvm/api.rst. Names are the header's own; sections are those of api.rst.
 */

/** asm-generic/ioctl.h: _IOC(), which x86 and arm64 use alike. */
const KVMIO = 0xae;
const IOC_WRITE = 1;
const IOC_READ = 2;

/** A request without a structure. */
export function _IO(number: number): number {
  return (KVMIO << 8) | number;
}

/** A request that passes a structure of `size` bytes to the kernel. */
export function _IOW(number: number, size: number): number {
  return ((IOC_WRITE << 30) | (size << 16) | (KVMIO << 8) | number) >>> 0;
}

/** A request that takes a structure of `size` bytes from the kernel. */
export function _IOR(number: number, size: number): number {
  return ((IOC_READ << 30) | (size << 16) | (KVMIO << 8) | number) >>> 0;
}

/** A request whose structure of `size` bytes goes both ways. */
export function _IOWR(number: number, size: number): number {
  return (((IOC_READ | IOC_WRITE) << 30) | (size << 16) | (KVMIO << 8) | number) >>> 0;
}

/** The version of the interface, stable since Linux 2.6.22 (4.1). */
export const KVM_API_VERSION = 12;

// Requests to /dev/kvm.
/** 4.1 */
export const KVM_GET_API_VERSION: number = _IO(0x00);
/** 4.4; of /dev/kvm and of a VM */
export const KVM_CHECK_EXTENSION: number = _IO(0x03);

// Requests to a VM.
/** 4.25; struct kvm_irq_level */
export const KVM_IRQ_LINE: number = _IOW(0x61, 8);
/** 4.8; struct kvm_dirty_log */
export const KVM_GET_DIRTY_LOG: number = _IOW(0x42, 16);
/** 4.52; struct kvm_irq_routing */
export const KVM_SET_GSI_ROUTING: number = _IOW(0x6a, 8);
/** 4.70; struct kvm_msi */
export const KVM_SIGNAL_MSI: number = _IOW(0xa5, 32);
/** 4.116; struct kvm_coalesced_mmio_zone */
export const KVM_REGISTER_COALESCED_MMIO: number = _IOW(0x67, 16);
/** 4.116; struct kvm_coalesced_mmio_zone */
export const KVM_UNREGISTER_COALESCED_MMIO: number = _IOW(0x68, 16);
/** 4.37; struct kvm_enable_cap; of a VM and of a vCPU */
export const KVM_ENABLE_CAP: number = _IOW(0xa3, 104);

// Requests to a vCPU.
/** 4.38; struct kvm_mp_state */
export const KVM_GET_MP_STATE: number = _IOR(0x98, 4);
export const KVM_SET_MP_STATE: number = _IOW(0x99, 4);

// Flags of KVM_SET_USER_MEMORY_REGION (4.35).
export const KVM_MEM_LOG_DIRTY_PAGES = 1;
export const KVM_MEM_READONLY = 2;

// Flags of KVM_IOEVENTFD (4.59).
export const KVM_IOEVENTFD_FLAG_DATAMATCH = 1;
export const KVM_IOEVENTFD_FLAG_PIO = 2;

// Types of struct kvm_irq_routing_entry (4.52), 48 bytes each behind a header of 8.
export const KVM_IRQ_ROUTING_IRQCHIP = 1;
export const KVM_IRQ_ROUTING_MSI = 2;
export const IRQ_ROUTING_HEADER_SIZE = 8;
export const IRQ_ROUTING_ENTRY_SIZE = 48;
/** Entries that a routing table may have: KVM_MAX_IRQ_ROUTES. */
export const KVM_MAX_IRQ_ROUTES = 4096;

// struct kvm_run (5).
export const RUN_EXIT_REASON = 8;
/** .hw.hardware_exit_reason and .fail_entry.hardware_entry_failure_reason: 64 bits */
export const RUN_HARDWARE_REASON = 32;
export const RUN_FAIL_ENTRY_CPU = 40;
/** .mmio */
export const RUN_MMIO_PHYS_ADDR = 32;
export const RUN_MMIO_DATA = 40;
export const RUN_MMIO_LEN = 48;
export const RUN_MMIO_IS_WRITE = 52;
/** .io */
export const RUN_IO_DIRECTION = 32;
export const RUN_IO_SIZE = 33;
export const RUN_IO_PORT = 34;
export const RUN_IO_COUNT = 36;
export const RUN_IO_DATA_OFFSET = 40;
export const KVM_EXIT_IO_OUT = 1;
/** .internal and .emulation_failure */
export const RUN_INTERNAL_SUBERROR = 32;
export const RUN_INTERNAL_NDATA = 36;
export const RUN_INTERNAL_DATA = 40;
export const RUN_EMULATION_FLAGS = 40;
export const RUN_EMULATION_INSN_SIZE = 48;
export const RUN_EMULATION_INSN_BYTES = 49;
export const KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES = 1;
/** .system_event */
export const RUN_SYSTEM_EVENT_TYPE = 32;
export const KVM_SYSTEM_EVENT_SHUTDOWN = 1;
export const KVM_SYSTEM_EVENT_RESET = 2;
export const KVM_SYSTEM_EVENT_CRASH = 3;
/** .eoi.vector */
export const RUN_EOI_VECTOR = 32;
/** .arm_nisv */
export const RUN_ARM_NISV_ESR_ISS = 32;
export const RUN_ARM_NISV_FAULT_IPA = 40;

/** Values of kvm_run.exit_reason. */
export const KVM_EXIT = {
  UNKNOWN: 0,
  EXCEPTION: 1,
  IO: 2,
  HYPERCALL: 3,
  DEBUG: 4,
  HLT: 5,
  MMIO: 6,
  IRQ_WINDOW_OPEN: 7,
  SHUTDOWN: 8,
  FAIL_ENTRY: 9,
  INTR: 10,
  SET_TPR: 11,
  TPR_ACCESS: 12,
  NMI: 16,
  INTERNAL_ERROR: 17,
  WATCHDOG: 21,
  SYSTEM_EVENT: 24,
  IOAPIC_EOI: 26,
  HYPERV: 27,
  ARM_NISV: 28,
  X86_RDMSR: 29,
  X86_WRMSR: 30,
  DIRTY_RING_FULL: 31,
  AP_RESET_HOLD: 32,
  X86_BUS_LOCK: 33,
  XEN: 34,
  NOTIFY: 37,
  MEMORY_FAULT: 39,
} as const;

/** Suberrors of KVM_EXIT_INTERNAL_ERROR. */
export const KVM_INTERNAL_ERROR: Readonly<Record<number, string>> = {
  1: 'KVM_INTERNAL_ERROR_EMULATION',
  2: 'KVM_INTERNAL_ERROR_SIMUL_EX',
  3: 'KVM_INTERNAL_ERROR_DELIVERY_EV',
  4: 'KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON',
};

// struct kvm_coalesced_mmio_ring, in the vCPU mapping at the page that KVM_CAP_COALESCED_MMIO answers (4.116).
/** u32: first entry to take; the owner moves it. */
export const RING_FIRST = 0;
/** u32: entry that comes next; the kernel moves it. */
export const RING_LAST = 4;
export const RING_ENTRIES = 8;
/** struct kvm_coalesced_mmio */
export const RING_ENTRY_SIZE = 24;
export const RING_ENTRY_ADDRESS = 0;
export const RING_ENTRY_LEN = 8;
export const RING_ENTRY_PIO = 12;
export const RING_ENTRY_DATA = 16;

/** Numbers of KVM_CHECK_EXTENSION that this package asks for (4.4). */
export const KVM_CAP = {
  IRQCHIP: 0,
  USER_MEMORY: 3,
  SET_TSS_ADDR: 4,
  EXT_CPUID: 7,
  NR_VCPUS: 9,
  NR_MEMSLOTS: 10,
  MP_STATE: 14,
  COALESCED_MMIO: 15,
  IRQ_ROUTING: 25,
  IRQFD: 32,
  PIT2: 33,
  PIT_STATE2: 35,
  IOEVENTFD: 36,
  SET_IDENTITY_MAP_ADDR: 37,
  ADJUST_CLOCK: 39,
  VCPU_EVENTS: 41,
  DEBUGREGS: 50,
  XSAVE: 55,
  XCRS: 56,
  MAX_VCPUS: 66,
  ONE_REG: 70,
  TSC_DEADLINE_TIMER: 72,
  SIGNAL_MSI: 77,
  READONLY_MEM: 81,
  IRQFD_RESAMPLE: 82,
  DEVICE_CTRL: 89,
  ENABLE_CAP_VM: 98,
  ARM_PSCI_0_2: 102,
  SPLIT_IRQCHIP: 121,
  IMMEDIATE_EXIT: 136,
  COALESCED_PIO: 162,
  ARM_VM_IPA_SIZE: 165,
  ARM_SVE: 170,
  XSAVE2: 208,
} as const;

/** Name of a capability. */
export type KvmCapability = keyof typeof KVM_CAP;
