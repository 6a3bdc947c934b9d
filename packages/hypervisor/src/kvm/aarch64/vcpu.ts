import type { Aarch64CoreRegister, Aarch64Vcpu } from '../../aarch64.ts';
import { checkPstate } from '../../aarch64-registers.ts';
import { HypervisorError } from '../../errors.ts';
import type { VcpuExit } from '../../exit.ts';
import { checkRegisterValue, hex } from '../../validate.ts';
import type { ExitHandler, VcpuState } from '../../vcpu.ts';
import type { NativeVcpu } from '../native.ts';
import { isSystemError, systemError } from '../system-error.ts';
import {
  KVM_EXIT,
  KVM_GET_MP_STATE,
  KVM_SET_MP_STATE,
  RUN_ARM_NISV_ESR_ISS,
  RUN_ARM_NISV_FAULT_IPA,
} from '../uapi.ts';
import type { VcpuOwner } from '../vcpu.ts';
import { KvmVcpu } from '../vcpu.ts';
import type { RegisterId } from './registers.ts';
import { coreRegisterId, registerSize, systemRegisterId } from './registers.ts';
import type { Aarch64VcpuParts } from './state.ts';
import { decodeVcpuState, encodeVcpuState, RegisterList } from './state.ts';
import {
  KVM_ARM_VCPU_INIT,
  KVM_GET_ONE_REG,
  KVM_GET_REG_LIST,
  KVM_GET_VCPU_EVENTS,
  KVM_MP_STATE_RUNNABLE,
  KVM_MP_STATE_STOPPED,
  KVM_SET_ONE_REG,
  KVM_SET_VCPU_EVENTS,
  ONE_REG_SIZE,
  VCPU_EVENTS_SIZE,
} from './uapi.ts';

/** A register that is not there, and a value that it does not take. */
const REFUSED = { ENOENT: 'INVALID_ARGUMENT', EINVAL: 'INVALID_ARGUMENT' } as const;

/** Registers that room is made for at first; KVM says when there are more. */
const USUAL_REGISTERS = 512;
const MOST_REGISTERS = 65_536;

/** What an {@link Aarch64KvmVcpu} needs of its VM. */
export interface Aarch64VcpuOwner {
  /** struct kvm_vcpu_init */
  readonly init: Uint8Array;
  /** Called before the guest is entered. */
  beforeRun(): void;
}

/** A vCPU of KVM on arm64. */
export class Aarch64KvmVcpu extends KvmVcpu implements Aarch64Vcpu {
  readonly #vm: Aarch64VcpuOwner;
  readonly #oneReg = new DataView(new ArrayBuffer(ONE_REG_SIZE));
  readonly #oneRegBytes = new Uint8Array(this.#oneReg.buffer);
  #list: RegisterList | undefined;

  constructor(owner: VcpuOwner, vm: Aarch64VcpuOwner, native: NativeVcpu, id: number) {
    super(owner, native, id);
    this.#vm = vm;
    this.ioctl('KVM_ARM_VCPU_INIT', KVM_ARM_VCPU_INIT, vm.init.slice());
  }

  protected override decodeExit(reason: number, run: DataView): VcpuExit | undefined | 'unknown' {
    if (reason !== KVM_EXIT.ARM_NISV) return 'unknown';
    const address =
      run.getUint32(RUN_ARM_NISV_FAULT_IPA, true) + run.getUint32(RUN_ARM_NISV_FAULT_IPA + 4, true) * 2 ** 32;
    const iss = run.getUint32(RUN_ARM_NISV_ESR_ISS, true);
    return this.exits.fail(
      `an instruction that the processor does not describe accesses ${hex(address)}, where there is no memory ` +
        `(KVM_EXIT_ARM_NISV, ISS ${hex(iss)})`,
    );
  }

  protected override describePlace(): string {
    try {
      const pc = this.#read(coreRegisterId('pc'));
      const pstate = this.#read(coreRegisterId('pstate'));
      return `pc 0x${pc.toString(16)}, pstate 0x${pstate.toString(16)}`;
    } catch (error) {
      return `where it is cannot be read: ${String(error)}`;
    }
  }

  override run(): VcpuExit {
    this.checkStill('run');
    this.#vm.beforeRun();
    return super.run();
  }

  override async start(handler: ExitHandler): Promise<void> {
    this.checkStill('start');
    this.#vm.beforeRun();
    await super.start(handler);
  }

  getRegister(name: Aarch64CoreRegister): bigint {
    this.checkReadable('registers can be read');
    return this.#read(coreRegisterId(name));
  }

  setRegister(name: Aarch64CoreRegister, value: bigint): void {
    this.checkStill('registers can be written');
    const id = coreRegisterId(name);
    this.#checkValue(name, id, value);
    if (name === 'pstate') checkPstate(value);
    // KVM advances the PC when it completes the access that made the last exit.
    if (name === 'pc') this.settle();
    this.#write(id, value);
  }

  getSystemRegister(encoding: number): bigint {
    this.checkReadable('registers can be read');
    return this.#read(systemRegisterId(encoding));
  }

  setSystemRegister(encoding: number, value: bigint): void {
    this.checkStill('registers can be written');
    const id = systemRegisterId(encoding);
    this.#checkValue(`system register ${hex(encoding)}`, id, value);
    this.#write(id, value);
  }

  #checkValue(name: string, id: RegisterId, value: bigint): void {
    const size = registerSize(id);
    checkRegisterValue(name, value, size === 16 ? 128 : 64);
    if (size === 4 && value >> 32n !== 0n) {
      throw new HypervisorError('INVALID_ARGUMENT', `${name}: ${value} is not an unsigned 32-bit value`);
    }
  }

  #read(id: RegisterId): bigint {
    return valueOf(this.#readBytes(id));
  }

  #readBytes(id: RegisterId): Uint8Array {
    const bytes = new Uint8Array(registerSize(id));
    this.#access('KVM_GET_ONE_REG', KVM_GET_ONE_REG, id, bytes);
    return bytes;
  }

  #write(id: RegisterId, value: bigint): void {
    const bytes = new Uint8Array(16);
    const view = new DataView(bytes.buffer);
    view.setBigUint64(0, value & 0xffff_ffff_ffff_ffffn, true);
    view.setBigUint64(8, value >> 64n, true);
    this.#writeBytes(id, bytes.subarray(0, registerSize(id)));
  }

  #writeBytes(id: RegisterId, bytes: Uint8Array): void {
    this.#access('KVM_SET_ONE_REG', KVM_SET_ONE_REG, id, bytes);
  }

  #access(what: string, request: number, id: RegisterId, bytes: Uint8Array): void {
    this.#oneReg.setUint32(0, id.low, true);
    this.#oneReg.setUint32(4, id.high, true);
    try {
      this.native.ioctl(request, this.#oneRegBytes, bytes);
    } catch (error) {
      const name = `0x${id.high.toString(16)}${id.low.toString(16).padStart(8, '0')}`;
      throw systemError(`vCPU ${this.id}: ${what} of register ${name}`, error, REFUSED);
    }
  }

  get poweredOff(): boolean {
    this.checkReadable('the power state can be read');
    return this.#readMpState() === KVM_MP_STATE_STOPPED;
  }

  set poweredOff(value: boolean) {
    this.checkStill('the power state can be changed');
    this.#writeMpState(value ? KVM_MP_STATE_STOPPED : KVM_MP_STATE_RUNNABLE);
  }

  #readMpState(): number {
    const state = new Uint8Array(4);
    this.ioctl('KVM_GET_MP_STATE', KVM_GET_MP_STATE, state);
    return new DataView(state.buffer).getUint32(0, true);
  }

  #writeMpState(value: number): void {
    const state = new Uint8Array(4);
    new DataView(state.buffer).setUint32(0, value, true);
    this.ioctl('KVM_SET_MP_STATE', KVM_SET_MP_STATE, state);
  }

  save(): VcpuState {
    this.checkStill('the state can be saved');
    this.settle();
    return encodeVcpuState(this.#capture(this.#registers()));
  }

  #capture(list: RegisterList): Aarch64VcpuParts {
    const registers: Record<string, bigint> = {};
    for (const [name, id] of list.named) registers[name] = this.#read(id);
    const events = new Uint8Array(VCPU_EVENTS_SIZE);
    this.ioctl('KVM_GET_VCPU_EVENTS', KVM_GET_VCPU_EVENTS, events);
    return {
      mpState: this.#readMpState(),
      events,
      registers,
      others: list.others.map((id) => ({ id, bytes: this.#readBytes(id) })),
    };
  }

  restore(state: VcpuState): void {
    this.checkStill('a state can be restored');
    const list = this.#registers();
    const parts = decodeVcpuState(state, list);
    this.settle();
    const before = this.#capture(list);
    try {
      this.#apply(parts, list);
    } catch (error) {
      this.#apply(before, list);
      throw error;
    }
    this.forgetExit();
  }

  #apply(parts: Aarch64VcpuParts, list: RegisterList): void {
    // Firmware and identification registers come first in KVM's list, and what they allow after them.
    for (const { id, bytes } of parts.others) this.#writeChanged(id, bytes);
    for (const [name, id] of list.named) this.#write(id, parts.registers[name] ?? 0n);
    this.ioctl('KVM_SET_VCPU_EVENTS', KVM_SET_VCPU_EVENTS, parts.events);
    this.#writeMpState(parts.mpState);
  }

  /** Some registers can be written with no value but the one that they have, some not even with that. */
  #writeChanged(id: RegisterId, bytes: Uint8Array): void {
    const current = this.#readBytes(id);
    if (current.some((byte, index) => byte !== bytes[index])) this.#writeBytes(id, bytes);
  }

  /** KVM_GET_REG_LIST, once: what the vCPU has depends on KVM_ARM_VCPU_INIT. */
  #registers(): RegisterList {
    this.#list ??= new RegisterList(this.#listRegisters());
    return this.#list;
  }

  #listRegisters(): readonly RegisterId[] {
    for (let room = USUAL_REGISTERS; room <= MOST_REGISTERS; room *= 4) {
      const list = new DataView(new ArrayBuffer(8 + 8 * room));
      list.setUint32(0, room, true);
      try {
        this.native.ioctl(KVM_GET_REG_LIST, new Uint8Array(list.buffer));
      } catch (error) {
        if (isSystemError(error) && error.code === 'E2BIG') continue;
        throw systemError(`vCPU ${this.id}: KVM_GET_REG_LIST`, error);
      }
      const count = Math.min(list.getUint32(0, true), room);
      return Array.from({ length: count }, (_, index) => ({
        low: list.getUint32(8 + 8 * index, true),
        high: list.getUint32(12 + 8 * index, true),
      }));
    }
    throw new HypervisorError('SYSTEM', `KVM lists more than ${MOST_REGISTERS} registers`);
  }
}

/** A little-endian value. */
function valueOf(bytes: Uint8Array): bigint {
  let value = 0n;
  for (const byte of bytes.toReversed()) value = (value << 8n) | BigInt(byte);
  return value;
}
