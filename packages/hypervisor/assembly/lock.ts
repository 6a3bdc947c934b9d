/** Longest sleep on a lock, in nanoseconds: the holder may have been released between look and sleep. */
const PATIENCE: i64 = 1000000;

/** Takes a lock word (0 free, 1 held). Sections under a lock are short and never wait for anything else. */
export function acquire(word: usize): void {
  while (atomic.cmpxchg<i32>(word, 0, 1) != 0) {
    for (let i = 0; i < 100; i++) {
      if (atomic.load<i32>(word) == 0) break;
    }
    if (atomic.load<i32>(word) != 0) atomic.wait<i32>(word, 1, PATIENCE);
  }
}

export function release(word: usize): void {
  atomic.store<i32>(word, 0);
  atomic.notify(word, 1);
}
