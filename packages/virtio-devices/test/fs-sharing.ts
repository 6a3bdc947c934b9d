import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CreateDriverOptions } from '../src/mock/index.ts';
import { HostDirectory, type HostDirectoryOptions } from '../src/node/index.ts';
import { FuseGuest } from './fuse-guest.ts';

/** A directory of the host with a secret beside it, and guests that mount it. */
export class Sharing implements Disposable {
  /** Has `share` and the file `secret`. */
  readonly scratch: string = mkdtempSync(join(tmpdir(), 'vmm-fs-'));
  readonly root: string = join(this.scratch, 'share');
  readonly #shares: HostDirectory[] = [];

  constructor() {
    mkdirSync(this.root);
    writeFileSync(join(this.scratch, 'secret'), 'secret');
  }

  /** A path in the shared directory. */
  at(...path: readonly string[]): string {
    return join(this.root, ...path);
  }

  async mount(
    options: HostDirectoryOptions = {},
    how: CreateDriverOptions = {},
  ): Promise<{ guest: FuseGuest; share: HostDirectory }> {
    const share = new HostDirectory(this.root, options);
    this.#shares.push(share);
    const guest = new FuseGuest(share, how);
    await guest.init();
    return { guest, share };
  }

  [Symbol.dispose](): void {
    for (const share of this.#shares) share.close();
    rmSync(this.scratch, { recursive: true, force: true });
  }
}

/** The error that a promise is rejected with, or 0. */
export async function errnoOf(promise: Promise<unknown>): Promise<number> {
  try {
    await promise;
    return 0;
  } catch (error) {
    return (error as { errno: number }).errno;
  }
}
