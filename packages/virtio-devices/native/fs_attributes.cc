// What a file is like: status, owner, mode, times, extended attributes.
#include <fcntl.h>
#include <napi.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <ctime>

#include "fs.hh"
#include "fs_call.hh"
#include "fs_status.hh"

namespace vmm {

namespace {

int status(FsArguments& a) noexcept {
  const int fd = a.integer();
  uint32_t* const words = a.stat();
  if (!a.valid()) return 0;
  struct statx st{};
  const int error = readStat(fd, st);
  if (error == 0) putStat(words, st);
  return error;
}

timespec toTime(double seconds, double nanoseconds) noexcept {
  return {static_cast<time_t>(seconds), static_cast<long>(nanoseconds)};
}

int changeMode(FsArguments& a) noexcept {
  const int node = a.integer();
  const mode_t mode = a.word() & 07777U;
  return a.valid() ? resultOf(::chmod(HandlePath(node).get(), mode)) : 0;
}

int changeOwner(FsArguments& a) noexcept {
  const int node = a.integer();
  const uint32_t uid = a.word();
  const uint32_t gid = a.word();
  return a.valid() ? resultOf(::fchownat(node, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW)) : 0;
}

/** UTIME_NOW and UTIME_OMIT as nanoseconds mean what they do in utimensat(2). */
int changeTimes(FsArguments& a) noexcept {
  const int node = a.integer();
  const double atime = a.number();
  const double atimensec = a.number();
  const double mtime = a.number();
  const double mtimensec = a.number();
  if (!a.valid()) return 0;
  const std::array<timespec, 2> times{toTime(atime, atimensec), toTime(mtime, mtimensec)};
  const int error = resultOf(::utimensat(node, "", times.data(), AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW));
  // Linux before 5.8.
  if (error != -EINVAL && error != -EBADF) return error;
  return resultOf(::utimensat(AT_FDCWD, HandlePath(node).get(), times.data(), 0));
}

/** Clears what the kernel would for a writer without CAP_FSETID. @param fd an open file */
int killPrivileges(FsArguments& a) noexcept {
  const int fd = a.integer();
  if (!a.valid()) return 0;
  struct statx st{};
  if (const int error = readStat(fd, st); error < 0) return error;
  mode_t kill = st.stx_mode & S_ISUID;
  if ((st.stx_mode & S_IXGRP) != 0) kill |= st.stx_mode & S_ISGID;
  return kill == 0 ? 0 : resultOf(::fchmod(fd, st.stx_mode & 07777U & ~kill));
}

int fileSystemStatus(FsArguments& a) noexcept {
  const int fd = a.integer();
  size_t length = 0;
  double* const out = a.doubles(length);
  if (!a.valid() || length < 9) return -EINVAL;
  struct statfs st{};
  if (const int error = resultOf(::fstatfs(fd, &st)); error < 0) return error;
  const std::array<double, 9> values{
      static_cast<double>(st.f_blocks), static_cast<double>(st.f_bfree),   static_cast<double>(st.f_bavail),
      static_cast<double>(st.f_files),  static_cast<double>(st.f_ffree),   static_cast<double>(st.f_bsize),
      static_cast<double>(st.f_namelen), static_cast<double>(st.f_frsize), static_cast<double>(st.f_type)};
  for (size_t i = 0; i < values.size(); i++) out[i] = values[i];
  return 0;
}

int getAttribute(FsArguments& a) noexcept {
  const int node = a.integer();
  const char* const name = a.name();
  size_t length = 0;
  uint8_t* const buffer = a.bytes(length);
  return a.valid() ? resultOf(::getxattr(HandlePath(node).get(), name, buffer, length)) : 0;
}

int setAttribute(FsArguments& a) noexcept {
  const int node = a.integer();
  const char* const name = a.name();
  size_t length = 0;
  const uint8_t* const buffer = a.bytes(length);
  const int flags = a.integer();
  return a.valid() ? resultOf(::setxattr(HandlePath(node).get(), name, buffer, length, flags)) : 0;
}

int listAttributes(FsArguments& a) noexcept {
  const int node = a.integer();
  size_t length = 0;
  uint8_t* const buffer = a.bytes(length);
  return a.valid() ? resultOf(::listxattr(HandlePath(node).get(), reinterpret_cast<char*>(buffer), length)) : 0;
}

int removeAttribute(FsArguments& a) noexcept {
  const int node = a.integer();
  const char* const name = a.name();
  return a.valid() ? resultOf(::removexattr(HandlePath(node).get(), name)) : 0;
}

}  // namespace

void initFsAttributes(Napi::Object& fs) {
  defineFs<status>(fs, "stat");
  defineFs<changeMode>(fs, "chmod");
  defineFs<changeOwner>(fs, "chown");
  defineFs<changeTimes>(fs, "utimens");
  defineFs<killPrivileges>(fs, "killPrivileges");
  defineFs<fileSystemStatus>(fs, "statfs");
  defineFs<getAttribute>(fs, "getxattr");
  defineFs<setAttribute>(fs, "setxattr");
  defineFs<listAttributes>(fs, "listxattr");
  defineFs<removeAttribute>(fs, "removexattr");
}

}  // namespace vmm
