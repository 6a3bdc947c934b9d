#include "handle.hh"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "requests.hh"

namespace vmm {

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

void FileDescriptor::reset() noexcept {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

int callKvm(int fd, uint32_t request, unsigned long argument) noexcept {
  for (;;) {
    const int result = ::ioctl(fd, request, argument);
    if (result >= 0) return result;
    if (errno != EINTR) return -errno;
  }
}

int callKvm(int fd, uint32_t request, void* argument) noexcept {
  return callKvm(fd, request, reinterpret_cast<unsigned long>(argument));
}

size_t Handle::pointeeBytes(uint32_t request, std::span<const uint8_t> structure) const {
  return pointeeSize(request, structure);
}

namespace {

std::span<uint8_t> toBytes(const Napi::Value& value, const char* name) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array)
    throw Napi::TypeError::New(value.Env(), std::string(name) + " is not a Uint8Array");
  auto array = value.As<Napi::Uint8Array>();
  return std::span(array.Data(), array.ByteLength());
}

}  // namespace

Napi::Value Handle::callIoctl(const Napi::CallbackInfo& info, size_t xsaveSize) {
  const Napi::Env env = info.Env();
  const int fd = open(env);
  const uint32_t request = toUint32(info[0], "request");
  if (isRefused(request)) throw Napi::RangeError::New(env, "The request is not for ioctl()");

  int result = 0;
  if (requestSize(request) == 0) {
    const double argument = toInteger(info[1], "argument", 0, MAX_SAFE_INTEGER);
    result = callKvm(fd, request, static_cast<unsigned long>(argument));
  } else {
    const std::span<uint8_t> structure = toBytes(info[1], "argument");
    if (structure.size() < structureSize(request, structure, xsaveSize))
      throw Napi::RangeError::New(env, "The structure is too short for the request");
    const size_t offset = pointerOffset(request);
    if (offset != 0) {
      std::span<uint8_t> pointee;
      if (!info[2].IsUndefined()) pointee = toBytes(info[2], "pointee");
      if (pointee.size() < pointeeBytes(request, structure))
        throw Napi::RangeError::New(env, "What the structure points to is too short for the request");
      const uint64_t address = reinterpret_cast<uint64_t>(pointee.data());
      std::memcpy(structure.data() + offset, &address, sizeof(address));
    }
    result = callKvm(fd, request, structure.data());
    // Addresses of this process stay out of JavaScript.
    if (offset != 0) std::memset(structure.data() + offset, 0, sizeof(uint64_t));
  }
  if (result < 0) throwErrno(env, -result, "ioctl");
  return Napi::Number::New(env, result);
}

}  // namespace vmm
