#pragma once

#include <fcntl.h>

#include <cstdint>

namespace vmm {

/** Asks how many bytes a regular file or block device has. Answers 0 or an errno. */
int sizeOfFile(int fd, uint64_t& bytes) noexcept;

/**
 * Sets the lock of an open file description, without waiting. It goes with the last descriptor, and is not inherited.
 *
 * @param type F_RDLCK, F_WRLCK or F_UNLCK
 * @returns 0, EAGAIN where another has a lock that excludes it, or another errno
 */
int lockFile(int fd, short type) noexcept;

}  // namespace vmm
