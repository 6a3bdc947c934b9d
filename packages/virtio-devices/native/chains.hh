#pragma once

#include <napi.h>
#include <sys/uio.h>

#include <cstdint>
#include <vector>

#include "memory_map.hh"

namespace vmm {

/** Guest ranges by chain, as native-tap.ts gives them: chain i has the pairs from ends[i] to ends[i + 1]. */
struct Chains {
  MemoryMap* memory = nullptr;
  const double* iovecs = nullptr;
  const uint32_t* ends = nullptr;
  uint32_t begin = 0;
  uint32_t end = 0;

  /** Reads the arguments memory, iovecs, ends, begin, end. False with an exception. */
  bool read(napi_env env, const napi_value* arguments) noexcept;

  /** Pieces of a chain. */
  uint32_t pieces(uint32_t chain) const noexcept { return (ends[chain + 1] - ends[chain]) / 2; }

  /** Appends the iovecs of a chain. False if a piece is not guest memory; `out` may have grown then. */
  bool translate(uint32_t chain, bool forWriting, std::vector<iovec>& out) const {
    return memory->translate(iovecs + ends[chain], pieces(chain), forWriting, out);
  }
};

}  // namespace vmm
