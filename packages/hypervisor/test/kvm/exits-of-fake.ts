import {
  KVM_EXIT,
  RUN_IO_COUNT,
  RUN_IO_DATA_OFFSET,
  RUN_IO_DIRECTION,
  RUN_IO_PORT,
  RUN_IO_SIZE,
  RUN_MMIO_DATA,
  RUN_MMIO_IS_WRITE,
  RUN_MMIO_LEN,
  RUN_MMIO_PHYS_ADDR,
  RUN_SYSTEM_EVENT_TYPE,
} from '../../src/kvm/uapi.ts';
import type { Step } from './fake-native.ts';
import { PAGE } from './fake-native.ts';

/** Steps that leave an exit as KVM does. */
export function mmio(address: number, length: number, data?: readonly number[]): Step {
  return (vcpu) => {
    vcpu.exit(KVM_EXIT.MMIO);
    vcpu.view.setBigUint64(RUN_MMIO_PHYS_ADDR, BigInt(address), true);
    vcpu.view.setUint32(RUN_MMIO_LEN, length, true);
    vcpu.view.setUint8(RUN_MMIO_IS_WRITE, data === undefined ? 0 : 1);
    (data ?? [0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee]).forEach((byte, index) =>
      vcpu.view.setUint8(RUN_MMIO_DATA + index, byte),
    );
    return 0;
  };
}

export function io(port: number, size: number, count: number, data?: readonly number[]): Step {
  return (vcpu) => {
    vcpu.exit(KVM_EXIT.IO);
    vcpu.view.setUint8(RUN_IO_DIRECTION, data === undefined ? 0 : 1);
    vcpu.view.setUint8(RUN_IO_SIZE, size);
    vcpu.view.setUint16(RUN_IO_PORT, port, true);
    vcpu.view.setUint32(RUN_IO_COUNT, count, true);
    vcpu.view.setBigUint64(RUN_IO_DATA_OFFSET, BigInt(PAGE), true);
    (data ?? []).forEach((byte, index) => vcpu.view.setUint8(PAGE + index, byte));
    return 0;
  };
}

export function bare(reason: number): Step {
  return (vcpu) => {
    vcpu.exit(reason);
    return 0;
  };
}

export function systemEvent(type: number): Step {
  return (vcpu) => {
    vcpu.exit(KVM_EXIT.SYSTEM_EVENT);
    vcpu.view.setUint32(RUN_SYSTEM_EVENT_TYPE, type, true);
    return 0;
  };
}
