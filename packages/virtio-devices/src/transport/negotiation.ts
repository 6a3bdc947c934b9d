import { VirtioDeviceError } from '../errors.ts';
import { FeatureSet } from '../features.ts';
import { VIRTIO_F_VERSION_1 } from '../virtio.ts';
import type { TransportCoreState } from './types.ts';

/** Plain state of a {@link FeatureNegotiation}. */
export type NegotiationState = Pick<
  TransportCoreState,
  'offeredLow' | 'offeredHigh' | 'driverLow' | 'driverHigh' | 'driverBeyond' | 'negotiated'
>;

/** The feature bits of both sides, VIRTIO 1.3 §2.2: what is offered, what the driver wrote, what came of it. */
export class FeatureNegotiation {
  readonly offered: FeatureSet;
  #driverLow = 0;
  #driverHigh = 0;
  /** The driver wrote a bit above 63. */
  #driverBeyond = false;
  #agreed: FeatureSet | undefined;

  constructor(offered: FeatureSet) {
    this.offered = offered;
  }

  /** Features that both sides agreed on; none before {@link agree}. */
  get negotiated(): FeatureSet {
    return this.#agreed ?? FeatureSet.EMPTY;
  }

  /** @param select 0 for bits 31:0, 1 for bits 63:32, other values have no bits */
  readDevice(select: number): number {
    return select === 0 ? this.offered.low : select === 1 ? this.offered.high : 0;
  }

  readDriver(select: number): number {
    return select === 0 ? this.#driverLow : select === 1 ? this.#driverHigh : 0;
  }

  writeDriver(select: number, value: number): void {
    if (select === 0) this.#driverLow = value >>> 0;
    else if (select === 1) this.#driverHigh = value >>> 0;
    else this.#driverBeyond ||= value !== 0;
  }

  /**
   * FEATURES_OK.
   *
   * @returns why the device does not accept what the driver wrote; undefined when it does
   */
  agree(): string | undefined {
    const driver = this.#driver;
    if (this.#driverBeyond || !driver.isSubsetOf(this.offered)) {
      return 'FEATURES_OK with features that were not offered (§2.2)';
    }
    if (!driver.has(VIRTIO_F_VERSION_1)) return 'FEATURES_OK without VIRTIO_F_VERSION_1 (§6.1)';
    this.#agreed = driver;
    return undefined;
  }

  reset(): void {
    this.#driverLow = 0;
    this.#driverHigh = 0;
    this.#driverBeyond = false;
    this.#agreed = undefined;
  }

  save(): NegotiationState {
    return {
      offeredLow: this.offered.low,
      offeredHigh: this.offered.high,
      driverLow: this.#driverLow,
      driverHigh: this.#driverHigh,
      driverBeyond: this.#driverBeyond,
      negotiated: this.#agreed !== undefined,
    };
  }

  /** @throws VirtioDeviceError `INVALID_STATE` when the driver uses what is not offered here */
  restore(state: NegotiationState): void {
    const driver = new FeatureSet(state.driverLow, state.driverHigh);
    if (state.negotiated && !driver.isSubsetOf(this.offered)) {
      const then = new FeatureSet(state.offeredLow, state.offeredHigh);
      throw new VirtioDeviceError(
        'INVALID_STATE',
        `the driver uses features ${driver.toString()} of ${then.toString()}, but ${this.offered.toString()} are offered here`,
      );
    }
    this.#driverLow = state.driverLow;
    this.#driverHigh = state.driverHigh;
    this.#driverBeyond = state.driverBeyond;
    this.#agreed = state.negotiated ? driver : undefined;
  }

  get #driver(): FeatureSet {
    return new FeatureSet(this.#driverLow, this.#driverHigh);
  }
}
