import { closeSync, openSync, writeSync } from 'node:fs';
import { messageOf, VirtioDeviceError } from '../errors.ts';
import type { PcapSink } from '../net/pcap-recorder.ts';

/** A file for a {@link PcapRecorder}: `new PcapRecorder(backend, { sink: file.sink })`. */
export class PcapFile implements Disposable {
  readonly path: string;
  /** The first error of the file, after which nothing more is written. */
  error: unknown;
  #fd: number | undefined;

  /**
   * Makes or empties the file.
   *
   * @throws VirtioDeviceError `IO_ERROR`
   */
  constructor(path: string) {
    this.path = path;
    try {
      this.#fd = openSync(path, 'w');
    } catch (cause) {
      throw new VirtioDeviceError('IO_ERROR', `cannot record to ${path}: ${messageOf(cause)}`, { cause });
    }
  }

  /** Every frame is in the file when this returns, so that it outlives the process. */
  readonly sink: PcapSink = (bytes) => {
    if (this.#fd === undefined) return;
    try {
      for (let done = 0; done < bytes.length;) done += writeSync(this.#fd, bytes, done);
    } catch (cause) {
      // A full disk ends the recording, not the network.
      this.error = cause;
      this.close();
    }
  };

  /** More than once is harmless. */
  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
