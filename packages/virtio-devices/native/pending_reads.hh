#pragma once

#include <napi.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <unordered_map>
#include <vector>

namespace vmm {

/** Where the bytes of reads go that are under way, by token. The maps of guest memory are kept alive until then. */
class PendingReads {
 public:
  struct Entry {
    /** A MemoryMap. */
    napi_ref memory;
    /** Guest address and length of each piece. */
    std::vector<double> pairs;
  };

  explicit PendingReads(napi_env env) noexcept : env_(env) {}
  PendingReads(const PendingReads&) = delete;
  PendingReads& operator=(const PendingReads&) = delete;
  ~PendingReads() { clear(); }

  /** Takes the reference, even if it throws. */
  void add(uint32_t token, napi_ref memory, const double* pairs, size_t count) {
    try {
      reads_.emplace(token, Entry{memory, std::vector<double>(pairs, pairs + 2 * count)});
    } catch (const std::bad_alloc&) {
      napi_delete_reference(env_, memory);
      throw;
    }
  }

  const Entry* find(uint32_t token) const noexcept {
    const auto found = reads_.find(token);
    return found == reads_.end() ? nullptr : &found->second;
  }

  void remove(uint32_t token) noexcept {
    const auto found = reads_.find(token);
    if (found == reads_.end()) return;
    napi_delete_reference(env_, found->second.memory);
    reads_.erase(found);
  }

  void clear() noexcept {
    for (const auto& entry : reads_) napi_delete_reference(env_, entry.second.memory);
    reads_.clear();
  }

 private:
  napi_env env_;
  std::unordered_map<uint32_t, Entry> reads_;
};

}  // namespace vmm
