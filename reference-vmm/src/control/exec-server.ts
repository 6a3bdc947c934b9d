import type { IncomingMessage } from 'node:http';
import type { Duplex, Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import * as v from 'valibot';
import { ReceivingChannel, SendingChannel } from '../agent/channels.ts';
import type { GuestCommand } from '../agent/output.ts';
import { VmmError, messageOf } from '../errors.ts';
import type { ControlledVmm } from './controlled-vmm.ts';
import { CHANNEL, decodeChannel, decodeCredit, encodeChannel, encodeCredit } from './exec-frames.ts';
import { execOptions, execRequestSchema } from './exec-schema.ts';
import { FrameParser, FrameType, decodeJson, encodeFrame, encodeJsonFrame } from './frames.ts';
import { RequestError, toControlError } from './http.ts';
import { PacedControls } from './paced-controls.ts';
import { terminalSizeSchema } from './schema.ts';
import { acceptUpgrade, serve } from './upgrade.ts';

/**
 * Takes a connection that is to carry a command of the guest's.
 *
 * @param patience milliseconds that the client has for saying which
 * @throws RequestError
 */
export function acceptExec(
  vmm: ControlledVmm,
  request: IncomingMessage,
  socket: Duplex,
  head: Uint8Array,
  patience: number,
): void {
  acceptUpgrade(request, socket, 'a command');
  new ExecConnection(vmm, socket, patience).start(head);
}

const broken = (what: string): Error => new RequestError(400, `the rules of the stream are broken: ${what}`);

/**
 * One command and the client that it belongs to. Channels have windows of their own, as between host and guest, so that
 * signals pass by input that nobody takes, and neither output waits for the other. Without the client the command is killed.
 */
class ExecConnection {
  readonly #vmm: ControlledVmm;
  readonly #socket: Duplex;
  readonly #parser = new FrameParser((type, payload) => this.#frame(type, payload));
  readonly #gone = new AbortController();
  readonly #late: NodeJS.Timeout;
  readonly #input: ReceivingChannel;
  readonly #outputs: Readonly<Record<1 | 2, SendingChannel>>;
  #command: GuestCommand | undefined;
  #controls: PacedControls | undefined;
  #over = false;

  constructor(vmm: ControlledVmm, socket: Duplex, patience: number) {
    this.#vmm = vmm;
    this.#socket = socket;
    this.#late = setTimeout(
      () => this.#fail(new RequestError(408, 'no command was named in time')),
      patience,
    );
    this.#input = new ReceivingChannel(
      (bytes) => this.#send(FrameType.credit, encodeCredit(CHANNEL.stdin, bytes)),
      () => this.#send(FrameType.eof, encodeChannel(CHANNEL.stdin)),
      broken,
    );
    this.#outputs = { 1: this.#output(FrameType.stdout), 2: this.#output(FrameType.stderr) };
  }

  start(head: Uint8Array): void {
    serve(this.#socket, head, {
      received: (bytes) => this.#received(bytes),
      left: () => this.#leave(),
    });
  }

  #output(type: FrameType): SendingChannel {
    return new SendingChannel(
      (bytes) => this.#send(type, bytes),
      () => undefined,
      broken,
    );
  }

  #send(type: FrameType, payload: Uint8Array): void {
    if (!this.#over && this.#socket.writable) this.#socket.write(encodeFrame(type, payload));
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
    if (this.#command === undefined) {
      if (type !== FrameType.request) throw new Error('the first frame is the request');
      this.#begin(v.parse(execRequestSchema, decodeJson(payload)));
      return;
    }
    switch (type) {
      case FrameType.stdin:
        this.#input.receive(payload);
        break;
      case FrameType.eof: {
        const channel = decodeChannel(payload);
        if (channel === CHANNEL.stdin) this.#input.finish();
        else this.#refuse(channel);
        break;
      }
      case FrameType.credit: {
        const { channel, bytes } = decodeCredit(payload);
        if (channel === CHANNEL.stdin) throw new Error('credit for standard input comes from the VM');
        this.#outputs[channel].credit(bytes);
        break;
      }
      case FrameType.resize:
        this.#controls?.resize(v.parse(terminalSizeSchema, decodeJson(payload)));
        break;
      case FrameType.signal:
        this.#controls?.kill(payload);
        break;
      default:
        throw new Error(`a frame of type ${type} does not belong here`);
    }
  }

  #begin(request: v.InferOutput<typeof execRequestSchema>): void {
    clearTimeout(this.#late);
    const command = this.#vmm.exec?.(request.argv, { ...execOptions(request), signal: this.#gone.signal });
    if (command === undefined) throw new VmmError('NOT_SUPPORTED', 'this VM runs no commands');
    this.#command = command;
    this.#controls = new PacedControls(command);
    pipeline(this.#input, command.stdin).catch(() => undefined);
    const outputs = Promise.all([this.#forward(command.stdout, 1), this.#forward(command.stderr, 2)]);
    command.exit
      .then(async (exit) => {
        this.#controls?.[Symbol.dispose]();
        this.#send(FrameType.exit, new TextEncoder().encode(JSON.stringify(exit)));
        await outputs;
        this.#end();
      })
      .catch((error: unknown) => this.#fail(error));
  }

  /** Resolves when nothing more of it will be sent. */
  async #forward(output: Readable, channel: 1 | 2): Promise<void> {
    // What failed with the command is told by its exit.
    await pipeline(output, this.#outputs[channel]).catch(() => undefined);
    this.#send(FrameType.eof, encodeChannel(channel));
  }

  /** The client wants no more of an output. */
  #refuse(channel: 1 | 2): void {
    this.#outputs[channel].refuse();
    this.#command?.[channel === CHANNEL.stdout ? 'stdout' : 'stderr'].destroy();
  }

  #fail(error: unknown): void {
    if (this.#over) return;
    if (this.#socket.writable) this.#socket.write(encodeJsonFrame(FrameType.error, toControlError(error)));
    this.#end();
  }

  #end(): void {
    this.#leave();
    this.#socket.end();
    // The end of what the client sends must be seen for the connection to close.
    this.#socket.resume();
  }

  /** Harmless for a command that has ended. */
  #leave(): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#late);
    this.#controls?.[Symbol.dispose]();
    this.#gone.abort(new VmmError('CONTROL_FAILED', 'the client went away'));
    for (const channel of [this.#input, this.#outputs[1], this.#outputs[2]]) channel.destroy();
  }
}
