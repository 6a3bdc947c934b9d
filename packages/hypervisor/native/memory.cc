#include "memory.hh"

#include <sys/mman.h>

#include <cerrno>
#include <utility>

#include "errors.hh"

namespace vmm {

namespace {

/** x86-64's and AArch64's (with 4 KiB pages) second-level block. */
constexpr uint64_t HUGE_PAGE = 2 << 20;

}  // namespace

SharedMapping::SharedMapping(SharedMapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      env_(other.env_),
      buffer_(std::exchange(other.buffer_, nullptr)) {}

SharedMapping& SharedMapping::operator=(SharedMapping&& other) noexcept {
  if (this != &other) {
    unmap();
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
    env_ = other.env_;
    buffer_ = std::exchange(other.buffer_, nullptr);
  }
  return *this;
}

SharedMapping SharedMapping::anonymous(Napi::Env env, size_t size, uint64_t guestAddress) {
  // KVM maps a huge page only where guest and host address agree in the offset inside it.
  const size_t slack = size >= HUGE_PAGE ? HUGE_PAGE : 0;
  void* const reserved =
      mmap(nullptr, size + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) throwErrno(env, errno, "mmap");
  auto* data = static_cast<uint8_t*>(reserved);
  if (slack != 0) {
    const size_t before = (guestAddress - reinterpret_cast<uint64_t>(data)) % HUGE_PAGE;
    if (before != 0) munmap(data, before);
    data += before;
    if (before != slack) munmap(data + size, slack - before);
  }
  // Both are wishes. A child process that only calls exec() shall not make the guest's pages copy-on-write.
  madvise(data, size, MADV_HUGEPAGE);
  madvise(data, size, MADV_DONTFORK);
  return {data, size};
}

SharedMapping SharedMapping::ofFile(Napi::Env env, int fd, size_t size) {
  void* const data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (data == MAP_FAILED) throwErrno(env, errno, "mmap");
  return {data, size};
}

Napi::ArrayBuffer SharedMapping::expose(Napi::Env env) {
  napi_value buffer = nullptr;
  // No finalizer: this object says when the memory goes.
  if (napi_create_external_arraybuffer(env, data_, size_, nullptr, nullptr, &buffer) != napi_ok)
    throw Napi::Error::New(env);
  if (napi_create_reference(env, buffer, 0, &buffer_) != napi_ok) throw Napi::Error::New(env);
  env_ = env;
  return Napi::ArrayBuffer(env, buffer);
}

bool SharedMapping::detach() noexcept {
  if (buffer_ == nullptr) return true;
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env_, &scope) != napi_ok) return false;
  napi_value buffer = nullptr;
  bool gone = napi_get_reference_value(env_, buffer_, &buffer) == napi_ok;
  if (gone && buffer != nullptr) gone = napi_detach_arraybuffer(env_, buffer) == napi_ok;
  napi_delete_reference(env_, buffer_);
  buffer_ = nullptr;
  napi_close_handle_scope(env_, scope);
  return gone;
}

void SharedMapping::unmap() noexcept {
  if (data_ == nullptr) return;
  // Memory that JavaScript may still reach must stay, whatever that costs.
  if (detach()) munmap(data_, size_);
  data_ = nullptr;
  size_ = 0;
}

}  // namespace vmm
