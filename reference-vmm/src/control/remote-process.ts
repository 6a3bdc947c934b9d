import { constants } from 'node:os';
import type { Duplex, Readable, Writable } from 'node:stream';
import * as v from 'valibot';
import { ReceivingChannel, SendingChannel } from '../agent/channels.ts';
import type { ExecOptions } from '../agent/guest-process.ts';
import type { CommandExit } from '../agent/messages.ts';
import { type CommandOutput, type GuestCommand, collectOutput } from '../agent/output.ts';
import { VmmError, messageOf } from '../errors.ts';
import { remoteError } from './remote-error.ts';
import { CHANNEL, decodeChannel, decodeCredit, encodeChannel, encodeCredit } from './exec-frames.ts';
import { commandExitSchema, execRequest, execRequestSchema } from './exec-schema.ts';
import { FRAME_LIMIT, FrameParser, FrameType, decodeJson, encodeFrame, encodeJsonFrame } from './frames.ts';
import { type TerminalSize, controlErrorSchema, terminalSizeSchema } from './schema.ts';

/** A connection that carries frames. */
export interface FrameConnection {
  readonly socket: Duplex;
  /** What came behind the answer. */
  readonly head: Uint8Array;
}

const broken = (what: string): Error =>
  new VmmError('CONTROL_FAILED', `the VM does not keep to the protocol: ${what}`);

/**
 * A command in the guest of a VM in another process, of the shape of `GuestProcess`: what is not read of its output makes it
 * wait, and nothing else. It is killed with this process.
 */
export class RemoteProcess implements GuestCommand {
  /** Its end is the command's end of input; closed without an error when the command takes no more. */
  readonly stdin: Writable;
  readonly stdout: Readable;
  /** Ends at once when the command has a terminal. */
  readonly stderr: Readable;
  /**
   * Settles when the command has ended, whether its output was read or not.
   *
   * Rejects with VmmError `GUEST_ERROR` when it could not be started (`cause.code` is that of the guest's system: `ENOENT`,
   * `EACCES`), `TIMED_OUT`, `NO_AGENT`, `AGENT_LOST`, `WRONG_STATE`, `ENDED`, `CONTROL_FAILED`, or an AbortSignal's reason.
   */
  readonly exit: Promise<CommandExit>;

  readonly #name: string;
  readonly #signal: AbortSignal | undefined;
  readonly #parser = new FrameParser((type, payload) => this.#frame(type, payload));
  readonly #input: SendingChannel;
  readonly #outputs: Readonly<Record<1 | 2, ReceivingChannel>>;
  #socket: Duplex | undefined;
  /** Frames from before there was a connection: no more than the input's window and what was asked for. */
  #waiting: Uint8Array[] = [];
  #exited = false;
  #over = false;
  #resolve: (exit: CommandExit) => void = () => undefined;
  #reject: (reason: unknown) => void = () => undefined;

  /**
   * Use `ControlClient.exec`.
   *
   * @throws VmmError `INVALID_REQUEST` for what cannot be sent
   */
  constructor(
    connect: (signal: AbortSignal | undefined) => Promise<FrameConnection>,
    argv: readonly string[],
    options: ExecOptions = {},
  ) {
    this.#name = argv[0] ?? '';
    this.#signal = options.signal;
    const request = encodeRequest(argv, options);
    this.stdin = this.#input = new SendingChannel(
      (bytes) => this.#send(FrameType.stdin, bytes),
      () => this.#send(FrameType.eof, encodeChannel(CHANNEL.stdin)),
      broken,
    );
    this.#outputs = { 1: this.#receiving(CHANNEL.stdout), 2: this.#receiving(CHANNEL.stderr) };
    this.stdout = this.#outputs[1];
    this.stderr = this.#outputs[2];
    this.exit = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // Whoever asks for it gets it.
    this.exit.catch(() => undefined);
    this.#waiting.push(request);
    if (this.#signal?.aborted === true) {
      this.#fail(this.#signal.reason);
      return;
    }
    this.#signal?.addEventListener('abort', this.#aborted, { once: true });
    connect(this.#signal).then(
      (connection) => this.#connected(connection),
      (error: unknown) => this.#fail(error),
    );
  }

  /**
   * Sends a signal to the command's process group, and to what is in the foreground of its terminal. No effect when it has ended.
   *
   * @throws VmmError `INVALID_REQUEST` for what is no signal
   */
  kill(signal: NodeJS.Signals | number = 'SIGTERM'): void {
    const number = typeof signal === 'number' ? signal : constants.signals[signal];
    if (!Number.isInteger(number) || number < 1 || number > 64)
      throw new VmmError('INVALID_REQUEST', `${signal} is no signal`);
    this.#send(FrameType.signal, Uint8Array.of(number));
  }

  /** Tells the command's terminal its size. @throws VmmError `INVALID_REQUEST` */
  resize(size: TerminalSize): void {
    const { success } = v.safeParse(terminalSizeSchema, size);
    if (!success)
      throw new VmmError('INVALID_REQUEST', `a terminal of ${size.columns} columns and ${size.rows} rows`);
    this.#write(encodeJsonFrame(FrameType.resize, size));
  }

  /**
   * Reads all output, as UTF-8, and waits for the end; standard input is ended.
   *
   * @throws what {@link exit} rejects with; VmmError `GUEST_ERROR` for more than 16 MiB of a stream
   */
  async output(): Promise<CommandOutput> {
    this.stdin.end();
    return await collectOutput(this, this.#name, (error) => this.#fail(error));
  }

  #receiving(channel: 1 | 2): ReceivingChannel {
    return new ReceivingChannel(
      (bytes) => this.#send(FrameType.credit, encodeCredit(channel, bytes)),
      () => this.#send(FrameType.eof, encodeChannel(channel)),
      broken,
    );
  }

  #send(type: FrameType, payload: Uint8Array): void {
    this.#write(encodeFrame(type, payload));
  }

  #write(frame: Uint8Array): void {
    if (this.#over) return;
    if (this.#socket === undefined) this.#waiting.push(frame);
    else if (this.#socket.writable) this.#socket.write(frame);
  }

  #connected({ socket, head }: FrameConnection): void {
    socket.on('error', () => undefined);
    if (this.#over) {
      socket.destroy();
      return;
    }
    this.#socket = socket;
    socket.on('data', (bytes: Uint8Array) => this.#received(bytes));
    const gone = (): void =>
      this.#fail(new VmmError('CONTROL_FAILED', 'the connection to the VM broke off while a command ran'));
    socket.on('end', gone);
    socket.on('close', gone);
    for (const frame of this.#waiting) socket.write(frame);
    this.#waiting = [];
    if (head.length > 0) this.#received(head);
  }

  #received(bytes: Uint8Array): void {
    if (this.#over) return;
    try {
      this.#parser.push(bytes);
    } catch (error) {
      this.#fail(error instanceof VmmError ? error : broken(messageOf(error)));
    }
  }

  #frame(type: FrameType, payload: Uint8Array): void {
    if (this.#over) return;
    switch (type) {
      case FrameType.stdout:
        this.#outputs[1].receive(payload);
        break;
      case FrameType.stderr:
        this.#outputs[2].receive(payload);
        break;
      case FrameType.eof: {
        const channel = decodeChannel(payload);
        if (channel === CHANNEL.stdin) this.#input.refuse();
        else this.#outputs[channel].finish();
        break;
      }
      case FrameType.credit: {
        const { channel, bytes } = decodeCredit(payload);
        if (channel !== CHANNEL.stdin) throw broken('credit of an output');
        this.#input.credit(bytes);
        break;
      }
      case FrameType.exit: {
        const exit = v.parse(commandExitSchema, decodeJson(payload));
        if (this.#exited) throw broken('two ends');
        this.#exited = true;
        this.#input.refuse();
        this.#resolve(exit);
        break;
      }
      case FrameType.error:
        this.#fail(remoteError(v.parse(controlErrorSchema, decodeJson(payload))));
        return;
      default:
        throw broken(`a frame of type ${type}`);
    }
    if (this.#exited && this.#outputs[1].finished && this.#outputs[2].finished) this.#end();
  }

  readonly #aborted = (): void => this.#fail(this.#signal?.reason);

  #fail(reason: unknown): void {
    if (this.#over) return;
    this.#end();
    this.#reject(reason);
    const error = reason instanceof Error ? reason : new Error(String(reason));
    for (const stream of [this.#input, this.#outputs[1], this.#outputs[2]]) stream.destroy(error);
  }

  #end(): void {
    this.#over = true;
    this.#signal?.removeEventListener('abort', this.#aborted);
    this.#waiting = [];
    this.#socket?.destroy();
  }
}

/** @throws VmmError `INVALID_REQUEST` */
function encodeRequest(argv: readonly string[], options: ExecOptions): Uint8Array {
  const result = v.safeParse(execRequestSchema, execRequest(argv, options), { abortEarly: true });
  if (!result.success)
    throw new VmmError(
      'INVALID_REQUEST',
      `${v.getDotPath(result.issues[0]) ?? 'command'}: ${result.issues[0].message}`,
    );
  const frame = encodeJsonFrame(FrameType.request, result.output);
  if (frame.length > FRAME_LIMIT)
    throw new VmmError('INVALID_REQUEST', `a command of ${frame.length} bytes: ${FRAME_LIMIT} are possible`);
  return frame;
}
