import type { NativeBlock } from './native-block.ts';
import type { NativeFs } from './native-fs.ts';
import type { NativePty } from './native-pty.ts';
import type { NativeTap } from './native-tap.ts';

/**
 * The addon `vmm_host`, as TypeScript sees it: what Node.js has no call for. It makes system calls and decides nothing.
 *
 * A failed system call throws an `Error` with `code` ('EPERM'), `errno` (positive) and `syscall`; a wrong argument throws a
 * `TypeError` or `RangeError`; a closed handle an `Error` with code 'EBADF'. Handles close by `close()`, any number of
 * times, and at the end of their environment.
 */
export interface NativeHost extends NativeBlock, NativeTap, NativeFs, NativePty {
  /** Changes with this contract; see {@link NATIVE_CONTRACT}. */
  readonly contract: number;
  /**
   * Guest memory for native calls. Keeps the arrays alive, and asks at each call where their bytes are: a detached array
   * is an empty region. They may be on SharedArrayBuffers.
   *
   * @throws TypeError, RangeError
   */
  readonly MemoryMap: new (regions: readonly NativeRegion[]) => NativeMemoryMap;
}

/** Version of {@link NativeHost} that this package was written for. */
export const NATIVE_CONTRACT = 2;

/** One region of guest memory, as GuestMemory.regions has them. */
export interface NativeRegion {
  readonly guestAddress: number;
  readonly bytes: Uint8Array;
  readonly readOnly?: boolean;
}

declare const memoryMap: unique symbol;

/** Made by {@link NativeHost.MemoryMap}; has no properties. */
export interface NativeMemoryMap {
  readonly [memoryMap]: never;
}
