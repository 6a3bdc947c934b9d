#include <napi.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "errors.hh"
#include "file_descriptor.hh"

namespace vmm {

namespace {

/** socketPair(bufferSize) */
Napi::Value socketPair(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int size = static_cast<int>(toInteger(info[0], "bufferSize", 1, INT32_MAX / 2));
  int numbers[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, numbers) != 0) throwErrno(env, errno, "socketpair");
  std::array<FileDescriptor, 2> sockets{FileDescriptor(numbers[0]), FileDescriptor(numbers[1])};
  Napi::Array result = Napi::Array::New(env, sockets.size());
  for (uint32_t i = 0; i < sockets.size(); i++) {
    const int fd = sockets[i].get();
    // Beyond the host's limit with privileges, up to it without.
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) != 0)
      setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    result[i] = fd;
  }
  for (FileDescriptor& socket : sockets) static_cast<void>(socket.release());
  return result;
}

}  // namespace

void initSocketPair(Napi::Env env, Napi::Object exports) {
  exports.Set("socketPair", Napi::Function::New<socketPair>(env, "socketPair"));
}

}  // namespace vmm
