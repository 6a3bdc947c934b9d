#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <vector>

namespace vmm {

/** Reads and writes a file as far as that needs no waiting for a disk. */
class PageCache {
 public:
  PageCache() = default;
  /** @param fd belongs to the caller */
  explicit PageCache(int fd) noexcept;

  /**
   * Fills the pieces, which it changes. Answers 0, EAGAIN where they are not in memory or the file system cannot tell, ENODATA
   * beyond the end of the file, or another errno.
   */
  int read(std::vector<iovec>& pieces, off_t position) noexcept;

  /**
   * Stores the pieces, which it changes. Answers 0, EAGAIN where it might have to wait, or another errno. Not every file system
   * can tell (ext4 does not); there a write waits only for a journal that is being flushed, or when the kernel holds back who
   * writes too fast.
   *
   * @param flushing whether the file is being flushed
   */
  int write(std::vector<iovec>& pieces, off_t position, bool flushing) noexcept;

 private:
  int fd_ = -1;
  /** The file system has no disk. */
  bool inMemory_ = false;
  bool nowaitReads_ = true;
  bool nowaitWrites_ = true;
  int64_t slowUntil_ = 0;
};

}  // namespace vmm
