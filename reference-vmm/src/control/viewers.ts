import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import * as v from 'valibot';
import { messageOf } from '../errors.ts';
import type { StopReason } from '../stop-reason.ts';
import type { ConsoleHub } from './console-hub.ts';
import type { ControlledVmm } from './controlled-vmm.ts';
import { FrameParser, FrameType, decodeJson, encodeFrame, encodeJsonFrame, framesOf } from './frames.ts';
import { terminalSizeSchema } from './schema.ts';
import { acceptUpgrade, serve } from './upgrade.ts';

/** What is kept for a viewer that does not read, in bytes; what comes beyond is left out. */
const BACKLOG = 1024 * 1024;

/** The viewers of a VM's console: each sees everything that comes while it is there, and may type. */
export class Viewers {
  readonly #vmm: ControlledVmm;
  readonly #hub: ConsoleHub;
  readonly #viewers = new Set<ViewerConnection>();

  constructor(vmm: ControlledVmm, hub: ConsoleHub) {
    this.#vmm = vmm;
    this.#hub = hub;
  }

  /** @throws RequestError */
  accept(request: IncomingMessage, socket: Duplex, head: Uint8Array): void {
    acceptUpgrade(request, socket, 'the console');
    const viewer = new ViewerConnection(this.#vmm, this.#hub, socket);
    this.#viewers.add(viewer);
    socket.once('close', () => this.#viewers.delete(viewer));
    viewer.start(head);
  }

  /** Ends every connection, and tells how the VM ended if it has. */
  async finish(): Promise<void> {
    const { state, stopped } = this.#vmm;
    const reason = state === 'stopped' || state === 'failed' ? await stopped : undefined;
    for (const viewer of this.#viewers) viewer.finish(reason);
  }
}

class ViewerConnection {
  readonly #vmm: ControlledVmm;
  readonly #hub: ConsoleHub;
  readonly #socket: Duplex;
  readonly #gone = new AbortController();
  readonly #parser = new FrameParser((type, payload) => this.#frame(type, payload));
  #unwatch: () => void = () => undefined;
  #skipped = 0;
  #typed: Uint8Array[] = [];
  #typing = false;

  constructor(vmm: ControlledVmm, hub: ConsoleHub, socket: Duplex) {
    this.#vmm = vmm;
    this.#hub = hub;
    this.#socket = socket;
  }

  start(head: Uint8Array): void {
    this.#unwatch = this.#hub.watch((bytes) => this.#show(bytes));
    serve(this.#socket, head, {
      received: (bytes) => this.#received(bytes),
      left: () => this.#leave(),
    });
  }

  finish(reason: StopReason | undefined): void {
    this.#unwatch();
    if (reason === undefined) this.#socket.end();
    else this.#socket.end(encodeJsonFrame(FrameType.exit, reason));
    // The end of what the viewer sends must be seen for the connection to close.
    this.#socket.resume();
  }

  #leave(): void {
    this.#unwatch();
    this.#gone.abort();
    this.#typed = [];
  }

  #show(bytes: Uint8Array): void {
    if (!this.#socket.writable) return;
    if (this.#socket.writableLength + bytes.length > BACKLOG) {
      this.#skipped += bytes.length;
      return;
    }
    if (this.#skipped > 0) {
      const note = `\r\n[${this.#skipped} bytes left out]\r\n`;
      this.#socket.write(encodeFrame(FrameType.stdout, new TextEncoder().encode(note)));
      this.#skipped = 0;
    }
    for (const frame of framesOf(FrameType.stdout, bytes)) this.#socket.write(frame);
  }

  #received(bytes: Uint8Array): void {
    if (!this.#socket.writable) return;
    try {
      this.#parser.push(bytes);
    } catch (error) {
      this.#refuse(messageOf(error));
      return;
    }
    void this.#type();
  }

  #frame(type: FrameType, payload: Uint8Array): void {
    switch (type) {
      case FrameType.stdin:
        this.#typed.push(payload);
        break;
      case FrameType.resize: {
        const { columns, rows } = v.parse(terminalSizeSchema, decodeJson(payload));
        this.#vmm.resizeConsole(columns, rows);
        break;
      }
      case FrameType.eof:
        break;
      default:
        throw new Error(`frames of type ${type} come from the VM only`);
    }
  }

  /** Types what has come, and hears nothing more from the viewer until the guest has taken it. */
  async #type(): Promise<void> {
    if (this.#typing || this.#typed.length === 0) return;
    this.#typing = true;
    this.#socket.pause();
    const typed = this.#typed;
    this.#typed = [];
    for (const bytes of typed) await this.#hub.type(bytes, this.#gone.signal);
    this.#typing = false;
    this.#socket.resume();
    if (this.#typed.length > 0) await this.#type();
  }

  #refuse(message: string): void {
    this.#leave();
    this.#socket.end(encodeJsonFrame(FrameType.error, { code: 'INVALID_REQUEST', message }));
    this.#socket.once('finish', () => this.#socket.destroy());
  }
}
