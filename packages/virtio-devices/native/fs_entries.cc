// Entries of directories: found, made, moved and removed by handles of directories. No path of more than one component is
// given to the kernel, but for that of the root, and for /proc/self/fd/N, which names a handle.
#include <fcntl.h>
#include <linux/openat2.h>
#include <napi.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "file_descriptor.hh"
#include "fs.hh"
#include "fs_call.hh"
#include "fs_status.hh"

namespace vmm {

namespace {

constexpr uint32_t UNCHANGED = UINT32_MAX;

/** A handle of an entry of a directory, which is neither followed nor entered if something is mounted on it. */
int openEntry(int directory, const char* name, bool useOpenat2, struct statx& st) noexcept {
  FileDescriptor handle;
  if (useOpenat2) {
    struct open_how how{};
    how.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
    handle = FileDescriptor(resultOf(::syscall(SYS_openat2, directory, name, &how, sizeof how)));
  } else {
    handle = FileDescriptor(resultOf(::openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC)));
  }
  if (!handle.isOpen()) return handle.get();
  int error = readStat(handle.get(), st);
  if (error == 0 && !useOpenat2) {
    struct statx parent{};
    error = readStat(directory, parent);
    if (error == 0 && !sameMount(parent, st)) error = -EXDEV;
  }
  return error < 0 ? error : handle.release();
}

int openRoot(FsArguments& a) noexcept {
  const char* const path = a.text();
  if (!a.valid()) return 0;
  return resultOf(::open(path, O_PATH | O_DIRECTORY | O_CLOEXEC));
}

int lookup(FsArguments& a) noexcept {
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

int hasOpenat2(FsArguments& a) noexcept {
  const int directory = a.integer();
  if (!a.valid()) return 0;
  struct open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH;
  const FileDescriptor fd(static_cast<int>(::syscall(SYS_openat2, directory, ".", &how, sizeof how)));
  return fd.isOpen() ? 1 : 0;
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
    const int error = resultOf(::fchownat(fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW));
    if (error < 0) return error;
  }
  const bool sameMode = (st.stx_mode & 07777U) == mode && (owned || (mode & (S_ISUID | S_ISGID)) == 0);
  if (S_ISLNK(st.stx_mode) || sameMode) return owned ? 0 : readStat(fd, st);
  const int error = resultOf(::chmod(HandlePath(fd).get(), mode));
  return error < 0 ? error : readStat(fd, st);
}

int create(FsArguments& a) noexcept {
  const int directory = a.integer();
  const char* const name = a.name();
  const int flags = (a.integer() & FS_GUEST_FLAGS) | O_CREAT | O_EXCL | O_NOFOLLOW | FS_OPEN_FLAGS;
  const Wanted wanted{a.word(), a.word(), a.word()};
  uint32_t* const words = a.stat();
  if (!a.valid()) return 0;
  FileDescriptor file(resultOf(::openat(directory, name, flags, wanted.mode & 0777U)));
  if (!file.isOpen()) return file.get();
  struct statx st{};
  int error = adopt(directory, file.get(), wanted, st);
  FileDescriptor node(error < 0 ? -1 : resultOf(::open(HandlePath(file.get()).get(), O_PATH | O_CLOEXEC)));
  if (error == 0 && !node.isOpen()) error = node.get();
  if (error < 0) {
    ::unlinkat(directory, name, 0);
    return error;
  }
  putStat(words, st);
  words[STAT_HANDLE] = static_cast<uint32_t>(node.release());
  return file.release();
}

int makeEntry(int directory, const char* name, const char* target, const Wanted& wanted, dev_t device) noexcept {
  const mode_t mode = wanted.mode & (S_IFMT | 0777U);
  if (S_ISLNK(wanted.mode)) return resultOf(::symlinkat(target, directory, name));
  if (S_ISDIR(wanted.mode)) return resultOf(::mkdirat(directory, name, mode & 0777U));
  return resultOf(::mknodat(directory, name, mode, device));
}

/** MKNOD, MKDIR and SYMLINK, by the type in `mode`. Answers a handle of what was made. */
int make(FsArguments& a) noexcept {
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
  int error = node.isOpen() ? 0 : node.get();
  // Somebody on the host may have put something else there meanwhile, which must not get the guest's owner and mode.
  const bool ours = ((st.stx_mode ^ wanted.mode) & S_IFMT) == 0 && st.stx_uid == ::geteuid() &&
                    (S_ISDIR(st.stx_mode) || st.stx_nlink == 1);
  if (error == 0 && ours) error = adopt(directory, node.get(), wanted, st);
  if (error < 0) {
    ::unlinkat(directory, name, S_ISDIR(wanted.mode) ? AT_REMOVEDIR : 0);
    return error;
  }
  putStat(words, st);
  return node.release();
}

int unlinkEntry(FsArguments& a) noexcept {
  const int directory = a.integer();
  const char* const name = a.name();
  const bool isDirectory = a.integer() != 0;
  return a.valid() ? resultOf(::unlinkat(directory, name, isDirectory ? AT_REMOVEDIR : 0)) : 0;
}

int renameEntry(FsArguments& a) noexcept {
  const int from = a.integer();
  const char* const name = a.name();
  const int to = a.integer();
  const char* const newName = a.name();
  const unsigned flags = a.word();
  if (!a.valid()) return 0;
  return resultOf(::syscall(SYS_renameat2, from, name, to, newName, flags));
}

int linkEntry(FsArguments& a) noexcept {
  const int node = a.integer();
  const int directory = a.integer();
  const char* const name = a.name();
  if (!a.valid()) return 0;
  // ENOENT without CAP_DAC_READ_SEARCH.
  const int error = resultOf(::linkat(node, "", directory, name, AT_EMPTY_PATH));
  if (error != -ENOENT) return error;
  return resultOf(::linkat(AT_FDCWD, HandlePath(node).get(), directory, name, AT_SYMLINK_FOLLOW));
}

int readLink(FsArguments& a) noexcept {
  const int node = a.integer();
  size_t length = 0;
  uint8_t* const buffer = a.bytes(length);
  return a.valid() ? resultOf(::readlinkat(node, "", reinterpret_cast<char*>(buffer), length)) : 0;
}

}  // namespace

void initFsEntries(Napi::Object& fs) {
  defineFs<openRoot>(fs, "openRoot");
  defineFs<hasOpenat2>(fs, "hasOpenat2");
  defineFs<lookup>(fs, "lookup");
  defineFs<create>(fs, "create");
  defineFs<make>(fs, "make");
  defineFs<unlinkEntry>(fs, "unlink");
  defineFs<renameEntry>(fs, "rename");
  defineFs<linkEntry>(fs, "link");
  defineFs<readLink>(fs, "readlink");
}

}  // namespace vmm
