import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sysreg } from '../../aarch64.ts';
import { coreRegisterId, systemRegisterId } from './registers.ts';
import type { RegisterId } from './registers.ts';
import * as uapi from './uapi.ts';

const { CORE_REG, VGIC_GROUP } = uapi;

/** Expressions of the kernel's headers for arm64, and the numbers that must be theirs. */
const constants: readonly (readonly [string, number])[] = [
  ...(
    [
      'KVM_GET_ONE_REG',
      'KVM_SET_ONE_REG',
      'KVM_ARM_VCPU_INIT',
      'KVM_ARM_PREFERRED_TARGET',
      'KVM_GET_REG_LIST',
      'KVM_GET_VCPU_EVENTS',
      'KVM_SET_VCPU_EVENTS',
      'KVM_SET_DEVICE_ATTR',
      'KVM_GET_DEVICE_ATTR',
      'KVM_ARM_VCPU_PSCI_0_2',
      'KVM_MP_STATE_RUNNABLE',
      'KVM_MP_STATE_STOPPED',
      'KVM_DEV_TYPE_ARM_VGIC_V2',
      'KVM_DEV_TYPE_ARM_VGIC_V3',
      'KVM_VGIC_V2_ADDR_TYPE_DIST',
      'KVM_VGIC_V2_ADDR_TYPE_CPU',
      'KVM_VGIC_V3_ADDR_TYPE_DIST',
      'KVM_VGIC_V3_ADDR_TYPE_REDIST',
      'KVM_DEV_ARM_VGIC_CTRL_INIT',
      'KVM_ARM_IRQ_TYPE_SHIFT',
      'KVM_ARM_IRQ_TYPE_SPI',
      'KVM_REG_ARM_CORE',
      'KVM_REG_ARM64_SYSREG',
    ] as const
  ).map((name) => [name, uapi[name]] as const),
  ['sizeof(struct kvm_vcpu_init)', uapi.VCPU_INIT_SIZE],
  ['offsetof(struct kvm_vcpu_init, features)', uapi.VCPU_INIT_FEATURES],
  ['sizeof(struct kvm_vcpu_events)', uapi.VCPU_EVENTS_SIZE],
  ['sizeof(struct kvm_one_reg)', uapi.ONE_REG_SIZE],
  ['sizeof(struct kvm_device_attr)', uapi.DEVICE_ATTR_SIZE],
  ['offsetof(struct kvm_device_attr, group)', uapi.DEVICE_ATTR_GROUP],
  ['offsetof(struct kvm_device_attr, attr)', uapi.DEVICE_ATTR_ATTR],
  ['KVM_REG_SIZE_MASK >> 32', uapi.REG_SIZE_MASK],
  ['KVM_REG_SIZE_SHIFT - 32', uapi.REG_SIZE_SHIFT],
  ['KVM_REG_ARM_CORE_REG(regs.regs[0])', CORE_REG.X0],
  ['KVM_REG_ARM_CORE_REG(regs.sp)', CORE_REG.SP],
  ['KVM_REG_ARM_CORE_REG(regs.pc)', CORE_REG.PC],
  ['KVM_REG_ARM_CORE_REG(regs.pstate)', CORE_REG.PSTATE],
  ['KVM_REG_ARM_CORE_REG(sp_el1)', CORE_REG.SP_EL1],
  ['KVM_REG_ARM_CORE_REG(elr_el1)', CORE_REG.ELR_EL1],
  ['KVM_REG_ARM_CORE_REG(spsr[KVM_SPSR_EL1])', CORE_REG.SPSR_EL1],
  ['KVM_REG_ARM_CORE_REG(fp_regs.vregs[0])', CORE_REG.V0],
  ['KVM_REG_ARM_CORE_REG(fp_regs.fpsr)', CORE_REG.FPSR],
  ['KVM_REG_ARM_CORE_REG(fp_regs.fpcr)', CORE_REG.FPCR],
  ['KVM_DEV_ARM_VGIC_GRP_ADDR', VGIC_GROUP.ADDR],
  ['KVM_DEV_ARM_VGIC_GRP_DIST_REGS', VGIC_GROUP.DIST_REGS],
  ['KVM_DEV_ARM_VGIC_GRP_CPU_REGS', VGIC_GROUP.CPU_REGS],
  ['KVM_DEV_ARM_VGIC_GRP_NR_IRQS', VGIC_GROUP.NR_IRQS],
  ['KVM_DEV_ARM_VGIC_GRP_CTRL', VGIC_GROUP.CTRL],
  ['KVM_DEV_ARM_VGIC_GRP_REDIST_REGS', VGIC_GROUP.REDIST_REGS],
  ['KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS', VGIC_GROUP.CPU_SYSREGS],
  ['KVM_DEV_ARM_VGIC_GRP_LEVEL_INFO', VGIC_GROUP.LEVEL_INFO],
];

const CORE = 'KVM_REG_ARM64 | KVM_REG_ARM_CORE';

const registers: readonly (readonly [string, RegisterId])[] = [
  [`${CORE} | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE_REG(regs.regs[30])`, coreRegisterId('x30')],
  [`${CORE} | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE_REG(regs.pc)`, coreRegisterId('pc')],
  [`${CORE} | KVM_REG_SIZE_U128 | KVM_REG_ARM_CORE_REG(fp_regs.vregs[31])`, coreRegisterId('v31')],
  [`${CORE} | KVM_REG_SIZE_U32 | KVM_REG_ARM_CORE_REG(fp_regs.fpcr)`, coreRegisterId('fpcr')],
  [`${CORE} | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE_REG(elr_el1)`, systemRegisterId(sysreg(3, 0, 4, 0, 1))],
  ['ARM64_SYS_REG(3, 0, 1, 0, 0)', systemRegisterId(sysreg(3, 0, 1, 0, 0))],
  // The virtual timer's counter and compare value, by the encodings of the architecture.
  ['KVM_REG_ARM_TIMER_CNT', systemRegisterId(sysreg(3, 3, 14, 0, 2))],
  ['KVM_REG_ARM_TIMER_CVAL', systemRegisterId(sysreg(3, 3, 14, 3, 2))],
  ['KVM_REG_ARM_TIMER_CTL', systemRegisterId(sysreg(3, 3, 14, 3, 1))],
];

/** What the cross compiler makes of constant expressions. */
function evaluate(expressions: readonly string[]): readonly bigint[] {
  const folder = mkdtempSync(join(tmpdir(), 'uapi-'));
  try {
    const source = join(folder, 'a.c');
    const object = join(folder, 'a.o');
    const binary = join(folder, 'a.bin');
    const values = expressions.map((expression) => `(unsigned long long)(${expression}),\n`).join('');
    writeFileSync(
      source,
      `#include <stddef.h>\n#include <linux/kvm.h>\n` +
        `__attribute__((section(".values"))) const unsigned long long values[] = {\n${values}};\n`,
    );
    execFileSync('aarch64-linux-gnu-g++', ['-x', 'c', '-c', '-o', object, source]);
    execFileSync('aarch64-linux-gnu-objcopy', ['-O', 'binary', '-j', '.values', object, binary]);
    const bytes = readFileSync(binary);
    return expressions.map((_, index) => bytes.readBigUInt64LE(8 * index));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe("KVM's interface on arm64", () => {
  it("is that of the kernel's headers", () => {
    const values = evaluate(constants.map(([expression]) => expression));
    const expected = constants.map(([expression], index) => [expression, Number(values[index])]);
    expect(constants).toEqual(expected);
  });

  it("names registers as the kernel's headers do", () => {
    const values = evaluate(registers.map(([expression]) => expression));
    const actual = registers.map(([, { low, high }]) => (BigInt(high) << 32n) | BigInt(low));
    expect(actual).toEqual(values);
  });
});
