#include "file_control.hh"

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace vmm {

int sizeOfFile(int fd, uint64_t& bytes) noexcept {
  struct stat status {};
  if (fstat(fd, &status) != 0) return errno;
  bytes = static_cast<uint64_t>(status.st_size);
  return S_ISBLK(status.st_mode) && ioctl(fd, BLKGETSIZE64, &bytes) != 0 ? errno : 0;
}

int lockFile(int fd, short type) noexcept {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  if (fcntl(fd, F_OFD_SETLK, &lock) == 0) return 0;
  return errno == EACCES ? EAGAIN : errno;
}

}  // namespace vmm
