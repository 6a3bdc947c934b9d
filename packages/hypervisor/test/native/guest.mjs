// Small guests for the addon's tests: machine code by hand, for this machine's architecture.

import { setImmediate } from 'node:timers';

/** Requests of linux/kvm.h. */
export const KVM = {
  GET_API_VERSION: 0xae00,
  CHECK_EXTENSION: 0xae03,
  SET_USER_MEMORY_REGION: 0x4020ae46,
  GET_DIRTY_LOG: 0x4010ae42,
  CREATE_VCPU: 0xae41,
  CREATE_IRQCHIP: 0xae60,
  RUN: 0xae80,
  GET_REGS: 0x8090ae81,
  SET_REGS: 0x4090ae82,
  GET_SREGS: 0x8138ae83,
  SET_SREGS: 0x4138ae84,
  SET_CPUID2: 0x4008ae90,
  GET_IRQCHIP: 0xc208ae62,
  GET_ONE_REG: 0x4010aeab,
  SET_ONE_REG: 0x4010aeac,
  ARM_VCPU_INIT: 0x4020aeae,
  ARM_PREFERRED_TARGET: 0x8020aeaf,
};

export const THREAD = { NONE: 0, RUNNING: 1, EXIT: 2, INTERRUPTED: 3, FAILED: 4, ENDED: 5 };
export const EXIT_MMIO = 6;
export const EINTR = 4;

/** Where guests have their memory and code, and where they store to make an exit. */
export const RAM_SIZE = 0x10000;
const CODE = 0x1000;
export const MMIO = 0x20000;

const x64 = process.arch === 'x64';

/** ds (x0) = MMIO, then the body; labels are offsets that were counted by hand. */
export const PROGRAMS = x64
  ? {
      // mov ax, 0x2000; mov ds, ax; again: inc bl; mov [0], bl; jmp again
      exits: [0xb8, 0x00, 0x20, 0x8e, 0xd8, 0xfe, 0xc3, 0x88, 0x1e, 0x00, 0x00, 0xeb, 0xf8],
      // again: jmp again
      spins: [0xeb, 0xfe],
      // mov ax, 0x2000; mov ds, ax; again: mov word [8], 7; mov byte [0], 1; jmp again
      rings: [
        0xb8, 0x00, 0x20, 0x8e, 0xd8, 0xc7, 0x06, 0x08, 0x00, 0x07, 0x00, 0xc6, 0x06, 0x00, 0x00, 0x01, 0xeb,
        0xf3,
      ],
      // mov byte [0x3000], 0x5a (in the first region); mov ax, 0x2000; mov ds, ax; again: mov [0], al; jmp again
      stores: [0xc6, 0x06, 0x00, 0x30, 0x5a, 0xb8, 0x00, 0x20, 0x8e, 0xd8, 0xa2, 0x00, 0x00, 0xeb, 0xfb],
    }
  : {
      // movz x0, #2, lsl #16; again: add w1, w1, #1; strb w1, [x0]; b again
      exits: words(0xd2a00040, 0x11000421, 0x39000001, 0x17fffffe),
      // again: b again
      spins: words(0x14000000),
      // movz x0, #2, lsl #16; movz w1, #7; again: strh w1, [x0, #8]; strb w1, [x0]; b again
      rings: words(0xd2a00040, 0x528000e1, 0x79001001, 0x39000001, 0x17fffffe),
      // movz x0, #2, lsl #16; movz x2, #0x3000; movz w1, #0x5a; strb w1, [x2]; again: strb w1, [x0]; b again
      stores: words(0xd2a00040, 0xd2860002, 0x52800b41, 0x39000041, 0x39000001, 0x17ffffff),
    };

function words(...values) {
  return [...new Uint8Array(Uint32Array.from(values).buffer)];
}

/** A VM with memory at 0 and the program's bytes in it. */
export function makeVm(native, program, onEvents = () => undefined) {
  const system = native.openSystem('/dev/kvm');
  const vm = system.createVm(0, onEvents);
  system.close();
  const memory = new Uint8Array(vm.mapMemory(0, 0, RAM_SIZE, 0));
  memory.set(program, CODE);
  return { vm, memory };
}

/** A vCPU that is about to execute the program: real mode, or EL1 without MMU. */
export function makeVcpu(vm, id = 0) {
  const vcpu = vm.createVcpu(id);
  if (x64) {
    const sregs = new Uint8Array(312);
    vcpu.ioctl(KVM.GET_SREGS, sregs);
    const view = new DataView(sregs.buffer);
    // kvm_segment: base, limit, selector; cs is the first.
    view.setBigUint64(0, 0n, true);
    view.setUint16(12, 0, true);
    vcpu.ioctl(KVM.SET_SREGS, sregs);
    const regs = new DataView(new ArrayBuffer(144));
    regs.setBigUint64(48, 0x8000n, true);
    regs.setBigUint64(128, BigInt(CODE), true);
    regs.setBigUint64(136, 2n, true);
    vcpu.ioctl(KVM.SET_REGS, new Uint8Array(regs.buffer));
  } else {
    const target = new Uint8Array(32);
    vm.ioctl(KVM.ARM_PREFERRED_TARGET, target);
    vcpu.ioctl(KVM.ARM_VCPU_INIT, target);
    // PC: KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE, offset of regs.pc in 32-bit units.
    const register = new DataView(new ArrayBuffer(16));
    register.setBigUint64(0, 0x6030000000100040n, true);
    const value = new BigUint64Array([BigInt(CODE)]);
    vcpu.ioctl(KVM.SET_ONE_REG, new Uint8Array(register.buffer), new Uint8Array(value.buffer));
  }
  return vcpu;
}

export function makeGuest(native, program, onEvents) {
  const { vm, memory } = makeVm(native, program, onEvents);
  return { vm, memory, vcpu: makeVcpu(vm) };
}

/** What kvm_run tells of a store: address, length, value of at most 32 bits. */
export function readExit(vcpu) {
  const run = new DataView(vcpu.runPage);
  return {
    reason: run.getUint32(8, true),
    address: Number(run.getBigUint64(32, true)),
    value: run.getUint32(40, true) & (2 ** (8 * run.getUint32(48, true)) - 1),
    write: run.getUint8(52) === 1,
  };
}

/** Resolves when `condition` holds, which it looks at on every turn of the event loop. */
export async function until(condition) {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

/** Resolves when the thread has stopped in one of the states. */
export async function untilState(vcpu, ...states) {
  await until(() => states.includes(vcpu.state()));
  return vcpu.state();
}
