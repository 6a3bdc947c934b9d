import type { Aarch64Vm, GicV2Config, GicV3Config, HypervisorGic } from '../../aarch64.ts';
import { HypervisorError } from '../../errors.ts';
import { checkGicV2Config, checkGicV3Config, checkSpi, FIRST_SPI } from '../../gic-config.ts';
import type { HypervisorInterrupt } from '../../vm.ts';
import type { NativeHandle, NativeVcpu } from '../native.ts';
import type { VcpuOwner } from '../vcpu.ts';
import { wrongState } from '../vcpu.ts';
import type { KvmVmContext } from '../vm.ts';
import { KvmVm } from '../vm.ts';
import type { KvmGicConfig } from './gic.ts';
import { KvmGic, noGic } from './gic.ts';
import { DeferredInterrupt } from './deferred-interrupt.ts';
import {
  KVM_ARM_PREFERRED_TARGET,
  KVM_ARM_VCPU_PSCI_0_2,
  KVM_DEV_TYPE_ARM_VGIC_V2,
  KVM_DEV_TYPE_ARM_VGIC_V3,
  VCPU_INIT_FEATURES,
  VCPU_INIT_SIZE,
} from './uapi.ts';
import { Aarch64KvmVcpu } from './vcpu.ts';

/** KVM counts interrupts in steps of 32. */
const MAX_IRQS = 992;

/** KVM_CREATE_DEVICE's types. */
export const GIC_DEVICES: Readonly<Record<2 | 3, number>> = {
  2: KVM_DEV_TYPE_ARM_VGIC_V2,
  3: KVM_DEV_TYPE_ARM_VGIC_V3,
};

const MPIDR_EL1 = 0xc005;

/** A VM of KVM on arm64. */
export class Aarch64KvmVm extends KvmVm<Aarch64KvmVcpu> implements Aarch64Vm<Aarch64KvmVcpu> {
  readonly gicVersions: readonly (2 | 3)[];
  readonly #vcpuInit: Uint8Array;
  #deferred: DeferredInterrupt[] = [];
  #gic: KvmGic | undefined;

  /** @throws HypervisorError `SYSTEM` */
  constructor(context: KvmVmContext, gicVersions: readonly (2 | 3)[]) {
    super(context);
    this.gicVersions = gicVersions;
    this.#vcpuInit = new Uint8Array(VCPU_INIT_SIZE);
    this.ioctl('KVM_ARM_PREFERRED_TARGET', KVM_ARM_PREFERRED_TARGET, this.#vcpuInit);
    const view = new DataView(this.#vcpuInit.buffer);
    const features = view.getUint32(VCPU_INIT_FEATURES, true);
    view.setUint32(VCPU_INIT_FEATURES, features | (1 << KVM_ARM_VCPU_PSCI_0_2), true);
  }

  protected override beforeVcpu(): void {
    if (this.#gic?.ready === true)
      throw wrongState('vCPUs are created before the GIC is used or a vCPU runs');
  }

  protected override makeVcpu(owner: VcpuOwner, native: NativeVcpu, id: number): Aarch64KvmVcpu {
    const vm = { init: this.#vcpuInit, beforeRun: () => this.#beginGic() };
    return new Aarch64KvmVcpu(owner, vm, native, id);
  }

  override createVcpu(id: number): Aarch64KvmVcpu {
    const vcpu = super.createVcpu(id);
    if (this.#complete) this.#beginGic();
    return vcpu;
  }

  get #complete(): boolean {
    return this.vcpus.length === this.vcpuCount;
  }

  #beginGic(): void {
    const gic = this.#gic;
    if (gic === undefined || gic.ready) return;
    gic.begin();
    const deferred = this.#deferred;
    this.#deferred = [];
    for (const interrupt of deferred) interrupt.connect();
  }

  createGicV3(config: GicV3Config): HypervisorGic {
    this.#checkGic(3);
    checkGicV3Config(config, this.vcpuCount);
    return this.#createGic({ version: 3, config });
  }

  createGicV2(config: GicV2Config): HypervisorGic {
    this.#checkGic(2);
    checkGicV2Config(config, this.vcpuCount);
    return this.#createGic({ version: 2, config });
  }

  #checkGic(version: 2 | 3): void {
    this.checkUsable();
    if (!this.gicVersions.includes(version)) {
      throw new HypervisorError('UNSUPPORTED', `this KVM has no GICv${version}`);
    }
    if (this.#gic !== undefined) throw wrongState('the VM has an interrupt controller already');
    this.checkStill('an interrupt controller can be created');
  }

  #createGic(wanted: KvmGicConfig): KvmGic {
    if (wanted.config.irqs > MAX_IRQS) {
      throw new HypervisorError('INVALID_ARGUMENT', `KVM's GIC has at most ${MAX_IRQS} interrupts`);
    }
    let device: NativeHandle;
    try {
      device = this.native.createDevice(GIC_DEVICES[wanted.version]);
    } catch (error) {
      throw noGic(wanted.version, error);
    }
    const gic = new KvmGic(
      {
        ioctl: (what, request, argument) => this.ioctl(what, request, argument),
        checkUsable: () => this.checkUsable(),
        checkStill: (what) => this.checkStill(what),
        affinities: () => this.vcpus.map((vcpu) => vcpu.getSystemRegister(MPIDR_EL1)),
      },
      device,
      wanted,
    );
    this.#gic = gic;
    if (this.#complete) this.#beginGic();
    return gic;
  }

  protected override checkInterrupt(gsi: number): void {
    if (this.#gic === undefined) throw wrongState('the VM has no interrupt controller yet');
    checkSpi(gsi + FIRST_SPI, this.#gic.irqs);
  }

  /** KVM takes interrupts by eventfd only when the GIC has begun: those that are made earlier are connected then. */
  override createInterrupt(gsi: number, onResample?: () => void): HypervisorInterrupt {
    this.checkUsable();
    this.checkInterrupt(gsi);
    if (this.#gic?.ready === true) return super.createInterrupt(gsi, onResample);
    const interrupt = new DeferredInterrupt(gsi, () => super.createInterrupt(gsi, onResample));
    this.#deferred.push(interrupt);
    return interrupt;
  }
}
