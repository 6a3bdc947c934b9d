// Offsets of everything that lives in the shared memory (ENGINE.md, "Memory"). Plain constants only: index.ts
// exports them all, and src/wasm reads them from the instance.

// ---- The memory as a whole -------------------------------------------------------------------------------------

/** Constant data of the compiled module itself lies between this and `HEADER`. */
export const STATIC_BASE: u32 = 0x1000;
export const HEADER: u32 = 0x10000;
export const GIC: u32 = 0x20000;
export const GIC_SIZE: u32 = 0x20000;
/** Tables that `engineInit` fills. */
export const TABLES: u32 = 0x40000;
/** 8192 doublewords, bitmask immediates by N:immr:imms, and 4096 more, those of 32-bit instructions. */
export const TABLE_BITMASK: u32 = 0x40000;
/** 256 words each: CRC-32 and CRC-32C. */
export const TABLE_CRC32: u32 = 0x58000;
export const TABLE_CRC32C: u32 = 0x58400;
/** Free for tables of the Advanced SIMD part: 64 KiB. */
export const TABLE_SIMD: u32 = 0x60000;
/** One bit for each 4 KiB of this memory: vCPUs stored there (dirty-log.ts). */
export const DIRTY_LOG: u32 = 0x80000;
export const DIRTY_LOG_SIZE: u32 = 0x20000;
export const VCPU_BASE: u32 = 0x100000;
export const VCPU_STRIDE: u32 = 0x80000;
export const MAX_VCPUS: u32 = 16;
/** One u32 per 4 KiB of this memory: where the decoded page is, 0 for none. */
export const DECODE_BASE: u32 = 0x900000;
export const DECODE_SLOTS: u32 = 0xd00000;
/** Bytes of a decoded page: 1024 records of 8 bytes, a sentinel, and the address of the page it was made from. */
export const DECODE_SLOT_SIZE: u32 = 8256;
export const DECODE_SLOT_COUNT: u32 = 8192;
/** Within a slot: the record after the last instruction. */
export const SLOT_SENTINEL: u32 = 8192;
/** Within a slot: memory offset of the page (u32). */
export const SLOT_PAGE: u32 = 8200;
export const RAM_BASE: u32 = 0x5000000;

// ---- VM header: offsets from HEADER ----------------------------------------------------------------------------

export const HEADER_REGION_COUNT: u32 = 0x00;
/** 0 host, 1 instructions. */
export const HEADER_CLOCK_MODE: u32 = 0x04;
/** i32 that the owner waits on. */
export const HEADER_OWNER_WAKE: u32 = 0x08;
/** Number of vCPUs of the VM. */
export const HEADER_VCPU_COUNT: u32 = 0x0c;
/** i64: host clock, host time in nanoseconds at which the counter was 0; instruction clock, nanoseconds so far. */
export const HEADER_CLOCK: u32 = 0x10;
/** u32: number of decoded pages in use. */
export const HEADER_DECODE_USED: u32 = 0x18;
/** i32: held by the vCPU that decodes a new page or drops all. */
export const HEADER_DECODE_LOCK: u32 = 0x1c;
/** i32: a vCPU has stopped the others (stopOthers). */
export const HEADER_STOP: u32 = 0x20;
/** i32: held while PSCI looks at or changes power states. */
export const HEADER_POWER_LOCK: u32 = 0x24;
/** i32: held during a 128-bit store-exclusive. */
export const HEADER_PAIR_LOCK: u32 = 0x28;
/** u32: not 0 while stores are noted in `DIRTY_LOG`. */
export const HEADER_DIRTY_LOG: u32 = 0x2c;
/** u32: how many decoded pages there may be, at most `DECODE_SLOT_COUNT`. */
export const HEADER_DECODE_LIMIT: u32 = 0x30;

export const HEADER_REGIONS: u32 = 0x40;
export const REGION_STRIDE: u32 = 32;
export const MAX_REGIONS: u32 = 8;
export const REGION_BASE: u32 = 0;
export const REGION_SIZE: u32 = 8;
/** Memory offset (u32). */
export const REGION_OFFSET: u32 = 16;
export const REGION_FLAGS: u32 = 20;
export const REGION_READ_ONLY: u32 = 1;

export const HEADER_DOORBELLS: u32 = 0x200;
export const DOORBELL_STRIDE: u32 = 24;
export const MAX_DOORBELLS: u32 = 64;
export const DOORBELL_ADDRESS: u32 = 0;
export const DOORBELL_LENGTH: u32 = 8;
export const DOORBELL_FLAGS: u32 = 12;
export const DOORBELL_MATCH: u32 = 16;
export const DOORBELL_ACTIVE: u32 = 1;
export const DOORBELL_HAS_MATCH: u32 = 2;
/** Two u32 bitmaps. */
export const HEADER_DOORBELL_PENDING: u32 = 0x800;

export const HEADER_COALESCED: u32 = 0x880;
export const COALESCED_STRIDE: u32 = 16;
export const MAX_COALESCED: u32 = 16;
export const COALESCED_ADDRESS: u32 = 0;
export const COALESCED_LENGTH: u32 = 8;
/** 1 active. */
export const COALESCED_FLAGS: u32 = 12;

export const HEADER_SHADOWS: u32 = 0x980;
export const SHADOW_STRIDE: u32 = 16;
export const MAX_SHADOWS: u32 = 16;
export const SHADOW_ADDRESS: u32 = 0;
export const SHADOW_VALUE: u32 = 8;
/** 1 active. */
export const SHADOW_FLAGS: u32 = 12;

export const HEADER_COALESCED_LOCK: u32 = 0xa80;
/** Index of the next entry that is written, modulo the ring. */
export const HEADER_COALESCED_HEAD: u32 = 0xa84;
/** Index of the next entry that the owner takes, modulo the ring. */
export const HEADER_COALESCED_TAIL: u32 = 0xa88;
export const HEADER_COALESCED_RING: u32 = 0xb00;
export const COALESCED_RING_ENTRIES: u32 = 256;
export const COALESCED_RING_STRIDE: u32 = 16;
export const RING_ADDRESS: u32 = 0;
export const RING_LENGTH: u32 = 8;
export const RING_VALUE: u32 = 12;

export const HEADER_GIC_ENABLED: u32 = 0x1b00;
export const HEADER_GIC_IRQS: u32 = 0x1b04;
export const HEADER_GIC_VCPUS: u32 = 0x1b08;
export const HEADER_GIC_DISTRIBUTOR: u32 = 0x1b10;
export const HEADER_GIC_REDISTRIBUTOR: u32 = 0x1b18;
/** 32 words each, by INTID. */
export const HEADER_SPI_LEVEL: u32 = 0x1c00;
export const HEADER_SPI_EDGE: u32 = 0x1c80;
/** 768 bytes that the engine leaves to the backend. */
export const HEADER_BACKEND: u32 = 0x1d00;

// ---- vCPU block: offsets from VCPU_BASE + i * VCPU_STRIDE ------------------------------------------------------

/** X0…X30 (u64 each), then a slot that reads as zero, a slot for discarded results, and SP. */
export const CPU_X: u32 = 0;
export const SLOT_ZERO: u32 = 31;
export const SLOT_SINK: u32 = 32;
export const SLOT_SP: u32 = 33;
export const CPU_SP: u32 = 0x108;
/** The banked stack pointers. The one in use lives in `CPU_SP`, and its place here is stale. */
export const CPU_SP_EL0: u32 = 0x110;
export const CPU_SP_EL1: u32 = 0x118;
export const CPU_PC: u32 = 0x120;
/** Condition flags, kept as what they come from: see state.ts. */
export const CPU_FLAG_A: u32 = 0x128;
export const CPU_FLAG_B: u32 = 0x130;
export const CPU_FLAG_KIND: u32 = 0x138;
/** 0 or 1. */
export const CPU_EL: u32 = 0x13c;
export const CPU_SPSEL: u32 = 0x140;
/** PSTATE.DAIF in bits 9:6. */
export const CPU_DAIF: u32 = 0x144;
/** PSTATE.IL, 0 or 1. */
export const CPU_IL: u32 = 0x148;
/** Not 0: Advanced SIMD and floating point trap at the current exception level. */
export const CPU_FP_TRAP: u32 = 0x14c;
export const CPU_FPCR: u32 = 0x150;
export const CPU_FPSR: u32 = 0x154;
/** Set when the current instruction cannot complete: an exception was raised, or an MMIO exit is due. */
export const CPU_FAULTED: u32 = 0x158;
/** High half of the last 128-bit load through mem.ts. */
export const CPU_MEM_HIGH: u32 = 0x160;
/** TLB in use at the current exception level (memory offset). */
export const CPU_TLB: u32 = 0x168;
/** TLB in use for EL0 (memory offset). */
export const CPU_TLB_EL0: u32 = 0x16c;
/** 1 while records cannot be used and each instruction is executed from its word. */
export const CPU_SLOW_MODE: u32 = 0x170;
export const CPU_INDEX: u32 = 0x174;
/** Exclusive monitor. */
export const CPU_EXCLUSIVE_ADDRESS: u32 = 0x180;
export const CPU_EXCLUSIVE_LOW: u32 = 0x188;
export const CPU_EXCLUSIVE_HIGH: u32 = 0x190;
/** Bytes of the exclusive load, 0 when the monitor is open. */
export const CPU_EXCLUSIVE_SIZE: u32 = 0x198;
/** Instructions retired (u64). */
export const CPU_INSTRUCTIONS: u32 = 0x1a0;
/** Instructions granted to the current slice. */
export const CPU_SLICE: u32 = 0x1a8;
/** Instructions of the slice that had not run when the interpreter last called out. */
export const CPU_LEFT: u32 = 0x1ac;
/** Levels last given to the GIC: bit 0 virtual timer, bit 1 physical timer. */
export const CPU_TIMER_LEVELS: u32 = 0x1b0;
/** Written by barriers only. */
export const CPU_FENCE: u32 = 0x1b4;
/** V0…V31, 16 bytes each. */
export const CPU_V: u32 = 0x200;

export const CPU_SYSREGS: u32 = 0x400;
export const SYS_SCTLR: u32 = 0x400;
export const SYS_ACTLR: u32 = 0x408;
export const SYS_CPACR: u32 = 0x410;
export const SYS_TTBR0: u32 = 0x418;
export const SYS_TTBR1: u32 = 0x420;
export const SYS_TCR: u32 = 0x428;
export const SYS_SPSR: u32 = 0x430;
export const SYS_ELR: u32 = 0x438;
export const SYS_AFSR0: u32 = 0x440;
export const SYS_AFSR1: u32 = 0x448;
export const SYS_ESR: u32 = 0x450;
export const SYS_FAR: u32 = 0x458;
export const SYS_PAR: u32 = 0x460;
export const SYS_MAIR: u32 = 0x468;
export const SYS_AMAIR: u32 = 0x470;
export const SYS_VBAR: u32 = 0x478;
export const SYS_CONTEXTIDR: u32 = 0x480;
export const SYS_TPIDR_EL0: u32 = 0x488;
export const SYS_TPIDRRO_EL0: u32 = 0x490;
export const SYS_TPIDR_EL1: u32 = 0x498;
export const SYS_CNTKCTL: u32 = 0x4a0;
export const SYS_CNTP_CTL: u32 = 0x4a8;
export const SYS_CNTP_CVAL: u32 = 0x4b0;
export const SYS_CNTV_CTL: u32 = 0x4b8;
export const SYS_CNTV_CVAL: u32 = 0x4c0;
export const SYS_CSSELR: u32 = 0x4c8;
export const SYS_MDSCR: u32 = 0x4d0;
export const SYS_OSLSR: u32 = 0x4d8;
export const SYS_OSDLR: u32 = 0x4e0;
export const SYS_MDCCINT: u32 = 0x4e8;
export const SYS_OSDTRRX: u32 = 0x4f0;
export const SYS_OSECCR: u32 = 0x4f8;
export const SYS_MPIDR: u32 = 0x500;
/** DBGBVR0, DBGBCR0, DBGWVR0, DBGWCR0, DBGBVR1, …: 16 groups of four. */
export const SYS_DEBUG: u32 = 0x600;

export const CPU_ATTENTION: u32 = 0x800;
export const CPU_KICK: u32 = 0x804;
export const CPU_SLOT_STATE: u32 = 0x808;
/** 0 on, 1 off. */
export const CPU_POWER: u32 = 0x80c;
/** 1 while `run` executes instructions: other vCPUs wait for this one to take part in their barriers. */
export const CPU_RUNNING: u32 = 0x810;
/** TLB maintenance asked for by other vCPUs: number of requests so far, and how many are done. */
export const CPU_FLUSH_REQUESTED: u32 = 0x814;
export const CPU_FLUSH_DONE: u32 = 0x818;
export const CPU_FLUSH_LOCK: u32 = 0x81c;

export const EXIT_REASON: u32 = 0x820;
export const EXIT_LENGTH: u32 = 0x824;
export const EXIT_ADDRESS: u32 = 0x828;
export const EXIT_VALUE: u32 = 0x830;
export const EXIT_WRITE: u32 = 0x838;
export const EXIT_DETAIL: u32 = 0x83c;

/** MMIO accesses of the current instruction that are answered: entries, entries taken, 1 when an exit is open. */
export const MMIO_COUNT: u32 = 0x840;
export const MMIO_CURSOR: u32 = 0x844;
export const MMIO_OPEN: u32 = 0x848;
/** Not 0: every instruction is executed from its word, never from a record. For tests; survives a reset. */
export const CPU_WORDS: u32 = 0x84c;
export const MMIO_LOG: u32 = 0x880;
export const MMIO_LOG_ENTRIES: u32 = 64;
export const MMIO_LOG_STRIDE: u32 = 24;
export const LOG_ADDRESS: u32 = 0;
export const LOG_VALUE: u32 = 8;
export const LOG_LENGTH: u32 = 16;
export const LOG_WRITE: u32 = 20;

/** Requests of other vCPUs not yet done: count (beyond the queue's size: drop everything), then kind and operand. */
export const CPU_FLUSH_COUNT: u32 = 0xe80;
export const CPU_FLUSH_QUEUE: u32 = 0xe90;
export const FLUSH_QUEUE_ENTRIES: u32 = 6;
export const FLUSH_QUEUE_STRIDE: u32 = 16;

/** ASIDs of the EL0 TLBs (u32 each), which of them is in use, and which is given up next. */
export const CPU_BANK_ASID: u32 = 0xf00;
export const CPU_BANK_CURRENT: u32 = 0xf20;
export const CPU_BANK_NEXT: u32 = 0xf24;
/** What the EL1 TLB may hold of one address space: see tlb.ts. */
export const CPU_EL1_SPACE: u32 = 0xf28;
/** Not 0 when some entry came from a mapping of 1 GiB or more. */
export const CPU_GIGABYTE_BLOCKS: u32 = 0xf2c;
/** Instruction cache maintenance that DSB has yet to complete: pages in the queue (beyond its size: all lines). */
export const CPU_CODE_COUNT: u32 = 0xf30;
/** 4096 bits: which 2 MiB of address space some entry of a block mapping came from (hashed). */
export const CPU_BLOCK_FILTER: u32 = 0x1000;
/** Entries: a page's memory offset (u32), and a bit for each of its cache lines (u64). */
export const CPU_CODE_QUEUE: u32 = 0x1200;
export const CODE_QUEUE_ENTRIES: u32 = 64;
export const CODE_QUEUE_STRIDE: u32 = 16;
export const CODE_PAGE: u32 = 0;
export const CODE_LINES: u32 = 8;

/** TLB of EL1, then those of EL0. A TLB is the part for data and, at `TLB_CODE`, the part for instructions. */
export const CPU_TLBS: u32 = 0x10000;
export const TLB_ENTRIES: u32 = 1024;
export const TLB_SIZE: u32 = 0xc000;
/** EL0 TLBs, each for one ASID. */
export const TLB_BANKS: u32 = 4;
export const TLB_STRIDE: u32 = 32;
/** Tags (u64): the page's address, or all ones. */
export const TLB_READ: u32 = 0;
export const TLB_WRITE: u32 = 8;
/** u32: memory offset of the page minus bits 31:0 of its address. */
export const TLB_ADDEND: u32 = 16;
/** u32: log2 of the size of the mapping that the page is part of. */
export const TLB_SHIFT: u32 = 20;
export const TLB_CODE: u32 = 0x8000;
export const TLB_CODE_STRIDE: u32 = 16;
export const TLB_CODE_TAG: u32 = 0;
/** u32: the decoded page. */
export const TLB_CODE_SLOT: u32 = 8;
export const TLB_CODE_SHIFT: u32 = 12;

// ---- Exits -----------------------------------------------------------------------------------------------------

export const EXIT_MMIO: u32 = 1;
export const EXIT_HALT: u32 = 2;
export const EXIT_INTERRUPTED: u32 = 3;
export const EXIT_SHUTDOWN: u32 = 4;
export const EXIT_RESET: u32 = 5;
export const EXIT_ERROR: u32 = 6;
export const EXIT_POWERED_OFF: u32 = 7;

/** `EXIT_DETAIL` of `EXIT_ERROR`: an instruction needs more MMIO accesses than the log holds. */
export const ERROR_MMIO_LOG_FULL: u32 = 1;
