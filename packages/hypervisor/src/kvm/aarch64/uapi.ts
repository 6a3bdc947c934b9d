/**
 * Numbers and layouts of KVM's interface on arm64: linux/kvm.h and the architecture's asm/kvm.h, described in the kernel's
 * Documentation/virt/kvm/api.rst and devices/arm-vgic*.rst. Names are the headers' own; sections are those of api.rst.
 */
import { _IOR, _IOW, _IOWR } from '../uapi.ts';

/** 4.68; struct kvm_one_reg */
export const KVM_GET_ONE_REG: number = _IOW(0xab, 16);
/** 4.68 */
export const KVM_SET_ONE_REG: number = _IOW(0xac, 16);
/** 4.82; struct kvm_vcpu_init */
export const KVM_ARM_VCPU_INIT: number = _IOW(0xae, 32);
/** 4.83; of a VM */
export const KVM_ARM_PREFERRED_TARGET: number = _IOR(0xaf, 32);
/** 4.84; struct kvm_reg_list */
export const KVM_GET_REG_LIST: number = _IOWR(0xb0, 8);
/** 4.31; struct kvm_vcpu_events */
export const KVM_GET_VCPU_EVENTS: number = _IOR(0x9f, 64);
export const KVM_SET_VCPU_EVENTS: number = _IOW(0xa0, 64);
/** 4.80; struct kvm_device_attr */
export const KVM_SET_DEVICE_ATTR: number = _IOW(0xe1, 24);
export const KVM_GET_DEVICE_ATTR: number = _IOW(0xe2, 24);

/** struct kvm_vcpu_init */
export const VCPU_INIT_SIZE = 32;
export const VCPU_INIT_FEATURES = 4;
/** Bits of its features. */
export const KVM_ARM_VCPU_PSCI_0_2 = 2;

/** struct kvm_vcpu_events */
export const VCPU_EVENTS_SIZE = 64;

// Values of struct kvm_mp_state (4.38).
export const KVM_MP_STATE_RUNNABLE = 0;
export const KVM_MP_STATE_STOPPED = 5;

// struct kvm_one_reg
export const ONE_REG_SIZE = 16;
/** Bits 63:32 of a register's id: KVM_REG_ARM64 with the size of the register. */
export const KVM_REG_ARM64_U32 = 0x6020_0000;
export const KVM_REG_ARM64_U64 = 0x6030_0000;
export const KVM_REG_ARM64_U128 = 0x6040_0000;
/** KVM_REG_SIZE_MASK and KVM_REG_SIZE_SHIFT in bits 63:32. */
export const REG_SIZE_MASK = 0x00f0_0000;
export const REG_SIZE_SHIFT = 20;
// Bits 31:16: what kind of register it is.
export const KVM_REG_ARM_CORE: number = 0x10 << 16;
export const KVM_REG_ARM64_SYSREG: number = 0x13 << 16;

/** Offsets of struct kvm_regs in words, as KVM_REG_ARM_CORE_REG counts. */
export const CORE_REG = {
  X0: 0,
  SP: 62,
  PC: 64,
  PSTATE: 66,
  SP_EL1: 68,
  ELR_EL1: 70,
  SPSR_EL1: 72,
  V0: 84,
  FPSR: 212,
  FPCR: 213,
} as const;

// Types of KVM_CREATE_DEVICE (4.79).
export const KVM_DEV_TYPE_ARM_VGIC_V2 = 5;
export const KVM_DEV_TYPE_ARM_VGIC_V3 = 7;

// struct kvm_device_attr
export const DEVICE_ATTR_SIZE = 24;
export const DEVICE_ATTR_GROUP = 4;
export const DEVICE_ATTR_ATTR = 8;

/** Groups of attributes of both VGICs (devices/arm-vgic.rst, devices/arm-vgic-v3.rst). */
export const VGIC_GROUP = {
  ADDR: 0,
  DIST_REGS: 1,
  CPU_REGS: 2,
  NR_IRQS: 3,
  CTRL: 4,
  REDIST_REGS: 5,
  CPU_SYSREGS: 6,
  LEVEL_INFO: 7,
} as const;

export const KVM_VGIC_V2_ADDR_TYPE_DIST = 0;
export const KVM_VGIC_V2_ADDR_TYPE_CPU = 1;
export const KVM_VGIC_V3_ADDR_TYPE_DIST = 2;
export const KVM_VGIC_V3_ADDR_TYPE_REDIST = 3;
export const KVM_DEV_ARM_VGIC_CTRL_INIT = 0;

// The irq field of KVM_IRQ_LINE (4.25).
export const KVM_ARM_IRQ_TYPE_SHIFT = 24;
export const KVM_ARM_IRQ_TYPE_SPI = 1;
