#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace vmm {

/** Bytes of the pieces from `from` on. */
inline size_t bytesOf(const std::vector<iovec>& pieces, size_t from = 0) noexcept {
  size_t bytes = 0;
  for (size_t i = from; i < pieces.size(); i++) bytes += pieces[i].iov_len;
  return bytes;
}

/**
 * Takes what a system call has moved off the pieces, of which it was given those from `at` on.
 *
 * @returns the first piece that is still to do
 */
inline size_t advance(std::vector<iovec>& pieces, size_t at, size_t moved) noexcept {
  while (at < pieces.size() && moved >= pieces[at].iov_len) moved -= pieces[at++].iov_len;
  if (at < pieces.size()) {
    pieces[at].iov_base = static_cast<uint8_t*>(pieces[at].iov_base) + moved;
    pieces[at].iov_len -= moved;
  }
  return at;
}

/** Calls `copy(memory, size)` for each part of `length` bytes of the pieces, behind their first `skip` bytes. */
template <class Copy>
void eachPart(const std::vector<iovec>& pieces, size_t skip, size_t length, Copy copy) noexcept {
  for (size_t i = 0; i < pieces.size() && length > 0; i++) {
    const size_t before = std::min(skip, pieces[i].iov_len);
    const size_t size = std::min(length, pieces[i].iov_len - before);
    if (size > 0) copy(static_cast<uint8_t*>(pieces[i].iov_base) + before, size);
    skip -= before;
    length -= size;
  }
}

/** Copies bytes into the pieces, behind their first `skip` bytes, as far as there is room. */
inline void scatter(const std::vector<iovec>& pieces, size_t skip, const uint8_t* from, size_t length) noexcept {
  eachPart(pieces, skip, length, [&](uint8_t* memory, size_t size) {
    std::memcpy(memory, from, size);
    from += size;
  });
}

/** Copies bytes out of the pieces, from behind their first `skip` bytes, as far as there are any. */
inline void gather(const std::vector<iovec>& pieces, size_t skip, uint8_t* to, size_t length) noexcept {
  eachPart(pieces, skip, length, [&](const uint8_t* memory, size_t size) {
    std::memcpy(to, memory, size);
    to += size;
  });
}

}  // namespace vmm
