import type { DescriptorChain } from '@vmm/virtio-queue';
import { VirtioDeviceError } from '../errors.ts';
import { Deferred } from '../deferred.ts';
import { VIRTIO_BALLOON_CMD_ID_DONE, VIRTIO_BALLOON_CMD_ID_STOP } from './constants.ts';

/** Takes ranges of free pages: pairs of guest address and length in bytes, of which `words` numbers count. */
export type FreePageSink = (ranges: Float64Array, words: number) => void;

/** The guest's answer to `hintFreePages()`. Disposing of it lets the guest have its pages back. */
export interface FreePageHints extends Disposable {
  /** Resolves with the number of bytes when the guest has named all; rejects (`WRONG_STATE`) when its driver goes. */
  readonly complete: Promise<number>;
}

/** Commands are numbered from here; those below have a meaning of their own. */
const FIRST_COMMAND = 2;
const LAST_COMMAND = 0xffff_ffff;

/** Free page hinting, VIRTIO 1.3 §5.5.6.4. */
export class HintingSession {
  /** Bytes that were named, ever. */
  bytes = 0;
  readonly #announce: (command: number) => void;
  readonly #ranges = new Float64Array(128);
  #available = false;
  #command = FIRST_COMMAND - 1;
  #sink: FreePageSink | undefined;
  #complete: Deferred<number | VirtioDeviceError> | undefined;
  /** The driver answered this command, and has not stopped. */
  #started = false;
  #sum = 0;

  /** @param announce puts a command into the configuration space and tells the driver */
  constructor(announce: (command: number) => void) {
    this.#announce = announce;
  }

  activate(available: boolean): void {
    this.#available = available;
  }

  start(sink: FreePageSink): FreePageHints {
    if (!this.#available) {
      throw new VirtioDeviceError('WRONG_STATE', 'balloon: the guest has no driver with free page hinting');
    }
    if (this.#sink !== undefined) {
      throw new VirtioDeviceError('WRONG_STATE', 'balloon: the hints before are not finished');
    }
    const resolved = new Deferred<number | VirtioDeviceError>();
    this.#sink = sink;
    this.#complete = resolved;
    this.#started = false;
    this.#sum = 0;
    this.#command = this.#command === LAST_COMMAND ? FIRST_COMMAND : this.#command + 1;
    const command = this.#command;
    this.#announce(command);
    const complete = resolved.promise.then((answer) => {
      if (typeof answer === 'number') return answer;
      throw answer;
    });
    // Whoever only disposes of the hints has no interest in their failure.
    complete.catch(() => undefined);
    return {
      complete,
      [Symbol.dispose]: () => {
        if (this.#command !== command || this.#sink === undefined) return;
        this.#finish(this.#sum);
        this.#sink = undefined;
        this.#announce(VIRTIO_BALLOON_CMD_ID_DONE);
      },
    };
  }

  /** A buffer of the driver: the number of a command, or free pages. @returns 0, the bytes written */
  receive(chain: DescriptorChain): number {
    if (chain.readableBytes >= 4) {
      const command = chain.reader.readUint32();
      if (command === this.#command && this.#complete !== undefined) {
        this.#started = true;
      } else if (command === VIRTIO_BALLOON_CMD_ID_STOP && this.#started) {
        this.#finish(this.#sum);
      } else {
        this.#started = false;
      }
    }
    if (!this.#started || this.#sink === undefined) return 0;
    let words = 0;
    for (let i = chain.readableCount; i < chain.length; i++) {
      this.#ranges[words++] = chain.address(i);
      this.#ranges[words++] = chain.size(i);
      this.#sum += chain.size(i);
      this.bytes += chain.size(i);
      if (words < this.#ranges.length) continue;
      this.#sink(this.#ranges, words);
      words = 0;
    }
    if (words > 0) this.#sink(this.#ranges, words);
    return 0;
  }

  reset(): void {
    this.#available = false;
    this.#sink = undefined;
    this.#finish(new VirtioDeviceError('WRONG_STATE', "balloon: the guest's driver is gone"));
    this.#announce(VIRTIO_BALLOON_CMD_ID_STOP);
  }

  /** @returns the command that the driver is to find after `command` was the last one */
  restore(command: number): number {
    this.#command = Math.max(command, FIRST_COMMAND - 1);
    return command < FIRST_COMMAND ? command : VIRTIO_BALLOON_CMD_ID_DONE;
  }

  #finish(answer: number | VirtioDeviceError): void {
    this.#started = false;
    this.#complete?.resolve(answer);
    this.#complete = undefined;
  }
}
