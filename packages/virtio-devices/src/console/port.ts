import type { DescriptorChain } from '@vmm/virtio-queue';
import { VirtioDeviceError } from '../errors.ts';
import { ByteQueue } from './byte-queue.ts';

/**
 * Takes what the guest wrote to a port: a copy, at most 64 KiB. When it answers a promise or false, the
 * guest's further output stays in the guest until the promise resolves or `resumeOutput()` is called; any other
 * answer means to go on. Throwing or rejecting puts the device into DEVICE_NEEDS_RESET.
 */
export type OutputSink = (bytes: Uint8Array) => unknown;

export interface ConsolePortOptions {
  /** What the guest finds as `/dev/virtio-ports/<name>`: 1 to 64 printable ASCII characters, no "/". */
  readonly name?: string;
  /** Whether the host's side is open from the beginning. Default true. */
  readonly open?: boolean;
  readonly onOutput?: OutputSink;
  /** The guest opened or closed its side. */
  readonly onGuestOpen?: (open: boolean) => void;
}

export interface ConsolePortStatistics {
  /** Bytes that the guest received. */
  readonly inputBytes: number;
  /** Bytes that the guest sent. */
  readonly outputBytes: number;
}

/**
 * The host's side of a console port.
 *
 * Input waits in the port until the guest has opened its side and takes it. Output waits in the guest while
 * the sink asks for it; without a sink it is dropped.
 */
export interface ConsolePort {
  /** 0 is the console. */
  readonly id: number;
  readonly name: string | undefined;
  /** The host's side is open: `write()` is possible. */
  readonly hostOpen: boolean;
  /** A process of the guest (or, for the console, its driver) has the port open. */
  readonly guestOpen: boolean;
  /** Bytes that the guest has not taken. */
  readonly bufferedBytes: number;
  readonly statistics: ConsolePortStatistics;
  /** Takes the guest's output. Set it before the guest starts to miss nothing. */
  onOutput: OutputSink | undefined;
  onGuestOpen: ((open: boolean) => void) | undefined;

  /**
   * Sends bytes to the guest; a copy is kept until the guest takes them.
   *
   * @returns false when as much waits as should: go on after `drained()`
   * @throws VirtioDeviceError `PORT_CLOSED`
   */
  write(bytes: Uint8Array): boolean;

  /** Resolves when `write()` would answer true; also when what waits was dropped. */
  drained(): Promise<void>;

  /** Lets output flow again after the sink answered false. */
  resumeOutput(): void;

  /**
   * Opens the host's side again after `close()` was done.
   *
   * @throws VirtioDeviceError `WRONG_STATE` while it is being closed
   */
  open(): void;

  /**
   * Closes the host's side: no more can be written, and when the guest has read everything, reading gives
   * it end-of-file. Resolves when the guest was told, or is gone. A console without F_MULTIPORT has no
   * end-of-file: there it resolves when everything was read.
   *
   * @param options `discard`: do not wait for the guest to read what waits
   */
  close(options?: { readonly discard?: boolean }): Promise<void>;
}

/** What a port asks of its device. */
export interface PortHost {
  /** There may be something to deliver. */
  inputChanged(port: Port): void;
  /** The sink takes output again. */
  outputResumed(port: Port): void;
  /** The host's side was opened or is to be closed. */
  openChanged(port: Port): void;
}

/** A port with what its device keeps about it. */
export class Port implements ConsolePort {
  readonly id: number;
  readonly name: string | undefined;
  onOutput: OutputSink | undefined;
  onGuestOpen: ((open: boolean) => void) | undefined;

  readonly input: ByteQueue = new ByteQueue();
  /** Receive chains that were popped and are not used, oldest first. */
  readonly stock: DescriptorChain[] = [];
  /** Most receive chains that the driver ever lent at once. */
  capacity = 0;
  /** The transmit chain whose first `outputDone` bytes the sink has. */
  outputChain: DescriptorChain | undefined;
  outputDone = 0;
  outputPaused = false;
  /** The driver answered PORT_READY. */
  ready = false;
  /** What the driver was told last. */
  announcedOpen = false;
  /** Messages that the driver has to be sent. */
  readonly due = { add: false, console: false, name: false, size: false };
  /** The driver was sent PORT_ADD. */
  added = false;
  inputBytes = 0;
  outputBytes = 0;

  readonly #host: PortHost;
  readonly #inputLimit: number;
  #hostOpen: boolean;
  #guestOpen = false;
  #discard = false;
  #closing: { readonly promise: Promise<void>; readonly resolve: () => void } | undefined;
  #drained: { readonly promise: Promise<void>; readonly resolve: () => void } | undefined;

  constructor(id: number, options: ConsolePortOptions, inputLimit: number, host: PortHost) {
    this.id = id;
    this.name = options.name;
    this.onOutput = options.onOutput;
    this.onGuestOpen = options.onGuestOpen;
    this.#host = host;
    this.#inputLimit = inputLimit;
    this.#hostOpen = options.open ?? true;
  }

  get hostOpen(): boolean {
    return this.#hostOpen && this.#closing === undefined;
  }

  get guestOpen(): boolean {
    return this.#guestOpen;
  }

  get bufferedBytes(): number {
    return this.input.size;
  }

  get statistics(): ConsolePortStatistics {
    return { inputBytes: this.inputBytes, outputBytes: this.outputBytes };
  }

  write(bytes: Uint8Array): boolean {
    if (!this.hostOpen) throw new VirtioDeviceError('PORT_CLOSED', `port ${this.id} is closed`);
    this.input.push(bytes);
    this.#host.inputChanged(this);
    return this.input.size < this.#inputLimit;
  }

  drained(): Promise<void> {
    if (this.input.size < this.#inputLimit) return Promise.resolve();
    this.#drained ??= deferred();
    return this.#drained.promise;
  }

  resumeOutput(): void {
    if (!this.outputPaused) return;
    this.outputPaused = false;
    this.#host.outputResumed(this);
  }

  open(): void {
    if (this.#closing !== undefined) {
      throw new VirtioDeviceError('WRONG_STATE', `port ${this.id} is being closed: wait for close()`);
    }
    if (this.#hostOpen) return;
    this.#hostOpen = true;
    this.#host.openChanged(this);
  }

  close(options: { readonly discard?: boolean } = {}): Promise<void> {
    if (!this.#hostOpen) return Promise.resolve();
    this.#closing ??= deferred();
    const { promise } = this.#closing;
    if (options.discard === true) {
      this.#discard = true;
      this.dropInput();
    }
    this.#host.openChanged(this);
    return promise;
  }

  /** `close()` was called and is not done. */
  get closing(): boolean {
    return this.#closing !== undefined;
  }

  /** Nothing is left that the guest has to read before it may be told of the end. */
  get readToEnd(): boolean {
    if (this.input.size > 0) return false;
    // A driver gives each receive buffer back when its bytes were read (or when its side was closed).
    return this.#discard || !this.#guestOpen || this.stock.length >= this.capacity;
  }

  /** What the driver should be told of the host's side. */
  get shouldAnnounceOpen(): boolean {
    return this.#hostOpen && !(this.closing && this.readToEnd);
  }

  finishClose(): void {
    const closing = this.#closing;
    if (closing === undefined) return;
    this.#closing = undefined;
    this.#discard = false;
    this.#hostOpen = false;
    closing.resolve();
  }

  setGuestOpen(open: boolean): void {
    if (open === this.#guestOpen) return;
    this.#guestOpen = open;
    this.onGuestOpen?.(open);
  }

  /** Bytes left the input queue. */
  inputMoved(): void {
    if (this.#drained === undefined || this.input.size >= this.#inputLimit) return;
    this.#drained.resolve();
    this.#drained = undefined;
  }

  dropInput(): void {
    this.input.clear();
    this.inputMoved();
  }

  /** The driver is gone. */
  forgetDriver(): void {
    this.forgetReceiveQueue();
    this.forgetTransmitQueue();
    this.added = false;
    this.ready = false;
    this.announcedOpen = false;
    this.due.add = this.due.console = this.due.name = this.due.size = false;
    this.setGuestOpen(false);
  }

  forgetReceiveQueue(): void {
    this.stock.length = 0;
    this.capacity = 0;
  }

  forgetTransmitQueue(): void {
    this.outputChain = undefined;
    this.outputDone = 0;
  }

  restoreOpen(hostOpen: boolean, guestOpen: boolean): void {
    this.#hostOpen = hostOpen;
    this.#guestOpen = guestOpen;
  }
}

function deferred(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve: () => void = () => undefined;
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
