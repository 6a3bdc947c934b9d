import { randomBytes } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { VmmError } from '../errors.ts';
import { FRAME, type Frame, FrameDecoder, type FrameType, Handshake } from './frames.ts';
import { encodeFrame, violation } from './frames.ts';
import { type AgentInfo, decodeHello, encodeCredit } from './messages.ts';

/** What is done on one stream of a session. */
export interface Conversation {
  /** @returns true for the agent's last frame. @throws VmmError `AGENT_LOST` */
  receive(frame: Frame): boolean;
  /** There will be no more frames. */
  fail(error: Error): void;
}

const MAX_STREAMS = 256;

/** One session with an agent: frames over a byte stream, and who they are for. Errors end it, with all that is open. */
export class Session {
  /** The agent has answered. Never rejects. */
  readonly opened: Promise<AgentInfo | undefined>;
  /** It is over, with the reason. Never rejects. */
  readonly closed: Promise<Error>;

  readonly #stream: Duplex;
  readonly #decoder = new FrameDecoder();
  readonly #conversations = new Map<number, Conversation>();
  /** Credit that is to be given when the stream takes more: `stream:channel` and bytes. */
  readonly #credit = new Map<string, { stream: number; channel: number; bytes: number }>();
  #handshake: Handshake | undefined;
  #greeted = false;
  #next = 1;
  #failure: Error | undefined;
  #open: (info: AgentInfo | undefined) => void = () => undefined;
  #close: (reason: Error) => void = () => undefined;

  constructor(stream: Duplex) {
    this.#stream = stream;
    this.opened = new Promise((resolve) => {
      this.#open = resolve;
    });
    this.closed = new Promise((resolve) => {
      this.#close = resolve;
    });
    const gone = (): void =>
      this.end(
        this.#greeted
          ? new VmmError('AGENT_LOST', "the guest's agent is gone")
          : new VmmError('NO_AGENT', 'the guest closed the way to its agent without an answer'),
      );
    stream.on('data', (bytes: Uint8Array) => this.#receive(bytes));
    stream.on('error', (cause: Error) =>
      this.end(
        cause instanceof VmmError
          ? cause
          : new VmmError('AGENT_LOST', `the connection to the guest's agent failed: ${cause.message}`, {
              cause,
            }),
      ),
    );
    stream.on('end', gone);
    stream.on('close', gone);
    stream.on('drain', () => this.#giveCredit());
    this.#handshake = new Handshake(randomBytes(16));
    stream.write(this.#handshake.bytes);
  }

  get failure(): Error | undefined {
    return this.#failure;
  }

  /**
   * Opens a stream with its first frame.
   *
   * @throws VmmError `AGENT_LOST`, `GUEST_ERROR` when too many are open, and what `payload` throws
   */
  open(type: FrameType, payload: Uint8Array, conversation: (stream: number) => Conversation): number {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#conversations.size >= MAX_STREAMS)
      throw new VmmError('GUEST_ERROR', `${MAX_STREAMS} commands and transfers at once are possible`);
    const stream = this.#next++;
    this.#conversations.set(stream, conversation(stream));
    this.send(type, stream, payload);
    return stream;
  }

  /** After the end of the session, or of the stream, nothing is sent. */
  send(type: FrameType, stream: number, ...payload: readonly Uint8Array[]): void {
    if (this.#failure !== undefined || !this.#conversations.has(stream)) return;
    this.#stream.write(encodeFrame(type, stream, ...payload));
  }

  /** Lets the agent send so many bytes more, as soon as it takes what was sent to it. */
  giveCredit(stream: number, channel: number, bytes: number): void {
    if (this.#failure !== undefined || !this.#conversations.has(stream) || bytes === 0) return;
    const key = `${stream}:${channel}`;
    const due = this.#credit.get(key);
    if (due === undefined) this.#credit.set(key, { stream, channel, bytes });
    else due.bytes += bytes;
    if (!this.#stream.writableNeedDrain) this.#giveCredit();
  }

  /** Ends the session and everything that is open in it; the first reason counts. */
  end(reason: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = reason;
    const open = [...this.#conversations.values()];
    this.#conversations.clear();
    this.#credit.clear();
    for (const conversation of open) conversation.fail(reason);
    this.#stream.destroy();
    this.#open(undefined);
    this.#close(reason);
  }

  #giveCredit(): void {
    for (const [key, { stream, channel, bytes }] of this.#credit) {
      if (this.#stream.writableNeedDrain) return;
      this.#credit.delete(key);
      this.send(FRAME.CREDIT, stream, encodeCredit(channel, bytes));
    }
  }

  #receive(bytes: Uint8Array): void {
    if (this.#failure !== undefined) return;
    try {
      const rest = this.#handshake === undefined ? bytes : this.#handshake.push(bytes);
      if (rest === undefined) return;
      this.#handshake = undefined;
      for (const frame of this.#decoder.push(rest)) {
        this.#dispatch(frame);
        // A listener may have ended it.
        if (this.#stopped()) return;
      }
    } catch (error) {
      this.end(error instanceof Error ? error : violation(String(error)));
    }
  }

  #stopped(): boolean {
    return this.#failure !== undefined;
  }

  #dispatch(frame: Frame): void {
    if (!this.#greeted) {
      if (frame.type !== FRAME.HELLO || frame.stream !== 0) throw violation('no HELLO');
      const info = decodeHello(frame.payload);
      this.#greeted = true;
      this.#open(info);
      return;
    }
    const conversation = this.#conversations.get(frame.stream);
    if (conversation === undefined) throw violation(`a frame of stream ${frame.stream}, which is not open`);
    if (!conversation.receive(frame)) return;
    this.#conversations.delete(frame.stream);
    for (const channel of [0, 1, 2]) this.#credit.delete(`${frame.stream}:${channel}`);
  }
}
