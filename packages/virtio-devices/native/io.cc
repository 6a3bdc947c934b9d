#include "io.hh"

#include <algorithm>
#include <bit>
#include <cerrno>

namespace vmm {

namespace {

/** Source of ZERO operations. */
constexpr size_t ZERO_BYTES = 256 * 1024;
alignas(4096) const uint8_t zeroes[ZERO_BYTES] = {};

/** Most bytes of one system call; those take an int. */
constexpr uint64_t MAX_CHUNK = 1 << 30;

/** Buffers are of powers of two from this size. */
constexpr size_t MIN_BUFFER = 4096;
/** Bytes of buffers that wait for use. */
constexpr size_t MAX_FREE = 16 << 20;

}  // namespace

IoBuffer IoBuffers::take(size_t size) {
  const size_t capacity = std::bit_ceil(std::max(size, MIN_BUFFER));
  const auto found = std::find_if(free_.rbegin(), free_.rend(), [&](const IoBuffer& buffer) { return buffer.capacity == capacity; });
  if (found == free_.rend()) return {std::make_unique_for_overwrite<uint8_t[]>(capacity), capacity};
  IoBuffer result = std::move(*found);
  *found = std::move(free_.back());
  free_.pop_back();
  bytes_ -= capacity;
  return result;
}

void IoBuffers::give(IoBuffer buffer) noexcept {
  if (buffer.bytes == nullptr || bytes_ + buffer.capacity > MAX_FREE) return;
  try {
    const size_t capacity = buffer.capacity;
    free_.push_back(std::move(buffer));
    bytes_ += capacity;
  } catch (const std::bad_alloc&) {
    // It is freed instead.
  }
}

uint32_t IoOperation::chunk() const noexcept {
  return static_cast<uint32_t>(std::min(length, kind == Kind::ZERO ? uint64_t{ZERO_BYTES} : MAX_CHUNK));
}

uint8_t* IoOperation::memory() const noexcept {
  // The kernel only reads from it.
  return kind == Kind::ZERO ? const_cast<uint8_t*>(zeroes) : buffer.bytes.get() + done;
}

bool IoOperation::advance(int64_t result) noexcept {
  if (result == -EINTR || result == -EAGAIN) return false;
  if (result < 0) {
    error = static_cast<int>(-result);
    return true;
  }
  if (kind == Kind::SYNC || kind == Kind::ALLOCATE) return true;
  if (result == 0) {
    error = kind == Kind::READ ? ENODATA : EIO;
    return true;
  }
  const auto bytes = std::min(static_cast<uint64_t>(result), length);
  position += bytes;
  length -= bytes;
  done += bytes;
  return length == 0;
}

}  // namespace vmm
