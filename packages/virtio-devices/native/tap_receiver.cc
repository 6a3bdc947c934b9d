#include "tap_receiver.hh"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

#include "iovecs.hh"

namespace vmm {

namespace {

constexpr size_t NUM_BUFFERS_AT = 10;
/** NET_MAX_FRAME of constants.ts, with a header. */
constexpr size_t MAX_PACKET = NET_HEADER_SIZE + 65560;
constexpr size_t MAX_IOVECS = IOV_MAX;
constexpr size_t ETH_HEADER = 14;

}  // namespace

TapReceiver::TapReceiver()
    : overflow_(std::make_unique<uint8_t[]>(MAX_PACKET)), pending_(std::make_unique<uint8_t[]>(MAX_PACKET)) {}

int TapReceiver::receive(int fd, const Chains& chains, const TapRead& read, uint32_t& frames) {
  uint32_t* const result = read.result;
  result[0] = result[1] = result[2] = 0;
  frames = 0;
  uint32_t chain = chains.begin;
  const auto deliver = [&](size_t size) {
    chain += finish(chains, chain, size, result + 3 + 2 * frames);
    frames++;
  };
  // Frames that are dropped cost time as well.
  for (uint32_t tries = 0; frames < read.wanted && chain < chains.end && tries < 4 * read.wanted; tries++) {
    if (!room(chains, chain, read.mergeable)) return EFAULT;
    const size_t available = bytesOf(iovecs_);
    if (pendingSize_ > 0) {
      if (pendingSize_ <= available) {
        scatter(iovecs_, 0, pending_.get(), pendingSize_);
        deliver(pendingSize_);
      } else if (read.mergeable) {
        result[0] = TAP_NO_ROOM;
        return 0;
      } else {
        result[2]++;
      }
      pendingSize_ = 0;
      continue;
    }
    const ssize_t got = fetch(fd);
    if (got == -EAGAIN) {
      result[0] = TAP_NO_FRAMES;
      return 0;
    }
    if (got < 0) return static_cast<int>(-got);
    const Packet packet{static_cast<size_t>(got), static_cast<size_t>(got) > available};
    if (packet.size < NET_HEADER_SIZE + ETH_HEADER) continue;
    // Nobody but the host's kernel says that there are no larger ones.
    if (packet.overflowed && (!read.mergeable || packet.size > MAX_PACKET)) {
      result[2]++;
      continue;
    }
    if (packet.overflowed) {
      gather(iovecs_, 0, pending_.get(), available);
      std::memcpy(pending_.get() + available, overflow_.get(), packet.size - available);
    }
    if (!accepts(read.filter, packet)) {
      result[1]++;
      continue;
    }
    if (packet.overflowed) {
      pendingSize_ = packet.size;
      result[0] = TAP_NO_ROOM;
      return 0;
    }
    deliver(packet.size);
  }
  if (frames < read.wanted && chain == chains.end) result[0] = TAP_NO_ROOM;
  return 0;
}

bool TapReceiver::room(const Chains& chains, uint32_t chain, bool mergeable) {
  iovecs_.clear();
  size_t bytes = 0;
  for (uint32_t i = chain; i < chains.end; i++) {
    const size_t before = iovecs_.size();
    if (!chains.translate(i, true, iovecs_)) return false;
    // The last entry is for what does not fit; a chain of that many pieces is no buffer for frames.
    if (iovecs_.size() >= MAX_IOVECS) {
      iovecs_.resize(before);
      break;
    }
    bytes += bytesOf(iovecs_, before);
    if (!mergeable || bytes >= MAX_PACKET) break;
  }
  // So that fetch() needs no memory.
  iovecs_.reserve(iovecs_.size() + 1);
  return true;
}

ssize_t TapReceiver::fetch(int fd) noexcept {
  iovecs_.push_back({overflow_.get(), MAX_PACKET});
  ssize_t got = 0;
  do got = readv(fd, iovecs_.data(), static_cast<int>(iovecs_.size()));
  while (got < 0 && errno == EINTR);
  iovecs_.pop_back();
  return got < 0 ? -errno : got;
}

bool TapReceiver::accepts(const TapFilter& filter, const Packet& packet) const noexcept {
  uint8_t start[TapFilter::PEEKED]{};
  const size_t size = std::min(sizeof(start), packet.size - NET_HEADER_SIZE);
  if (packet.overflowed) std::memcpy(start, pending_.get() + NET_HEADER_SIZE, size);
  else gather(iovecs_, NET_HEADER_SIZE, start, size);
  return filter.accepts(start, size);
}

uint32_t TapReceiver::finish(const Chains& chains, uint32_t chain, size_t size, uint32_t* entry) noexcept {
  uint32_t count = 0;
  for (size_t left = size, at = 0; left > 0; count++) {
    size_t bytes = 0;
    for (const size_t end = at + chains.pieces(chain + count); at < end; at++) bytes += iovecs_[at].iov_len;
    left -= std::min(left, bytes);
  }
  const uint8_t buffers[2] = {static_cast<uint8_t>(count), static_cast<uint8_t>(count >> 8)};
  scatter(iovecs_, NUM_BUFFERS_AT, buffers, sizeof(buffers));
  entry[0] = static_cast<uint32_t>(size);
  entry[1] = count;
  return count;
}

}  // namespace vmm
