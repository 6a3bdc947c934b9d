/** Bytes of configuration space that a function has in the PCI 3.0 space, and in a page of ECAM. */
export const PCI_CONFIG_SIZE = 256;
export const PCI_EXTENDED_CONFIG_SIZE = 4096;

/** Offsets of the type 0 header, PCI Local Bus 3.0 §6.1. */
export const PCI_VENDOR_ID = 0x00;
export const PCI_DEVICE_ID = 0x02;
export const PCI_COMMAND = 0x04;
export const PCI_STATUS = 0x06;
export const PCI_REVISION_ID = 0x08;
export const PCI_CLASS_CODE = 0x09;
export const PCI_CACHE_LINE_SIZE = 0x0c;
export const PCI_LATENCY_TIMER = 0x0d;
export const PCI_HEADER_TYPE = 0x0e;
export const PCI_BASE_ADDRESS_0 = 0x10;
export const PCI_SUBSYSTEM_VENDOR_ID = 0x2c;
export const PCI_SUBSYSTEM_ID = 0x2e;
export const PCI_CAPABILITIES_POINTER = 0x34;
export const PCI_INTERRUPT_LINE = 0x3c;
export const PCI_INTERRUPT_PIN = 0x3d;
/** Where the part begins that capabilities use. */
export const PCI_HEADER_SIZE = 0x40;

/** Bits of the Command register, §6.2.2. */
export const PCI_COMMAND_IO = 0x0001;
export const PCI_COMMAND_MEMORY = 0x0002;
export const PCI_COMMAND_MASTER = 0x0004;
export const PCI_COMMAND_PARITY = 0x0040;
export const PCI_COMMAND_SERR = 0x0100;
export const PCI_COMMAND_INTX_DISABLE = 0x0400;

/** Bits of the Status register, §6.2.3. */
export const PCI_STATUS_INTERRUPT = 0x0008;
export const PCI_STATUS_CAPABILITIES_LIST = 0x0010;
/** Errors that software clears by writing 1. */
export const PCI_STATUS_ERRORS = 0xf900;

/** Bit of the Header Type register, §6.2.1. */
export const PCI_HEADER_TYPE_MULTI_FUNCTION = 0x80;

/** Bits of a Base Address register, §6.2.5.1. */
export const PCI_BASE_ADDRESS_IO = 0x1;
export const PCI_BASE_ADDRESS_64BIT = 0x4;
export const PCI_BASE_ADDRESS_PREFETCHABLE = 0x8;

/** Capability IDs, appendix H; PCI Express Base 3.0 §7.8. */
export const PCI_CAP_ID_VENDOR_SPECIFIC = 0x09;
export const PCI_CAP_ID_EXPRESS = 0x10;
export const PCI_CAP_ID_MSIX = 0x11;

/** Message Control of the MSI-X capability, §6.8.2.3. */
export const PCI_MSIX_CONTROL_MASK = 0x4000;
export const PCI_MSIX_CONTROL_ENABLE = 0x8000;
/** Bytes of an entry of the MSI-X table, §6.8.2. */
export const PCI_MSIX_ENTRY_SIZE = 16;
/** Largest MSI-X table. */
export const PCI_MSIX_MAX_VECTORS = 2048;

/** Ports of configuration mechanism #1, §3.2.2.3.2: eight of them. */
export const PCI_CONFIG_ADDRESS_PORT = 0xcf8;
export const PCI_CONFIG_PORTS_SIZE = 8;

export const PCI_DEVICES_PER_BUS = 32;
export const PCI_FUNCTIONS_PER_DEVICE = 8;
/** Bytes of ECAM for each bus, PCI Express Base 3.0 §7.2.2. */
export const PCI_ECAM_BUS_SIZE = 0x10_0000;
