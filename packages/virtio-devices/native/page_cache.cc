#include "page_cache.hh"

#include <linux/magic.h>
#include <sys/resource.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <ctime>

#include "iovecs.hh"

namespace vmm {

namespace {

/** A write to the page cache that waits for longer than this, in nanoseconds, shows that the kernel holds writers back. */
constexpr int64_t SLOW_WRITE = 2'000'000;
/** For how long writes go to the engine then, in nanoseconds. */
constexpr int64_t SLOW_PERIOD = 2'000'000'000;

/** How often this thread has given its processor up, which is not the same as having it taken away. */
int64_t waits() noexcept {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nvcsw;
}

int64_t now() noexcept {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1'000'000'000 + time.tv_nsec;
}

/** Reads or writes all of the pieces, which it changes. Answers 0 or an errno. */
int transferAll(int fd, std::vector<iovec>& pieces, off_t position, bool write, int flags) noexcept {
  for (size_t at = 0; at < pieces.size();) {
    const int count = static_cast<int>(std::min<size_t>(pieces.size() - at, IOV_MAX));
    const ssize_t result = write ? pwritev2(fd, &pieces[at], count, position, flags)
                                 : preadv2(fd, &pieces[at], count, position, flags);
    if (result < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    if (result == 0) return (flags & RWF_NOWAIT) != 0 ? EAGAIN : write ? EIO : ENODATA;
    position += result;
    at = advance(pieces, at, static_cast<size_t>(result));
  }
  return 0;
}

}  // namespace

PageCache::PageCache(int fd) noexcept : fd_(fd) {
  struct statfs fileSystem {};
  if (fstatfs(fd, &fileSystem) != 0) return;
  const auto type = static_cast<uint64_t>(fileSystem.f_type);
  inMemory_ = type == TMPFS_MAGIC || type == RAMFS_MAGIC;
}

int PageCache::read(std::vector<iovec>& pieces, off_t position) noexcept {
  if (inMemory_) return transferAll(fd_, pieces, position, false, 0);
  if (!nowaitReads_) return EAGAIN;
  const int error = transferAll(fd_, pieces, position, false, RWF_NOWAIT);
  if (error != EOPNOTSUPP) return error;
  nowaitReads_ = false;
  return EAGAIN;
}

int PageCache::write(std::vector<iovec>& pieces, off_t position, bool flushing) noexcept {
  if (inMemory_) return transferAll(fd_, pieces, position, true, 0);
  if (nowaitWrites_) {
    const int error = transferAll(fd_, pieces, position, true, RWF_NOWAIT);
    if (error != EOPNOTSUPP) return error;
    nowaitWrites_ = false;
  }
  if (flushing) return EAGAIN;
  const int64_t started = now();
  if (started < slowUntil_) return EAGAIN;
  const int64_t waitsBefore = waits();
  const int error = transferAll(fd_, pieces, position, true, 0);
  const int64_t ended = now();
  if (ended - started > SLOW_WRITE && waits() != waitsBefore) slowUntil_ = ended + SLOW_PERIOD;
  return error;
}

}  // namespace vmm
