#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/if_tun.h>
#include <napi.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <string>
#include <vector>

#include "chains.hh"
#include "environment.hh"
#include "errors.hh"
#include "file_descriptor.hh"
#include "memory_map.hh"
#include "polled_descriptor.hh"
#include "tap_receiver.hh"

namespace vmm {

namespace {

/** Sends one frame. Answers 0 or an errno. */
int send(int fd, const iovec* pieces, size_t count) noexcept {
  ssize_t written = 0;
  do written = ::writev(fd, pieces, static_cast<int>(count));
  while (written < 0 && errno == EINTR);
  return written < 0 ? errno : 0;
}

/** One queue of a tap interface: `new TapQueue(name, multiQueue, onReady)`. */
class TapQueue final : public Napi::ObjectWrap<TapQueue> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "TapQueue",
                       {InstanceAccessor<&TapQueue::name>("name"), InstanceAccessor<&TapQueue::made>("made"), InstanceMethod<&TapQueue::setOffload>("setOffload"),
                        InstanceMethod<&TapQueue::setCarrier>("setCarrier"),
                        InstanceMethod<&TapQueue::setPersistent>("setPersistent"),
                        InstanceMethod<&TapQueue::setEnabled>("setEnabled"), InstanceMethod<&TapQueue::setUp>("setUp"),
                        InstanceMethod<&TapQueue::setAddress>("setAddress"), InstanceMethod<&TapQueue::mtu>("mtu"), rawMethod<TapQueue>("write", write),
                        rawMethod<TapQueue>("read", read), InstanceMethod<&TapQueue::callClose>("close")});
  }

  explicit TapQueue(const Napi::CallbackInfo& info) : Napi::ObjectWrap<TapQueue>(info) {
    const Napi::Env env = info.Env();
    if (!info[0].IsString() || !info[2].IsFunction()) throw Napi::TypeError::New(env, "wrong arguments");
    const std::string name = info[0].As<Napi::String>();
    if (name.size() >= IFNAMSIZ) throw Napi::RangeError::New(env, "name is too long");
    FileDescriptor fd(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
    if (!fd.isOpen()) throwErrno(env, errno, "open");
    ifreq request{};
    std::memcpy(request.ifr_name, name.c_str(), name.size());
    made_ = name.find('%') != std::string::npos || !exists(env, name);
    request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (info[1].ToBoolean() ? IFF_MULTI_QUEUE : 0));
    if (::ioctl(fd.get(), TUNSETIFF, &request) != 0) throwErrno(env, errno, "TUNSETIFF");
    name_ = request.ifr_name;
    int size = NET_HEADER_SIZE;
    if (::ioctl(fd.get(), TUNSETVNETHDRSZ, &size) != 0) throwErrno(env, errno, "TUNSETVNETHDRSZ");
    tap_.open(info.This().As<Napi::Object>(), std::move(fd), info[2].As<Napi::Function>());
  }

 private:
  void control(Napi::Env env, unsigned long request, void* argument, const char* what) {
    if (::ioctl(tap_.get(), request, argument) != 0) throwErrno(env, errno, what);
  }

  void control(Napi::Env env, unsigned long request, unsigned long argument, const char* what) {
    if (::ioctl(tap_.get(), request, argument) != 0) throwErrno(env, errno, what);
  }

  Napi::Value name(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), name_); }

  Napi::Value made(const Napi::CallbackInfo& info) { return Napi::Boolean::New(info.Env(), made_); }

  void setOffload(const Napi::CallbackInfo& info) {
    control(info.Env(), TUNSETOFFLOAD, static_cast<unsigned long>(toUint32(info[0], "flags")), "TUNSETOFFLOAD");
  }

  void setPersistent(const Napi::CallbackInfo& info) {
    control(info.Env(), TUNSETPERSIST, info[0].ToBoolean() ? 1UL : 0UL, "TUNSETPERSIST");
  }

  void setCarrier(const Napi::CallbackInfo& info) {
    int up = info[0].ToBoolean() ? 1 : 0;
    control(info.Env(), TUNSETCARRIER, &up, "TUNSETCARRIER");
  }

  void setEnabled(const Napi::CallbackInfo& info) {
    ifreq request{};
    request.ifr_flags = static_cast<short>(info[0].ToBoolean() ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE);
    control(info.Env(), TUNSETQUEUE, &request, "TUNSETQUEUE");
  }

  static bool exists(Napi::Env env, const std::string& name) {
    const FileDescriptor socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!socket.isOpen()) throwErrno(env, errno, "socket");
    ifreq request{};
    std::memcpy(request.ifr_name, name.c_str(), name.size());
    return ::ioctl(socket.get(), SIOCGIFINDEX, &request) == 0;
  }

  void setAddress(const Napi::CallbackInfo& info) {
    uint8_t* bytes = nullptr;
    size_t length = 0;
    if (!getUint8Array(info.Env(), info[0], bytes, length) || length != ETH_ALEN)
      throw Napi::TypeError::New(info.Env(), "address is no Uint8Array of 6 bytes");
    ifreq request{};
    request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
    std::memcpy(request.ifr_hwaddr.sa_data, bytes, length);
    control(info.Env(), SIOCSIFHWADDR, &request, "SIOCSIFHWADDR");
  }

  /** An ioctl on the interface, by a socket of its network namespace. */
  void interfaceControl(Napi::Env env, unsigned long code, ifreq& request, const char* what) {
    if (!tap_.isOpen()) throwErrno(env, EBADF, what);
    const FileDescriptor socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!socket.isOpen()) throwErrno(env, errno, "socket");
    std::memcpy(request.ifr_name, name_.c_str(), name_.size());
    if (::ioctl(socket.get(), code, &request) != 0) throwErrno(env, errno, what);
  }

  void setUp(const Napi::CallbackInfo& info) {
    ifreq request{};
    interfaceControl(info.Env(), SIOCGIFFLAGS, request, "SIOCGIFFLAGS");
    if ((request.ifr_flags & IFF_UP) != 0) return;
    request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
    interfaceControl(info.Env(), SIOCSIFFLAGS, request, "SIOCSIFFLAGS");
  }

  Napi::Value mtu(const Napi::CallbackInfo& info) {
    ifreq request{};
    interfaceControl(info.Env(), SIOCGIFMTU, request, "SIOCGIFMTU");
    return Napi::Number::New(info.Env(), request.ifr_mtu);
  }

  void callClose(const Napi::CallbackInfo& /*info*/) { tap_.close(); }

  /** write(memory, iovecs, ends, begin, end, result) */
  static napi_value write(napi_env env, napi_callback_info info) noexcept;
  /** read(memory, iovecs, ends, begin, end, wanted, mergeable, filter, result) */
  static napi_value read(napi_env env, napi_callback_info info) noexcept;

  void writeFrames(napi_env env, const Chains& chains, uint32_t* result);
  /** Leaves an exception where it cannot; a queue of an interface that was removed gets ENODEV. */
  static void fail(napi_env env, int error, const char* call) noexcept {
    pendErrno(env, error == EBADFD ? ENODEV : error, call);
  }

  PolledDescriptor tap_;
  std::string name_;
  bool made_ = false;
  TapReceiver receiver_;
  std::vector<iovec> iovecs_;
};

napi_value TapQueue::write(napi_env env, napi_callback_info info) noexcept {
  napi_value arguments[6]{};
  auto* const self = receiver<TapQueue>(env, info, 6, arguments);
  Chains chains;
  uint32_t* result = nullptr;
  size_t length = 0;
  if (self == nullptr || !chains.read(env, arguments)) return nullptr;
  if (!getUint32Array(env, arguments[5], result, length) || length < 2) {
    napi_throw_type_error(env, nullptr, "result is too short");
    return nullptr;
  }
  if (!self->tap_.isOpen()) {
    pendErrno(env, EBADF, "write");
    return nullptr;
  }
  try {
    self->writeFrames(env, chains, result);
  } catch (const std::bad_alloc&) {
    pendErrno(env, ENOMEM, "write");
  }
  return nullptr;
}

void TapQueue::writeFrames(napi_env env, const Chains& chains, uint32_t* result) {
  result[0] = result[1] = 0;
  for (uint32_t frame = chains.begin; frame < chains.end; frame++) {
    iovecs_.clear();
    int error = 0;
    // One piece too many for the kernel is refused there.
    if (!chains.translate(frame, false, iovecs_)) error = EFAULT;
    else error = send(tap_.get(), iovecs_.data(), std::min<size_t>(iovecs_.size(), IOV_MAX + 1));
    if (error == EAGAIN) {
      tap_.want(UV_WRITABLE);
      return;
    }
    if (error == EBADFD) {
      fail(env, error, "write");
      return;
    }
    if (error != 0) result[1]++;
    result[0]++;
  }
}

napi_value TapQueue::read(napi_env env, napi_callback_info info) noexcept {
  napi_value arguments[9]{};
  auto* const self = receiver<TapQueue>(env, info, 9, arguments);
  Chains chains;
  uint32_t wanted = 0;
  bool mergeable = false;
  uint8_t* filter = nullptr;
  uint32_t* result = nullptr;
  size_t filterLength = 0;
  size_t length = 0;
  if (self == nullptr || !chains.read(env, arguments)) return nullptr;
  if (napi_get_value_uint32(env, arguments[5], &wanted) != napi_ok ||
      napi_get_value_bool(env, arguments[6], &mergeable) != napi_ok ||
      !getUint8Array(env, arguments[7], filter, filterLength) || filterLength < TapFilter::TABLE_AT ||
      !getUint32Array(env, arguments[8], result, length) || length < 3 + 2 * static_cast<size_t>(wanted)) {
    napi_throw_type_error(env, nullptr, "wrong arguments");
    return nullptr;
  }
  if (!self->tap_.isOpen()) {
    pendErrno(env, EBADF, "read");
    return nullptr;
  }
  uint32_t frames = 0;
  int error = 0;
  try {
    error = self->receiver_.receive(self->tap_.get(), chains, {wanted, mergeable, {filter, filterLength}, result}, frames);
  } catch (const std::bad_alloc&) {
    error = ENOMEM;
  }
  if (error != 0) {
    fail(env, error, "read");
    return nullptr;
  }
  if (result[0] == TAP_NO_FRAMES) self->tap_.want(UV_READABLE);
  napi_value answer = nullptr;
  napi_create_uint32(env, frames, &answer);
  return answer;
}

}  // namespace

void initTap(Napi::Env env, Napi::Object exports) { exports.Set("TapQueue", TapQueue::define(env)); }

}  // namespace vmm
