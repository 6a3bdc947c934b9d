// What a guest program gets of a shared directory: fs-load DIRECTORY [DIVISOR], which lessens the work. Prints one RESULT
// line a measurement.
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 128 << 10 };

static char buffer[CHUNK];

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void check(long result, const char *what) {
  if (result >= 0) return;
  perror(what);
  exit(1);
}

static void report(const char *name, long bytes, long requests, double started) {
  printf("RESULT %s bytes=%ld requests=%ld seconds=%.6f\n", name, bytes, requests, now() - started);
}

static void drop_caches(void) {
  sync();
  const int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);
  check(fd, "drop_caches");
  check(write(fd, "3", 1), "drop_caches");
  close(fd);
}

static char *name(int i) {
  static char text[32];
  snprintf(text, sizeof text, "files/%d", i);
  return text;
}

int main(int argc, char **argv) {
  const long divisor = argc > 2 ? atol(argv[2]) : 1;
  if (argc < 2 || divisor < 1) return 2;
  const long bytes = (64 << 20) / divisor;
  const int files = (int)(1000 / divisor);
  check(chdir(argv[1]), argv[1]);
  memset(buffer, 0x5a, sizeof buffer);

  double started = now();
  int fd = open("large", O_RDWR | O_CREAT | O_TRUNC, 0644);
  check(fd, "large");
  for (long at = 0; at < bytes; at += CHUNK) check(write(fd, buffer, CHUNK), "write");
  report("write", bytes, bytes / CHUNK, started);
  close(fd);

  drop_caches();
  started = now();
  fd = open("large", O_RDONLY);
  check(fd, "large");
  for (long at = 0; at < bytes; at += CHUNK) check(read(fd, buffer, CHUNK), "read");
  report("read", bytes, bytes / CHUNK, started);
  close(fd);

  check(mkdir("files", 0755), "files");
  started = now();
  for (int i = 0; i < files; i++) {
    fd = open(name(i), O_WRONLY | O_CREAT | O_EXCL, 0644);
    check(fd, "create");
    check(write(fd, buffer, 100), "write");
    close(fd);
  }
  report("create", 0, files, started);

  drop_caches();
  started = now();
  for (int i = 0; i < files; i++) {
    struct stat st;
    check(stat(name(i), &st), "stat");
  }
  report("stat", 0, files, started);

  drop_caches();
  started = now();
  DIR *directory = opendir("files");
  long count = 0;
  for (struct dirent *entry; (entry = readdir(directory)) != NULL; count++) {
    struct stat st;
    check(fstatat(dirfd(directory), entry->d_name, &st, 0), "fstatat");
  }
  closedir(directory);
  report("list", 0, count, started);

  drop_caches();
  started = now();
  for (int i = 0; i < files; i++) {
    fd = open(name(i), O_RDONLY);
    check(fd, "open");
    check(read(fd, buffer, 100), "read");
    close(fd);
  }
  report("open-read-close", 0, files, started);

  started = now();
  for (int i = 0; i < files; i++) check(unlink(name(i)), "unlink");
  report("unlink", 0, files, started);
  check(rmdir("files"), "rmdir");
  check(unlink("large"), "unlink");
  return 0;
}
