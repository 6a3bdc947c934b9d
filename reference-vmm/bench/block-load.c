/*
 * Guest side of the block benchmark: block-load [DIVISOR]. Reads and writes /dev/vda around the page cache and prints
 * bytes and seconds; does that part of the requests where the machine is slow.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void measure(int fd, const char *name, size_t block, long count, long blocks, int random, int writes)
{
	static char buffer[1 << 20] __attribute__((aligned(4096)));
	uint64_t state = 88172645463325252u;
	double start = now();

	for (long i = 0; i < count; i++) {
		long at = i % blocks;

		if (random) {
			state ^= state << 13;
			state ^= state >> 7;
			state ^= state << 17;
			at = state % blocks;
		}
		ssize_t done = writes ? pwrite(fd, buffer, block, at * (off_t)block)
				      : pread(fd, buffer, block, at * (off_t)block);
		if (done != (ssize_t)block) {
			perror(name);
			exit(1);
		}
	}
	double seconds = now() - start;

	printf("RESULT %s bytes=%.0f requests=%ld seconds=%.6f\n", name, (double)block * count, count, seconds);
}

int main(int argc, char **argv)
{
	long divisor = argc > 1 ? atol(argv[1]) : 1;
	int fd = open("/dev/vda", O_RDWR | O_DIRECT);
	off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);

	if (divisor < 1)
		return 2;
	if (size <= 0) {
		perror("/dev/vda");
		return 1;
	}
	measure(fd, "sequential-read-1M", 1 << 20, 1024 / divisor, size >> 20, 0, 0);
	measure(fd, "sequential-write-1M", 1 << 20, 1024 / divisor, size >> 20, 0, 1);
	measure(fd, "random-read-4K", 4096, 4000 / divisor, size >> 12, 1, 0);
	measure(fd, "random-write-4K", 4096, 4000 / divisor, size >> 12, 1, 1);
	return 0;
}
