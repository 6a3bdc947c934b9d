import type { DescriptorChain } from '@vmm/virtio-queue';
import { readConfigSpace } from '../config-space.ts';
import type { ActivateContext, VirtioDevice } from '../device.ts';
import { MAX_QUEUE_SIZE, PIECES_PER_TURN } from '../drain.ts';
import { checkOption, type VirtioDeviceError } from '../errors.ts';
import { FeatureSet } from '../features.ts';
import { hostTimer } from '../host-timer.ts';
import type { SetTimer } from '../rate-limiter.ts';
import { StateReader } from '../state.ts';
import { VIRTIO_ID_VSOCK } from '../virtio.ts';
import type { VsockConnection, VsockType } from './connection.ts';
import { ConnectionTable } from './connections.ts';
import {
  VIRTIO_VSOCK_F_SEQPACKET,
  VIRTIO_VSOCK_F_STREAM,
  VIRTIO_VSOCK_HEADER_SIZE,
  VIRTIO_VSOCK_OP_REQUEST,
  VIRTIO_VSOCK_OP_RST,
  VMADDR_CID_FIRST_GUEST,
  VMADDR_CID_HOST,
  VSOCK_EVENTQ,
  VSOCK_RXQ,
  VSOCK_TXQ,
} from './constants.ts';
import * as failures from './failures.ts';
import { VsockHeader } from './header.ts';
import { Listeners } from './listeners.ts';
import type {
  VirtioVsockOptions,
  VirtioVsockState,
  VirtioVsockStatistics,
  VsockConnectOptions,
  VsockHandler,
  VsockListener,
  VsockListenOptions,
} from './options.ts';
import { PacketSender } from './packet-sender.ts';
import { Peer } from './peer.ts';
import { Callbacks } from './peer-lists.ts';
import { typeNumber } from './peer-packets.ts';
import { ResetEvent } from './reset-event.ts';

/** Bytes of data from the guest after which the rest waits for the next turn of the event loop. */
const INPUT_PER_TURN = 1024 * 1024;
const MAX_TIMEOUT = 2 ** 31 - 1;

/** Socket device, VIRTIO 1.3 §5.10: connections between programs of the guest and the host. */
export class VirtioVsock implements VirtioDevice {
  readonly type: number = VIRTIO_ID_VSOCK;
  readonly name: string = 'vsock';
  readonly features: FeatureSet;
  readonly queueSizes: readonly number[];
  readonly guestCid: number;
  /** For connections: bytes of the buffer that the guest is told. */
  readonly bufferSize: number;
  readonly outputLimit: number;
  readonly closeTimeout: number;
  readonly setTimer: SetTimer;
  readonly #connectTimeout: number;
  readonly #maxConnections: number;
  readonly #onError: ((error: VirtioDeviceError) => void) | undefined;
  readonly #config = new Uint8Array(8);
  readonly #listeners = new Listeners();
  readonly #connections = new ConnectionTable();
  readonly #sender: PacketSender;
  readonly #callbacks = new Callbacks((peer, cause) => this.#handlerFailed(peer, cause));
  readonly #resetEvent = new ResetEvent();
  readonly #received = new VsockHeader();
  #context: ActivateContext | undefined;
  #paused = false;
  /** Inside of a method that flushes and tells at its end. */
  #busy = false;
  /** Packets of the guest wait until a reset was sent. */
  #inputBlocked = false;
  readonly #statistics = {
    accepted: 0,
    connected: 0,
    refused: 0,
    packetsFromGuest: 0,
    bytesFromGuest: 0,
    dropped: 0,
  };

  /** @throws VirtioDeviceError `INVALID_OPTION` */
  constructor(options: VirtioVsockOptions) {
    this.guestCid = checkOption('guestCid', options.guestCid, VMADDR_CID_FIRST_GUEST, 0xffff_fffe);
    this.#sender = new PacketSender(this.guestCid);
    this.bufferSize = checkOption('bufferSize', options.bufferSize ?? 262_144, 4096, 2 ** 30);
    this.outputLimit = checkOption('outputLimit', options.outputLimit ?? 262_144, 1, 2 ** 30);
    this.#maxConnections = checkOption('maxConnections', options.maxConnections ?? 1024, 1, 65_536);
    this.#connectTimeout = checkOption('connectTimeout', options.connectTimeout ?? 10_000, 1, MAX_TIMEOUT);
    this.closeTimeout = checkOption('closeTimeout', options.closeTimeout ?? 8_000, 1, MAX_TIMEOUT);
    this.setTimer = options.setTimer ?? hostTimer;
    this.#onError = options.onError;
    this.features = FeatureSet.of(
      VIRTIO_VSOCK_F_STREAM,
      ...((options.seqpacket ?? true) ? [VIRTIO_VSOCK_F_SEQPACKET] : []),
    );
    this.queueSizes = new Array<number>(3).fill(
      checkOption('queueSize', options.queueSize ?? 128, 1, MAX_QUEUE_SIZE),
    );
    new DataView(this.#config.buffer).setUint32(0, this.guestCid, true);
  }

  get statistics(): VirtioVsockStatistics {
    return {
      connections: this.#connections.size,
      ...this.#statistics,
      packetsToGuest: this.#sender.packets,
      bytesToGuest: this.#sender.bytes,
    };
  }

  /** The guest's driver is there. */
  get active(): boolean {
    return this.#context !== undefined;
  }

  /**
   * Connects to a program of the guest. A guest without driver yet has until the timeout to load it.
   *
   * @param port 0 to 2^32 - 2
   * @throws (rejects with) VirtioDeviceError `CONNECTION_REFUSED`, `TIMED_OUT`, `ABORTED`, `CONNECTION_RESET` when the
   *   guest's driver goes meanwhile, `TOO_MANY_CONNECTIONS`, `INVALID_ARGUMENT`
   */
  async connect(port: number, options: VsockConnectOptions = {}): Promise<VsockConnection> {
    failures.checkPort(port, 0xffff_fffe);
    const { signal } = options;
    const type = options.type ?? 'stream';
    const timeout = checkOption('timeout', options.timeout ?? this.#connectTimeout, 1, MAX_TIMEOUT);
    if (signal?.aborted === true) throw failures.aborted(port, signal);
    if (this.#context !== undefined && !takesType(this.#context, type)) throw failures.withoutType(type);
    if (this.#connections.size >= this.#maxConnections) {
      throw failures.tooManyConnections(this.#connections.size);
    }
    const peer = new Peer('host', type, this.#connections.ephemeralPort(), port, this);
    this.#connections.add(peer);
    const abort = (): void => peer.fail(failures.aborted(port, signal));
    signal?.addEventListener('abort', abort, { once: true });
    try {
      await new Promise<void>((resolve) => {
        peer.onOpen = resolve;
        peer.setTimeout(timeout, () => peer.fail(failures.noAnswerOfGuest(port, timeout)));
        peer.request();
      });
    } finally {
      signal?.removeEventListener('abort', abort);
    }
    if (peer.error !== undefined) throw peer.error;
    this.#statistics.connected++;
    return peer;
  }

  /**
   * Takes connections of the guest to a port.
   *
   * @param port 0 to 2^32 - 2, or VMADDR_PORT_ANY for all ports that nobody else listens on
   * @throws VirtioDeviceError `ADDRESS_IN_USE`, `INVALID_ARGUMENT`
   */
  listen(port: number, handler: VsockHandler, options: VsockListenOptions = {}): VsockListener {
    return this.#listeners.add(port, handler, options);
  }

  configRead(offset: number, length: 1 | 2 | 4): number {
    return readConfigSpace(this.#config, offset, length);
  }

  activate(context: ActivateContext): void {
    this.#context = context;
    this.#inputBlocked = false;
    this.#sender.startTurn(this.queueSizes[VSOCK_RXQ]!);
    for (const peer of this.#connections.all()) {
      if (!takesType(context, peer.type)) peer.fail(failures.withoutType(peer.type));
    }
  }

  notify(queueIndex: number): void {
    const context = this.#context;
    if (context === undefined || this.#paused) return;
    this.#run(() => {
      if (queueIndex === VSOCK_TXQ) this.#drain(context);
      else if (queueIndex === VSOCK_EVENTQ) this.#resetEvent.send(context);
      else this.#sender.startTurn(context.queues[VSOCK_RXQ]?.size ?? 0);
    });
  }

  reset(): void {
    this.#context = undefined;
    this.#resetEvent.due = false;
    this.#sender.clear();
    for (const peer of this.#connections.all()) {
      // What waits for the first driver may wait on.
      if (peer.state === 'connecting' && peer.requested) this.ready(peer);
      else peer.abandon(failures.driverGone());
    }
  }

  queueReset(): void {
    // No chain is kept between two notifications.
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    const context = this.#context;
    if (context !== undefined) this.#run(() => this.#resetEvent.send(context));
  }

  save(): VirtioVsockState {
    return { version: 1, resetDue: this.#resetEvent.due };
  }

  restore(state: unknown): void {
    const reader = new StateReader('vsock device state', state);
    reader.version(1);
    reader.boolean('resetDue');
    // The connections of the guest that was saved are not here (§5.10.6.7).
    this.#resetEvent.due = true;
  }

  /** For connections: there may be something to send. */
  ready(peer: Peer): void {
    this.#sender.add(peer);
    if (!this.#busy) this.#run(() => undefined);
  }

  /** For connections: there are callbacks to make. */
  tell(peer: Peer): void {
    this.#callbacks.add(peer);
  }

  /** For connections: this one is over. */
  gone(peer: Peer): void {
    this.#connections.remove(peer);
  }

  /** Does something, then sends what became due. */
  #run(task: () => void): void {
    if (this.#busy) {
      task();
      return;
    }
    this.#busy = true;
    try {
      task();
      this.#flush();
    } finally {
      this.#busy = false;
    }
  }

  #handlerFailed(peer: Peer, cause: unknown): void {
    const error = failures.handlerThrew(peer, cause);
    peer.fail(error);
    this.#onError?.(error);
  }

  /** Takes packets of the guest. */
  #drain(context: ActivateContext): void {
    const queue = context.queues[VSOCK_TXQ];
    if (queue === undefined) return;
    let chains = queue.size;
    let bytes = INPUT_PER_TURN;
    let pieces = PIECES_PER_TURN;
    do {
      queue.disableNotifications();
      while (chains > 0 && bytes > 0 && pieces > 0 && !this.#sender.full) {
        const chain = queue.pop();
        if (chain === null) break;
        pieces -= chain.length;
        bytes -= this.#receive(context, chain);
        chains--;
        queue.addUsed(chain, 0);
      }
      if (this.#sender.full) {
        this.#inputBlocked = true;
        break;
      }
      if (chains === 0 || bytes <= 0 || pieces <= 0) {
        context.renotify(VSOCK_TXQ);
        break;
      }
    } while (queue.enableNotifications());
    if (queue.needsInterrupt()) context.interrupt.queue(VSOCK_TXQ);
  }

  /** @returns bytes of data that were taken */
  #receive(context: ActivateContext, chain: DescriptorChain): number {
    const { reader } = chain;
    const header = this.#received;
    if (reader.remaining < VIRTIO_VSOCK_HEADER_SIZE) {
      this.#statistics.dropped++;
      return 0;
    }
    header.read(reader);
    if (header.sourceCid !== this.guestCid || header.sourceCidHigh !== 0) {
      this.#statistics.dropped++;
      return 0;
    }
    this.#statistics.packetsFromGuest++;
    const forHost = header.destinationCid === VMADDR_CID_HOST && header.destinationCidHigh === 0;
    const peer = forHost ? this.#connections.find(header.destinationPort, header.sourcePort) : undefined;
    if (header.operation === VIRTIO_VSOCK_OP_RST) {
      peer?.onReset();
      return 0;
    }
    if (peer === undefined) {
      if (!forHost || header.operation !== VIRTIO_VSOCK_OP_REQUEST || !this.#accept(context, header)) {
        this.#sender.reply(header);
      }
      return 0;
    }
    if (header.type !== typeNumber(peer.type)) {
      peer.breach(`a packet of type ${header.type}`);
      return 0;
    }
    if (header.length > reader.remaining) {
      peer.breach(`a packet of ${header.length} bytes that has ${reader.remaining}`);
      return 0;
    }
    const before = reader.position;
    peer.onPacket(header, reader);
    const taken = reader.position - before;
    this.#statistics.bytesFromGuest += taken;
    return taken;
  }

  /** @returns false when nobody takes the connection */
  #accept(context: ActivateContext, header: VsockHeader): boolean {
    const port = header.destinationPort;
    const listener = this.#listeners.find(port);
    if (
      listener === undefined ||
      header.type !== typeNumber(listener.type) ||
      !takesType(context, listener.type) ||
      this.#connections.size >= this.#maxConnections
    ) {
      this.#statistics.refused++;
      return false;
    }
    const peer = new Peer('guest', listener.type, port, header.sourcePort, this);
    peer.takeCredit(header);
    this.#connections.add(peer);
    peer.setTimeout(this.#connectTimeout, () => peer.fail(failures.noAnswerOfListener(peer)));
    peer.onOpen = () => this.#hand(peer, listener.handler);
    this.tell(peer);
    return true;
  }

  /** Gives a connection to its listener, and the listener's answer to the guest. */
  #hand(peer: Peer, handler: VsockHandler): void {
    if (peer.state !== 'connecting') return;
    const accept = (): void => {
      if (peer.state !== 'connecting') return;
      this.#statistics.accepted++;
      peer.accept();
    };
    const answer: unknown = handler(peer);
    if (isThenable(answer)) answer.then(accept, (cause: unknown) => this.#handlerFailed(peer, cause));
    else accept();
  }

  /** Sends what is due, as far as the driver lent buffers. */
  #flush(): void {
    const context = this.#context;
    if (context === undefined || this.#paused) return;
    this.#sender.send(context);
    if (this.#inputBlocked && !this.#sender.full) {
      this.#inputBlocked = false;
      context.renotify(VSOCK_TXQ);
    }
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function';
}

/** Whether the driver can have a connection of that type, §5.10.3. */
function takesType({ features }: ActivateContext, type: VsockType): boolean {
  return type === 'stream' || features.has(VIRTIO_VSOCK_F_SEQPACKET);
}
