// What a guest does to a shared directory in the tests: fs-guest COMMAND ARGUMENTS. Ends with 1 and a line that says why.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define CHECK(condition)                                                                             \
  do {                                                                                               \
    if (!(condition)) {                                                                              \
      printf("line %d: %s: %s\n", __LINE__, #condition, strerror(errno));                            \
      exit(1);                                                                                       \
    }                                                                                                \
  } while (0)
#define FAILS_WITH(error, call)                                                                      \
  do {                                                                                               \
    errno = 0;                                                                                       \
    CHECK((call) < 0 && errno == (error));                                                           \
  } while (0)

static void copy_attributes(const char *from, const char *to) {
  static char names[65536], value[65536];
  const ssize_t length = llistxattr(from, names, sizeof names);
  CHECK(length >= 0);
  for (const char *name = names; name < names + length; name += strlen(name) + 1) {
    const ssize_t size = lgetxattr(from, name, value, sizeof value);
    CHECK(size >= 0);
    CHECK(lsetxattr(to, name, value, (size_t)size, 0) == 0);
  }
}

/** Calls `visit` with the path of each entry of a directory, the path of the same name in `to`, and its type. */
static void for_each_entry(const char *from, const char *to,
                           void (*visit)(const char *from, const char *to, unsigned char type)) {
  DIR *directory = opendir(from);
  CHECK(directory != NULL);
  for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
    char a[4096], b[4096];
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    snprintf(a, sizeof a, "%s/%s", from, entry->d_name);
    snprintf(b, sizeof b, "%s/%s", to, entry->d_name);
    visit(a, b, entry->d_type);
  }
  CHECK(closedir(directory) == 0);
}

/** Copies the extended attributes of directories and files of a tree to another of the same shape. */
static void copy_tree_attributes(const char *from, const char *to, unsigned char type) {
  if (type != DT_DIR && type != DT_REG) return;
  copy_attributes(from, to);
  if (type == DT_DIR) for_each_entry(from, to, copy_tree_attributes);
}

static void copy_contents(const char *from, const char *to) {
  static char buffer[100000];
  const int source = open(from, O_RDONLY);
  const int target = open(to, O_WRONLY | O_CREAT | O_EXCL, 0600);
  CHECK(source >= 0 && target >= 0);
  for (ssize_t length; (length = read(source, buffer, sizeof buffer)) != 0;)
    CHECK(length > 0 && write(target, buffer, (size_t)length) == length);
  CHECK(close(source) == 0 && close(target) == 0);
}

/** Copies a tree with everything that stat tells of it. */
static void copy_tree(const char *from, const char *to, unsigned char type) {
  (void)type;
  static struct {
    ino_t inode;
    char path[256];
  } links[100];
  static size_t count;
  struct stat st;
  CHECK(lstat(from, &st) == 0);
  if (!S_ISDIR(st.st_mode) && st.st_nlink > 1) {
    for (size_t i = 0; i < count; i++) {
      if (links[i].inode != st.st_ino) continue;
      CHECK(link(links[i].path, to) == 0);
      return;
    }
    CHECK(count < 100 && strlen(to) < 256);
    links[count].inode = st.st_ino;
    strcpy(links[count++].path, to);
  }
  if (S_ISDIR(st.st_mode)) {
    CHECK(mkdir(to, 0700) == 0);
    for_each_entry(from, to, copy_tree);
  } else if (S_ISREG(st.st_mode)) {
    copy_contents(from, to);
  } else if (S_ISLNK(st.st_mode)) {
    char target[4096] = {0};
    CHECK(readlink(from, target, sizeof target - 1) == st.st_size && symlink(target, to) == 0);
  } else {
    CHECK(mknod(to, st.st_mode, st.st_rdev) == 0);
  }
  CHECK(lchown(to, st.st_uid, st.st_gid) == 0);
  if (!S_ISLNK(st.st_mode)) CHECK(chmod(to, st.st_mode & 07777) == 0);
  CHECK(utimensat(AT_FDCWD, to, (struct timespec[]){st.st_atim, st.st_mtim}, AT_SYMLINK_NOFOLLOW) == 0);
}

/** What POSIX says of files, one after the other. */
static void semantics(const char *root) {
  CHECK(chdir(root) == 0);
  char buffer[64];
  struct stat st;

  // A file lives on without its name.
  int fd = open("unlinked", O_RDWR | O_CREAT | O_EXCL, 0600);
  CHECK(fd >= 0 && write(fd, "before", 6) == 6);
  CHECK(unlink("unlinked") == 0);
  CHECK(write(fd, " after", 6) == 6 && pread(fd, buffer, 64, 0) == 12 && memcmp(buffer, "before after", 12) == 0);
  CHECK(fstat(fd, &st) == 0 && st.st_nlink == 0 && st.st_size == 12);
  CHECK(ftruncate(fd, 3) == 0 && fchmod(fd, 0640) == 0 && fstat(fd, &st) == 0 && st.st_size == 3);
  CHECK((st.st_mode & 07777) == 0640 && close(fd) == 0);
  FAILS_WITH(ENOENT, stat("unlinked", &st));

  // Renamed and replaced while open.
  fd = open("a", O_RDWR | O_CREAT, 0644);
  const int other = open("b", O_RDWR | O_CREAT, 0644);
  CHECK(write(fd, "aaaa", 4) == 4 && write(other, "b", 1) == 1);
  CHECK(rename("a", "b") == 0 && stat("b", &st) == 0 && st.st_size == 4);
  CHECK(pread(other, buffer, 64, 0) == 1 && buffer[0] == 'b' && fstat(other, &st) == 0 && st.st_nlink == 0);
  FAILS_WITH(EEXIST, renameat2(AT_FDCWD, "b", AT_FDCWD, "b", RENAME_NOREPLACE));
  CHECK(close(other) == 0);

  // Appending from several processes loses nothing.
  for (int child = 0; child < 4; child++) {
    if (fork() == 0) {
      const int log = open("log", O_WRONLY | O_APPEND | O_CREAT, 0644);
      for (int i = 0; i < 50; i++) CHECK(dprintf(log, "%d %03d\n", child, i) == 6);
      _exit(0);
    }
  }
  for (int status; wait(&status) > 0;) CHECK(status == 0);
  CHECK(stat("log", &st) == 0 && st.st_size == 4 * 50 * 6);

  // Mapped, privately and shared.
  CHECK(ftruncate(fd, 3 * 65536) == 0 && pwrite(fd, "tail", 4, 2 * 65536 + 5) == 4);
  char *map = mmap(NULL, 3 * 65536, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(map != MAP_FAILED && memcmp(map, "aaaa", 4) == 0 && memcmp(map + 2 * 65536 + 5, "tail", 4) == 0);
  memcpy(map + 65536, "mapped", 6);
  CHECK(msync(map, 3 * 65536, MS_SYNC) == 0 && pread(fd, buffer, 6, 65536) == 6 && memcmp(buffer, "mapped", 6) == 0);
  CHECK(munmap(map, 3 * 65536) == 0);

  // Holes.
  CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 65536, 65536) == 0);
  CHECK(pread(fd, buffer, 6, 65536) == 6 && memcmp(buffer, "\0\0\0\0\0\0", 6) == 0);
  CHECK(lseek(fd, 0, SEEK_HOLE) <= 65536 && lseek(fd, 65536, SEEK_DATA) >= 65536);
  CHECK(fallocate(fd, 0, 0, 4 * 65536) == 0 && fstat(fd, &st) == 0 && st.st_size == 4 * 65536);
  CHECK(fsync(fd) == 0 && fdatasync(fd) == 0 && close(fd) == 0);

  // Extended attributes.
  CHECK(setxattr("b", "user.one", "1", 1, XATTR_CREATE) == 0);
  FAILS_WITH(EEXIST, setxattr("b", "user.one", "2", 1, XATTR_CREATE));
  FAILS_WITH(ENODATA, setxattr("b", "user.two", "2", 1, XATTR_REPLACE));
  FAILS_WITH(ERANGE, (setxattr("b", "user.one", "long", 4, 0), getxattr("b", "user.one", buffer, 2)));
  CHECK(getxattr("b", "user.one", NULL, 0) == 4 && listxattr("b", buffer, 64) == 9);
  CHECK(removexattr("b", "user.one") == 0);
  FAILS_WITH(ENODATA, getxattr("b", "user.one", buffer, 64));

  // Directories.
  CHECK(mkdir("d", 0755) == 0 && mkdir("d/e", 0755) == 0);
  FAILS_WITH(ENOTEMPTY, rmdir("d"));
  FAILS_WITH(EISDIR, unlink("d"));
  FAILS_WITH(ENOTDIR, rmdir("log"));
  FAILS_WITH(EINVAL, rename("d", "d/e/f"));
  CHECK(rename("d/e", "e") == 0 && stat("d", &st) == 0 && st.st_nlink == 2);
  char name[300];
  memset(name, 'n', sizeof name);
  name[256] = '\0';
  FAILS_WITH(ENAMETOOLONG, mkdir(name, 0755));
  name[255] = '\0';
  CHECK(mkdir(name, 0755) == 0 && rmdir(name) == 0);

  // What has no contents.
  CHECK(mkfifo("fifo", 0600) == 0 && stat("fifo", &st) == 0 && S_ISFIFO(st.st_mode));
  FAILS_WITH(ENXIO, open("fifo", O_WRONLY | O_NONBLOCK));
  CHECK(mknod("socket", S_IFSOCK | 0600, 0) == 0);
  FAILS_WITH(EPERM, mknod("device", S_IFCHR | 0600, makedev(1, 3)));
  CHECK(chmod("b", 0755) == 0);
  FAILS_WITH(EPERM, chmod("b", 04755));

  // Other users' files are theirs.
  CHECK(chown("b", 1000, 1001) == 0 && stat("b", &st) == 0 && st.st_uid == 1000 && st.st_gid == 1001);
  if (fork() == 0) {
    CHECK(setegid(1001) == 0 && seteuid(1001) == 0);
    FAILS_WITH(EACCES, open("b", O_WRONLY));
    FAILS_WITH(EACCES, mkdir("e/new", 0755));
    _exit(0);
  }
  int status;
  CHECK(wait(&status) > 0 && status == 0);
}

/** Random operations on a file, compared with what a buffer says. */
static void exercise(const char *path, int operations, unsigned seed) {
  enum { SIZE = 300000 };
  static uint8_t model[SIZE], buffer[SIZE];
  off_t size = 0;
  srandom(seed);
  int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
  CHECK(fd >= 0);
  for (int i = 0; i < operations; i++) {
    const off_t offset = random() % SIZE;
    const size_t length = (size_t)(random() % (random() % 4 == 0 ? SIZE - offset : 5000 % (SIZE - offset) + 1));
    const off_t end = offset + (off_t)length;
    struct stat st;
    switch (random() % 8) {
      case 0:
      case 1:
        for (size_t k = 0; k < length; k++) buffer[k] = (uint8_t)random();
        CHECK(pwrite(fd, buffer, length, offset) == (ssize_t)length);
        memcpy(model + offset, buffer, length);
        if (length > 0 && end > size) size = end;
        break;
      case 2:
        CHECK(ftruncate(fd, offset) == 0);
        if (offset < size) memset(model + offset, 0, (size_t)(size - offset));
        size = offset;
        break;
      case 3: {
        if (size == 0) break;
        uint8_t *map = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        CHECK(map != MAP_FAILED && memcmp(map, model, (size_t)size) == 0);
        if (offset < size) map[offset] = model[offset] = (uint8_t)random();
        CHECK(munmap(map, (size_t)size) == 0);
        break;
      }
      case 4:
        if (length == 0) break;
        CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, (off_t)length) == 0);
        memset(model + offset, 0, length);
        break;
      case 5:
        CHECK(close(fd) == 0);
        fd = open(path, O_RDWR);
        CHECK(fd >= 0);
        break;
      default: {
        const ssize_t got = pread(fd, buffer, length, offset);
        const off_t left = size > offset ? size - offset : 0;
        CHECK(got == ((off_t)length < left ? (off_t)length : left));
        CHECK(memcmp(buffer, model + offset, (size_t)got) == 0);
      }
    }
    CHECK(fstat(fd, &st) == 0 && st.st_size == size);
  }
  CHECK(close(fd) == 0);
}

/** Looks for a way out of a directory in which the host puts symbolic links in the place of directories. */
static void escape(const char *root, int rounds) {
  CHECK(chdir(root) == 0);
  for (int i = 0; i < rounds; i++) {
    char buffer[64] = {0};
    const int directory = open("flip", O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (directory >= 0) {
      const int fd = openat(directory, "secret", O_RDONLY | O_NOFOLLOW);
      if (fd >= 0) {
        CHECK(read(fd, buffer, sizeof buffer) >= 0);
        CHECK(strncmp(buffer, "inside", 6) == 0);
        close(fd);
      }
      const int made = openat(directory, "made", O_WRONLY | O_CREAT, 0644);
      if (made >= 0) close(made);
      unlinkat(directory, "made", 0);
      close(directory);
    }
    struct stat st;
    lstat("flip/secret", &st);
    truncate("flip/secret", 6);
  }
}

int main(int argc, char **argv) {
  const char *command = argc > 2 ? argv[1] : "";
  setvbuf(stdout, NULL, _IONBF, 0);
  if (strcmp(command, "copy-xattrs") == 0 && argc == 4) copy_tree_attributes(argv[2], argv[3], DT_DIR);
  else if (strcmp(command, "copy") == 0 && argc == 4) copy_tree(argv[2], argv[3], DT_UNKNOWN);
  else if (strcmp(command, "semantics") == 0) semantics(argv[2]);
  else if (strcmp(command, "exercise") == 0 && argc == 5) exercise(argv[2], atoi(argv[3]), (unsigned)atoi(argv[4]));
  else if (strcmp(command, "escape") == 0 && argc == 4) escape(argv[2], atoi(argv[3]));
  else return 2;
  puts("ok");
  return 0;
}
