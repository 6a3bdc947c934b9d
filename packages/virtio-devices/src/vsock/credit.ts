import type { VsockHeader } from './header.ts';

/** What the guest has room for on one connection, VIRTIO 1.3 §5.10.6.3. Counters are modulo 2^32. */
export class SendCredit {
  #allocation = 0;
  #forwarded = 0;
  #sent = 0;

  /** Bytes of the guest's buffer. */
  get allocation(): number {
    return this.#allocation;
  }

  /** Bytes that may be sent; none as well when the guest claims to have read what was never sent. */
  get available(): number {
    const used = (this.#sent - this.#forwarded) >>> 0;
    return Math.max(0, this.#allocation - used);
  }

  /** What any packet of the guest says of its buffer. */
  take(header: VsockHeader): void {
    this.#allocation = header.bufferAllocation;
    this.#forwarded = header.forwardCount;
  }

  spend(bytes: number): void {
    this.#sent = (this.#sent + bytes) >>> 0;
  }
}

/** The room that the host gives the guest. */
export class ReceiveCredit {
  readonly #bufferSize: number;
  #received = 0;
  #forwarded = 0;
  #told = 0;

  constructor(bufferSize: number) {
    this.#bufferSize = bufferSize;
  }

  /** Bytes that the guest may send. */
  get available(): number {
    return this.#bufferSize - ((this.#received - this.#forwarded) >>> 0);
  }

  /**
   * The guest should hear of what was read: rarely enough to cost little, and early enough that it never waits for an
   * update that does not come.
   */
  get shouldTell(): boolean {
    return ((this.#forwarded - this.#told) >>> 0) * 4 >= this.#bufferSize;
  }

  /** The guest has little room that it knows of, and more that it was not told of. */
  get runsOut(): boolean {
    const known = this.#bufferSize - ((this.#received - this.#told) >>> 0);
    return this.#forwarded !== this.#told && known * 4 < this.#bufferSize;
  }

  receive(bytes: number): void {
    this.#received = (this.#received + bytes) >>> 0;
  }

  /** So many of the bytes received are out of the buffer. */
  forward(bytes: number): void {
    this.#forwarded = (this.#forwarded + bytes) >>> 0;
  }

  forwardAll(): void {
    this.#forwarded = this.#received;
  }

  /** Puts both numbers into a packet to the guest. */
  tell(header: VsockHeader): void {
    header.setCredit(this.#bufferSize, this.#forwarded);
    this.#told = this.#forwarded;
  }
}
