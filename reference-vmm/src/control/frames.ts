/**
 * What flows both ways after `Upgrade: vmm-stream`: frames of a type (u8), the length of the payload (u32, little-endian)
 * and the payload.
 */
export const FrameType = {
  /** To the guest: what is typed. */
  stdin: 0,
  /** From the guest. */
  stdout: 1,
  stderr: 2,
  /** The sender sends no more of what is typed; of a command's, the channel (u8) that is over. */
  eof: 3,
  /** JSON {@link TerminalSize}. */
  resize: 4,
  /** To a command: a signal's number (u8). */
  signal: 5,
  /** JSON: how it ended; nothing follows. */
  exit: 6,
  /** JSON {@link ControlError}; nothing follows. */
  error: 7,
  /** JSON `ExecRequest`: the first frame of a command. */
  request: 8,
  /** Of a command: a channel (u8), and how many bytes more (u32) may be sent on it. */
  credit: 9,
} as const;

export type FrameType = (typeof FrameType)[keyof typeof FrameType];

/** Protocol in the `Upgrade` header. */
export const UPGRADE = 'vmm-stream';

/** Largest payload, in bytes. */
export const FRAME_LIMIT: number = 64 * 1024;

const HEADER = 5;
const TYPES: ReadonlySet<number> = new Set(Object.values(FrameType));

/** One frame; longer payloads take several. */
export function encodeFrame(type: FrameType, payload: Uint8Array): Uint8Array {
  const frame = new Uint8Array(HEADER + payload.length);
  frame[0] = type;
  new DataView(frame.buffer).setUint32(1, payload.length, true);
  frame.set(payload, HEADER);
  return frame;
}

/** A frame with JSON in it. */
export function encodeJsonFrame(type: FrameType, value: unknown): Uint8Array {
  return encodeFrame(type, new TextEncoder().encode(JSON.stringify(value)));
}

/** @returns the JSON of a frame's payload, unchecked. @throws Error (SyntaxError) */
export function decodeJson(payload: Uint8Array): unknown {
  return JSON.parse(new TextDecoder().decode(payload));
}

/** Bytes in frames of at most {@link FRAME_LIMIT}. */
export function* framesOf(type: FrameType, bytes: Uint8Array): Generator<Uint8Array> {
  for (let start = 0; start < bytes.length; start += FRAME_LIMIT) {
    yield encodeFrame(type, bytes.subarray(start, start + FRAME_LIMIT));
  }
}

/** Takes a stream of frames apart, cut anywhere. It never holds more than one frame. */
export class FrameParser {
  readonly #onFrame: (type: FrameType, payload: Uint8Array) => void;
  readonly #header = new Uint8Array(HEADER);
  #headerLength = 0;
  #payload: Uint8Array | undefined;
  #payloadLength = 0;

  constructor(onFrame: (type: FrameType, payload: Uint8Array) => void) {
    this.#onFrame = onFrame;
  }

  /** @throws Error for a type or a length that the protocol does not have; push nothing more then */
  push(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) {
      if (this.#payload === undefined) {
        this.#header[this.#headerLength++] = bytes[at++]!;
        if (this.#headerLength === HEADER) this.#begin();
      } else {
        const part = bytes.subarray(at, at + this.#payload.length - this.#payloadLength);
        this.#payload.set(part, this.#payloadLength);
        this.#payloadLength += part.length;
        at += part.length;
      }
      if (this.#payload?.length === this.#payloadLength) this.#end(this.#payload);
    }
  }

  #begin(): void {
    const length = new DataView(this.#header.buffer).getUint32(1, true);
    if (!isType(this.#header[0]!)) throw new Error(`no frame has type ${this.#header[0]!}`);
    if (length > FRAME_LIMIT) throw new Error(`a frame of ${length} bytes is longer than ${FRAME_LIMIT}`);
    this.#payload = new Uint8Array(length);
    this.#payloadLength = 0;
  }

  #end(payload: Uint8Array): void {
    const type = this.#header[0]!;
    this.#payload = undefined;
    this.#headerLength = 0;
    if (isType(type)) this.#onFrame(type, payload);
  }
}

function isType(value: number): value is FrameType {
  return TYPES.has(value);
}
