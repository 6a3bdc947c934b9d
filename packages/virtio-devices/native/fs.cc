// System calls of the file system backend, on handles of directories: no path of more than one component is ever given to
// the kernel, but for /proc/self/fd/N, which names a handle. Everything answers a negative errno or a result.
#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <napi.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <string>
#include <vector>

#include "errors.hh"
#include "file_descriptor.hh"
#include "memory_map.hh"

namespace vmm {

namespace {

/** Words of a status, see FS_STAT in native-fs.ts. */
constexpr size_t STAT_WORDS = 30;
constexpr unsigned STAT_MASK = STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID;
/** Flags of open(2) that a guest may set. */
constexpr int GUEST_FLAGS = O_ACCMODE | O_TRUNC | O_APPEND | O_SYNC | O_DSYNC;
constexpr uint32_t UNCHANGED = UINT32_MAX;

int result(long value) noexcept { return value < 0 ? -errno : static_cast<int>(value); }

/** The arguments of a call, which only this package makes: what is wrong is a TypeError. */
class Arguments {
 public:
  Arguments(napi_env env, napi_callback_info info) noexcept : env_(env) {
    napi_get_cb_info(env, info, &count_, values_.data(), nullptr, nullptr);
  }

  double number() noexcept {
    double value = 0;
    check(napi_get_value_double(env_, next(), &value));
    if (!(value >= -MAX_SAFE_INTEGER && value <= MAX_SAFE_INTEGER)) valid_ = false;
    return valid_ ? value : 0;
  }
  int integer() noexcept {
    int32_t value = 0;
    check(napi_get_value_int32(env_, next(), &value));
    return value;
  }
  uint32_t word() noexcept {
    uint32_t value = 0;
    check(napi_get_value_uint32(env_, next(), &value));
    return value;
  }
  /** One character for each byte. */
  const char* name() noexcept { return string(napi_get_value_string_latin1); }
  const char* text() noexcept { return string(napi_get_value_string_utf8); }
  /** A status to be filled. */
  uint32_t* stat() noexcept {
    uint32_t* data = nullptr;
    size_t length = 0;
    if (!getUint32Array(env_, next(), data, length) || length < STAT_WORDS) valid_ = false;
    return data;
  }
  uint8_t* bytes(size_t& length) noexcept {
    uint8_t* data = nullptr;
    if (!getUint8Array(env_, next(), data, length)) valid_ = false;
    return data;
  }
  double* doubles(size_t& length) noexcept {
    double* data = nullptr;
    if (!getFloat64Array(env_, next(), data, length)) valid_ = false;
    return data;
  }
  MemoryMap* memory() noexcept {
    MemoryMap* const map = MemoryMap::from(env_, next());
    if (map == nullptr) valid_ = false;
    return map;
  }

  bool valid() const noexcept { return valid_; }

 private:
  using GetString = napi_status (*)(napi_env, napi_value, char*, size_t, size_t*);

  napi_value next() noexcept { return at_ < values_.size() ? values_[at_++] : nullptr; }
  void check(napi_status status) noexcept {
    if (status != napi_ok) valid_ = false;
  }
  const char* string(GetString get) noexcept {
    auto& buffer = strings_[used_ < strings_.size() - 1 ? used_++ : used_];
    size_t length = 0;
    check(get(env_, next(), buffer.data(), buffer.size(), &length));
    if (length >= buffer.size() - 1) valid_ = false;
    return buffer.data();
  }

  napi_env env_;
  std::array<napi_value, 16> values_{};
  size_t count_ = values_.size();
  size_t at_ = 0;
  std::array<std::array<char, PATH_MAX + 2>, 2> strings_;
  size_t used_ = 0;
  bool valid_ = true;
};

/** Makes a function of JavaScript from one that takes arguments and answers a number. */
template <auto Call>
napi_value call(napi_env env, napi_callback_info info) noexcept {
  Arguments arguments(env, info);
  const double value = static_cast<double>(Call(env, arguments));
  if (!arguments.valid()) {
    napi_throw_type_error(env, nullptr, "wrong arguments");
    return nullptr;
  }
  napi_value number = nullptr;
  napi_create_double(env, value, &number);
  return number;
}

/** The path of what a handle stands for. */
class HandlePath {
 public:
  explicit HandlePath(int fd) noexcept { std::snprintf(path_.data(), path_.size(), "/proc/self/fd/%d", fd); }
  const char* get() const noexcept { return path_.data(); }

 private:
  std::array<char, 32> path_{};
};

void putWords(uint32_t* words, uint64_t value) noexcept {
  words[0] = static_cast<uint32_t>(value);
  words[1] = static_cast<uint32_t>(value >> 32);
}

void putTime(uint32_t* words, const struct statx_timestamp& time) noexcept {
  putWords(words, static_cast<uint64_t>(time.tv_sec));
  words[2] = time.tv_nsec;
}

void putStat(uint32_t* words, const struct statx& st) noexcept {
  words[0] = st.stx_mode;
  words[1] = st.stx_nlink;
  words[2] = st.stx_uid;
  words[3] = st.stx_gid;
  words[4] = st.stx_rdev_major;
  words[5] = st.stx_rdev_minor;
  words[6] = st.stx_dev_major;
  words[7] = st.stx_dev_minor;
  putWords(words + 8, st.stx_ino);
  putWords(words + 10, st.stx_size);
  putWords(words + 12, st.stx_blocks);
  words[14] = st.stx_blksize;
  putTime(words + 15, st.stx_atime);
  putTime(words + 18, st.stx_mtime);
  putTime(words + 21, st.stx_ctime);
  if ((st.stx_mask & STATX_BTIME) != 0) putTime(words + 24, st.stx_btime);
  else words[24] = words[25] = words[26] = 0;
}

int readStat(int fd, struct statx& st) noexcept {
  return result(::statx(fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_SYMLINK_NOFOLLOW, STAT_MASK, &st));
}

int fillStat(int fd, uint32_t* words) noexcept {
  struct statx st{};
  const int error = readStat(fd, st);
  if (error == 0) putStat(words, st);
  return error;
}

bool sameMount(const struct statx& a, const struct statx& b) noexcept {
  if ((a.stx_mask & b.stx_mask & STATX_MNT_ID) != 0) return a.stx_mnt_id == b.stx_mnt_id;
  return a.stx_dev_major == b.stx_dev_major && a.stx_dev_minor == b.stx_dev_minor;
}

/** A handle of an entry of a directory, which is neither followed nor entered if something is mounted on it. */
int openEntry(int directory, const char* name, bool useOpenat2, struct statx& st) noexcept {
  int fd = -1;
  if (useOpenat2) {
    struct open_how how{};
    how.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
    fd = result(::syscall(SYS_openat2, directory, name, &how, sizeof how));
  } else {
    fd = result(::openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
  }
  if (fd < 0) return fd;
  int error = readStat(fd, st);
  if (error == 0 && !useOpenat2) {
    struct statx parent{};
    error = readStat(directory, parent);
    if (error == 0 && !sameMount(parent, st)) error = -EXDEV;
  }
  if (error == 0) return fd;
  ::close(fd);
  return error;
}

int openRoot(napi_env /*env*/, Arguments& a) noexcept {
  const char* const path = a.text();
  if (!a.valid()) return 0;
  return result(::open(path, O_PATH | O_DIRECTORY | O_CLOEXEC));
}

int lookup(napi_env /*env*/, Arguments& a) noexcept {
  const int directory = a.integer();
  const char* const name = a.name();
  const bool useOpenat2 = a.integer() != 0;
  uint32_t* const words = a.stat();
  if (!a.valid()) return 0;
  struct statx st{};
  const int fd = openEntry(directory, name, useOpenat2, st);
  if (fd >= 0) putStat(words, st);
  return fd;
}

int status(napi_env /*env*/, Arguments& a) noexcept {
  const int fd = a.integer();
  uint32_t* const words = a.stat();
  return a.valid() ? fillStat(fd, words) : 0;
}

/** Opens what a handle stands for, if it is a regular file: opening anything else may wait or have effects. */
int openFile(napi_env /*env*/, Arguments& a) noexcept {
  const int node = a.integer();
  const int flags = (a.integer() & GUEST_FLAGS) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
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
    const int fd = result(::open(path.get(), flags | O_NOATIME));
    if (fd != -EPERM) return fd;
  }
  return result(::open(path.get(), flags));
}

int openDirectory(napi_env /*env*/, Arguments& a) noexcept {
  const int node = a.integer();
  const bool noatime = a.integer() != 0;
  if (!a.valid()) return 0;
  const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW;
  if (noatime) {
    const int fd = result(::openat(node, ".", flags | O_NOATIME));
    if (fd != -EPERM) return fd;
  }
  return result(::openat(node, ".", flags));
}

/** What a new file is to be like. */
struct Wanted {
  uint32_t mode;
  uint32_t uid;
  uint32_t gid;
};

/**
 * Gives a new file its owner and mode, on which this process' ids and umask had their influence. A directory with
 * S_ISGID hands its group on.
 *
 * @param fd of any kind
 */
int adopt(int directory, int fd, const Wanted& wanted, struct statx& st) noexcept {
  struct statx parent{};
  if (const int error = readStat(directory, parent); error < 0) return error;
  if (const int error = readStat(fd, st); error < 0) return error;
  const bool inherits = (parent.stx_mode & S_ISGID) != 0;
  const uint32_t uid = st.stx_uid == wanted.uid ? UNCHANGED : wanted.uid;
  const uint32_t gid = inherits || st.stx_gid == wanted.gid ? UNCHANGED : wanted.gid;
  uint32_t mode = wanted.mode & 07777U;
  if (S_ISDIR(st.stx_mode) && inherits) mode |= S_ISGID;
  const bool owned = uid == UNCHANGED && gid == UNCHANGED;
  if (!owned) {
    const int error = result(::fchownat(fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW));
    if (error < 0) return error;
  }
  const bool sameMode = (st.stx_mode & 07777U) == mode && (owned || (mode & (S_ISUID | S_ISGID)) == 0);
  if (S_ISLNK(st.stx_mode) || sameMode) return owned ? 0 : readStat(fd, st);
  const int error = result(::chmod(HandlePath(fd).get(), mode));
  return error < 0 ? error : readStat(fd, st);
}

int create(napi_env /*env*/, Arguments& a) noexcept {
  const int directory = a.integer();
  const char* const name = a.name();
  const int flags = (a.integer() & GUEST_FLAGS) | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  const Wanted wanted{a.word(), a.word(), a.word()};
  uint32_t* const words = a.stat();
  if (!a.valid()) return 0;
  FileDescriptor file(result(::openat(directory, name, flags, wanted.mode & 0777U)));
  if (!file.isOpen()) return file.get();
  struct statx st{};
  int error = adopt(directory, file.get(), wanted, st);
  FileDescriptor node(error < 0 ? -1 : result(::open(HandlePath(file.get()).get(), O_PATH | O_CLOEXEC)));
  if (error == 0 && !node.isOpen()) error = node.get();
  if (error < 0) {
    ::unlinkat(directory, name, 0);
    return error;
  }
  putStat(words, st);
  words[27] = static_cast<uint32_t>(node.release());
  return file.release();
}

int makeEntry(int directory, const char* name, const char* target, const Wanted& wanted, dev_t device) noexcept {
  const mode_t mode = wanted.mode & (S_IFMT | 0777U);
  if (S_ISLNK(wanted.mode)) return result(::symlinkat(target, directory, name));
  if (S_ISDIR(wanted.mode)) return result(::mkdirat(directory, name, mode & 0777U));
  return result(::mknodat(directory, name, mode, device));
}

/** MKNOD, MKDIR and SYMLINK, by the type in `mode`. Answers a handle of what was made. */
int make(napi_env /*env*/, Arguments& a) noexcept {
  const int directory = a.integer();
  const char* const name = a.name();
  const char* const target = a.name();
  const Wanted wanted{a.word(), a.word(), a.word()};
  const unsigned major = a.word();
  const unsigned minor = a.word();
  const bool useOpenat2 = a.integer() != 0;
  uint32_t* const words = a.stat();
  if (!a.valid()) return 0;
  if (const int error = makeEntry(directory, name, target, wanted, makedev(major, minor)); error < 0) return error;
  struct statx st{};
  FileDescriptor node(openEntry(directory, name, useOpenat2, st));
  if (!node.isOpen()) return node.get();
  // Somebody on the host may have put something else there meanwhile, which must not get the guest's owner and mode.
  const bool ours = ((st.stx_mode ^ wanted.mode) & S_IFMT) == 0 && st.stx_uid == ::geteuid() &&
                    (S_ISDIR(st.stx_mode) || st.stx_nlink == 1);
  if (ours) {
    if (const int error = adopt(directory, node.get(), wanted, st); error < 0) {
      ::unlinkat(directory, name, S_ISDIR(wanted.mode) ? AT_REMOVEDIR : 0);
      return error;
    }
  }
  putStat(words, st);
  return node.release();
}

int unlinkEntry(napi_env /*env*/, Arguments& a) noexcept {
  const int directory = a.integer();
  const char* const name = a.name();
  const bool isDirectory = a.integer() != 0;
  return a.valid() ? result(::unlinkat(directory, name, isDirectory ? AT_REMOVEDIR : 0)) : 0;
}

int renameEntry(napi_env /*env*/, Arguments& a) noexcept {
  const int from = a.integer();
  const char* const name = a.name();
  const int to = a.integer();
  const char* const newName = a.name();
  const unsigned flags = a.word();
  if (!a.valid()) return 0;
  return result(::syscall(SYS_renameat2, from, name, to, newName, flags));
}

int linkEntry(napi_env /*env*/, Arguments& a) noexcept {
  const int node = a.integer();
  const int directory = a.integer();
  const char* const name = a.name();
  if (!a.valid()) return 0;
  // ENOENT without CAP_DAC_READ_SEARCH.
  const int error = result(::linkat(node, "", directory, name, AT_EMPTY_PATH));
  if (error != -ENOENT) return error;
  return result(::linkat(AT_FDCWD, HandlePath(node).get(), directory, name, AT_SYMLINK_FOLLOW));
}

int readLink(napi_env /*env*/, Arguments& a) noexcept {
  const int node = a.integer();
  size_t length = 0;
  uint8_t* const buffer = a.bytes(length);
  return a.valid() ? result(::readlinkat(node, "", reinterpret_cast<char*>(buffer), length)) : 0;
}

timespec toTime(double seconds, double nanoseconds) noexcept {
  return {static_cast<time_t>(seconds), static_cast<long>(nanoseconds)};
}

int changeMode(napi_env /*env*/, Arguments& a) noexcept {
  const int node = a.integer();
  const mode_t mode = a.word() & 07777U;
  return a.valid() ? result(::chmod(HandlePath(node).get(), mode)) : 0;
}

int changeOwner(napi_env /*env*/, Arguments& a) noexcept {
  const int node = a.integer();
  const uint32_t uid = a.word();
  const uint32_t gid = a.word();
  return a.valid() ? result(::fchownat(node, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW)) : 0;
}

/** UTIME_NOW and UTIME_OMIT as nanoseconds mean what they do in utimensat(2). */
int changeTimes(napi_env /*env*/, Arguments& a) noexcept {
  const int node = a.integer();
  const double atime = a.number();
  const double atimensec = a.number();
  const double mtime = a.number();
  const double mtimensec = a.number();
  if (!a.valid()) return 0;
  const std::array<timespec, 2> times{toTime(atime, atimensec), toTime(mtime, mtimensec)};
  const int error = result(::utimensat(node, "", times.data(), AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW));
  // Linux before 5.8.
  if (error != -EINVAL && error != -EBADF) return error;
  return result(::utimensat(AT_FDCWD, HandlePath(node).get(), times.data(), 0));
}

int truncateFile(napi_env /*env*/, Arguments& a) noexcept {
  const int fd = a.integer();
  const double size = a.number();
  return a.valid() ? result(::ftruncate(fd, static_cast<off_t>(size))) : 0;
}

/** Clears what the kernel would for a writer without CAP_FSETID. @param fd an open file */
int killPrivileges(napi_env /*env*/, Arguments& a) noexcept {
  const int fd = a.integer();
  if (!a.valid()) return 0;
  struct statx st{};
  if (const int error = readStat(fd, st); error < 0) return error;
  mode_t kill = st.stx_mode & S_ISUID;
  if ((st.stx_mode & S_IXGRP) != 0) kill |= st.stx_mode & S_ISGID;
  return kill == 0 ? 0 : result(::fchmod(fd, st.stx_mode & 07777U & ~kill));
}

/** preadv2 or pwritev2 over guest memory until all is done, nothing more comes, or there is an error. */
double transfer(napi_env env, Arguments& a, bool write) noexcept {
  const int fd = a.integer();
  const double position = a.number();
  MemoryMap* const map = a.memory();
  size_t words = 0;
  const double* const pairs = a.doubles(words);
  const uint32_t count = a.word();
  const int flags = a.integer() != 0 ? RWF_NOWAIT : 0;
  if (!a.valid() || count > words / 2) return -EINVAL;
  static thread_local std::vector<iovec> iovecs;
  iovecs.clear();
  try {
    map->refresh(env);
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
    for (auto left = static_cast<size_t>(moved); left > 0;) {
      iovec& next = iovecs[at];
      const size_t part = std::min(left, next.iov_len);
      next.iov_base = static_cast<uint8_t*>(next.iov_base) + part;
      next.iov_len -= part;
      left -= part;
      if (next.iov_len == 0) at++;
    }
  }
  return done;
}

double readFile(napi_env env, Arguments& a) noexcept { return transfer(env, a, false); }
double writeFile(napi_env env, Arguments& a) noexcept { return transfer(env, a, true); }

int readDirectory(napi_env /*env*/, Arguments& a) noexcept {
  const int fd = a.integer();
  size_t length = 0;
  uint8_t* const buffer = a.bytes(length);
  return a.valid() ? result(::syscall(SYS_getdents64, fd, buffer, length)) : 0;
}

int seekDirectory(napi_env /*env*/, Arguments& a) noexcept {
  const int fd = a.integer();
  const uint64_t low = a.word();
  const uint64_t high = a.word();
  if (!a.valid()) return 0;
  return ::lseek(fd, static_cast<off_t>(high << 32 | low), SEEK_SET) < 0 ? -errno : 0;
}

double seekFile(napi_env /*env*/, Arguments& a) noexcept {
  const int fd = a.integer();
  const double offset = a.number();
  const int whence = a.integer();
  if (!a.valid()) return 0;
  const off_t at = ::lseek(fd, static_cast<off_t>(offset), whence);
  return at < 0 ? -errno : static_cast<double>(at);
}

int fileSystemStatus(napi_env /*env*/, Arguments& a) noexcept {
  const int fd = a.integer();
  size_t length = 0;
  double* const out = a.doubles(length);
  if (!a.valid() || length < 9) return -EINVAL;
  struct statfs st{};
  if (const int error = result(::fstatfs(fd, &st)); error < 0) return error;
  const std::array<double, 9> values{
      static_cast<double>(st.f_blocks), static_cast<double>(st.f_bfree),   static_cast<double>(st.f_bavail),
      static_cast<double>(st.f_files),  static_cast<double>(st.f_ffree),   static_cast<double>(st.f_bsize),
      static_cast<double>(st.f_namelen), static_cast<double>(st.f_frsize), static_cast<double>(st.f_type)};
  for (size_t i = 0; i < values.size(); i++) out[i] = values[i];
  return 0;
}

int getAttribute(napi_env /*env*/, Arguments& a) noexcept {
  const int node = a.integer();
  const char* const name = a.name();
  size_t length = 0;
  uint8_t* const buffer = a.bytes(length);
  return a.valid() ? result(::getxattr(HandlePath(node).get(), name, buffer, length)) : 0;
}

int setAttribute(napi_env /*env*/, Arguments& a) noexcept {
  const int node = a.integer();
  const char* const name = a.name();
  size_t length = 0;
  const uint8_t* const buffer = a.bytes(length);
  const int flags = a.integer();
  return a.valid() ? result(::setxattr(HandlePath(node).get(), name, buffer, length, flags)) : 0;
}

int listAttributes(napi_env /*env*/, Arguments& a) noexcept {
  const int node = a.integer();
  size_t length = 0;
  uint8_t* const buffer = a.bytes(length);
  return a.valid() ? result(::listxattr(HandlePath(node).get(), reinterpret_cast<char*>(buffer), length)) : 0;
}

int removeAttribute(napi_env /*env*/, Arguments& a) noexcept {
  const int node = a.integer();
  const char* const name = a.name();
  return a.valid() ? result(::removexattr(HandlePath(node).get(), name)) : 0;
}

int allocate(napi_env /*env*/, Arguments& a) noexcept {
  const int fd = a.integer();
  const int mode = a.integer();
  const double offset = a.number();
  const double length = a.number();
  if (!a.valid()) return 0;
  return result(::fallocate(fd, mode, static_cast<off_t>(offset), static_cast<off_t>(length)));
}

int closeHandle(napi_env /*env*/, Arguments& a) noexcept {
  const int fd = a.integer();
  return a.valid() ? result(::close(fd)) : 0;
}

int hasOpenat2(napi_env /*env*/, Arguments& a) noexcept {
  const int directory = a.integer();
  if (!a.valid()) return 0;
  struct open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH;
  const FileDescriptor fd(static_cast<int>(::syscall(SYS_openat2, directory, ".", &how, sizeof how)));
  return fd.isOpen() ? 1 : 0;
}

/** Raises the soft limit of open files to the hard one, and answers it. */
double descriptorLimit(napi_env /*env*/, Arguments& /*arguments*/) noexcept {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) < 0) return -errno;
  if (limit.rlim_cur < limit.rlim_max) {
    const rlimit raised{limit.rlim_max, limit.rlim_max};
    if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  return static_cast<double>(limit.rlim_cur);
}

/** syncfs(2) on the thread pool. */
class Sync final : public Napi::AsyncWorker {
 public:
  Sync(Napi::Env env, int fd) : Napi::AsyncWorker(env), deferred_(env), fd_(fd) {}
  Napi::Promise promise() const { return deferred_.Promise(); }

  void Execute() override { error_ = result(::syncfs(fd_.get())); }
  void OnOK() override { deferred_.Resolve(Napi::Number::New(Env(), error_)); }

 private:
  Napi::Promise::Deferred deferred_;
  FileDescriptor fd_;
  int error_ = 0;
};

Napi::Value syncFileSystem(const Napi::CallbackInfo& info) {
  const auto node = static_cast<int>(toUint32(info[0], "fd"));
  // A handle is not enough for syncfs, and must not be closed while it runs.
  const int fd = result(::openat(node, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd < 0) throwErrno(info.Env(), -fd, "openat");
  auto* const worker = new Sync(info.Env(), fd);
  const Napi::Promise promise = worker->promise();
  worker->Queue();
  return promise;
}

template <auto Call>
void define(Napi::Object& object, const char* name) {
  napi_value function = nullptr;
  if (napi_create_function(object.Env(), name, NAPI_AUTO_LENGTH, call<Call>, nullptr, &function) != napi_ok)
    throw Napi::Error::New(object.Env());
  object.Set(name, function);
}

}  // namespace

void initFs(Napi::Env env, Napi::Object exports) {
  Napi::Object fs = Napi::Object::New(env);
  define<openRoot>(fs, "openRoot");
  define<lookup>(fs, "lookup");
  define<status>(fs, "stat");
  define<openFile>(fs, "open");
  define<openDirectory>(fs, "openDirectory");
  define<create>(fs, "create");
  define<make>(fs, "make");
  define<unlinkEntry>(fs, "unlink");
  define<renameEntry>(fs, "rename");
  define<linkEntry>(fs, "link");
  define<readLink>(fs, "readlink");
  define<changeMode>(fs, "chmod");
  define<changeOwner>(fs, "chown");
  define<changeTimes>(fs, "utimens");
  define<truncateFile>(fs, "truncate");
  define<killPrivileges>(fs, "killPrivileges");
  define<readFile>(fs, "read");
  define<writeFile>(fs, "write");
  define<readDirectory>(fs, "readdir");
  define<seekDirectory>(fs, "seekdir");
  define<seekFile>(fs, "lseek");
  define<fileSystemStatus>(fs, "statfs");
  define<getAttribute>(fs, "getxattr");
  define<setAttribute>(fs, "setxattr");
  define<listAttributes>(fs, "listxattr");
  define<removeAttribute>(fs, "removexattr");
  define<allocate>(fs, "fallocate");
  define<closeHandle>(fs, "close");
  define<hasOpenat2>(fs, "hasOpenat2");
  define<descriptorLimit>(fs, "descriptorLimit");
  fs.Set("syncfs", Napi::Function::New(env, syncFileSystem, "syncfs"));
  exports.Set("fs", fs);
}

}  // namespace vmm
