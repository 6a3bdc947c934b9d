// vmm-agent [--init] [--direct-shutdown] [--fd NUMBER] [-- COMMAND…]
//
//   --init             is the first process: mounts, reaps, runs COMMAND on the console, powers off after it
//   --direct-shutdown  powers off by itself, also where another program is the first process
//   --power-button     ends when the power button was pressed: 0, or 1 where there is none
//   --fd NUMBER        talks over this descriptor instead of looking for a way to the host
#include "agent.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
// After the one before, which it needs.
#include <linux/vm_sockets.h>
#include <unistd.h>

enum {
  VSOCK_PORT = 1024,
  // Milliseconds between looks for a way to the host: at first, and when it has taken long.
  SOON = 5,
  LATER = 200,
  SOON_TRIES = 400,
  ALL_TRIES = 1000,
};
static const char port_name[] = "vmm.agent";
static const char ports[] = "/sys/class/virtio-ports";

static struct {
  bool init;
  int fd;
  char **command;
} options = {.fd = -1};
static int signals = -1;
static pid_t main_command = -1;

static bool has_name(const char *port) {
  char path[MAX_PATH];
  snprintf(path, sizeof path, "%s/%s/name", ports, port);
  char name[sizeof port_name + 1] = "";
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const ssize_t size = read(fd, name, sizeof name - 1);
  close(fd);
  if (size <= 0) return false;
  name[strcspn(name, "\n")] = 0;
  return strcmp(name, port_name) == 0;
}

static int open_port(void) {
  DIR *directory = opendir(ports);
  if (directory == NULL) return -1;
  int fd = -1;
  for (const struct dirent *entry; fd < 0 && (entry = readdir(directory)) != NULL;) {
    if (entry->d_name[0] == '.' || !has_name(entry->d_name)) continue;
    char path[MAX_PATH];
    snprintf(path, sizeof path, "/dev/%s", entry->d_name);
    fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
  }
  closedir(directory);
  return fd;
}

static int open_socket(void) {
  const int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  const struct sockaddr_vm address = {
    .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = VSOCK_PORT};
  if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
    close(fd);
    return -1;
  }
  fcntl(fd, F_SETFL, O_NONBLOCK);
  return fd;
}

// A way to the host; `socket`: it ends with its connection.
static int find_host(bool *is_socket) {
  *is_socket = false;
  for (int tries = 0; options.init || tries < ALL_TRIES; tries++) {
    const int port = open_port();
    if (port >= 0) return port;
    // The port's driver may be about to come.
    const int socket = tries < SOON_TRIES / 10 ? -1 : open_socket();
    if (socket >= 0) {
      *is_socket = true;
      return socket;
    }
    command_reap(-1);
    poll(NULL, 0, tries < SOON_TRIES ? SOON : LATER);
  }
  return -1;
}

static void after_command(int status) {
  if (!options.init || status == -1) return;
  // What ended with it is told as far as the host takes it.
  session_flush();
  shut_down(false, true);
}

// False when the host is gone.
static bool turn(void) {
  static struct pollfd polls[2 + 3 * MAX_STREAMS];
  polls[0] = (struct pollfd){session_fd(), session_events(), 0};
  polls[1] = (struct pollfd){signals, POLLIN, 0};
  const size_t size = 2 + command_poll(polls + 2);
  const bool more = command_pending() || tree_work();
  if (!session_flush()) return false;
  if (poll(polls, size, more ? 0 : -1) < 0 && errno != EINTR) return false;
  command_work(polls + 2);
  if (polls[0].revents & (POLLIN | POLLHUP | POLLERR) && !session_receive()) return false;
  session_handle();
  if (polls[1].revents & POLLIN) {
    struct signalfd_siginfo news;
    while (read(signals, &news, sizeof news) > 0) continue;
  }
  after_command(command_reap(main_command));
  if (!session_flush()) return false;
  if (shutdown_request != 0) {
    shut_down(shutdown_request == 2, direct_shutdown);
    shutdown_request = 0;
  }
  return true;
}

static void serve(int fd) {
  session_open(fd);
  while (turn()) continue;
  session_open(-1);
}

static void start_main_command(void) {
  const int console = open("/dev/console", O_RDWR | O_NOCTTY | O_CLOEXEC);
  struct spawn spawn = {
    .arguments = options.command, .environment = environ, .directory = "/root", .any_directory = true,
    .tty = isatty(console) == 1, .input = console, .output = console, .error = console};
  main_command = start_process(&spawn);
  if (main_command < 0) {
    fprintf(stderr, "vmm-agent: %s: %s\n", options.command[0], strerror(errno));
    shut_down(false, true);
  }
  close(console);
}

static void prepare(void) {
  // Descriptors of commands are never 0 to 2.
  for (int fd = 0; fd < 3; fd++)
    if (fcntl(fd, F_GETFD) < 0) open("/dev/null", O_RDWR);
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  sigprocmask(SIG_BLOCK, &child, NULL);
  signals = signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC);
  // A shell starts what it puts into the background without SIGINT; commands have it again.
  const struct sigaction default_action = {.sa_handler = SIG_DFL};
  for (int signal = 1; signal <= SIGRTMAX; signal++) sigaction(signal, &default_action, NULL);
  const struct sigaction ignore = {.sa_handler = SIG_IGN};
  sigaction(SIGPIPE, &ignore, NULL);
}

static bool parse(char **arguments) {
  if (getpid() == 1) options.init = true;
  for (; *arguments != NULL; arguments++) {
    if (strcmp(*arguments, "--init") == 0) options.init = true;
    else if (strcmp(*arguments, "--direct-shutdown") == 0) direct_shutdown = true;
    else if (strcmp(*arguments, "--fd") == 0 && arguments[1] != NULL) options.fd = atoi(*++arguments);
    else if (strcmp(*arguments, "--") == 0) {
      options.command = arguments + 1;
      return true;
    } else if (!options.init) return false;
  }
  return true;
}

int main(int count, char **arguments) {
  if (count == 2 && strcmp(arguments[1], "--power-button") == 0) return wait_for_power_button();
  if (!parse(arguments + 1)) {
    fputs("usage: vmm-agent [--init] [--direct-shutdown] [--fd NUMBER] [-- COMMAND...]\n       vmm-agent --power-button\n", stderr);
    return 2;
  }
  if (options.init) become_init();
  prepare();
  if (options.init && options.command != NULL && *options.command != NULL) start_main_command();
  if (options.fd >= 0) {
    fcntl(options.fd, F_SETFL, O_NONBLOCK);
    fcntl(options.fd, F_SETFD, FD_CLOEXEC);
    serve(options.fd);
    return 0;
  }
  for (;;) {
    bool is_socket;
    const int fd = find_host(&is_socket);
    if (fd < 0) {
      fprintf(stderr, "vmm-agent: no console port %s, and no vsock port %d on the host\n", port_name, VSOCK_PORT);
      return 1;
    }
    serve(fd);
    close(fd);
    // A port whose host side is closed can be opened at once.
    poll(NULL, 0, LATER);
  }
}
