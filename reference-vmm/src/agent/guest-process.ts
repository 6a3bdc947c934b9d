import type { Readable, Writable } from 'node:stream';
import { VmmError } from '../errors.ts';
import { ReceivingChannel, SendingChannel } from './channels.ts';
import { CHANNEL, FRAME, type Frame, violation } from './frames.ts';
import {
  type CommandExit,
  type ExecRequest,
  type TerminalSize,
  decodeCredit,
  decodeData,
  decodeEof,
  decodeError,
  decodeExit,
  encodeExec,
  encodeSignal,
  encodeSize,
} from './messages.ts';
import { type CommandOutput, type GuestCommand, collectOutput } from './output.ts';
import type { Conversation, Session } from './session.ts';

/** How a command of the guest is run. */
export interface ExecOptions {
  /** Added to the agent's environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** `env` is the whole environment. Default false. */
  readonly ownEnvironment?: boolean;
  /** Default: the user's home directory. */
  readonly cwd?: string;
  /** A name of the guest's /etc/passwd, `UID`, or `UID:GID`. Default: who the agent is, root. */
  readonly user?: string;
  /** A terminal of this size, `true` for 80 columns and 24 rows: standard output and error are then one. Default none. */
  readonly tty?: boolean | TerminalSize;
  /** Milliseconds after which the command's process group is killed, and `exit` rejects with `TIMED_OUT`. */
  readonly timeout?: number;
  /** Kills the command's process group; `exit` rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

const DEFAULT_SIZE: TerminalSize = { columns: 80, rows: 24 };

/**
 * A command in the guest. What is not read of its output makes it wait, and nothing else. Whoever listens to no errors of its
 * streams finds them in {@link exit}.
 */
export class GuestProcess implements GuestCommand {
  /** Its end is the command's end of input; closed without an error when the command takes no more. */
  readonly stdin: Writable;
  readonly stdout: Readable;
  /** Ends at once when the command has a terminal. */
  readonly stderr: Readable;
  /**
   * Settles when the command has ended, whether its output was read or not.
   *
   * Rejects with VmmError `GUEST_ERROR` when it could not be started (`cause.code` is that of the guest's system: `ENOENT`,
   * `EACCES`), `TIMED_OUT`, `NO_AGENT`, `AGENT_LOST`, or an AbortSignal's reason.
   */
  readonly exit: Promise<CommandExit>;

  readonly #session: Session;
  readonly #name: string;
  readonly #input: SendingChannel;
  readonly #output: ReceivingChannel;
  readonly #errors: ReceivingChannel;
  readonly #signal: AbortSignal | undefined;
  #stream = 0;
  #timer: NodeJS.Timeout | undefined;
  #inputRefused = false;
  #exited = false;
  #settled = false;
  #resolve: (exit: CommandExit) => void = () => undefined;
  #reject: (reason: unknown) => void = () => undefined;

  /**
   * Use `Agent.exec`. What cannot be sent at all is thrown; what fails afterwards is in {@link exit}.
   *
   * @throws VmmError `INVALID_REQUEST`
   */
  constructor(session: Session, argv: readonly string[], options: ExecOptions = {}) {
    this.#session = session;
    this.#name = argv[0] ?? '';
    const tty = options.tty === true ? DEFAULT_SIZE : options.tty === false ? undefined : options.tty;
    const request: ExecRequest = {
      argv,
      env: options.env ?? {},
      ownEnvironment: options.ownEnvironment ?? false,
      cwd: options.cwd ?? '',
      user: options.user ?? '',
      tty,
    };
    const payload = encodeExec(request);
    this.stdin = this.#input = new SendingChannel(
      (bytes) => this.#send(FRAME.DATA, Uint8Array.of(CHANNEL.stdin), bytes),
      () => this.#send(FRAME.EOF, Uint8Array.of(CHANNEL.stdin)),
    );
    this.stdout = this.#output = this.#receiving(CHANNEL.stdout);
    this.stderr = this.#errors = this.#receiving(CHANNEL.stderr);
    if (tty !== undefined) this.#errors.finish();
    this.exit = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // Whoever asks for it gets it.
    this.exit.catch(() => undefined);
    this.#signal = options.signal;
    if (this.#signal?.aborted === true) {
      this.#fail(this.#signal.reason);
      return;
    }
    try {
      session.open(FRAME.EXEC, payload, (stream) => {
        this.#stream = stream;
        return this.#conversation;
      });
    } catch (error) {
      this.#fail(error);
      return;
    }
    this.#signal?.addEventListener('abort', this.#aborted, { once: true });
    if (options.timeout !== undefined) this.#timer = setTimeout(() => this.#late(), options.timeout);
  }

  /**
   * Sends a signal to the command's process group, and to what is in the foreground of its terminal. No effect when it has ended.
   *
   * @throws VmmError `INVALID_REQUEST` for what is no signal
   */
  kill(signal: NodeJS.Signals | number = 'SIGTERM'): void {
    this.#send(FRAME.SIGNAL, encodeSignal(signal));
  }

  /** Tells the command's terminal its size. @throws VmmError `INVALID_REQUEST` */
  resize(size: TerminalSize): void {
    this.#send(FRAME.RESIZE, encodeSize(size));
  }

  /**
   * Reads all output, as UTF-8, and waits for the end; standard input is ended.
   *
   * @throws what {@link exit} rejects with; VmmError `GUEST_ERROR` for more than 16 MiB of a stream
   */
  async output(): Promise<CommandOutput> {
    this.stdin.end();
    return await collectOutput(this, this.#name, (error) => this.#cancel(error));
  }

  #receiving(channel: number): ReceivingChannel {
    return new ReceivingChannel(
      (bytes) => this.#session.giveCredit(this.#stream, channel, bytes),
      () => this.#send(FRAME.EOF, Uint8Array.of(channel)),
    );
  }

  #send(type: Parameters<Session['send']>[0], ...payload: readonly Uint8Array[]): void {
    this.#session.send(type, this.#stream, ...payload);
  }

  readonly #conversation: Conversation = {
    receive: (frame) => this.#receive(frame),
    fail: (error) => this.#fail(error),
  };

  #receive({ type, payload }: Frame): boolean {
    switch (type) {
      case FRAME.DATA: {
        const { channel, bytes } = decodeData(payload);
        this.#outputOf(channel).receive(bytes);
        return false;
      }
      case FRAME.EOF: {
        const channel = decodeEof(payload);
        if (channel === CHANNEL.stdin) this.#refuseInput();
        else this.#outputOf(channel).finish();
        return this.#over;
      }
      case FRAME.CREDIT: {
        const { channel, bytes } = decodeCredit(payload);
        if (channel !== CHANNEL.stdin) throw violation('CREDIT of an output');
        this.#input.credit(bytes);
        return false;
      }
      case FRAME.EXIT: {
        if (this.#exited) throw violation('EXIT twice');
        const exit = decodeExit(payload);
        this.#exited = true;
        this.#input.refuse();
        this.#settle(() => this.#resolve(exit));
        return this.#over;
      }
      case FRAME.ERROR: {
        if (this.#exited) throw violation('ERROR after EXIT');
        this.#fail(decodeError(`cannot run ${this.#name} in the guest`, payload));
        return true;
      }
      default:
        throw violation(`a frame of type ${type} about a command`);
    }
  }

  get #over(): boolean {
    return this.#exited && this.#output.finished && this.#errors.finished;
  }

  #outputOf(channel: number): ReceivingChannel {
    if (channel === CHANNEL.stdout) return this.#output;
    if (channel === CHANNEL.stderr) return this.#errors;
    throw violation(`output channel ${channel}`);
  }

  #refuseInput(): void {
    if (this.#inputRefused) throw violation('EOF twice');
    this.#inputRefused = true;
    this.#input.refuse();
  }

  readonly #aborted = (): void => this.#cancel(this.#signal?.reason);

  #late(): void {
    this.#cancel(
      new VmmError('TIMED_OUT', `${this.#name} took longer than it may in the guest, and was killed`),
    );
  }

  /** The agent kills the process group; what it still sends is dropped. */
  #cancel(reason: unknown): void {
    if (!this.#exited) this.#send(FRAME.ABORT);
    this.#fail(reason);
  }

  #fail(reason: unknown): void {
    this.#settle(() => this.#reject(reason));
    const error = reason instanceof Error ? reason : new Error(String(reason));
    for (const stream of [this.#input, this.#output, this.#errors]) stream.destroy(error);
  }

  #settle(how: () => void): void {
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener('abort', this.#aborted);
    if (this.#settled) return;
    this.#settled = true;
    how();
  }
}
