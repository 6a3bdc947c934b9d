// Open files and directories, and what is read from them and written to them.
#include <fcntl.h>
#include <napi.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <vector>

#include "fs.hh"
#include "fs_call.hh"
#include "fs_status.hh"
#include "iovecs.hh"
#include "memory_map.hh"

namespace vmm {

namespace {

/** Opens what a handle stands for, if it is a regular file: opening anything else may wait or have effects. */
int openFile(FsArguments& a) noexcept {
  const int node = a.integer();
  const int flags = (a.integer() & FS_GUEST_FLAGS) | FS_OPEN_FLAGS;
  const bool noatime = a.integer() != 0;
  if (!a.valid()) return 0;
  struct statx st{};
  if (const int error = readStat(node, st); error < 0) return error;
  if (S_ISDIR(st.stx_mode)) return -EISDIR;
  if (S_ISLNK(st.stx_mode)) return -ELOOP;
  if (!S_ISREG(st.stx_mode)) return -ENXIO;
  const HandlePath path(node);
  if (noatime) {
    // Refused for files of others without CAP_FOWNER.
    const int fd = resultOf(::open(path.get(), flags | O_NOATIME));
    if (fd != -EPERM) return fd;
  }
  return resultOf(::open(path.get(), flags));
}

int openDirectory(FsArguments& a) noexcept {
  const int node = a.integer();
  const bool noatime = a.integer() != 0;
  if (!a.valid()) return 0;
  const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW;
  if (noatime) {
    const int fd = resultOf(::openat(node, ".", flags | O_NOATIME));
    if (fd != -EPERM) return fd;
  }
  return resultOf(::openat(node, ".", flags));
}

int truncateFile(FsArguments& a) noexcept {
  const int fd = a.integer();
  const double size = a.number();
  return a.valid() ? resultOf(::ftruncate(fd, static_cast<off_t>(size))) : 0;
}

/** preadv2 or pwritev2 over guest memory until all is done, nothing more comes, or there is an error. */
double transfer(FsArguments& a, bool write) noexcept {
  const int fd = a.integer();
  const double position = a.number();
  const MemoryMap* const map = a.memory();
  size_t words = 0;
  const double* const pairs = a.doubles(words);
  const uint32_t count = a.word();
  const int flags = a.integer() != 0 ? RWF_NOWAIT : 0;
  if (!a.valid() || count > words / 2) return -EINVAL;
  static thread_local std::vector<iovec> iovecs;
  iovecs.clear();
  try {
    if (!map->translate(pairs, count, !write, iovecs)) return -EFAULT;
  } catch (const std::bad_alloc&) {
    return -ENOMEM;
  }
  double done = 0;
  for (size_t at = 0; at < iovecs.size();) {
    const int batch = static_cast<int>(std::min<size_t>(iovecs.size() - at, IOV_MAX));
    const auto offset = static_cast<off_t>(position + done);
    const ssize_t moved = write ? ::pwritev2(fd, iovecs.data() + at, batch, offset, flags)
                                : ::preadv2(fd, iovecs.data() + at, batch, offset, flags);
    if (moved < 0) {
      if (errno == EINTR) continue;
      // What was written must be told; a read is made again by whoever can wait.
      return write && done > 0 ? done : -errno;
    }
    if (moved == 0) break;
    done += static_cast<double>(moved);
    at = advance(iovecs, at, static_cast<size_t>(moved));
  }
  return done;
}

double readFile(FsArguments& a) noexcept { return transfer(a, false); }
double writeFile(FsArguments& a) noexcept { return transfer(a, true); }

int readDirectory(FsArguments& a) noexcept {
  const int fd = a.integer();
  size_t length = 0;
  uint8_t* const buffer = a.bytes(length);
  return a.valid() ? resultOf(::syscall(SYS_getdents64, fd, buffer, length)) : 0;
}

int seekDirectory(FsArguments& a) noexcept {
  const int fd = a.integer();
  const uint64_t low = a.word();
  const uint64_t high = a.word();
  if (!a.valid()) return 0;
  return ::lseek(fd, static_cast<off_t>(high << 32 | low), SEEK_SET) < 0 ? -errno : 0;
}

double seekFile(FsArguments& a) noexcept {
  const int fd = a.integer();
  const double offset = a.number();
  const int whence = a.integer();
  if (!a.valid()) return 0;
  const off_t at = ::lseek(fd, static_cast<off_t>(offset), whence);
  return at < 0 ? -errno : static_cast<double>(at);
}

int allocate(FsArguments& a) noexcept {
  const int fd = a.integer();
  const int mode = a.integer();
  const double offset = a.number();
  const double length = a.number();
  if (!a.valid()) return 0;
  return resultOf(::fallocate(fd, mode, static_cast<off_t>(offset), static_cast<off_t>(length)));
}

int closeHandle(FsArguments& a) noexcept {
  const int fd = a.integer();
  return a.valid() ? resultOf(::close(fd)) : 0;
}

}  // namespace

void initFsFiles(Napi::Object& fs) {
  defineFs<openFile>(fs, "open");
  defineFs<openDirectory>(fs, "openDirectory");
  defineFs<closeHandle>(fs, "close");
  defineFs<truncateFile>(fs, "truncate");
  defineFs<allocate>(fs, "fallocate");
  defineFs<readFile>(fs, "read");
  defineFs<writeFile>(fs, "write");
  defineFs<seekFile>(fs, "lseek");
  defineFs<readDirectory>(fs, "readdir");
  defineFs<seekDirectory>(fs, "seekdir");
}

}  // namespace vmm
