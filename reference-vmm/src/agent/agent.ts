import type { Duplex } from 'node:stream';
import { VmmError } from '../errors.ts';
import { FRAME } from './frames.ts';
import { type ExecOptions, GuestProcess } from './guest-process.ts';
import { type AgentInfo, encodeClock, encodeNetwork } from './messages.ts';
import { Session } from './session.ts';
import { type TreeItem, type TreeSource, ask, getTree, putTree } from './transfers.ts';

/** What an operation may be left by. */
export interface Abortable {
  readonly signal?: AbortSignal;
}

export interface NetworkSetUp {
  /** E.g. `eth0`. */
  readonly device: string;
  /** IPv4. */
  readonly address: string;
  /** Bits of the network, 0 to 32. */
  readonly prefix: number;
  /** Of the default route. Default none. */
  readonly gateway?: string;
}

const MAX_ENTROPY = 4096;

/**
 * The guest's agent at the other end of a byte stream, which it shares with nothing else; `agent/protocol.md` is the protocol.
 *
 * The agent is the guest's, and not trusted: the first violation of the protocol ends the connection, everything that is open
 * fails with VmmError `AGENT_LOST`, and the VM goes on.
 */
export class Agent implements AsyncDisposable {
  readonly #session: Session;

  private constructor(stream: Duplex) {
    this.#session = new Session(stream);
  }

  /** Starts a session; commands and requests may follow at once. The stream is destroyed with the session. */
  static attach(stream: Duplex): Agent {
    return new Agent(stream);
  }

  /** The session is over, with the reason. Never rejects. */
  get closed(): Promise<Error> {
    return this.#session.closed;
  }

  /** Why the session is over, when it is. */
  get failure(): Error | undefined {
    return this.#session.failure;
  }

  /**
   * Resolves when the agent has answered.
   *
   * @throws VmmError `NO_AGENT`, `AGENT_LOST`, the signal's reason
   */
  async ready(signal?: AbortSignal): Promise<AgentInfo> {
    signal?.throwIfAborted();
    const info = await new Promise<AgentInfo | undefined>((resolve, reject) => {
      const leave = (): void => reject(signal?.reason as Error);
      signal?.addEventListener('abort', leave, { once: true });
      void this.#session.opened.then((opened) => {
        signal?.removeEventListener('abort', leave);
        resolve(opened);
      });
    });
    if (info === undefined) throw this.#session.failure ?? new VmmError('AGENT_LOST', 'the session is over');
    return info;
  }

  /**
   * Runs a command, without a shell.
   *
   * @throws VmmError `INVALID_REQUEST` for what cannot be sent; everything else is in `exit` of the answer
   */
  exec(argv: readonly string[], options?: ExecOptions): GuestProcess {
    return new GuestProcess(this.#session, argv, options);
  }

  /**
   * Writes files, directories and links below an existing directory of the guest; what is there is replaced, except for
   * directories. Owners are kept when the agent is root.
   *
   * @throws VmmError `GUEST_ERROR`, `AGENT_LOST`, `INVALID_REQUEST`, the signal's reason: what was written before stays
   */
  async put(
    directory: string,
    entries: AsyncIterable<TreeSource> | Iterable<TreeSource>,
    options: Abortable = {},
  ): Promise<void> {
    await putTree(this.#session, directory, entries, options.signal);
  }

  /**
   * Reads a file or a tree of the guest. Paths are relative to the parent of `path`, and checked; whoever writes them to a disk
   * still has to see to it that no link among them is followed.
   *
   * @throws VmmError `GUEST_ERROR`, `AGENT_LOST`, `INVALID_REQUEST`, the signal's reason
   */
  get(path: string, options: Abortable = {}): AsyncGenerator<TreeItem, void, undefined> {
    return getTree(this.#session, path, options.signal);
  }

  /** Sets the guest's time of day. @param time milliseconds since the epoch, default now @throws VmmError `GUEST_ERROR` */
  async setClock(time: number = Date.now(), options: Abortable = {}): Promise<void> {
    await this.#ask("cannot set the guest's clock", FRAME.CLOCK, encodeClock(time), options);
  }

  /** Adds 1 to 4096 random bytes to the guest's entropy, and reseeds its generator. @throws VmmError `GUEST_ERROR` */
  async addEntropy(bytes: Uint8Array, options: Abortable = {}): Promise<void> {
    if (bytes.length === 0 || bytes.length > MAX_ENTROPY)
      throw new VmmError(
        'INVALID_REQUEST',
        `${bytes.length} bytes of entropy: 1 to ${MAX_ENTROPY} are possible`,
      );
    await this.#ask('cannot add entropy in the guest', FRAME.ENTROPY, bytes, options);
  }

  /** Sets an interface's address and route, and brings it up. @throws VmmError `GUEST_ERROR`, `INVALID_REQUEST` */
  async setNetwork(network: NetworkSetUp, options: Abortable = {}): Promise<void> {
    const { device, address, prefix, gateway } = network;
    const payload = encodeNetwork(device, address, prefix, gateway);
    await this.#ask(`cannot set up ${device} of the guest`, FRAME.NETWORK, payload, options);
  }

  /** Asks the guest to power off, or to reboot; resolves when the agent is about to. @throws VmmError `GUEST_ERROR` */
  async shutdown(options: Abortable & { readonly reboot?: boolean } = {}): Promise<void> {
    const payload = Uint8Array.of(options.reboot === true ? 1 : 0);
    await this.#ask('cannot shut the guest down', FRAME.SHUTDOWN, payload, options);
  }

  /** There and back. */
  async ping(options: Abortable = {}): Promise<void> {
    await this.#ask('no answer', FRAME.PING, new Uint8Array(0), options);
  }

  /** Ends the session for this reason: all that is open fails with it. */
  end(reason: Error): void {
    this.#session.end(reason);
  }

  /** Ends the session; commands that run get SIGHUP. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.end(new VmmError('AGENT_LOST', 'the connection to the guest was closed'));
    await this.closed;
  }

  async #ask(
    what: string,
    type: Parameters<Session['open']>[0],
    payload: Uint8Array,
    { signal }: Abortable,
  ): Promise<void> {
    await ask(this.#session, what, type, payload, signal);
  }
}
