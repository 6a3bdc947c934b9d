import type { DescriptorChain } from '@vmm/virtio-queue';
import type { ActivateContext, VirtioDevice } from '../device.ts';
import { drainQueue, MAX_QUEUE_SIZE } from '../drain.ts';
import { checkOption, messageOf, VirtioDeviceError } from '../errors.ts';
import { FeatureSet } from '../features.ts';
import type { RateLimiter } from '../rate-limiter.ts';
import { VIRTIO_ID_NET } from '../virtio.ts';
import type { NetBackend, NetBackendClient } from './backend.ts';
import { NetConfig } from './config.ts';
import * as net from './constants.ts';
import { type ControlTarget, runControl } from './control.ts';
import { FILTER_VLAN, ReceiveFilter } from './filter.ts';
import { parseMac, randomMac } from './mac.ts';
import { isGuestOffloads, offeredOffloads, usableOffloads } from './offloads.ts';
import { readNetState, type VirtioNetState } from './state.ts';
import type { VirtioNetOptions, VirtioNetStatistics } from './options.ts';
import { ReceiveBuffers } from './receive-buffers.ts';
import { Receiver } from './receiver.ts';
import { TransmitBatch } from './transmit-batch.ts';
import { Transmitter } from './transmitter.ts';

const CONTROL_QUEUE_SIZE = 64;

interface QueuePair {
  readonly index: number;
  readonly buffers: ReceiveBuffers;
  readonly batch: TransmitBatch;
}

/**
 * Network device, VIRTIO 1.3 §5.1.
 *
 * Frames to the guest stay with the backend until the driver has lent buffers; frames from the guest stay in
 * the guest while the backend takes none.
 */
export class VirtioNet implements VirtioDevice, NetBackendClient {
  readonly type: number = VIRTIO_ID_NET;
  readonly name: string = 'net';
  readonly features: FeatureSet;
  readonly queueSizes: readonly number[];
  readonly backend: NetBackend;
  readonly #maximumPairs: number;
  readonly #config: NetConfig;
  readonly #filter: ReceiveFilter;
  readonly #receiveLimiter: RateLimiter | undefined;
  readonly #transmitLimiter: RateLimiter | undefined;
  readonly #receiver: Receiver;
  readonly #transmitter: Transmitter;
  readonly #onError: VirtioNetOptions['onError'];
  #context: ActivateContext | undefined;
  #pairs: QueuePair[] = [];
  #activePairs = 1;
  #guestOffloads: FeatureSet = FeatureSet.EMPTY;
  /** What `restore()` read, until `activate()` uses it. */
  #restored: VirtioNetState | undefined;
  /** The driver is to announce the guest when it goes on: it may be in another place of the network. */
  #announceDue = false;
  #linkUp: boolean;
  #carrier = true;
  #paused = false;
  readonly #counters = {
    receivedFrames: 0,
    receivedBytes: 0,
    receiveFiltered: 0,
    receiveTooLarge: 0,
    transmittedFrames: 0,
    transmittedBytes: 0,
    transmitDropped: 0,
    controlCommands: 0,
    controlErrors: 0,
  };
  readonly #control: ControlTarget;

  /** @throws VirtioDeviceError `INVALID_OPTION`, `WRONG_STATE` when the backend is another device's */
  constructor(options: VirtioNetOptions) {
    const { backend, offloads = true, mergeable = true } = options;
    const most = Math.min(16, backend.maximumQueuePairs);
    this.#maximumPairs = checkOption('queuePairs', options.queuePairs ?? 1, 1, most);
    const queueSize = checkOption('queueSize', options.queueSize ?? 256, 4, MAX_QUEUE_SIZE);
    this.backend = backend;
    this.#onError = options.onError;
    this.#linkUp = options.linkUp ?? true;
    this.#receiveLimiter = options.receiveLimiter;
    this.#transmitLimiter = options.transmitLimiter;
    this.#receiver = new Receiver(backend, options.receiveLimiter, this.#counters);
    this.#transmitter = new Transmitter(backend, options.transmitLimiter, this.#counters, this);
    const mac = options.mac === undefined ? randomMac() : parseMac(options.mac);
    this.#filter = new ReceiveFilter(mac);
    this.queueSizes = [
      ...new Array<number>(2 * this.#maximumPairs).fill(queueSize),
      Math.min(CONTROL_QUEUE_SIZE, queueSize),
    ];
    const mtu = options.mtu ?? backend.mtu;
    const { speed } = options;
    this.#config = new NetConfig(this.#maximumPairs, mtu, speed);
    this.#config.setMac(mac);
    this.#config.setLinkUp(this.linkUp);
    const bits = [
      net.VIRTIO_NET_F_MAC,
      net.VIRTIO_NET_F_STATUS,
      net.VIRTIO_NET_F_CTRL_VQ,
      net.VIRTIO_NET_F_CTRL_RX,
      net.VIRTIO_NET_F_CTRL_RX_EXTRA,
      net.VIRTIO_NET_F_CTRL_VLAN,
      net.VIRTIO_NET_F_CTRL_MAC_ADDR,
      net.VIRTIO_NET_F_GUEST_ANNOUNCE,
    ];
    if (mergeable) bits.push(net.VIRTIO_NET_F_MRG_RXBUF);
    if (mtu !== undefined) bits.push(net.VIRTIO_NET_F_MTU);
    if (speed !== undefined) bits.push(net.VIRTIO_NET_F_SPEED_DUPLEX);
    if (this.#maximumPairs > 1) bits.push(net.VIRTIO_NET_F_MQ);
    this.features = FeatureSet.of(...bits).union(
      offloads ? offeredOffloads(backend.offloads) : FeatureSet.EMPTY,
    );
    this.#control = {
      filter: this.#filter,
      macChanged: () => this.#config.setMac(this.#filter.mac),
      setQueuePairs: (pairs) => this.#setQueuePairs(pairs),
      setGuestOffloads: (low, high) => this.#setGuestOffloads(new FeatureSet(low, high)),
      announceAcknowledged: () => void this.#config.setAnnounce(false),
    };
    if (options.receiveLimiter !== undefined) {
      options.receiveLimiter.onReady = (): void => this.#forEachPair((pair) => this.#receive(pair));
    }
    if (options.transmitLimiter !== undefined) {
      options.transmitLimiter.onReady = (): void => this.#forEachPair((pair) => this.#transmit(pair));
    }
    backend.attach(this);
    backend.guestAddress?.(mac.slice());
  }

  /** The address that the guest has now, 6 bytes; a copy. */
  get mac(): Uint8Array {
    return this.#filter.mac.slice();
  }

  /** The owner set the link up, and the backend has a carrier. */
  get linkUp(): boolean {
    return this.#linkUp && this.#carrier;
  }

  /** Queue pairs that the driver uses. */
  get activeQueuePairs(): number {
    return this.#activePairs;
  }

  get configGeneration(): number {
    return this.#config.generation;
  }

  get statistics(): VirtioNetStatistics {
    const result = { ...this.#counters };
    for (const { buffers, batch } of this.#pairs) {
      result.receiveFiltered += buffers.filtered;
      result.receiveTooLarge += buffers.tooLarge;
      result.transmitDropped += batch.dropped;
    }
    return result;
  }

  /** Connects or disconnects the cable. While the link is down frames of the guest's are dropped. */
  setLink(up: boolean): void {
    if (up === this.#linkUp) return;
    this.#linkUp = up;
    this.#linkChanged();
    this.backend.linkChanged?.(up);
  }

  /** Has the guest tell the network where it is (VIRTIO_NET_S_ANNOUNCE), for switches that learned otherwise. */
  announce(): void {
    if (this.#context?.features.has(net.VIRTIO_NET_F_GUEST_ANNOUNCE) !== true) return;
    if (this.#config.setAnnounce(true)) this.#configChanged();
  }

  configRead(offset: number, length: 1 | 2 | 4): number {
    return this.#config.read(offset, length);
  }

  activate(context: ActivateContext): void {
    const restored = this.#restored;
    this.#restored = undefined;
    this.#announceDue = restored !== undefined;
    this.#context = context;
    const { features, memory } = context;
    const mergeable = features.has(net.VIRTIO_NET_F_MRG_RXBUF);
    this.#pairs = Array.from({ length: this.#maximumPairs }, (_, index) => ({
      index,
      buffers: new ReceiveBuffers(memory, this.#filter, mergeable),
      batch: new TransmitBatch(memory),
    }));
    if (restored === undefined) {
      this.#guestOffloads = usableOffloads(features);
      this.#activePairs = 1;
      this.#filter.setMode(FILTER_VLAN, features.has(net.VIRTIO_NET_F_CTRL_VLAN));
    } else {
      const offloads = new FeatureSet(restored.guestOffloadsLow, restored.guestOffloadsHigh);
      this.#guestOffloads = offloads.intersection(usableOffloads(features));
      this.#activePairs = restored.queuePairs;
    }
    this.#configure();
  }

  notify(queueIndex: number): void {
    const context = this.#context;
    if (context === undefined || this.#paused) return;
    const { features } = context;
    // Without F_MQ the driver knows one pair only, and the control queue comes after that (§5.1.2).
    const pairs = features.has(net.VIRTIO_NET_F_MQ) ? this.#maximumPairs : 1;
    if (queueIndex === 2 * pairs) {
      if (features.has(net.VIRTIO_NET_F_CTRL_VQ)) drainQueue(context, queueIndex, this.#command);
      return;
    }
    const pair = queueIndex < 2 * pairs ? this.#pairs[queueIndex >> 1] : undefined;
    if (pair === undefined) return;
    if ((queueIndex & 1) === 0) this.#receive(pair);
    else this.#transmit(pair);
  }

  reset(): void {
    this.#keepCounters();
    this.#context = undefined;
    this.#pairs = [];
    this.#activePairs = 1;
    this.#guestOffloads = FeatureSet.EMPTY;
    this.#filter.reset();
    this.#config.setMac(this.#filter.mac);
    this.#config.setAnnounce(false);
    this.#announceDue = false;
    this.#receiveLimiter?.cancel();
    this.#transmitLimiter?.cancel();
    this.backend.configure(undefined);
  }

  queueReset(queueIndex: number): void {
    const pair = this.#pairs[queueIndex >> 1];
    if (pair === undefined) return;
    if ((queueIndex & 1) === 0) pair.buffers.clear();
    else pair.batch.clear();
  }

  /** Buffers and frames that were taken and not used go back to the driver's queues. */
  pause(): void {
    this.#paused = true;
    for (const { index, buffers, batch } of this.#pairs) {
      const receive = this.#context?.queues[2 * index];
      for (let i = buffers.end - 1; i >= buffers.begin; i--) receive?.undoPop(buffers.chain(i));
      buffers.clear();
      const transmit = this.#context?.queues[2 * index + 1];
      for (let i = batch.end - 1; i >= batch.begin; i--) transmit?.undoPop(batch.chain(i));
      batch.clear();
    }
  }

  resume(): void {
    this.#paused = false;
    if (this.#announceDue) this.announce();
    this.#announceDue = false;
  }

  save(): VirtioNetState {
    return {
      version: 1,
      mac: this.#filter.initialMac.slice(),
      filter: this.#filter.bytes.slice(),
      linkUp: this.#linkUp,
      queuePairs: this.#activePairs,
      maximumQueuePairs: this.#maximumPairs,
      guestOffloadsLow: this.#guestOffloads.low,
      guestOffloadsHigh: this.#guestOffloads.high,
      receiveLimiter: this.#receiveLimiter?.save() ?? null,
      transmitLimiter: this.#transmitLimiter?.save() ?? null,
    };
  }

  /** The saved device's address replaces this one's. A driver that is there is asked to announce itself. */
  restore(state: unknown): void {
    const restored = readNetState(state, this.#maximumPairs);
    if (restored.receiveLimiter !== null) this.#receiveLimiter?.restore(restored.receiveLimiter);
    if (restored.transmitLimiter !== null) this.#transmitLimiter?.restore(restored.transmitLimiter);
    this.#restored = restored;
    this.#filter.restore(restored.mac, restored.filter);
    this.backend.guestAddress?.(restored.mac.slice());
    this.#config.setMac(this.#filter.mac);
    this.#linkUp = restored.linkUp;
    this.#config.setLinkUp(this.linkUp);
  }

  /** For the backend. */
  readable(pair: number): void {
    const entry = this.#pairs[pair];
    if (entry !== undefined) this.#guarded(() => this.#receive(entry));
  }

  /** For the backend. */
  writable(pair: number): void {
    const entry = this.#pairs[pair];
    if (entry !== undefined) this.#guarded(() => this.#transmit(entry));
  }

  /** For the backend. */
  carrier(up: boolean): void {
    if (up === this.#carrier) return;
    this.#carrier = up;
    this.#linkChanged();
  }

  /** For the backend. */
  failed(cause: unknown): void {
    this.carrier(false);
    this.#onError?.(
      new VirtioDeviceError('IO_ERROR', `${this.backend.description}: ${messageOf(cause)}`, { cause }),
    );
  }

  #receive({ index, buffers }: QueuePair): void {
    const context = this.#context;
    if (context === undefined || this.#paused || !this.linkUp || index >= this.#activePairs) return;
    this.#receiver.run(context, index, buffers);
  }

  #transmit({ index, batch }: QueuePair): void {
    if (this.#context !== undefined && !this.#paused) this.#transmitter.run(this.#context, index, batch);
  }

  readonly #command = (chain: DescriptorChain): number => {
    this.#counters.controlCommands++;
    const { writer } = chain;
    if (writer.size === 0) throw new Error('a control command without room for its answer (§5.1.6.5)');
    const context = this.#context;
    const ok = context !== undefined && runControl(chain, context.features, this.#control);
    if (!ok) this.#counters.controlErrors++;
    writer.writeUint8(ok ? net.VIRTIO_NET_OK : net.VIRTIO_NET_ERR);
    return 1;
  };

  #setQueuePairs(pairs: number): boolean {
    if (pairs < 1 || pairs > this.#maximumPairs) return false;
    const added = pairs > this.#activePairs;
    this.#activePairs = pairs;
    this.#configure();
    if (added) this.#forEachPair(({ index }) => this.#context?.renotify(2 * index));
    return true;
  }

  #setGuestOffloads(offloads: FeatureSet): boolean {
    const features = this.#context?.features ?? FeatureSet.EMPTY;
    if (!isGuestOffloads(offloads) || !offloads.isSubsetOf(features)) return false;
    this.#guestOffloads = usableOffloads(offloads);
    this.#configure();
    return true;
  }

  #configure(): void {
    const dataValid = this.#guestOffloads.has(net.VIRTIO_NET_F_GUEST_CSUM);
    for (const { buffers } of this.#pairs) buffers.dataValid = dataValid;
    this.backend.configure({ guestOffloads: this.#guestOffloads, queuePairs: this.#activePairs });
  }

  #linkChanged(): void {
    if (this.#config.setLinkUp(this.linkUp)) this.#configChanged();
    if (this.linkUp) this.#forEachPair(({ index }) => this.#context?.renotify(2 * index));
  }

  #configChanged(): void {
    if (this.#context?.features.has(net.VIRTIO_NET_F_STATUS) === true) this.#context.interrupt.config();
  }

  #forEachPair(action: (pair: QueuePair) => void): void {
    for (const pair of this.#pairs) this.#guarded(() => action(pair));
  }

  /** For calls that are not the transport's: what is thrown must not reach the event loop. */
  #guarded(action: () => void): void {
    try {
      action();
    } catch (cause) {
      this.#context?.interrupt.needsReset(messageOf(cause), cause);
    }
  }

  #keepCounters(): void {
    const { receiveFiltered, receiveTooLarge, transmitDropped } = this.statistics;
    Object.assign(this.#counters, { receiveFiltered, receiveTooLarge, transmitDropped });
  }
}
