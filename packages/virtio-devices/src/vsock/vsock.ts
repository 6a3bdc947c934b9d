import type { DescriptorChain, Queue } from '@vmm/virtio-queue';
import { readConfigSpace } from '../config-space.ts';
import type { ActivateContext, VirtioDevice } from '../device.ts';
import { checkOption, VirtioDeviceError } from '../errors.ts';
import { MAX_QUEUE_SIZE, PIECES_PER_TURN } from '../drain.ts';
import { FeatureSet } from '../features.ts';
import type { SetTimer } from '../rate-limiter.ts';
import { StateReader } from '../state.ts';
import { VIRTIO_ID_VSOCK } from '../virtio.ts';
import type { AbortSignalLike } from '../abort.ts';
import type { VsockConnection, VsockType } from './connection.ts';
import type {
  VirtioVsockOptions,
  VirtioVsockState,
  VirtioVsockStatistics,
  VsockConnectOptions,
  VsockHandler,
  VsockListener,
  VsockListenOptions,
} from './options.ts';
import { ConnectionTable } from './connections.ts';
import {
  VIRTIO_VSOCK_F_SEQPACKET,
  VIRTIO_VSOCK_F_STREAM,
  VIRTIO_VSOCK_HEADER_SIZE,
  VIRTIO_VSOCK_OP_REQUEST,
  VIRTIO_VSOCK_OP_RST,
  VIRTIO_VSOCK_TYPE_SEQPACKET,
  VIRTIO_VSOCK_TYPE_STREAM,
  VMADDR_CID_FIRST_GUEST,
  VMADDR_CID_HOST,
  VMADDR_PORT_ANY,
  VSOCK_EVENTQ,
  VSOCK_RXQ,
  VSOCK_TXQ,
} from './constants.ts';
import { VsockHeader } from './header.ts';
import { Peer } from './peer.ts';
import { Callbacks, SendTurns } from './peer-lists.ts';
import { ResetEvent } from './reset-event.ts';
import { ResetReplies } from './replies.ts';
import { hostTimer } from '../host-timer.ts';

/** Bytes of data from the guest after which the rest waits for the next turn of the event loop. */
const INPUT_PER_TURN = 1024 * 1024;
/** Resets for packets of no connection that may wait for buffers. */
const MAX_REPLIES = 256;
const MAX_TIMEOUT = 2 ** 31 - 1;

interface Listener {
  readonly type: VsockType;
  readonly handler: VsockHandler;
}

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
  readonly #listeners = new Map<number, Listener>();
  readonly #connections = new ConnectionTable();
  readonly #replies = new ResetReplies(MAX_REPLIES);
  readonly #turns = new SendTurns();
  readonly #callbacks = new Callbacks((peer, cause) => this.#handlerFailed(peer, cause));
  readonly #resetEvent = new ResetEvent();
  readonly #received = new VsockHeader();
  readonly #sent = new VsockHeader();
  #context: ActivateContext | undefined;
  #paused = false;
  /** Inside of a method that flushes and tells at its end. */
  #busy = false;
  /** Packets that may be sent in this turn. */
  #budget = 0;
  #inputBlocked = false;
  readonly #statistics = {
    accepted: 0,
    connected: 0,
    refused: 0,
    packetsFromGuest: 0,
    packetsToGuest: 0,
    bytesFromGuest: 0,
    bytesToGuest: 0,
    dropped: 0,
  };

  /** @throws VirtioDeviceError `INVALID_OPTION` */
  constructor(options: VirtioVsockOptions) {
    this.guestCid = checkOption('guestCid', options.guestCid, VMADDR_CID_FIRST_GUEST, 0xffff_fffe);
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
    return { connections: this.#connections.size, ...this.#statistics };
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
    checkPort(port, 0xffff_fffe);
    const { signal } = options;
    const type = options.type ?? 'stream';
    const timeout = checkOption('timeout', options.timeout ?? this.#connectTimeout, 1, MAX_TIMEOUT);
    if (signal?.aborted === true) throw aborted(port, signal);
    if (this.#connections.size >= this.#maxConnections) {
      throw new VirtioDeviceError(
        'TOO_MANY_CONNECTIONS',
        `vsock: there are ${this.#connections.size} connections, as many as may be`,
      );
    }
    const peer = new Peer('host', type, this.#connections.ephemeralPort(), port, this);
    this.#connections.add(peer);
    const abort = (): void => peer.fail(aborted(port, signal));
    signal?.addEventListener('abort', abort, { once: true });
    try {
      await new Promise<void>((resolve) => {
        peer.onOpen = resolve;
        peer.setTimeout(timeout, () =>
          peer.fail(
            new VirtioDeviceError('TIMED_OUT', `vsock port ${port}: no answer of the guest in ${timeout} ms`),
          ),
        );
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
    checkPort(port, VMADDR_PORT_ANY);
    if (this.#listeners.has(port)) {
      throw new VirtioDeviceError('ADDRESS_IN_USE', `vsock port ${port} is listened on already`);
    }
    const listener = { type: options.type ?? 'stream', handler };
    this.#listeners.set(port, listener);
    return {
      port,
      type: listener.type,
      [Symbol.dispose]: () => {
        if (this.#listeners.get(port) === listener) this.#listeners.delete(port);
      },
    };
  }

  configRead(offset: number, length: 1 | 2 | 4): number {
    return readConfigSpace(this.#config, offset, length);
  }

  activate(context: ActivateContext): void {
    this.#context = context;
    this.#budget = this.queueSizes[VSOCK_RXQ]!;
    this.#inputBlocked = false;
  }

  notify(queueIndex: number): void {
    const context = this.#context;
    if (context === undefined || this.#paused) return;
    this.#run(() => {
      if (queueIndex === VSOCK_TXQ) this.#drain(context);
      else if (queueIndex === VSOCK_EVENTQ) this.#resetEvent.send(context);
      else this.#budget = context.queues[VSOCK_RXQ]?.size ?? 0;
    });
  }

  reset(): void {
    this.#context = undefined;
    this.#resetEvent.due = false;
    this.#replies.clear();
    this.#turns.clear();
    for (const peer of this.#connections.all()) {
      // What waits for the first driver may wait on.
      if (peer.state === 'connecting' && peer.requested) this.ready(peer);
      else peer.abandon(new VirtioDeviceError('CONNECTION_RESET', "the guest's vsock driver is gone"));
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
    this.#turns.add(peer);
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
    const error = new VirtioDeviceError(
      'DEVICE_FAULT',
      `vsock: what uses the connection from port ${peer.peerPort} to port ${peer.localPort} threw`,
      { cause },
    );
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
      while (chains > 0 && bytes > 0 && pieces > 0 && !this.#replies.full) {
        const chain = queue.pop();
        if (chain === null) break;
        pieces -= chain.length;
        bytes -= this.#receive(context, chain);
        chains--;
        queue.addUsed(chain, 0);
      }
      if (this.#replies.full) {
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
        this.#replies.push(header);
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
    const listener = this.#listeners.get(port) ?? this.#listeners.get(VMADDR_PORT_ANY);
    if (
      listener === undefined ||
      header.type !== typeNumber(listener.type) ||
      (listener.type === 'seqpacket' && !context.features.has(VIRTIO_VSOCK_F_SEQPACKET)) ||
      this.#connections.size >= this.#maxConnections
    ) {
      this.#statistics.refused++;
      return false;
    }
    const peer = new Peer('guest', listener.type, port, header.sourcePort, this);
    peer.takeCredit(header);
    this.#connections.add(peer);
    peer.setTimeout(this.#connectTimeout, () =>
      peer.fail(new VirtioDeviceError('TIMED_OUT', `vsock port ${port}: the listener did not answer`)),
    );
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
    const queue = context?.queues[VSOCK_RXQ];
    if (context === undefined || queue === undefined || this.#paused) return;
    for (;;) {
      const peer = this.#turns.next();
      if (this.#replies.empty && peer === undefined) {
        // Buffers that come back are of no interest until there is something to put into them.
        queue.disableNotifications();
        break;
      }
      if (this.#budget === 0) {
        context.renotify(VSOCK_RXQ);
        break;
      }
      const chain = queue.pop();
      if (chain === null) {
        if (queue.enableNotifications()) continue;
        break;
      }
      if (chain.writableBytes <= VIRTIO_VSOCK_HEADER_SIZE) {
        context.interrupt.needsReset('a receive buffer has no room for a header and data (§5.10.6.1)');
        return;
      }
      this.#budget--;
      this.#send(queue, chain, peer);
    }
    if (queue.needsInterrupt()) context.interrupt.queue(VSOCK_RXQ);
    if (this.#inputBlocked && !this.#replies.full) {
      this.#inputBlocked = false;
      context.renotify(VSOCK_TXQ);
    }
  }

  #send(queue: Queue, chain: DescriptorChain, peer: Peer | undefined): void {
    const { writer } = chain;
    const header = this.#sent;
    if (!this.#replies.empty) {
      this.#replies.shift(header, this.guestCid);
      writer.write(header.bytes);
    } else if (peer !== undefined) {
      header.setAddresses(VMADDR_CID_HOST, 0, peer.localPort, this.guestCid, peer.peerPort);
      this.#statistics.bytesToGuest += peer.send(peer.nextOperation(), header, writer);
      this.#turns.pass();
    }
    this.#statistics.packetsToGuest++;
    queue.addUsed(chain, writer.position);
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function';
}

function typeNumber(type: VsockType): number {
  return type === 'stream' ? VIRTIO_VSOCK_TYPE_STREAM : VIRTIO_VSOCK_TYPE_SEQPACKET;
}

function checkPort(port: number, maximum: number): void {
  if (Number.isInteger(port) && port >= 0 && port <= maximum) return;
  throw new VirtioDeviceError(
    'INVALID_ARGUMENT',
    `a vsock port is an integer from 0 to ${maximum}, not ${port}`,
  );
}

function aborted(port: number, signal: AbortSignalLike | undefined): VirtioDeviceError {
  return new VirtioDeviceError('ABORTED', `connecting to vsock port ${port} was aborted`, {
    cause: signal?.reason,
  });
}
