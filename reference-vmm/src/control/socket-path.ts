import { closeSync, constants, existsSync, openSync } from 'node:fs';
import { join } from 'node:path';

/** In the directory of a VM. */
export const CONTROL_SOCKET = 'control.sock';

/** The shortest sun_path of the systems that Node runs on, without its end (unix(7), unix(4)). */
const PATH_LIMIT = 103;
const DESCRIPTORS = '/proc/self/fd';

/**
 * A name for the control socket in a directory. By way of the open directory it fits into an address, however long the
 * directory's own path is, and leads to that directory even when another one has its path: closing a server unlinks its
 * socket by name.
 */
export class SocketPath implements Disposable {
  readonly path: string;
  #fd: number | undefined;

  private constructor(directory: string, byDescriptor: boolean) {
    if (byDescriptor && existsSync(DESCRIPTORS)) {
      this.#fd = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
      this.path = join(DESCRIPTORS, String(this.#fd), CONTROL_SOCKET);
    } else {
      this.path = join(directory, CONTROL_SOCKET);
    }
  }

  /** For a server. @throws Error of the system */
  static held(directory: string): SocketPath {
    return new SocketPath(directory, true);
  }

  /** For a client. @throws Error of the system */
  static short(directory: string): SocketPath {
    return new SocketPath(directory, Buffer.byteLength(join(directory, CONTROL_SOCKET)) > PATH_LIMIT);
  }

  [Symbol.dispose](): void {
    if (this.#fd === undefined) return;
    closeSync(this.#fd);
    this.#fd = undefined;
  }
}
