import type { NativeVcpu } from '../native.ts';
import type { KvmSystem } from '../system.ts';
import { isSystemError, system, systemError } from '../system-error.ts';
import {
  KVM_GET_MSR_INDEX_LIST,
  KVM_GET_MSRS,
  KVM_SET_MSRS,
  MSR_ENTRY_SIZE,
  MSRS_HEADER_SIZE,
} from './uapi.ts';

/** A model-specific register and its value. */
export type MsrValue = readonly [index: number, value: bigint];

/** Room for the numbers that KVM lists; Linux 6.18 has some 400. */
const LIST_ROOM = 2048;

/** MSRs of Hyper-V's interface, which is never offered to the guest. */
const HYPERV_FIRST = 0x4000_0000;
const HYPERV_LAST = 0x4000_01ff;

/** MSRs that a vCPU's state consists of (4.3). */
export function stateMsrs(kvm: KvmSystem): number[] {
  const list = new Uint32Array(1 + LIST_ROOM);
  list[0] = LIST_ROOM;
  const bytes = new Uint8Array(list.buffer);
  system('KVM_GET_MSR_INDEX_LIST', () => kvm.native.ioctl(KVM_GET_MSR_INDEX_LIST, bytes));
  return [...list.subarray(1, 1 + Math.min(list[0], LIST_ROOM))].filter(
    (index) => index < HYPERV_FIRST || index > HYPERV_LAST,
  );
}

/** Values of those of the MSRs that the vCPU has. */
export function readMsrs(vcpu: NativeVcpu, indices: readonly number[]): MsrValue[] {
  const values: MsrValue[] = [];
  let rest = indices;
  while (rest.length > 0) {
    const bytes = encodeMsrs(rest.map((index) => [index, 0n]));
    let count: number;
    try {
      count = vcpu.ioctl(KVM_GET_MSRS, bytes);
    } catch (error) {
      // Linux before 5.2 fails when the first one cannot be read.
      if (!isSystemError(error) || error.code !== 'EINVAL') throw systemError('KVM_GET_MSRS', error);
      count = 0;
    }
    values.push(...decodeMsrs(bytes, count));
    // KVM stops at the first that the vCPU does not have.
    rest = rest.slice(count + 1);
  }
  return values;
}

/**
 * Sets MSRs in order.
 *
 * @returns the first that the vCPU does not have or whose value it refuses
 */
export function writeMsrs(vcpu: NativeVcpu, values: readonly MsrValue[]): MsrValue | undefined {
  if (values.length === 0) return undefined;
  const count = system('KVM_SET_MSRS', () => vcpu.ioctl(KVM_SET_MSRS, encodeMsrs(values)));
  return values[count];
}

/** struct kvm_msrs */
export function encodeMsrs(values: readonly MsrValue[]): Uint8Array {
  const bytes = new Uint8Array(MSRS_HEADER_SIZE + values.length * MSR_ENTRY_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, values.length, true);
  values.forEach(([index, value], position) => {
    const at = MSRS_HEADER_SIZE + position * MSR_ENTRY_SIZE;
    view.setUint32(at, index, true);
    view.setBigUint64(at + 8, value, true);
  });
  return bytes;
}

/** The first `count` entries of struct kvm_msrs. */
export function decodeMsrs(bytes: Uint8Array, count: number): MsrValue[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: count }, (_, position): MsrValue => {
    const at = MSRS_HEADER_SIZE + position * MSR_ENTRY_SIZE;
    return [view.getUint32(at, true), view.getBigUint64(at + 8, true)];
  });
}
