import { HypervisorError } from '../../errors.ts';
import { checkRegisterValue, hex } from '../../validate.ts';
import type { GuestMemoryRegion } from '../../vm.ts';
import type { X86IrqChip, X86IrqChipConfig, X86Vm } from '../../x86.ts';
import type { NativeVcpu } from '../native.ts';
import { KVM_CAP, KVM_CHECK_EXTENSION, KVM_ENABLE_CAP } from '../uapi.ts';
import type { VcpuOwner } from '../vcpu.ts';
import { wrongState } from '../vcpu.ts';
import type { KvmVmContext } from '../vm.ts';
import { KvmVm } from '../vm.ts';
import { checkInputs, X86KvmIrqChip } from './irqchip.ts';
import { stateMsrs } from './msrs.ts';
import { checkGsi } from './routes.ts';
import {
  CLOCK_DATA_SIZE,
  KVM_CREATE_IRQCHIP,
  KVM_CREATE_PIT2,
  KVM_GET_CLOCK,
  KVM_PIT_SPEAKER_DUMMY,
  KVM_SET_CLOCK,
  KVM_SET_IDENTITY_MAP_ADDR,
  KVM_SET_TSS_ADDR,
  PIT_CONFIG_SIZE,
  XSAVE_SIZE,
} from './uapi.ts';
import { X86KvmVcpu } from './vcpu.ts';

/** A page that processors without unrestricted guest mode need for code that runs without paging (api.rst 4.41). */
const IDENTITY_MAP = 0xfffb_c000;
/** Three pages that they need for real mode (api.rst 4.36). */
const TSS = 0xfffb_d000;
const TSS_END = 0xfffc_0000;

/** Bytes of struct kvm_enable_cap; `args` begin at 8. */
const ENABLE_CAP_SIZE = 104;

const DEFAULT_INPUTS = 24;

/** A VM of KVM on x86-64. */
export class X86KvmVm extends KvmVm<X86KvmVcpu> implements X86Vm<X86KvmVcpu> {
  readonly #xsaveSize: number;
  #stateMsrs: readonly number[] | undefined;
  #irqChip: X86KvmIrqChip | undefined;

  constructor(context: KvmVmContext) {
    super(context);
    try {
      this.#xsaveSize = this.#prepare();
    } catch (error) {
      this.native.close();
      throw error;
    }
  }

  /** What has to be there before the first vCPU; answers the size of struct kvm_xsave. */
  #prepare(): number {
    const identityMap = new DataView(new ArrayBuffer(8));
    identityMap.setBigUint64(0, BigInt(IDENTITY_MAP), true);
    this.ioctl('KVM_SET_IDENTITY_MAP_ADDR', KVM_SET_IDENTITY_MAP_ADDR, new Uint8Array(identityMap.buffer));
    this.ioctl('KVM_SET_TSS_ADDR', KVM_SET_TSS_ADDR, TSS);
    return Math.max(this.ioctl('KVM_CHECK_EXTENSION', KVM_CHECK_EXTENSION, KVM_CAP.XSAVE2), XSAVE_SIZE);
  }

  override mapMemory(
    guestAddress: number,
    size: number,
    options?: { readOnly?: boolean },
  ): GuestMemoryRegion {
    if (guestAddress < TSS_END && guestAddress + size > IDENTITY_MAP) {
      throw new HypervisorError(
        'OVERLAP',
        `KVM needs ${hex(IDENTITY_MAP)} to ${hex(TSS_END - 1)} for itself`,
      );
    }
    return super.mapMemory(guestAddress, size, options);
  }

  protected override beforeVcpu(): void {
    // vCPUs may come at any time; what has to be there before the first is made by the constructor.
  }

  protected override makeVcpu(owner: VcpuOwner, native: NativeVcpu, id: number): X86KvmVcpu {
    this.#stateMsrs ??= stateMsrs(this.system);
    const vm = {
      hasLapic: this.#irqChip !== undefined,
      xsaveSize: this.#xsaveSize,
      stateMsrs: this.#stateMsrs,
      readGuest: (address: number, length: number) => this.#readGuest(address, length),
    };
    return new X86KvmVcpu(owner, vm, native, id);
  }

  #readGuest(address: number, length: number): Uint8Array | undefined {
    for (const { guestAddress, bytes } of this.regions) {
      const offset = address - guestAddress;
      if (offset >= 0 && offset < bytes.length) return bytes.slice(offset, offset + length);
    }
    return undefined;
  }

  createIrqChip(config: X86IrqChipConfig): X86IrqChip {
    this.checkUsable();
    const { mode, pit = false, inputs = DEFAULT_INPUTS } = config;
    if (this.#irqChip !== undefined) throw wrongState('the VM has an interrupt controller already');
    if (this.vcpus.length > 0) throw wrongState('the interrupt controller comes before the first vCPU');
    switch (mode) {
      case 'kernel':
        this.ioctl('KVM_CREATE_IRQCHIP', KVM_CREATE_IRQCHIP, 0);
        if (pit) this.#createPit();
        break;
      case 'split':
        if (pit) {
          throw new HypervisorError(
            'INVALID_ARGUMENT',
            'the PIT needs the interrupt controllers of the kernel',
          );
        }
        checkInputs(inputs);
        this.#splitIrqChip(inputs);
        break;
      default:
        throw new HypervisorError(
          'INVALID_ARGUMENT',
          `mode '${String(mode)}' is neither 'kernel' nor 'split'`,
        );
    }
    this.#irqChip = new X86KvmIrqChip(
      {
        ioctl: (what, request, argument, codes) => this.ioctl(what, request, argument, codes),
        checkUsable: () => this.checkUsable(),
        checkStill: (what) => this.checkStill(what),
      },
      mode,
      pit,
    );
    return this.#irqChip;
  }

  #createPit(): void {
    const config = new Uint8Array(PIT_CONFIG_SIZE);
    // Port 0x61 as well.
    config[0] = KVM_PIT_SPEAKER_DUMMY;
    this.ioctl('KVM_CREATE_PIT2', KVM_CREATE_PIT2, config);
  }

  /** KVM_CAP_X2APIC_API is left alone: its 32-bit destinations matter for APIC IDs beyond 254 only. */
  #splitIrqChip(inputs: number): void {
    if (this.system.capability('SPLIT_IRQCHIP') === 0) {
      throw new HypervisorError(
        'UNSUPPORTED',
        'this KVM has no split interrupt controller (KVM_CAP_SPLIT_IRQCHIP)',
      );
    }
    const request = new DataView(new ArrayBuffer(ENABLE_CAP_SIZE));
    request.setUint32(0, KVM_CAP.SPLIT_IRQCHIP, true);
    request.setUint32(8, inputs, true);
    this.ioctl('KVM_CAP_SPLIT_IRQCHIP', KVM_ENABLE_CAP, new Uint8Array(request.buffer));
  }

  protected override checkInterrupt(gsi: number, resample: boolean): void {
    if (this.#irqChip === undefined) throw wrongState('the VM has no interrupt controller yet');
    checkGsi(gsi);
    if (resample && this.#irqChip.mode === 'split') {
      throw new HypervisorError('UNSUPPORTED', 'resampling needs the IOAPIC of the kernel');
    }
  }

  coalescePortWrites(
    port: number,
    length: number,
    onWrite: (port: number, length: number, value: number) => void,
  ): Disposable {
    return this.coalescePorts(port, length, onWrite, this.system.capability('COALESCED_PIO') > 0);
  }

  createPortDoorbell(
    port: number,
    length: 1 | 2 | 4,
    match: number | undefined,
    onRing: () => void,
  ): Disposable {
    return this.portDoorbell(port, length, match, onRing);
  }

  getClock(): bigint {
    this.checkUsable();
    const clock = new DataView(new ArrayBuffer(CLOCK_DATA_SIZE));
    this.ioctl('KVM_GET_CLOCK', KVM_GET_CLOCK, new Uint8Array(clock.buffer));
    return clock.getBigUint64(0, true);
  }

  setClock(nanoseconds: bigint): void {
    this.checkUsable();
    this.checkStill('the clock can be set');
    checkRegisterValue('nanoseconds', nanoseconds, 64);
    const clock = new DataView(new ArrayBuffer(CLOCK_DATA_SIZE));
    clock.setBigUint64(0, nanoseconds, true);
    this.ioctl('KVM_SET_CLOCK', KVM_SET_CLOCK, new Uint8Array(clock.buffer), { EINVAL: 'INVALID_ARGUMENT' });
  }
}
