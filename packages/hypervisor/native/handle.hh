#pragma once

#include <napi.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "errors.hh"

namespace vmm {

/** Owns a file descriptor. */
class FileDescriptor {
 public:
  explicit FileDescriptor(int fd = -1) noexcept : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor() { reset(); }

  int get() const noexcept { return fd_; }
  bool isOpen() const noexcept { return fd_ >= 0; }
  void reset() noexcept;

 private:
  int fd_;
};

/** ioctl() that goes on after a signal. Answers the result, or the negative errno. */
int callKvm(int fd, uint32_t request, void* argument) noexcept;
int callKvm(int fd, uint32_t request, unsigned long argument) noexcept;

/** A file descriptor that takes ioctls. */
class Handle {
 protected:
  explicit Handle(FileDescriptor fd) noexcept : fd_(std::move(fd)) {}
  ~Handle() = default;

  /** NativeHandle.ioctl. */
  Napi::Value callIoctl(const Napi::CallbackInfo& info, size_t xsaveSize);

  /** Bytes that the request takes behind the structure's pointer, where only the handle knows. */
  virtual size_t pointeeBytes(uint32_t request, std::span<const uint8_t> structure) const;

  /** Throws EBADF after close(). */
  int open(Napi::Env env) const {
    if (!fd_.isOpen()) throwErrno(env, EBADF, "ioctl");
    return fd_.get();
  }

  FileDescriptor fd_;
};

/** `this` of a method that node-addon-api does not wrap, whose receiver V8 has checked; nullptr with an exception. */
template <class T>
T* receiver(napi_env env, napi_callback_info info, size_t count = 0, napi_value* arguments = nullptr) noexcept {
  napi_value self = nullptr;
  void* data = nullptr;
  if (napi_get_cb_info(env, info, &count, arguments, &self, nullptr) == napi_ok &&
      napi_unwrap(env, self, &data) == napi_ok && data != nullptr)
    return static_cast<T*>(data);
  napi_throw_type_error(env, nullptr, "Illegal invocation");
  return nullptr;
}

/** Describes such a method. */
template <class T>
Napi::ClassPropertyDescriptor<T> rawMethod(const char* name, napi_callback method) noexcept {
  napi_property_descriptor descriptor{};
  descriptor.utf8name = name;
  descriptor.method = method;
  return descriptor;
}

}  // namespace vmm
