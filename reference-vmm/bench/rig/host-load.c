// The host's end of network measurements in the rig: host-load BYTES. On TCP ports 7001 to 7003 a source without end, a
// sink and an echo; on vsock ports 5000 to 5002 an echo, a sink and a source of so many bytes, 64-bit numbers in order.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
// After the one before, which it needs.
#include <linux/vm_sockets.h>
#include <poll.h>
#include <unistd.h>

enum { CHUNK = 65536 };

static char buffer[CHUNK];

static int send_all(int fd, const char *data, size_t size) {
  for (size_t done = 0; done < size;) {
    const ssize_t sent = send(fd, data + done, size - done, MSG_NOSIGNAL);
    if (sent <= 0) return -1;
    done += (size_t)sent;
  }
  return 0;
}

static void take(int fd, int back) {
  for (ssize_t got; (got = recv(fd, buffer, sizeof buffer, 0)) > 0;) {
    if (back && send_all(fd, buffer, (size_t)got) != 0) return;
  }
}

static void give(int fd, uint64_t bytes) {
  uint64_t words[CHUNK / 8];
  uint64_t next = 0;
  for (uint64_t left = bytes; left > 0;) {
    for (size_t i = 0; i < CHUNK / 8; i++) words[i] = next++;
    const size_t size = left < CHUNK ? (size_t)left : CHUNK;
    if (send_all(fd, (const char *)words, size) != 0) return;
    left -= size;
  }
  shutdown(fd, SHUT_WR);
  take(fd, 0);
}

static int tcp(uint16_t port) {
  const struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  const int one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  // Accepted connections inherit it.
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 8) == 0 ? fd : -1;
}

static int vsock(unsigned port) {
  const struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port};
  const int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
  return fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 8) == 0 ? fd : -1;
}

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  const uint64_t bytes = strtoull(argv[1], NULL, 0);
  enum { SOURCE, SINK, ECHO } const roles[] = {SOURCE, SINK, ECHO, ECHO, SINK, SOURCE};
  struct pollfd listeners[6];
  signal(SIGCHLD, SIG_IGN);
  for (int i = 0; i < 6; i++) {
    listeners[i].fd = i < 3 ? tcp((uint16_t)(7001 + i)) : vsock(5000 + (unsigned)i - 3);
    listeners[i].events = POLLIN;
    if (listeners[i].fd < 0) {
      perror(i < 3 ? "TCP" : "vsock");
      return 1;
    }
  }
  printf("listening\n");
  fflush(stdout);
  while (poll(listeners, 6, -1) > 0) {
    for (int i = 0; i < 6; i++) {
      if ((listeners[i].revents & POLLIN) == 0) continue;
      const int fd = accept(listeners[i].fd, NULL, NULL);
      if (fd >= 0 && fork() == 0) {
        if (roles[i] == SOURCE) {
          give(fd, i < 3 ? UINT64_MAX : bytes);
        } else {
          take(fd, roles[i] == ECHO);
        }
        _exit(0);
      }
      close(fd);
    }
  }
  return 1;
}
