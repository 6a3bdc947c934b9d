#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "errors.hh"

namespace vmm {

/** One read or write of a BlockFile. */
struct Transfer {
  bool write;
  /** In the file, in bytes. */
  double position;
  /** Of the list's pieces. */
  size_t first;
  size_t end;
};

/** Transfers as BlockBatch packs them: writing, position, first piece, end of its pieces. */
class TransferList {
 public:
  static constexpr size_t WORDS = 4;

  /** @param words of `count` transfers, which refer to `pieces` pieces */
  TransferList(const double* words, uint32_t count, size_t pieces) noexcept
      : words_(words), count_(count), pieces_(static_cast<double>(pieces)) {}

  /** Whether all of them can be had. */
  bool isValid() const noexcept {
    for (uint32_t i = 0; i < count_; i++) {
      const double* const words = words_ + i * WORDS;
      if (!isInteger(words[1], MAX_SAFE_INTEGER) || !isInteger(words[2], pieces_) || !isInteger(words[3], pieces_) ||
          words[3] < words[2])
        return false;
    }
    return true;
  }

  Transfer operator[](uint32_t i) const noexcept {
    const double* const words = words_ + i * WORDS;
    return {words[0] != 0, words[1], static_cast<size_t>(words[2]), static_cast<size_t>(words[3])};
  }

 private:
  /** A whole number of 0...maximum. */
  static bool isInteger(double value, double maximum) noexcept {
    return value >= 0 && value <= maximum && std::trunc(value) == value;
  }

  const double* words_;
  uint32_t count_;
  double pieces_;
};

}  // namespace vmm
