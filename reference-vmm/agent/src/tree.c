// File trees, both ways. Paths below a tree are walked without following symbolic links.
#include "agent.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TYPE_FILE = 1, TYPE_DIRECTORY, TYPE_LINK, DEPTH = 64, ENTRY_HEAD = 33 };

struct tree {
  struct tree *next;
  uint32_t stream;
  bool sends;
  uint32_t credit;
  // The file that is read or written, and how much of it is to come.
  int file;
  uint64_t remaining;
  // Of the path: what is sent or was asked for last.
  char path[MAX_PATH];
  // When it sends: directories that are being read, and the length of their paths.
  DIR *levels[DEPTH];
  size_t lengths[DEPTH];
  size_t depth;
  // When it takes: below what, and what the file is to become.
  int root;
  struct timespec time;
  uint32_t mode, uid, gid;
};

static struct tree *trees;
static size_t count;

static void free_tree(struct tree *tree) {
  struct tree **link = &trees;
  while (*link != tree) link = &(*link)->next;
  *link = tree->next;
  if (tree->file >= 0) close(tree->file);
  if (tree->root >= 0) close(tree->root);
  while (tree->depth > 0) closedir(tree->levels[--tree->depth]);
  free(tree);
  count--;
}

static void fail(struct tree *tree, int error) {
  send_error(tree->stream, error, tree->path);
  free_tree(tree);
}

static struct tree *make(uint32_t stream, bool sends) {
  struct tree *tree = calloc(1, sizeof *tree);
  if (tree == NULL) {
    send_error(stream, ENOMEM, "");
    return NULL;
  }
  tree->next = trees;
  tree->stream = stream;
  tree->sends = sends;
  tree->credit = WINDOW;
  tree->file = tree->root = -1;
  trees = tree;
  count++;
  return tree;
}

// --- taking

void tree_put(uint32_t stream, struct reader *payload) {
  const char *path = read_string(payload);
  struct tree *tree = make(stream, false);
  if (tree == NULL) return;
  strncpy(tree->path, path, sizeof tree->path - 1);
  tree->root = open(path, O_DIRECTORY | O_PATH | O_CLOEXEC);
  if (payload->bad || tree->root < 0) fail(tree, payload->bad ? EPROTO : errno);
}

// The directory that holds the last component of a path below the root, and that component; -1 with errno.
static int open_parent(const struct tree *tree, const char **name) {
  const char *at = tree->path;
  int directory = fcntl(tree->root, F_DUPFD_CLOEXEC, 3);
  for (;;) {
    const size_t size = strcspn(at, "/");
    if (size == 0 || size > 255 || strncmp(at, "..", size) == 0) {
      errno = EINVAL;
      break;
    }
    if (at[size] == 0) {
      *name = at;
      return directory;
    }
    char component[256];
    memcpy(component, at, size);
    component[size] = 0;
    const int next = openat(directory, component, O_DIRECTORY | O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (next < 0) break;
    close(directory);
    directory = next;
    at += size + 1;
  }
  const int error = errno;
  if (directory >= 0) close(directory);
  errno = error;
  return -1;
}

// Only root may give files away.
static bool set_owner(int fd, const char *name, const struct tree *tree) {
  if (fchownat(fd, name, tree->uid, tree->gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) == 0) return true;
  return errno == EPERM && geteuid() != 0;
}

static bool finish_file(struct tree *tree) {
  const struct timespec times[2] = {tree->time, tree->time};
  const bool good =
    set_owner(tree->file, "", tree) && fchmod(tree->file, tree->mode) == 0 && futimens(tree->file, times) == 0;
  if (close(tree->file) != 0 || !good) {
    tree->file = -1;
    return false;
  }
  tree->file = -1;
  return true;
}

static bool make_directory(struct tree *tree, int parent, const char *name) {
  struct stat there;
  if (mkdirat(parent, name, 0700) != 0) {
    if (errno != EEXIST || fstatat(parent, name, &there, AT_SYMLINK_NOFOLLOW) != 0) return false;
    if (!S_ISDIR(there.st_mode)) {
      errno = ENOTDIR;
      return false;
    }
  }
  const struct timespec times[2] = {tree->time, tree->time};
  // The owner first: a change of owner takes set-user-ID away.
  return set_owner(parent, name, tree) && fchmodat(parent, name, tree->mode, 0) == 0 &&
         utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool make_link(struct tree *tree, int parent, const char *name, const char *target) {
  const struct timespec times[2] = {tree->time, tree->time};
  return symlinkat(target, parent, name) == 0 && set_owner(parent, name, tree) &&
         utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool make_entry(struct tree *tree, int type, const char *target) {
  const char *name;
  const int parent = open_parent(tree, &name);
  if (parent < 0) return false;
  bool good = type == TYPE_DIRECTORY;
  if (type == TYPE_DIRECTORY) {
    good = make_directory(tree, parent, name);
  } else if (unlinkat(parent, name, 0) != 0 && errno != ENOENT) {
    good = false;
  } else if (type == TYPE_LINK) {
    good = make_link(tree, parent, name, target);
  } else {
    tree->file = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    good = tree->file >= 0 && (tree->remaining > 0 || finish_file(tree));
  }
  const int error = errno;
  close(parent);
  errno = error;
  return good;
}

static void take_entry(struct tree *tree, struct reader *payload) {
  const uint32_t size = (uint32_t)payload->left;
  const int type = (int)read_number(payload, 1);
  tree->mode = (uint32_t)read_number(payload, 4) & 07777;
  tree->uid = (uint32_t)read_number(payload, 4);
  tree->gid = (uint32_t)read_number(payload, 4);
  tree->time.tv_sec = (time_t)read_number(payload, 8);
  tree->time.tv_nsec = (long)read_number(payload, 4);
  const uint64_t bytes = read_number(payload, 8);
  const char *path = read_string(payload), *target = read_string(payload);
  const bool good = !payload->bad && type >= TYPE_FILE && type <= TYPE_LINK && strlen(path) < sizeof tree->path;
  if (!good || tree->file >= 0) {
    fail(tree, EPROTO);
    return;
  }
  tree->remaining = type == TYPE_FILE ? bytes : 0;
  strcpy(tree->path, path);
  if (make_entry(tree, type, target)) send_credit(tree->stream, STDIN, size);
  else fail(tree, errno);
}

static void take_data(struct tree *tree, const uint8_t *data, size_t size) {
  if (tree->file < 0 || size > tree->remaining) {
    fail(tree, EPROTO);
    return;
  }
  for (size_t done = 0; done < size;) {
    const ssize_t written = write(tree->file, data + done, size - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      fail(tree, errno);
      return;
    }
    done += (size_t)written;
  }
  tree->remaining -= size;
  if (tree->remaining == 0 && !finish_file(tree)) fail(tree, errno);
  else send_credit(tree->stream, STDIN, (uint32_t)size);
}

// --- sending

// Says what is at a path, and opens it. False with errno, or 0 for what is left out.
static bool send_entry(struct tree *tree, int directory, const char *name) {
  struct stat found;
  char target[MAX_PATH] = "";
  if (fstatat(directory, name, &found, AT_SYMLINK_NOFOLLOW) != 0) return false;
  if (S_ISLNK(found.st_mode) && readlinkat(directory, name, target, sizeof target - 1) < 0) return false;
  int opened = -1;
  if (S_ISREG(found.st_mode) || S_ISDIR(found.st_mode)) {
    opened = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    // What was opened may not be what was looked at.
    if (opened < 0 || fstat(opened, &found) != 0) return false;
  }
  int type = 0;
  if (S_ISREG(found.st_mode)) {
    type = TYPE_FILE;
    tree->file = opened;
    tree->remaining = (uint64_t)found.st_size;
  } else if (S_ISDIR(found.st_mode)) {
    type = TYPE_DIRECTORY;
    DIR *level = tree->depth == DEPTH ? NULL : fdopendir(opened);
    if (level == NULL) {
      close(opened);
      errno = ELOOP;
      return false;
    }
    tree->lengths[tree->depth] = strlen(tree->path);
    tree->levels[tree->depth++] = level;
  } else if (S_ISLNK(found.st_mode)) {
    type = TYPE_LINK;
  } else {
    if (opened >= 0) close(opened);
    return true;
  }
  // The root directory itself has no name.
  if (tree->path[0] == 0) return true;
  uint8_t payload[MAX_ENTRY];
  payload[0] = (uint8_t)type;
  put_number(payload + 1, found.st_mode & 07777, 4);
  put_number(payload + 5, found.st_uid, 4);
  put_number(payload + 9, found.st_gid, 4);
  put_number(payload + 13, (uint64_t)found.st_mtim.tv_sec, 8);
  put_number(payload + 21, (uint64_t)found.st_mtim.tv_nsec, 4);
  put_number(payload + 25, type == TYPE_FILE ? tree->remaining : 0, 8);
  size_t size = ENTRY_HEAD;
  memcpy(payload + size, tree->path, strlen(tree->path) + 1);
  size += strlen(tree->path) + 1;
  memcpy(payload + size, target, strlen(target) + 1);
  size += strlen(target) + 1;
  send_frame(ENTRY, tree->stream, payload, size);
  tree->credit -= (uint32_t)size;
  if (tree->file >= 0 && tree->remaining == 0) {
    close(tree->file);
    tree->file = -1;
  }
  return true;
}

void tree_get(uint32_t stream, struct reader *payload) {
  char path[MAX_PATH] = "";
  const char *asked = read_string(payload);
  struct tree *tree = make(stream, true);
  if (tree == NULL) return;
  strncpy(tree->path, asked, sizeof tree->path - 1);
  if (payload->bad || *asked != '/' || strlen(asked) >= sizeof path) {
    fail(tree, EINVAL);
    return;
  }
  strcpy(path, asked);
  // "/a/b//" names what "/a/b" does.
  for (size_t size = strlen(path); size > 1 && path[size - 1] == '/'; size--) path[size - 1] = 0;
  strcpy(tree->path, strrchr(path, '/') + 1);
  if (strcmp(tree->path, ".") == 0 || strcmp(tree->path, "..") == 0) errno = EINVAL;
  else if (send_entry(tree, AT_FDCWD, path)) return;
  const int error = errno;
  strcpy(tree->path, path);
  fail(tree, error);
}

static void send_content(struct tree *tree) {
  size_t size = session_room();
  if (size > tree->credit) size = tree->credit;
  if (size > tree->remaining) size = tree->remaining;
  const ssize_t got = read(tree->file, data_begin(), size);
  if (got < 0 && errno == EINTR) return;
  if (got <= 0) {
    // It became shorter than was said.
    fail(tree, got < 0 ? errno : ESTALE);
    return;
  }
  data_commit(tree->stream, STDOUT, (size_t)got);
  tree->credit -= (uint32_t)got;
  tree->remaining -= (uint64_t)got;
  if (tree->remaining > 0) return;
  close(tree->file);
  tree->file = -1;
}

static void send_next(struct tree *tree) {
  if (tree->depth == 0) {
    send_frame(DONE, tree->stream, NULL, 0);
    free_tree(tree);
    return;
  }
  DIR *level = tree->levels[tree->depth - 1];
  const size_t length = tree->lengths[tree->depth - 1];
  tree->path[length] = 0;
  errno = 0;
  const struct dirent *entry = readdir(level);
  if (entry == NULL) {
    if (errno != 0) {
      fail(tree, errno);
      return;
    }
    closedir(level);
    tree->depth--;
    return;
  }
  if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) return;
  if (length + strlen(entry->d_name) + 2 > sizeof tree->path) {
    fail(tree, ENAMETOOLONG);
    return;
  }
  if (length > 0) strcat(tree->path, "/");
  strcat(tree->path, entry->d_name);
  // What was removed meanwhile is not there.
  if (!send_entry(tree, dirfd(level), entry->d_name) && errno != ENOENT) fail(tree, errno);
}

static bool may_send(const struct tree *tree) {
  return tree->sends && session_room() >= MAX_ENTRY && tree->credit >= MAX_ENTRY && session_has_reserve();
}

bool tree_work(void) {
  bool more = false;
  for (struct tree *tree = trees, *next; tree != NULL; tree = next) {
    next = tree->next;
    if (!may_send(tree)) continue;
    more = true;
    if (tree->file >= 0) send_content(tree);
    else send_next(tree);
  }
  return more;
}

bool tree_frame(uint32_t stream, enum frame_type type, struct reader *payload) {
  struct tree *tree = trees;
  while (tree != NULL && tree->stream != stream) tree = tree->next;
  if (tree == NULL) return false;
  if (type == ABORT) {
    fail(tree, ECANCELED);
  } else if (type == CREDIT && tree->sends) {
    read_number(payload, 1);
    const uint32_t more = (uint32_t)read_number(payload, 4);
    if (!payload->bad && more <= WINDOW - tree->credit) tree->credit += more;
  } else if (!tree->sends && type == ENTRY) {
    take_entry(tree, payload);
  } else if (!tree->sends && type == DATA) {
    read_number(payload, 1);
    take_data(tree, payload->at, payload->left);
  } else if (!tree->sends && type == END_OF_FILE) {
    if (tree->file >= 0) {
      fail(tree, EPROTO);
    } else {
      send_frame(DONE, stream, NULL, 0);
      free_tree(tree);
    }
  }
  return true;
}

size_t tree_count(void) {
  return count;
}

void tree_reset(void) {
  while (trees != NULL) free_tree(trees);
}
