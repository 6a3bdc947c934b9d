// A small HTTP server in the guest, for the tests of vm.fetch():
//
//   http PORT   listens on a vsock port, says "listening", and answers each request in a process of its own
//
//   /echo       the request line, and the body of the request
//   /endless    a body that ends when the connection does
//   /abort      half a body
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
// After the one before, which it needs.
#include <linux/vm_sockets.h>
#include <unistd.h>

enum { LINE_LIMIT = 16384 };

static void fail(const char *what) {
  printf("%s: %s\n", what, strerror(errno));
  exit(1);
}

static void print(FILE *out, const char *text) {
  if (fputs(text, out) < 0 || fflush(out) != 0) exit(1);
}

static void answer(FILE *in, FILE *out) {
  char request[LINE_LIMIT], header[LINE_LIMIT];
  if (fgets(request, sizeof request, in) == NULL) return;
  unsigned long length = 0;
  while (fgets(header, sizeof header, in) != NULL && strcmp(header, "\r\n") != 0)
    if (strncasecmp(header, "content-length:", 15) == 0) length = strtoul(header + 15, NULL, 10);
  if (strstr(request, " /echo ") != NULL) {
    print(out, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n");
    print(out, request);
    for (int byte; length > 0 && (byte = fgetc(in)) != EOF; length--) fputc(byte, out);
    fflush(out);
  } else if (strstr(request, " /endless ") != NULL) {
    print(out, "HTTP/1.1 200 OK\r\n\r\n");
    for (;;) print(out, "more and more\n");
  } else if (strstr(request, " /abort ") != NULL) {
    print(out, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
  } else {
    print(out, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
  }
}

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  const int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
  const struct sockaddr_vm address = {
    .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = (unsigned)strtoul(argv[1], NULL, 0)};
  if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 64) != 0) fail("listen");
  signal(SIGCHLD, SIG_IGN);
  printf("listening\n");
  fflush(stdout);
  for (;;) {
    const int connection = accept(fd, NULL, NULL);
    if (connection < 0) fail("accept");
    if (fork() == 0) {
      FILE *in = fdopen(connection, "r"), *out = fdopen(dup(connection), "w");
      if (in == NULL || out == NULL) fail("fdopen");
      answer(in, out);
      exit(0);
    }
    close(connection);
  }
}
