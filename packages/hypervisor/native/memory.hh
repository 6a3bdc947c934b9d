#pragma once

#include <napi.h>

#include <cstddef>
#include <cstdint>

namespace vmm {

/** A mapping of this process and the ArrayBuffer over it. */
class SharedMapping {
 public:
  SharedMapping() = default;
  SharedMapping(SharedMapping&& other) noexcept;
  SharedMapping& operator=(SharedMapping&& other) noexcept;
  ~SharedMapping() { unmap(); }

  /** Zeroed private memory whose place suits huge pages of the guest. Throws ENOMEM. */
  static SharedMapping anonymous(Napi::Env env, size_t size, uint64_t guestAddress);
  /** What a file descriptor has at offset 0. */
  static SharedMapping ofFile(Napi::Env env, int fd, size_t size);

  /** Makes the ArrayBuffer; once. */
  Napi::ArrayBuffer expose(Napi::Env env);
  /** Detaches the buffer in its environment, then unmaps. */
  void unmap() noexcept;

  void* data() const noexcept { return data_; }
  size_t size() const noexcept { return size_; }
  uint64_t guestAddress() const noexcept { return guestAddress_; }

 private:
  SharedMapping(void* data, size_t size, uint64_t guestAddress = 0) noexcept
      : data_(data), size_(size), guestAddress_(guestAddress) {}
  bool detach() noexcept;

  void* data_ = nullptr;
  size_t size_ = 0;
  uint64_t guestAddress_ = 0;
  napi_env env_ = nullptr;
  napi_ref buffer_ = nullptr;
};

/** NativeKvm.discard. */
void discard(const Napi::CallbackInfo& info);

/** NativeKvm.mapFile. */
Napi::Value mapFile(const Napi::CallbackInfo& info);

}  // namespace vmm
