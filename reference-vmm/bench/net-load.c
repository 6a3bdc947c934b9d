// Network load seen from inside a guest, around TCP: net-load ADDRESS SECONDS. Prints a RESULT line for each.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static char buffer[256 * 1024];

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int open_connection(const char* address, int port) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  inet_pton(AF_INET, address, &to.sin_addr);
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0 || connect(fd, (struct sockaddr*)&to, sizeof(to)) != 0) {
    perror("connect");
    exit(1);
  }
  return fd;
}

static void result(const char* name, uint64_t bytes, uint64_t requests, double seconds) {
  printf("RESULT %s bytes=%llu requests=%llu seconds=%.6f\n", name, (unsigned long long)bytes, (unsigned long long)requests,
         seconds);
  fflush(stdout);
}

/** Sends, and waits until the other side has it all. */
static void upload(const char* address, double seconds) {
  const int fd = open_connection(address, 7002);
  const double start = now();
  uint64_t bytes = 0;
  while (now() - start < seconds) {
    const ssize_t written = write(fd, buffer, sizeof(buffer));
    if (written <= 0) break;
    bytes += (uint64_t)written;
  }
  shutdown(fd, SHUT_WR);
  while (read(fd, buffer, sizeof(buffer)) > 0) {
  }
  result("guest-to-host", bytes, 1, now() - start);
  close(fd);
}

static void download(const char* address, double seconds) {
  const int fd = open_connection(address, 7001);
  const double start = now();
  uint64_t bytes = 0;
  while (now() - start < seconds) {
    const ssize_t got = read(fd, buffer, sizeof(buffer));
    if (got <= 0) break;
    bytes += (uint64_t)got;
  }
  result("host-to-guest", bytes, 1, now() - start);
  close(fd);
}

/** One byte there and back. */
static void echo(const char* address, double seconds) {
  const int fd = open_connection(address, 7003);
  const int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  const double start = now();
  uint64_t rounds = 0;
  while (now() - start < seconds) {
    if (write(fd, buffer, 1) != 1 || read(fd, buffer, 1) != 1) break;
    rounds++;
  }
  result("round-trip", 0, rounds, now() - start);
  close(fd);
}

int main(int argc, char** argv) {
  if (argc != 3) return 1;
  const double seconds = atof(argv[2]);
  memset(buffer, 0x5a, sizeof(buffer));
  upload(argv[1], seconds);
  download(argv[1], seconds);
  echo(argv[1], seconds);
  return 0;
}
