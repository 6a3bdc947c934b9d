import { Deferred } from '../deferred.ts';
import type { VirtioDeviceError } from '../errors.ts';
import type { VsockConnection } from './connection.ts';

/** What the user of a connection is to be told of, until {@link deliver} does it. */
export class PeerEvents {
  readonly #connection: VsockConnection;
  readonly #due: () => void;
  readonly #closed = new Deferred<VirtioDeviceError | undefined>();
  #drained: Deferred<void> | undefined;
  #wakeReader: (() => void) | undefined;
  #tellReadable = false;
  #tellDrained = false;
  #tellClosed = false;

  /** @param due called when there is something to deliver */
  constructor(connection: VsockConnection, due: () => void) {
    this.#connection = connection;
    this.#due = due;
  }

  get whenClosed(): Promise<VirtioDeviceError | undefined> {
    return this.#closed.promise;
  }

  /** For one reader. */
  whenReadable(): Promise<void> {
    return new Promise((resolve) => {
      this.#wakeReader = resolve;
    });
  }

  whenDrained(): Promise<void> {
    this.#drained ??= new Deferred<void>();
    return this.#drained.promise;
  }

  inputChanged(): void {
    this.#tellReadable = true;
    this.#due();
  }

  outputChanged(): void {
    this.#tellDrained = true;
    this.#due();
  }

  closed(): void {
    this.#tellClosed = true;
    this.outputChanged();
  }

  /** Everything is told, whatever a callback throws. */
  deliver(): void {
    const connection = this.#connection;
    const closed = this.#tellClosed;
    const readable = this.#tellReadable || closed;
    const drained = this.#tellDrained;
    this.#tellClosed = this.#tellReadable = this.#tellDrained = false;
    try {
      if (readable) {
        this.#wakeReader?.();
        this.#wakeReader = undefined;
        connection.onReadable?.();
      }
    } finally {
      try {
        if (drained) {
          this.#drained?.resolve();
          this.#drained = undefined;
          if (connection.state !== 'closed') connection.onDrained?.();
        }
      } finally {
        if (closed) {
          this.#closed.resolve(connection.error);
          connection.onClosed?.(connection.error);
        }
      }
    }
  }
}
