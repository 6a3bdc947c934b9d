/**
 * Takes a lock word (0 free, 1 held). Sections under a lock are short and never wait for anything else. It polls and
 * never sleeps, for the reason that gicLock() gives.
 */
export function acquire(word: usize): void {
  while (atomic.xchg<i32>(word, 1) != 0) {
    while (atomic.load<i32>(word) != 0) {}
  }
}

export function release(word: usize): void {
  atomic.store<i32>(word, 0);
}
