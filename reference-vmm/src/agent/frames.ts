import { VmmError } from '../errors.ts';

/** Types of frames; `agent/protocol.md` is the specification. */
export const FRAME = {
  HELLO: 1,
  EXEC: 2,
  DATA: 3,
  EOF: 4,
  CREDIT: 5,
  RESIZE: 6,
  SIGNAL: 7,
  EXIT: 8,
  ERROR: 9,
  PUT: 10,
  GET: 11,
  ENTRY: 12,
  DONE: 13,
  CLOCK: 14,
  ENTROPY: 15,
  NETWORK: 16,
  SHUTDOWN: 17,
  PING: 18,
  ABORT: 19,
} as const;
export type FrameType = (typeof FRAME)[keyof typeof FRAME];

export const CHANNEL = { stdin: 0, stdout: 1, stderr: 2 } as const;

export const PROTOCOL_VERSION = 1;
/** Most bytes of a DATA frame. */
export const MAX_DATA = 65536;
/** Largest value of a frame's length field: type, stream, channel, data, and three to spare. */
export const MAX_LENGTH: number = MAX_DATA + 9;
/** Bytes that a channel may have under way without credit for more. */
export const WINDOW = 262144;
const PREFIX = 4;
const HEAD = 5;
/** Most bytes of a frame's payload. */
export const MAX_PAYLOAD: number = MAX_LENGTH - HEAD;

export interface Frame {
  /** As it came: any byte. */
  readonly type: number;
  readonly stream: number;
  readonly payload: Uint8Array;
}

/** What the agent did that the protocol does not allow. */
export function violation(what: string): VmmError {
  return new VmmError('AGENT_LOST', `the guest's agent broke the protocol: ${what}`);
}

/** @throws RangeError for a payload longer than {@link MAX_PAYLOAD} */
export function encodeFrame(type: FrameType, stream: number, ...payload: readonly Uint8Array[]): Uint8Array {
  const size = payload.reduce((sum, { length }) => sum + length, 0);
  if (size > MAX_PAYLOAD) throw new RangeError(`a frame takes ${MAX_PAYLOAD} bytes, not ${size}`);
  const frame = new Uint8Array(PREFIX + HEAD + size);
  const view = new DataView(frame.buffer);
  view.setUint32(0, HEAD + size, true);
  frame[PREFIX] = type;
  view.setUint32(PREFIX + 1, stream, true);
  let offset = PREFIX + HEAD;
  for (const part of payload) {
    frame.set(part, offset);
    offset += part.length;
  }
  return frame;
}

/** Cuts a byte stream into frames; keeps less than one frame. */
export class FrameDecoder {
  #kept: Uint8Array = new Uint8Array(0);

  /**
   * Frames that are complete with these bytes. Payloads may share memory with `bytes`.
   *
   * @throws VmmError `AGENT_LOST` for a length out of range
   */
  *push(bytes: Uint8Array): Generator<Frame, void, undefined> {
    let rest = bytes;
    if (this.#kept.length > 0) {
      rest = new Uint8Array(this.#kept.length + bytes.length);
      rest.set(this.#kept);
      rest.set(bytes, this.#kept.length);
      this.#kept = new Uint8Array(0);
    }
    while (rest.length >= PREFIX) {
      const view = new DataView(rest.buffer, rest.byteOffset, rest.length);
      const length = view.getUint32(0, true);
      if (length < HEAD || length > MAX_LENGTH) throw violation(`a frame of ${length} bytes`);
      if (rest.length < PREFIX + length) break;
      const frame = {
        type: view.getUint8(PREFIX),
        stream: view.getUint32(PREFIX + 1, true),
        payload: rest.subarray(PREFIX + HEAD, PREFIX + length),
      };
      rest = rest.subarray(PREFIX + length);
      yield frame;
    }
    // A copy: what it is part of may be much larger.
    this.#kept = rest.slice();
  }
}

const MARK: Uint8Array = new TextEncoder().encode('VMM-AGENT-SYNC\r\n');
/** Longer than any frame, so that an agent in the middle of one comes to it. */
const FILL = PREFIX + MAX_LENGTH + 3;
const NONCE = 16;
/** What an earlier session may have left under way. */
const MAX_LEFTOVER = 1 << 20;

/** What starts a session, and the agent's answer to it among what an earlier session left in the stream. */
export class Handshake {
  readonly bytes: Uint8Array;
  readonly #answer: Uint8Array;
  #matched = 0;
  #dropped = 0;

  /** @param nonce 16 random bytes */
  constructor(nonce: Uint8Array) {
    if (nonce.length !== NONCE) throw new RangeError(`a nonce has ${NONCE} bytes`);
    this.#answer = new Uint8Array([...MARK, ...nonce]);
    this.bytes = new Uint8Array(FILL + this.#answer.length).fill(0xff, 0, FILL);
    this.bytes.set(this.#answer, FILL);
  }

  /**
   * The bytes behind the agent's answer, once that is complete.
   *
   * @throws VmmError `AGENT_LOST` when too much came without it
   */
  push(bytes: Uint8Array): Uint8Array | undefined {
    for (let i = 0; i < bytes.length; i++) {
      // No beginning of the mark occurs in it again, so that a mismatch starts over.
      if (bytes[i] !== this.#answer[this.#matched]) this.#matched = 0;
      if (bytes[i] === this.#answer[this.#matched]) this.#matched++;
      if (this.#matched === this.#answer.length) return bytes.subarray(i + 1);
    }
    this.#dropped += bytes.length;
    if (this.#dropped > MAX_LEFTOVER) throw violation('no answer to the beginning of a session');
    return undefined;
  }
}

/** Ends a session: where a frame would begin, an invalid length. */
export const END_OF_SESSION: Uint8Array = new Uint8Array(PREFIX).fill(0xff);
