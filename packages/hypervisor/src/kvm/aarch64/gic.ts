import type { GicState, GicV2Config, GicV3Config, HypervisorGic } from '../../aarch64.ts';
import { HypervisorError } from '../../errors.ts';
import { checkSpi } from '../../gic-config.ts';
import type { IoctlArgument, NativeHandle } from '../native.ts';
import { systemError } from '../system-error.ts';
import { KVM_IRQ_LINE } from '../uapi.ts';
import { GicDevice } from './gic-device.ts';
import type { GicLayout } from './gic-state.ts';
import { GicStateCodec } from './gic-state.ts';
import {
  KVM_ARM_IRQ_TYPE_SHIFT,
  KVM_ARM_IRQ_TYPE_SPI,
  KVM_DEV_ARM_VGIC_CTRL_INIT,
  KVM_VGIC_V2_ADDR_TYPE_CPU,
  KVM_VGIC_V2_ADDR_TYPE_DIST,
  KVM_VGIC_V3_ADDR_TYPE_DIST,
  KVM_VGIC_V3_ADDR_TYPE_REDIST,
  VGIC_GROUP,
} from './uapi.ts';

const LINE_WORDS = 32;

/** What a GIC needs of its VM. */
export interface GicOwner {
  /** An ioctl of the VM. */
  ioctl(what: string, request: number, argument: IoctlArgument): void;
  /** @throws HypervisorError `DISPOSED` */
  checkUsable(): void;
  /** @throws HypervisorError `WRONG_STATE` unless all vCPUs stand still. */
  checkStill(what: string): void;
  /** MPIDR_EL1 of each vCPU there is, by index. */
  affinities(): readonly bigint[];
}

/** Which GIC, and where. */
export type KvmGicConfig =
  | { readonly version: 2; readonly config: GicV2Config }
  | { readonly version: 3; readonly config: GicV3Config };

/**
 * A GIC in the kernel (VGIC). KVM lets it begin only when all vCPUs exist, and takes no interrupts before; lines that are
 * raised earlier are raised then.
 */
export class KvmGic implements HypervisorGic {
  readonly version: 2 | 3;
  readonly irqs: number;
  readonly #owner: GicOwner;
  readonly #device: GicDevice;
  readonly #codec: GicStateCodec;
  /** Levels that {@link setSpi} has set, by INTID. */
  readonly #lines = new Uint32Array(LINE_WORDS);
  /** Interrupts that were pulsed before the GIC began. */
  readonly #pulses = new Set<number>();
  /** struct kvm_irq_level */
  readonly #irqLevel = new DataView(new ArrayBuffer(8));
  readonly #irqLevelBytes = new Uint8Array(this.#irqLevel.buffer);
  #ready = false;

  /** @throws HypervisorError `INVALID_ARGUMENT`, `SYSTEM` */
  constructor(owner: GicOwner, device: NativeHandle, { version, config }: KvmGicConfig) {
    this.version = version;
    this.irqs = config.irqs;
    this.#owner = owner;
    this.#device = new GicDevice(device);
    this.#codec = new GicStateCodec(this.#device);
    this.#device.setUint32('the number of interrupts', VGIC_GROUP.NR_IRQS, 0, config.irqs);
    if (version === 3) {
      this.#device.setAddress(KVM_VGIC_V3_ADDR_TYPE_DIST, config.distributor);
      this.#device.setAddress(KVM_VGIC_V3_ADDR_TYPE_REDIST, config.redistributor);
    } else {
      this.#device.setAddress(KVM_VGIC_V2_ADDR_TYPE_DIST, config.distributor);
      this.#device.setAddress(KVM_VGIC_V2_ADDR_TYPE_CPU, config.cpuInterface);
    }
  }

  /** Whether interrupts can be raised. */
  get ready(): boolean {
    return this.#ready;
  }

  /** Lets the GIC begin: no vCPU can be created afterwards. */
  begin(): void {
    if (this.#ready) return;
    this.#device.command('the start of the GIC', VGIC_GROUP.CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT);
    this.#ready = true;
    for (let intid = 0; intid < this.irqs; intid++) {
      if (this.#line(intid)) this.#setLine(intid, true);
    }
    for (const intid of this.#pulses) this.pulseSpi(intid);
    this.#pulses.clear();
  }

  #line(intid: number): boolean {
    return ((this.#lines[intid >>> 5]! >>> (intid & 31)) & 1) !== 0;
  }

  setSpi(intid: number, level: boolean): void {
    this.#check(intid);
    const word = intid >>> 5;
    const bit = 1 << (intid & 31);
    if (level) this.#lines[word]! |= bit;
    else this.#lines[word]! &= ~bit;
    if (this.#ready) this.#setLine(intid, level);
  }

  pulseSpi(intid: number): void {
    this.#check(intid);
    if (!this.#ready) {
      this.#pulses.add(intid);
      return;
    }
    this.#setLine(intid, true);
    if (!this.#line(intid)) this.#setLine(intid, false);
  }

  #setLine(intid: number, level: boolean): void {
    const irq = ((KVM_ARM_IRQ_TYPE_SPI << KVM_ARM_IRQ_TYPE_SHIFT) | intid) >>> 0;
    this.#irqLevel.setUint32(0, irq, true);
    this.#irqLevel.setUint32(4, level ? 1 : 0, true);
    this.#owner.ioctl(`the level of interrupt ${intid}`, KVM_IRQ_LINE, this.#irqLevelBytes);
  }

  save(): GicState {
    this.#owner.checkUsable();
    this.#owner.checkStill('the state of the GIC can be saved');
    this.begin();
    return this.#codec.save(this.#layout());
  }

  restore(state: GicState): void {
    this.#owner.checkUsable();
    this.#owner.checkStill('the state of the GIC can be restored');
    this.begin();
    const lines = this.#codec.restore(this.#layout(), state);
    this.#lines.set(lines);
    // A VGICv2 does not tell the levels of its lines, nor take them.
    if (this.version === 2) {
      for (let intid = 32; intid < this.irqs; intid++) this.#setLine(intid, this.#line(intid));
    }
  }

  #layout(): GicLayout {
    const { version, irqs } = this;
    return { version, irqs, affinities: this.#owner.affinities(), lines: this.#lines };
  }

  #check(intid: number): void {
    this.#owner.checkUsable();
    checkSpi(intid, this.irqs);
  }
}

/** The error for a GIC that the kernel does not have. */
export function noGic(version: 2 | 3, cause: unknown): unknown {
  const error = systemError(`creating a GICv${version}`, cause, {
    ENODEV: 'UNSUPPORTED',
    EEXIST: 'WRONG_STATE',
  });
  return error instanceof HypervisorError ? error : cause;
}
