#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace vmm {

/** The layout of ReceiveFilter in filter.ts, and what it accepts. */
class TapFilter {
 public:
  /** Where the table of addresses begins; there are at least so many bytes. */
  static constexpr size_t TABLE_AT = 10 + 512;
  /** How far into a frame it looks. */
  static constexpr size_t PEEKED = 16;

  TapFilter(const uint8_t* bytes, size_t length) noexcept : bytes_(bytes), length_(length) {}

  /** @param frame PEEKED bytes, of which `size` are the frame's; at least a header of Ethernet */
  bool accepts(const uint8_t* frame, size_t size) const noexcept {
    const unsigned mode = bytes_[0] | bytes_[1];
    if ((mode & 64) != 0 && size >= 16 && frame[12] == 0x81 && frame[13] == 0) {
      const unsigned vlan = (frame[14] & 0xfU) << 8 | frame[15];
      if ((bytes_[10 + (vlan >> 3)] >> (vlan & 7) & 1) == 0) return false;
    }
    if ((mode & 1) != 0) return true;
    if ((frame[0] & 1) != 0) {
      static constexpr uint8_t BROADCAST[6] = {255, 255, 255, 255, 255, 255};
      if (std::memcmp(frame, BROADCAST, 6) == 0) return (mode & 32) == 0;
      if ((mode & 8) != 0) return false;
      if ((mode & 2) != 0) return true;
    } else {
      if ((mode & 16) != 0) return false;
      if ((mode & 4) != 0 || std::memcmp(bytes_ + 4, frame, 6) == 0) return true;
    }
    for (size_t i = 0; i < bytes_[2] && TABLE_AT + 6 * (i + 1) <= length_; i++)
      if (std::memcmp(bytes_ + TABLE_AT + 6 * i, frame, 6) == 0) return true;
    return false;
  }

 private:
  const uint8_t* bytes_;
  size_t length_;
};

}  // namespace vmm
