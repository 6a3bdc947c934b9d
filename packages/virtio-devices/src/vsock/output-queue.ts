import type { ChainWriter } from '@vmm/virtio-queue';

interface Piece {
  readonly bytes: Uint8Array;
  readonly endOfRecord: boolean;
}

/** Bytes on their way to the guest, in the pieces that they were written in. */
export class OutputQueue {
  readonly #pieces: Piece[] = [];
  /** Bytes of the first piece that are gone. */
  #done = 0;
  #size = 0;

  /** Bytes held. */
  get size(): number {
    return this.#size;
  }

  /** Nothing is held, not even an empty message. */
  get empty(): boolean {
    return this.#pieces.length === 0;
  }

  /** Bytes of the first piece that are left. */
  get headSize(): number {
    return (this.#pieces[0]?.bytes.length ?? 0) - this.#done;
  }

  get headEndsRecord(): boolean {
    return this.#pieces[0]?.endOfRecord ?? false;
  }

  /** Takes the caller's bytes: {@link keepLast} before they change. */
  push(bytes: Uint8Array, endOfRecord: boolean): void {
    this.#pieces.push({ bytes, endOfRecord });
    this.#size += bytes.length;
  }

  /** Copies what is left of the last piece, so that its bytes are the caller's again. */
  keepLast(): void {
    const last = this.#pieces.length - 1;
    const piece = this.#pieces[last];
    if (piece === undefined || piece.bytes.length === 0) return;
    const { bytes, endOfRecord } = piece;
    this.#pieces[last] = { bytes: last === 0 ? bytes.slice(this.#done) : bytes.slice(), endOfRecord };
    if (last === 0) this.#done = 0;
  }

  /** Moves `length` bytes, which are there, from as many pieces as hold them. */
  moveTo(writer: ChainWriter, length: number): void {
    for (let left = length; left > 0;) {
      const { bytes } = this.#pieces[0]!;
      const size = Math.min(left, bytes.length - this.#done);
      writer.write(bytes.subarray(this.#done, this.#done + size));
      this.#done += size;
      this.#size -= size;
      left -= size;
      if (this.#done === bytes.length) this.shift();
    }
  }

  /** Drops the first piece, of which nothing is left. */
  shift(): void {
    this.#pieces.shift();
    this.#done = 0;
  }

  clear(): void {
    this.#pieces.length = 0;
    this.#done = 0;
    this.#size = 0;
  }
}
