/** Frames that wait, oldest first, up to a number of frames and of bytes. */
export class FrameQueue {
  readonly #maximumFrames: number;
  readonly #maximumBytes: number;
  readonly #frames: (Uint8Array | undefined)[] = [];
  #head = 0;
  #bytes = 0;

  constructor(maximumFrames: number, maximumBytes: number = Infinity) {
    this.#maximumFrames = maximumFrames;
    this.#maximumBytes = maximumBytes;
  }

  get length(): number {
    return this.#frames.length - this.#head;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get full(): boolean {
    return this.length >= this.#maximumFrames || this.#bytes >= this.#maximumBytes;
  }

  /** The oldest frame. */
  get first(): Uint8Array | undefined {
    return this.#frames[this.#head];
  }

  /** The caller looks at {@link full} first. */
  push(frame: Uint8Array): void {
    this.#frames.push(frame);
    this.#bytes += frame.length;
  }

  shift(): Uint8Array | undefined {
    const frame = this.#frames[this.#head];
    if (frame === undefined) return undefined;
    this.#frames[this.#head++] = undefined;
    this.#bytes -= frame.length;
    if (this.#head === this.#frames.length || this.#head >= 1024) {
      this.#frames.splice(0, this.#head);
      this.#head = 0;
    }
    return frame;
  }

  clear(): void {
    this.#frames.length = 0;
    this.#head = 0;
    this.#bytes = 0;
  }
}
