// The rig's transport: byte-exact streams over the ports of a virtio console, each ended by the run's token.
import { randomBytes } from 'node:crypto';
import { Transform } from 'node:stream';

/** A word that no command prints by chance. */
export function newToken() {
  return randomBytes(24).toString('hex');
}

/** Passes what comes before the token on and ends there; a token may arrive in pieces. */
export class UntilToken extends Transform {
  #token;
  #held = Buffer.alloc(0);
  /** Whether the token came: everything before it is complete. */
  complete = false;

  /** @param {string} token */
  constructor(token) {
    super();
    this.#token = Buffer.from(token, 'latin1');
  }

  /** @param {Buffer} chunk @param {BufferEncoding} _encoding @param {(error?: Error) => void} done */
  _transform(chunk, _encoding, done) {
    if (this.complete) {
      done();
      return;
    }
    const data = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    const at = data.indexOf(this.#token);
    if (at >= 0) {
      this.complete = true;
      if (at > 0) this.push(data.subarray(0, at));
      this.push(null);
      this.emit('complete');
    } else {
      const tail = this.#beginningAtEnd(data);
      if (data.length > tail) this.push(data.subarray(0, data.length - tail));
      this.#held = Buffer.from(data.subarray(data.length - tail));
    }
    done();
  }

  /** @param {(error?: Error) => void} done */
  _flush(done) {
    if (!this.complete && this.#held.length > 0) this.push(this.#held);
    done();
  }

  /** Length of the longest end of the data that the token begins with. @param {Buffer} data */
  #beginningAtEnd(data) {
    for (let length = Math.min(this.#token.length - 1, data.length); length > 0; length--) {
      if (data.subarray(data.length - length).equals(this.#token.subarray(0, length))) return length;
    }
    return 0;
  }
}
