import type { HypervisorErrorCode } from '../../errors.ts';
import type { NativeHandle } from '../native.ts';
import { systemError } from '../system-error.ts';
import type { GicAttribute } from './gic-registers.ts';
import {
  DEVICE_ATTR_ATTR,
  DEVICE_ATTR_GROUP,
  DEVICE_ATTR_SIZE,
  KVM_GET_DEVICE_ATTR,
  KVM_SET_DEVICE_ATTR,
  VGIC_GROUP,
} from './uapi.ts';

/** What KVM says of values that it does not take: places beyond the address space, that overlap, or unknown. */
const REFUSED: Readonly<Partial<Record<string, HypervisorErrorCode>>> = {
  EINVAL: 'INVALID_ARGUMENT',
  E2BIG: 'INVALID_ARGUMENT',
  ENXIO: 'INVALID_ARGUMENT',
};

/** Attributes of a VGIC (struct kvm_device_attr). */
export class GicDevice {
  readonly #device: NativeHandle;
  readonly #attr = new DataView(new ArrayBuffer(DEVICE_ATTR_SIZE));
  readonly #attrBytes = new Uint8Array(this.#attr.buffer);
  readonly #value = new DataView(new ArrayBuffer(8));
  readonly #valueBytes = new Uint8Array(this.#value.buffer);

  constructor(device: NativeHandle) {
    this.#device = device;
  }

  setAddress(type: number, address: number): void {
    this.#value.setUint32(0, address % 2 ** 32, true);
    this.#value.setUint32(4, Math.floor(address / 2 ** 32), true);
    this.#access('a place of the GIC', KVM_SET_DEVICE_ATTR, VGIC_GROUP.ADDR, type, 0, this.#valueBytes);
  }

  setUint32(what: string, group: number, low: number, value: number): void {
    this.#value.setBigUint64(0, 0n, true);
    this.#value.setUint32(0, value, true);
    this.#access(what, KVM_SET_DEVICE_ATTR, group, low, 0, this.#valueBytes);
  }

  /** An attribute that has no value. */
  command(what: string, group: number, low: number): void {
    this.#access(what, KVM_SET_DEVICE_ATTR, group, low, 0, undefined);
  }

  read({ group, low, high }: GicAttribute): bigint {
    this.#value.setBigUint64(0, 0n, true);
    this.#access('a register of the GIC', KVM_GET_DEVICE_ATTR, group, low, high, this.#valueBytes);
    return this.#value.getBigUint64(0, true);
  }

  write({ group, low, high }: GicAttribute, value: bigint): void {
    this.#value.setBigUint64(0, value, true);
    this.#access('a register of the GIC', KVM_SET_DEVICE_ATTR, group, low, high, this.#valueBytes);
  }

  #access(
    what: string,
    request: number,
    group: number,
    low: number,
    high: number,
    value: Uint8Array | undefined,
  ): void {
    this.#attr.setUint32(DEVICE_ATTR_GROUP, group, true);
    this.#attr.setUint32(DEVICE_ATTR_ATTR, low, true);
    this.#attr.setUint32(DEVICE_ATTR_ATTR + 4, high, true);
    try {
      this.#device.ioctl(request, this.#attrBytes, value);
    } catch (error) {
      throw systemError(`${what} (group ${group}, attribute 0x${low.toString(16)})`, error, REFUSED);
    }
  }
}
