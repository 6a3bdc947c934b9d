#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "chains.hh"
#include "tap_filter.hh"

namespace vmm {

/** `struct virtio_net_hdr` of VIRTIO 1.3 §5.1.6. */
inline constexpr size_t NET_HEADER_SIZE = 12;

/** Why read() ended before it had all that was wanted; 0 when too many frames were refused. */
inline constexpr uint32_t TAP_NO_FRAMES = 1;
inline constexpr uint32_t TAP_NO_ROOM = 2;

/** What read() of native-tap.ts asks for. */
struct TapRead {
  uint32_t wanted;
  bool mergeable;
  TapFilter filter;
  /** Of 3 + 2 * wanted words, as native-tap.ts has them. */
  uint32_t* result;
};

/** Moves frames from a tap interface into chains of guest memory, and keeps one for which there were too few. */
class TapReceiver {
 public:
  TapReceiver();

  /**
   * Receives frames as TapQueue.read() does, and fills in its result but for the number of frames.
   *
   * @returns 0 or an errno; the frames before it are good
   */
  int receive(int fd, const Chains& chains, const TapRead& read, uint32_t& frames);

 private:
  /** A packet with its header that the kernel has given. */
  struct Packet {
    size_t size;
    /** Not in the chains but, whole, in `pending_`. */
    bool overflowed;
  };

  /** Collects the chains from `chain` on that one packet may need. False where they are not guest memory. */
  bool room(const Chains& chains, uint32_t chain, bool mergeable);
  /** Answers the bytes that it took from the kernel, or a negative errno. */
  ssize_t fetch(int fd) noexcept;
  bool accepts(const TapFilter& filter, const Packet& packet) const noexcept;
  /** Notes in `entry` that a packet lies in the chains from `chain` on. @returns chains used */
  uint32_t finish(const Chains& chains, uint32_t chain, size_t size, uint32_t* entry) noexcept;

  std::vector<iovec> iovecs_;
  /** Where the end of a packet goes for which the buffers are too small. */
  std::unique_ptr<uint8_t[]> overflow_;
  /** Such a packet, until there are buffers. */
  std::unique_ptr<uint8_t[]> pending_;
  size_t pendingSize_ = 0;
};

}  // namespace vmm
