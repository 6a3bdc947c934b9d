/**
 * Numbers and layouts of KVM for x86: linux/kvm.h and asm/kvm.h, described in the kernel's
 * Documentation/virt/kvm/api.rst, whose sections are given. Names are the headers' own.
 */
import { _IO, _IOR, _IOW, _IOWR } from '../uapi.ts';

// Requests to /dev/kvm.
/** 4.3; struct kvm_msr_list */
export const KVM_GET_MSR_INDEX_LIST: number = _IOWR(0x02, 4);
/** 4.46; struct kvm_cpuid2 */
export const KVM_GET_SUPPORTED_CPUID: number = _IOWR(0x05, 8);

// Requests to a VM.
/** 4.36 */
export const KVM_SET_TSS_ADDR: number = _IO(0x47);
/** 4.41; u64 */
export const KVM_SET_IDENTITY_MAP_ADDR: number = _IOW(0x48, 8);
/** 4.24 */
export const KVM_CREATE_IRQCHIP: number = _IO(0x60);
/** 4.26; struct kvm_irqchip */
export const KVM_GET_IRQCHIP: number = _IOWR(0x62, 520);
export const KVM_SET_IRQCHIP: number = _IOR(0x63, 520);
/** 4.71; struct kvm_pit_config */
export const KVM_CREATE_PIT2: number = _IOW(0x77, 64);
/** 4.72; struct kvm_pit_state2 */
export const KVM_GET_PIT2: number = _IOR(0x9f, 112);
export const KVM_SET_PIT2: number = _IOW(0xa0, 112);
/** 4.29; struct kvm_clock_data */
export const KVM_SET_CLOCK: number = _IOW(0x7b, 48);
export const KVM_GET_CLOCK: number = _IOR(0x7c, 48);

// Requests to a vCPU.
/** 4.11; struct kvm_regs */
export const KVM_GET_REGS: number = _IOR(0x81, 144);
export const KVM_SET_REGS: number = _IOW(0x82, 144);
/** 4.13; struct kvm_sregs */
export const KVM_GET_SREGS: number = _IOR(0x83, 312);
export const KVM_SET_SREGS: number = _IOW(0x84, 312);
/** 4.15; struct kvm_translation */
export const KVM_TRANSLATE: number = _IOWR(0x85, 24);
/** 4.18; struct kvm_msrs */
export const KVM_GET_MSRS: number = _IOWR(0x88, 8);
export const KVM_SET_MSRS: number = _IOW(0x89, 8);
/** 4.22; struct kvm_fpu */
export const KVM_SET_FPU: number = _IOW(0x8d, 416);
/** 4.57; struct kvm_lapic_state */
export const KVM_GET_LAPIC: number = _IOR(0x8e, 1024);
export const KVM_SET_LAPIC: number = _IOW(0x8f, 1024);
/** 4.20; struct kvm_cpuid2 */
export const KVM_SET_CPUID2: number = _IOW(0x90, 8);
export const KVM_GET_CPUID2: number = _IOWR(0x91, 8);
/** 4.31; struct kvm_vcpu_events */
export const KVM_GET_VCPU_EVENTS: number = _IOR(0x9f, 64);
export const KVM_SET_VCPU_EVENTS: number = _IOW(0xa0, 64);
/** 4.33; struct kvm_debugregs */
export const KVM_GET_DEBUGREGS: number = _IOR(0xa1, 128);
export const KVM_SET_DEBUGREGS: number = _IOW(0xa2, 128);
/** 4.42; struct kvm_xsave */
export const KVM_GET_XSAVE: number = _IOR(0xa4, 4096);
export const KVM_SET_XSAVE: number = _IOW(0xa5, 4096);
/** 4.134; struct kvm_xsave, as long as KVM_CAP_XSAVE2 says */
export const KVM_GET_XSAVE2: number = _IOR(0xcf, 4096);
/** 4.44; struct kvm_xcrs */
export const KVM_GET_XCRS: number = _IOR(0xa6, 392);
export const KVM_SET_XCRS: number = _IOW(0xa7, 392);

// struct kvm_regs: u64 each, in the order of X86_REGISTERS.
export const REGS_SIZE = 144;

// struct kvm_sregs.
export const SREGS_SIZE = 312;
export const SREGS_CS = 0;
export const SREGS_DS = 24;
export const SREGS_ES = 48;
export const SREGS_FS = 72;
export const SREGS_GS = 96;
export const SREGS_SS = 120;
export const SREGS_TR = 144;
export const SREGS_LDT = 168;
export const SREGS_GDT = 192;
export const SREGS_IDT = 208;
export const SREGS_CR0 = 224;
export const SREGS_CR2 = 232;
export const SREGS_CR3 = 240;
export const SREGS_CR4 = 248;
export const SREGS_CR8 = 256;
export const SREGS_EFER = 264;
export const SREGS_APIC_BASE = 272;

// struct kvm_segment.
export const SEGMENT_BASE = 0;
export const SEGMENT_LIMIT = 8;
export const SEGMENT_SELECTOR = 12;
export const SEGMENT_TYPE = 14;
export const SEGMENT_PRESENT = 15;
export const SEGMENT_DPL = 16;
export const SEGMENT_DB = 17;
export const SEGMENT_S = 18;
export const SEGMENT_L = 19;
export const SEGMENT_G = 20;
export const SEGMENT_AVL = 21;
export const SEGMENT_UNUSABLE = 22;

// struct kvm_dtable.
export const DTABLE_BASE = 0;
export const DTABLE_LIMIT = 8;

// struct kvm_cpuid2: nent, padding, then entries.
export const CPUID_HEADER_SIZE = 8;
export const CPUID_ENTRY_SIZE = 40;
export const KVM_CPUID_FLAG_SIGNIFCANT_INDEX = 1;
/** KVM_MAX_CPUID_ENTRIES */
export const KVM_MAX_CPUID_ENTRIES = 256;

// struct kvm_msrs: nmsrs, padding, then entries of index, padding and 64 bits of data.
export const MSRS_HEADER_SIZE = 8;
export const MSR_ENTRY_SIZE = 16;

// struct kvm_fpu.
export const FPU_SIZE = 416;
export const FPU_FCW = 128;
export const FPU_MXCSR = 408;

// The XSAVE area (Intel SDM Vol. 1 §13.4).
export const XSAVE_SIZE = 4096;
export const XSAVE_FCW = 0;
export const XSAVE_MXCSR = 24;
export const XSAVE_XSTATE_BV = 512;

export const LAPIC_SIZE = 1024;
export const EVENTS_SIZE = 64;
export const DEBUGREGS_SIZE = 128;
export const XCRS_SIZE = 392;

// struct kvm_irqchip: chip_id, padding, state.
export const IRQCHIP_SIZE = 520;
export const KVM_IRQCHIP_PIC_MASTER = 0;
export const KVM_IRQCHIP_PIC_SLAVE = 1;
export const KVM_IRQCHIP_IOAPIC = 2;

export const PIT_CONFIG_SIZE = 64;
export const KVM_PIT_SPEAKER_DUMMY = 1;
export const PIT_STATE_SIZE = 112;

export const CLOCK_DATA_SIZE = 48;

// struct kvm_translation.
export const TRANSLATION_SIZE = 24;
export const TRANSLATION_PHYSICAL = 8;
export const TRANSLATION_VALID = 16;

/** Values of struct kvm_mp_state, by number (4.38). */
export const MP_STATES = ['runnable', 'uninitialized', 'initReceived', 'halted', 'sipiReceived'] as const;
