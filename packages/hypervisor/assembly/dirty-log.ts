import { flushOnAll, FLUSH_WRITABLE, requestsServed } from './barrier';
import { DIRTY_LOG, HEADER, HEADER_DIRTY_LOG } from './layout';

// Which pages vCPUs store to. The TLB keeps it cheap: while the log is on, an entry is writable only once its page has
// been noted, so the fast paths are the same as without. Whoever takes bits out of the log then has every vCPU drop its
// writable entries, and has the whole picture when all have: what they stored until then went to pages whose bits were
// taken, and what comes later is noted anew.

// @ts-ignore: decorator
@inline
export function dirtyLogged(): bool {
  return load<u32>(HEADER, HEADER_DIRTY_LOG) != 0;
}

/** Notes a store to the page at memory offset `host`. */
export function noteStore(host: usize): void {
  const page = <u32>host >> 12;
  const word: usize = DIRTY_LOG + (page >> 5 << 2);
  const bit: u32 = 1 << (page & 31);
  if ((atomic.load<u32>(word) & bit) == 0) atomic.or<u32>(word, bit);
}

/** The host's: asks every vCPU to drop its writable TLB entries, which it does before it executes much more. */
export function revokeWrites(): void {
  flushOnAll(FLUSH_WRITABLE);
}

/** Whether no vCPU executes with an entry from before the last `revokeWrites`. */
export function writesRevoked(): bool {
  return requestsServed();
}
