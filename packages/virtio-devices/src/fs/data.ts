import { IOVEC_WORDS, type GuestMemory } from '@vmm/vm-memory';
import type { ChainReader, ChainWriter } from '@vmm/virtio-queue';

/** The guest's buffer of a READ or WRITE: ranges of guest memory, in order. Valid until the request is answered. */
export class FuseData {
  /** Bytes. */
  length = 0;
  /** Number of ranges. */
  count = 0;
  /** For native I/O: guest address and length in bytes of each range. */
  iovecs: Float64Array = new Float64Array(IOVEC_WORDS * 16);
  #memory: GuestMemory | undefined;

  /** The memory that the addresses are of. */
  get memory(): GuestMemory {
    if (this.#memory === undefined) throw new RangeError('there is no buffer');
    return this.#memory;
  }

  /** For the device: takes the next `length` bytes of a chain with at most `pieces` pieces. */
  set(memory: GuestMemory, cursor: ChainReader | ChainWriter, length: number, pieces: number): void {
    this.#memory = memory;
    if (this.iovecs.length < pieces * IOVEC_WORDS) this.iovecs = new Float64Array(pieces * IOVEC_WORDS);
    this.count = cursor.iovecs(length, this.iovecs) / IOVEC_WORDS;
    this.length = length;
  }

  /** Copies into the guest's buffer from its start. @param bytes at most `length` */
  store(bytes: Uint8Array): void {
    const { memory, iovecs } = this;
    for (let i = 0, done = 0; done < bytes.length; i++) {
      const size = Math.min(iovecs[2 * i + 1]!, bytes.length - done);
      memory.write(iovecs[2 * i]!, bytes.subarray(done, done + size));
      done += size;
    }
  }

  /** Copies from the start of the guest's buffer. @param target at most `length` */
  load(target: Uint8Array): void {
    const { memory, iovecs } = this;
    for (let i = 0, done = 0; done < target.length; i++) {
      const size = Math.min(iovecs[2 * i + 1]!, target.length - done);
      memory.read(iovecs[2 * i]!, target.subarray(done, done + size));
      done += size;
    }
  }
}
