import type { GicState } from '../../aarch64.ts';
import { decodeState, encodeState, invalid, stateObject } from '../../state-codec.ts';
import type { GicDevice } from './gic-device.ts';
import type { GicAttribute } from './gic-registers.ts';
import {
  configurationAttribute,
  controlAttribute,
  gicV2Attributes,
  gicV3Attributes,
  pendingOf,
} from './gic-registers.ts';

/** 'KGIC' */
const MAGIC = 0x4349_474b;
const VERSION = 1;
const WHAT = 'the state of the GIC';
const ALL_ONES = 0xffff_ffffn;

// Offsets in the payload.
const IRQS = 0;
const VCPUS = 4;
const COUNT = 8;
const LINES = 16;
const LINE_WORDS = 32;
const VALUES: number = LINES + 4 * LINE_WORDS;

/** Bits of the affinity in MPIDR_EL1: Aff3 at 39:32, Aff2 to Aff0 at 23:0 (Arm ARM D23.2). */
const AFF3_SHIFT = 32n;

/** A GIC and the vCPUs that it has. */
export interface GicLayout {
  readonly version: 2 | 3;
  readonly irqs: number;
  /** MPIDR_EL1 of each vCPU. */
  readonly affinities: readonly bigint[];
  /** Levels of the lines, by INTID. */
  readonly lines: Uint32Array;
}

/** Reads and writes the state of a VGIC. */
export class GicStateCodec {
  readonly #device: GicDevice;

  constructor(device: GicDevice) {
    this.#device = device;
  }

  save(layout: GicLayout): GicState {
    const attributes = this.#attributes(layout);
    const payload = new Uint8Array(VALUES + 8 * attributes.length);
    const view = new DataView(payload.buffer);
    view.setUint32(IRQS, layout.irqs, true);
    view.setUint32(VCPUS, layout.affinities.length, true);
    view.setUint32(COUNT, attributes.length, true);
    for (const [index, line] of layout.lines.entries()) view.setUint32(LINES + 4 * index, line, true);
    for (const [index, attribute] of attributes.entries()) {
      view.setBigUint64(VALUES + 8 * index, this.#read(attribute, layout), true);
    }
    return { version: VERSION, model: modelOf(layout), opaque: encodeState(MAGIC, VERSION, payload) };
  }

  /**
   * @returns levels of the lines, by INTID
   * @throws HypervisorError `INVALID_ARGUMENT`
   */
  restore(layout: GicLayout, state: unknown): Uint32Array {
    const { version, model, opaque } = stateObject(WHAT, state);
    if (version !== VERSION) {
      throw invalid(WHAT, `it has version ${String(version)}, and this backend knows ${VERSION}`);
    }
    if (model !== modelOf(layout)) {
      throw invalid(WHAT, `it is of a '${String(model)}', not of a '${modelOf(layout)}'`);
    }
    const view = decodeState(WHAT, MAGIC, VERSION, opaque);
    const attributes = this.#attributes(layout);
    if (
      view.byteLength !== VALUES + 8 * attributes.length ||
      view.getUint32(COUNT, true) !== attributes.length
    ) {
      throw invalid(WHAT, 'its length does not fit');
    }
    if (view.getUint32(IRQS, true) !== layout.irqs)
      throw invalid(WHAT, 'it has another number of interrupts');
    if (view.getUint32(VCPUS, true) !== layout.affinities.length) {
      throw invalid(WHAT, 'it has another number of vCPUs');
    }
    for (const [index, attribute] of attributes.entries()) {
      this.#write(attribute, view.getBigUint64(VALUES + 8 * index, true));
    }
    return Uint32Array.from({ length: LINE_WORDS }, (_, index) => view.getUint32(LINES + 4 * index, true));
  }

  #attributes({ version, irqs, affinities }: GicLayout): readonly GicAttribute[] {
    if (version === 2) return gicV2Attributes(irqs, affinities.length);
    const cpus = affinities.map((mpidr) => {
      const affinity = Number((((mpidr >> AFF3_SHIFT) & 0xffn) << 24n) | (mpidr & 0xff_ffffn));
      // ICC_CTLR_EL1.PRIbits (IHI 0069 12.2).
      const priorityBits = Number((this.#device.read(controlAttribute(affinity)) >> 8n) & 7n) + 1;
      return { affinity, priorityBits };
    });
    return gicV3Attributes(irqs, cpus);
  }

  #read(attribute: GicAttribute, { version, lines }: GicLayout): bigint {
    const value = this.#device.read(attribute) & (attribute.size === 4 ? ALL_ONES : ~0n);
    const first = pendingOf(attribute);
    if (version === 3 || first < 0) return BigInt.asUintN(64, value);
    // A VGICv2 says that an interrupt is pending whose line is high, and would latch what it is told.
    return value & ~this.#levelPending(first, attribute.high, lines);
  }

  /** Level-sensitive interrupts whose line is high: of private ones, all, as KVM knows their lines by itself. */
  #levelPending(first: number, high: number, lines: Uint32Array): bigint {
    let bits = 0n;
    for (let half = 0; half < 2; half++) {
      const intid = first + 16 * half;
      const configuration = intid === 0 ? ALL_ONES : this.#device.read(configurationAttribute(intid, high));
      for (let index = 0; index < 16; index++) {
        const edge = ((configuration >> BigInt(2 * index + 1)) & 1n) !== 0n;
        if (!edge) bits |= 1n << BigInt(16 * half + index);
      }
    }
    return first === 0 ? bits : bits & BigInt(lines[first >>> 5] ?? 0);
  }

  #write(attribute: GicAttribute, value: bigint): void {
    if (attribute.clear !== undefined) this.#device.write({ ...attribute, low: attribute.clear }, ALL_ONES);
    this.#device.write(attribute, value);
  }
}

function modelOf({ version }: GicLayout): string {
  return `gicv${version}`;
}
