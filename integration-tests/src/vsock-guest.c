// The guest's side of the tests and of the benchmark of vsock.
//
//   vsock listen TYPE PORT echo|count|hang   serves every connection in a process of its own; says "listening"
//   vsock connect TYPE PORT duplex BYTES     sends a pattern and takes it back at the same time
//   vsock connect TYPE PORT send BYTES       sends a pattern and waits for the end
//   vsock connect TYPE PORT receive          takes a pattern until the end
//   vsock connect TYPE PORT latency COUNT    one byte there and back
//   vsock connect TYPE PORT messages SIZE... sends messages of these sizes and prints those that come back
//   vsock connect TYPE PORT text TEXT        sends text, then prints what comes until the end
//   vsock many PORT COUNT                    so many connections at once, each of which gets its number back
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
// After the one before, which it needs.
#include <linux/vm_sockets.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 65536 };

static void fail(const char *what) {
  printf("%s: %s\n", what, strerror(errno));
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int make_socket(const char *type) {
  const int fd = socket(AF_VSOCK, strcmp(type, "seqpacket") == 0 ? SOCK_SEQPACKET : SOCK_STREAM, 0);
  if (fd < 0) fail("socket");
  return fd;
}

static int connect_host(const char *type, unsigned port) {
  const int fd = make_socket(type);
  const struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = port};
  // Linux waits for two seconds.
  const struct timeval patience = {.tv_sec = 30};
  if (setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &patience, sizeof patience) != 0) fail("setsockopt");
  if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) fail("connect");
  return fd;
}

static void send_all(int fd, const void *data, size_t size) {
  for (size_t done = 0; done < size;) {
    const ssize_t sent = send(fd, (const char *)data + done, size - done, 0);
    if (sent < 0) fail("send");
    done += (size_t)sent;
  }
}

struct sending {
  int fd;
  uint64_t bytes;
};

static void *send_pattern(void *argument) {
  const struct sending *job = argument;
  static uint64_t words[CHUNK / 8];
  uint64_t next = 0;
  for (uint64_t left = job->bytes; left > 0;) {
    for (size_t i = 0; i < CHUNK / 8; i++) words[i] = next++;
    const size_t size = left < CHUNK ? (size_t)left : CHUNK;
    send_all(job->fd, words, size);
    left -= size;
  }
  if (shutdown(job->fd, SHUT_WR) != 0) fail("shutdown");
  return NULL;
}

static uint64_t receive_pattern(int fd) {
  static uint64_t words[CHUNK / 8];
  uint64_t total = 0;
  size_t held = 0;
  for (;;) {
    const ssize_t got = recv(fd, (char *)words + held, CHUNK - held, 0);
    if (got < 0) fail("recv");
    if (got == 0) break;
    held += (size_t)got;
    const size_t whole = held / 8;
    for (size_t i = 0; i < whole; i++) {
      if (words[i] != total / 8 + i) {
        printf("wrong at %llu\n", (unsigned long long)(total + i * 8));
        exit(1);
      }
    }
    total += whole * 8;
    held -= whole * 8;
    memmove(words, (char *)words + whole * 8, held);
  }
  return total + held;
}

static void serve(int fd, const char *mode) {
  static char buffer[CHUNK];
  uint64_t total = 0;
  if (strcmp(mode, "hang") == 0) {
    for (;;) pause();
  }
  for (;;) {
    struct iovec part = {.iov_base = buffer, .iov_len = sizeof buffer};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    const ssize_t got = recvmsg(fd, &message, 0);
    if (got < 0) fail("recv");
    if (got == 0) break;
    total += (uint64_t)got;
    if (strcmp(mode, "echo") == 0) {
      if ((message.msg_flags & MSG_EOR) != 0) {
        if (send(fd, buffer, (size_t)got, MSG_EOR) != got) fail("send");
      } else {
        send_all(fd, buffer, (size_t)got);
      }
    }
  }
  if (strcmp(mode, "count") == 0) {
    const int length = snprintf(buffer, sizeof buffer, "%llu", (unsigned long long)total);
    send_all(fd, buffer, (size_t)length);
  }
  close(fd);
}

static int listen_forever(const char *type, unsigned port, const char *mode) {
  const int fd = make_socket(type);
  const struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port};
  if (bind(fd, (const struct sockaddr *)&address, sizeof address) != 0) fail("bind");
  if (listen(fd, 64) != 0) fail("listen");
  signal(SIGCHLD, SIG_IGN);
  printf("listening %u\n", port);
  fflush(stdout);
  for (;;) {
    const int connection = accept(fd, NULL, NULL);
    if (connection < 0) fail("accept");
    if (fork() == 0) {
      close(fd);
      serve(connection, mode);
      exit(0);
    }
    close(connection);
  }
}

static void exchange_messages(int fd, int count, char **sizes) {
  static char buffer[1 << 20];
  for (int i = 0; i < count; i++) {
    const size_t size = strtoul(sizes[i], NULL, 0);
    memset(buffer, 'a' + i % 26, size);
    // An even one ends a record.
    if (send(fd, buffer, size, i % 2 == 0 ? MSG_EOR : 0) != (ssize_t)size) fail("send");
  }
  for (int i = 0; i < count; i++) {
    struct iovec part = {.iov_base = buffer, .iov_len = sizeof buffer};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    const ssize_t got = recvmsg(fd, &message, 0);
    if (got < 0) fail("recv");
    printf("%zd%s%s ", got, got > 0 && buffer[0] == 'a' + i % 26 && buffer[got - 1] == buffer[0] ? "" : "?",
           (message.msg_flags & MSG_EOR) != 0 ? "." : "");
  }
  printf("\n");
}

static int many(unsigned port, int count) {
  int *fds = calloc((size_t)count, sizeof *fds);
  for (int i = 0; i < count; i++) fds[i] = connect_host("stream", port);
  for (int i = 0; i < count; i++) {
    send_all(fds[i], &i, sizeof i);
    shutdown(fds[i], SHUT_WR);
  }
  int right = 0;
  for (int i = 0; i < count; i++) {
    int answer = -1;
    if (recv(fds[i], &answer, sizeof answer, MSG_WAITALL) == sizeof answer && answer == i) right++;
    char more;
    if (recv(fds[i], &more, 1, 0) != 0) right = -count;
    close(fds[i]);
  }
  printf("%d of %d\n", right, count);
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 4 && strcmp(argv[1], "many") == 0) return many((unsigned)atol(argv[2]), atoi(argv[3]));
  if (argc < 5) return 2;
  const char *type = argv[2];
  const unsigned port = (unsigned)strtoul(argv[3], NULL, 0);
  const char *mode = argv[4];
  if (strcmp(argv[1], "listen") == 0) return listen_forever(type, port, mode);
  const int fd = connect_host(type, port);
  const double begin = now();
  if (strcmp(mode, "duplex") == 0 || strcmp(mode, "send") == 0) {
    struct sending job = {.fd = fd, .bytes = strtoull(argv[5], NULL, 0)};
    pthread_t thread;
    pthread_create(&thread, NULL, send_pattern, &job);
    const uint64_t received = receive_pattern(fd);
    pthread_join(thread, NULL);
    printf("RESULT %s sent=%llu received=%llu seconds=%.6f\n", mode, (unsigned long long)job.bytes,
           (unsigned long long)received, now() - begin);
  } else if (strcmp(mode, "receive") == 0) {
    const uint64_t received = receive_pattern(fd);
    printf("RESULT receive received=%llu seconds=%.6f\n", (unsigned long long)received, now() - begin);
  } else if (strcmp(mode, "latency") == 0) {
    const long count = strtol(argv[5], NULL, 0);
    char byte = 0;
    for (long i = 0; i < count; i++) {
      send_all(fd, &byte, 1);
      if (recv(fd, &byte, 1, 0) != 1) fail("recv");
    }
    printf("RESULT latency count=%ld seconds=%.6f\n", count, now() - begin);
  } else if (strcmp(mode, "messages") == 0) {
    exchange_messages(fd, argc - 5, argv + 5);
  } else if (strcmp(mode, "text") == 0) {
    send_all(fd, argv[5], strlen(argv[5]));
    shutdown(fd, SHUT_WR);
    char buffer[4096];
    for (ssize_t got; (got = recv(fd, buffer, sizeof buffer, 0)) != 0;) {
      if (got < 0) fail("recv");
      fwrite(buffer, 1, (size_t)got, stdout);
    }
    printf("\n");
  }
  close(fd);
  return 0;
}
