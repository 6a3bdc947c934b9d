// Starts processes without copying this one's page tables: the child runs in its memory until it executes.
#include "agent.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const char default_path[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

static const char *variable(char *const *environment, const char *name) {
  const size_t size = strlen(name);
  for (; *environment != NULL; environment++)
    if (strncmp(*environment, name, size) == 0 && (*environment)[size] == '=') return *environment + size + 1;
  return NULL;
}

// Answers errno.
static int execute(const struct spawn *spawn) {
  char *const *const arguments = spawn->arguments;
  if (strchr(arguments[0], '/') != NULL) {
    execve(arguments[0], arguments, spawn->environment);
    return errno;
  }
  const char *path = variable(spawn->environment, "PATH");
  if (path == NULL) path = default_path;
  int result = ENOENT;
  for (;;) {
    const size_t size = strcspn(path, ":");
    char file[MAX_PATH];
    const int length = snprintf(file, sizeof file, "%.*s/%s", size == 0 ? 1 : (int)size, size == 0 ? "." : path,
                                arguments[0]);
    if (length > 0 && (size_t)length < sizeof file) {
      execve(file, arguments, spawn->environment);
      if (errno == EACCES) result = EACCES;
      else if (errno != ENOENT && errno != ENOTDIR) return errno;
    }
    if (path[size] == 0) return result;
    path += size + 1;
  }
}

// System calls themselves: the C library's functions would change what the parent knows of itself.
static int become_user(const struct spawn *spawn) {
  if (syscall(SYS_setgroups, spawn->group_count, spawn->groups) != 0) return errno;
  if (syscall(SYS_setgid, spawn->gid) != 0) return errno;
  return syscall(SYS_setuid, spawn->uid) != 0 ? errno : 0;
}

static int prepare(const struct spawn *spawn) {
  setsid();
  if (spawn->tty && ioctl(spawn->input, TIOCSCTTY, 0) != 0) return errno;
  if (dup2(spawn->input, 0) < 0 || dup2(spawn->output, 1) < 0 || dup2(spawn->error, 2) < 0) return errno;
  const struct sigaction default_action = {.sa_handler = SIG_DFL};
  sigaction(SIGPIPE, &default_action, NULL);
  const int error = spawn->change_user ? become_user(spawn) : 0;
  if (error != 0) return error;
  if (chdir(spawn->directory) != 0 && (!spawn->any_directory || chdir("/") != 0)) return errno;
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  return 0;
}

static __attribute__((noinline, noreturn)) void child(struct spawn *spawn) {
  const int error = prepare(spawn);
  spawn->failure = error != 0 ? error : execute(spawn);
  _exit(127);
}

int start_process(struct spawn *spawn) {
  spawn->failure = 0;
  const pid_t pid = vfork();
  if (pid == 0) child(spawn);
  if (pid < 0 || spawn->failure == 0) return pid;
  while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) continue;
  errno = spawn->failure;
  return -1;
}

int open_terminal(int *peer, unsigned rows, unsigned columns) {
  const int control = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
  if (control < 0) return -1;
  const int unlock = 0;
  const struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};
  if (ioctl(control, TIOCSPTLCK, &unlock) == 0 && ioctl(control, TIOCSWINSZ, &size) == 0) {
    *peer = ioctl(control, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (*peer >= 0) return control;
  }
  const int error = errno;
  close(control);
  errno = error;
  return -1;
}
