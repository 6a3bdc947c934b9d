import type { HypervisorInterrupt } from '../vm.ts';
import type { GicState, GicV3Config, HypervisorGic } from '../aarch64.ts';
import { checkGicV3Config, checkSpi, FIRST_SPI } from '../gic-config.ts';
import { decodeState, encodeState, invalid, stateObject } from '../state-codec.ts';
import type { Engine } from './engine.ts';
import type { SharedState } from './shared.ts';

const STATE_MAGIC = 0x3343_4947;
const STATE_VERSION = 1;
const MODEL = 'gicv3';
/** Words of each of the two bitmaps of interrupt inputs. */
const INPUT_WORDS = 32;

/** What the GIC needs from its VM. */
export interface GicOwner {
  readonly shared: SharedState;
  readonly engine: Engine;
  readonly vcpus: number;
  /** Makes all vCPUs look at their interrupt inputs. */
  wakeVcpus(): void;
  /** @throws HypervisorError `DISPOSED` */
  checkUsable(): void;
  /** @throws HypervisorError `WRONG_STATE` unless all vCPUs stand still. */
  checkStill(what: string): void;
}

/** The engine's GICv3; see ENGINE.md. */
export class WasmGicV3 implements HypervisorGic {
  readonly version = 3;
  readonly #owner: GicOwner;
  readonly #config: GicV3Config;
  readonly #level: number;
  readonly #edge: number;

  /** @throws HypervisorError `INVALID_ARGUMENT` */
  constructor(owner: GicOwner, config: GicV3Config) {
    checkGicV3Config(config, owner.vcpus);
    const { distributor, redistributor, irqs } = config;
    this.#owner = owner;
    this.#config = { distributor, redistributor, irqs };
    const { shared, engine } = owner;
    const { words, layout } = shared;
    const { HEADER } = layout;
    this.#level = (HEADER + layout.HEADER_SPI_LEVEL) / 4;
    this.#edge = (HEADER + layout.HEADER_SPI_EDGE) / 4;
    shared.writeNumber((HEADER + layout.HEADER_GIC_DISTRIBUTOR) / 4, distributor);
    shared.writeNumber((HEADER + layout.HEADER_GIC_REDISTRIBUTOR) / 4, redistributor);
    words[(HEADER + layout.HEADER_GIC_IRQS) / 4] = irqs;
    words[(HEADER + layout.HEADER_GIC_VCPUS) / 4] = owner.vcpus;
    engine.gicReset();
    Atomics.store(words, (HEADER + layout.HEADER_GIC_ENABLED) / 4, 1);
  }

  setSpi(intid: number, level: boolean): void {
    this.#check(intid);
    const { words } = this.#owner.shared;
    const word = this.#level + (intid >>> 5);
    const bit = 1 << (intid & 31);
    const before = level ? Atomics.or(words, word, bit) : Atomics.and(words, word, ~bit);
    if (((before & bit) !== 0) !== level) this.#owner.wakeVcpus();
  }

  pulseSpi(intid: number): void {
    this.#check(intid);
    Atomics.or(this.#owner.shared.words, this.#edge + (intid >>> 5), 1 << (intid & 31));
    this.#owner.wakeVcpus();
  }

  createInterrupt(spi: number): HypervisorInterrupt {
    const intid = spi + FIRST_SPI;
    this.#check(intid);
    return {
      gsi: spi,
      trigger: () => this.pulseSpi(intid),
      [Symbol.dispose]: () => undefined,
    };
  }

  save(): GicState {
    this.#owner.checkUsable();
    this.#owner.checkStill('the state of the GIC can be saved');
    const { words, layout, memory } = this.#owner.shared;
    const payload = new Uint8Array(16 + 2 * 4 * INPUT_WORDS + layout.GIC_STATE_SIZE);
    const view = new DataView(payload.buffer);
    view.setUint32(0, this.#config.irqs, true);
    view.setUint32(4, this.#owner.vcpus, true);
    view.setUint32(8, layout.GIC_STATE_SIZE, true);
    for (let index = 0; index < INPUT_WORDS; index++) {
      view.setInt32(16 + 4 * index, Atomics.load(words, this.#level + index), true);
      view.setInt32(16 + 4 * (INPUT_WORDS + index), Atomics.load(words, this.#edge + index), true);
    }
    payload.set(new Uint8Array(memory.buffer, layout.GIC, layout.GIC_STATE_SIZE), 16 + 8 * INPUT_WORDS);
    return { version: STATE_VERSION, model: MODEL, opaque: encodeState(STATE_MAGIC, STATE_VERSION, payload) };
  }

  restore(state: GicState): void {
    this.#owner.checkUsable();
    this.#owner.checkStill('the state of the GIC can be restored');
    const what = 'the state of the GIC';
    const { version, model, opaque } = stateObject(what, state);
    if (version !== STATE_VERSION) {
      throw invalid(what, `it has version ${String(version)}, and this backend knows ${STATE_VERSION}`);
    }
    if (model !== MODEL) throw invalid(what, `it is of a '${String(model)}', not of a '${MODEL}'`);
    const view = decodeState(what, STATE_MAGIC, STATE_VERSION, opaque);
    const { words, layout, memory } = this.#owner.shared;
    if (view.byteLength !== 16 + 8 * INPUT_WORDS + layout.GIC_STATE_SIZE)
      throw invalid(what, 'its length does not fit');
    if (view.getUint32(0, true) !== this.#config.irqs)
      throw invalid(what, 'it has another number of interrupts');
    if (view.getUint32(4, true) !== this.#owner.vcpus) throw invalid(what, 'it has another number of vCPUs');
    for (let index = 0; index < INPUT_WORDS; index++) {
      Atomics.store(words, this.#level + index, view.getInt32(16 + 4 * index, true));
      Atomics.store(words, this.#edge + index, view.getInt32(16 + 4 * (INPUT_WORDS + index), true));
    }
    const bytes = new Uint8Array(view.buffer, view.byteOffset + 16 + 8 * INPUT_WORDS, layout.GIC_STATE_SIZE);
    new Uint8Array(memory.buffer).set(bytes, layout.GIC);
    // Makes a valid state of any bytes.
    this.#owner.engine.gicRestored();
    this.#owner.wakeVcpus();
  }

  #check(intid: number): void {
    this.#owner.checkUsable();
    checkSpi(intid, this.#config.irqs);
  }
}
