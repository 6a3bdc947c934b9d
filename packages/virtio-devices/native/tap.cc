#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <napi.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "environment.hh"
#include "errors.hh"
#include "file_descriptor.hh"
#include "memory_map.hh"

namespace vmm {

namespace {

/** `struct virtio_net_hdr` of VIRTIO 1.3 §5.1.6. */
constexpr size_t HEADER_SIZE = 12;
constexpr size_t NUM_BUFFERS_AT = 10;
/** NET_MAX_FRAME of constants.ts, with a header. */
constexpr size_t MAX_PACKET = HEADER_SIZE + 65560;
constexpr size_t MAX_IOVECS = 1024;
constexpr size_t ETH_HEADER = 14;

/** Why read() ended before it had all that was wanted; 0 when too many frames were refused. */
constexpr uint32_t NO_FRAMES = 1;
constexpr uint32_t NO_ROOM = 2;

/** The first bytes of a frame, as far as the filter looks. */
constexpr size_t PEEKED = 16;

/** The layout of ReceiveFilter in filter.ts. */
class Filter {
 public:
  static constexpr size_t TABLE_AT = 10 + 512;

  Filter(const uint8_t* bytes, size_t length) noexcept : bytes_(bytes), length_(length) {}

  bool accepts(const uint8_t* frame, size_t size) const noexcept {
    const unsigned mode = bytes_[0] | bytes_[1];
    if ((mode & 64) != 0 && size >= 16 && frame[12] == 0x81 && frame[13] == 0) {
      const unsigned vlan = (frame[14] & 0xfU) << 8 | frame[15];
      if ((bytes_[10 + (vlan >> 3)] >> (vlan & 7) & 1) == 0) return false;
    }
    if ((mode & 1) != 0) return true;
    if ((frame[0] & 1) != 0) {
      static constexpr uint8_t BROADCAST[6] = {255, 255, 255, 255, 255, 255};
      if (memcmp(frame, BROADCAST, 6) == 0) return (mode & 32) == 0;
      if ((mode & 8) != 0) return false;
      if ((mode & 2) != 0) return true;
    } else {
      if ((mode & 16) != 0) return false;
      if ((mode & 4) != 0 || memcmp(bytes_ + 4, frame, 6) == 0) return true;
    }
    for (size_t i = 0; i < bytes_[2] && TABLE_AT + 6 * (i + 1) <= length_; i++)
      if (memcmp(bytes_ + TABLE_AT + 6 * i, frame, 6) == 0) return true;
    return false;
  }

 private:
  const uint8_t* bytes_;
  size_t length_;
};

/** Guest ranges by chain: chain i has the pairs from ends[i] to ends[i + 1]. */
struct Chains {
  MemoryMap* memory = nullptr;
  double* iovecs = nullptr;
  uint32_t* ends = nullptr;
  uint32_t begin = 0;
  uint32_t end = 0;
};

/** The arguments memory, iovecs, ends, begin, end. */
bool readChains(napi_env env, const napi_value* arguments, Chains& chains) noexcept {
  size_t iovecs = 0;
  size_t ends = 0;
  chains.memory = MemoryMap::from(env, arguments[0]);
  if (chains.memory == nullptr || !getFloat64Array(env, arguments[1], chains.iovecs, iovecs) ||
      !getUint32Array(env, arguments[2], chains.ends, ends) ||
      napi_get_value_uint32(env, arguments[3], &chains.begin) != napi_ok ||
      napi_get_value_uint32(env, arguments[4], &chains.end) != napi_ok || chains.begin > chains.end ||
      chains.end >= ends) {
    napi_throw_type_error(env, nullptr, "not a list of chains");
    return false;
  }
  uint32_t last = chains.ends[chains.begin];
  for (uint32_t i = chains.begin; i < chains.end; i++) {
    const uint32_t next = chains.ends[i + 1];
    if (next < last || next > iovecs || (next - last) % 2 != 0) {
      napi_throw_range_error(env, nullptr, "a chain is not inside the iovecs");
      return false;
    }
    last = next;
  }
  chains.memory->refresh(env);
  return true;
}

/** Appends the iovecs of a chain. */
bool translate(const Chains& chains, uint32_t chain, bool forWriting, std::vector<iovec>& out) {
  const uint32_t first = chains.ends[chain];
  return chains.memory->translate(chains.iovecs + first, (chains.ends[chain + 1] - first) / 2, forWriting, out);
}

/** Copies between bytes `skip` and on of a list of iovecs and a buffer. */
template <bool ToIovecs>
void copy(const iovec* list, size_t count, size_t skip, uint8_t* bytes, size_t length) noexcept {
  for (size_t i = 0; i < count && length > 0; i++) {
    if (skip >= list[i].iov_len) {
      skip -= list[i].iov_len;
      continue;
    }
    const size_t size = std::min(length, list[i].iov_len - skip);
    auto* const at = static_cast<uint8_t*>(list[i].iov_base) + skip;
    if (ToIovecs) memcpy(at, bytes, size);
    else memcpy(bytes, at, size);
    bytes += size;
    length -= size;
    skip = 0;
  }
}

size_t sizeOf(const std::vector<iovec>& list, size_t from) noexcept {
  size_t size = 0;
  for (size_t i = from; i < list.size(); i++) size += list[i].iov_len;
  return size;
}

}  // namespace

/** One queue of a tap interface: `new TapQueue(name, multiQueue, onReady)`. */
class TapQueue final : public Napi::ObjectWrap<TapQueue>, public Resource {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "TapQueue",
                       {InstanceAccessor<&TapQueue::name>("name"), InstanceMethod<&TapQueue::setOffload>("setOffload"),
                        InstanceMethod<&TapQueue::setCarrier>("setCarrier"),
                        InstanceMethod<&TapQueue::setPersistent>("setPersistent"),
                        InstanceMethod<&TapQueue::setEnabled>("setEnabled"), InstanceMethod<&TapQueue::setUp>("setUp"),
                        InstanceMethod<&TapQueue::mtu>("mtu"), rawMethod<TapQueue>("write", write),
                        rawMethod<TapQueue>("read", read), InstanceMethod<&TapQueue::callClose>("close")});
  }

  explicit TapQueue(const Napi::CallbackInfo& info) : Napi::ObjectWrap<TapQueue>(info) {
    const Napi::Env env = info.Env();
    if (!info[0].IsString() || !info[2].IsFunction()) throw Napi::TypeError::New(env, "wrong arguments");
    const std::string name = info[0].As<Napi::String>();
    if (name.size() >= IFNAMSIZ) throw Napi::RangeError::New(env, "name is too long");
    fd_ = FileDescriptor(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
    if (!fd_.isOpen()) throwErrno(env, errno, "open");
    ifreq request{};
    memcpy(request.ifr_name, name.c_str(), name.size());
    request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (info[1].ToBoolean() ? IFF_MULTI_QUEUE : 0));
    control(env, TUNSETIFF, &request, "TUNSETIFF");
    name_ = request.ifr_name;
    int size = HEADER_SIZE;
    control(env, TUNSETVNETHDRSZ, &size, "TUNSETVNETHDRSZ");
    overflow_ = std::make_unique<uint8_t[]>(MAX_PACKET);
    pending_ = std::make_unique<uint8_t[]>(MAX_PACKET);
    onReady_ = Napi::Persistent(info[2].As<Napi::Function>());
    Environment& environment = Environment::of(env);
    poll_ = environment.openPoll(fd_.get(), onPoll, this);
    if (poll_ == nullptr) throw Napi::Error::New(env, "no memory for a poll handle");
    polled_ = wanted_ = UV_READABLE;
    environment.add(*this);
    // Kept until close(): the event loop calls it.
    Ref();
  }

  void close() noexcept override {
    if (poll_ == nullptr) return;
    Environment& environment = Environment::of(Env());
    environment.closePoll(poll_);
    poll_ = nullptr;
    environment.remove(*this);
    fd_.reset();
    onReady_.Reset();
    Unref();
  }

 private:
  void control(Napi::Env env, unsigned long request, void* argument, const char* what) {
    if (ioctl(fd_.get(), request, argument) != 0) throwErrno(env, errno, what);
  }

  void control(Napi::Env env, unsigned long request, unsigned long argument, const char* what) {
    if (ioctl(fd_.get(), request, argument) != 0) throwErrno(env, errno, what);
  }

  Napi::Value name(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), name_); }

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

  /** An ioctl on the interface, by a socket of its network namespace. */
  void interfaceControl(Napi::Env env, unsigned long code, ifreq& request, const char* what) {
    const FileDescriptor socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!socket.isOpen()) throwErrno(env, errno, "socket");
    memcpy(request.ifr_name, name_.c_str(), name_.size());
    if (ioctl(socket.get(), code, &request) != 0) throwErrno(env, errno, what);
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

  void callClose(const Napi::CallbackInfo& /*info*/) { close(); }

  /** write(memory, iovecs, ends, begin, end, result) */
  static napi_value write(napi_env env, napi_callback_info info) noexcept;
  /** read(memory, iovecs, ends, begin, end, wanted, mergeable, filter, result) */
  static napi_value read(napi_env env, napi_callback_info info) noexcept;

  void writeFrames(napi_env env, const Chains& chains, uint32_t* result);
  uint32_t readFrames(napi_env env, const Chains& chains, uint32_t wanted, bool mergeable, const Filter& filter,
                      uint32_t* result);
  /** Appends the chains from `chain` on that one packet may need. */
  bool room(const Chains& chains, uint32_t chain, bool mergeable);
  /** Notes in `entry` that a packet of `size` bytes lies in `iovecs_`, from `chain` on. @returns chains used */
  uint32_t finishPacket(const Chains& chains, uint32_t chain, size_t size, uint32_t* entry) noexcept;

  void want(int events) noexcept {
    wanted_ |= events;
    if (!inCallback_) updatePoll();
  }

  void updatePoll() noexcept {
    if (poll_ == nullptr || wanted_ == polled_) return;
    polled_ = wanted_;
    if (wanted_ == 0) uv_poll_stop(poll_);
    else uv_poll_start(poll_, wanted_, onPoll);
  }

  static void onPoll(uv_poll_t* poll, int status, int events) {
    auto* const self = static_cast<TapQueue*>(poll->data);
    // Whatever is wrong, the next read says it.
    if (status < 0) {
      events = self->polled_;
      self->polled_ = 0;
    }
    self->wanted_ &= ~events;
    self->inCallback_ = true;
    const Napi::Env env = self->Env();
    const Napi::HandleScope scope(env);
    const napi_value argument = Napi::Number::New(env, events);
    callFromLoop(env, self->Value(), self->onReady_.Value(), 1, &argument);
    self->inCallback_ = false;
    self->updatePoll();
  }

  FileDescriptor fd_;
  std::string name_;
  Napi::FunctionReference onReady_;
  uv_poll_t* poll_ = nullptr;
  int wanted_ = 0;
  int polled_ = 0;
  bool inCallback_ = false;
  std::vector<iovec> iovecs_;
  /** Where the end of a packet goes for which the buffers are too small. */
  std::unique_ptr<uint8_t[]> overflow_;
  /** Such a packet, until there are buffers. */
  std::unique_ptr<uint8_t[]> pending_;
  size_t pendingSize_ = 0;
};

napi_value TapQueue::write(napi_env env, napi_callback_info info) noexcept {
  napi_value arguments[6]{};
  auto* const self = receiver<TapQueue>(env, info, 6, arguments);
  Chains chains;
  uint32_t* result = nullptr;
  size_t length = 0;
  if (self == nullptr || !readChains(env, arguments, chains)) return nullptr;
  if (!getUint32Array(env, arguments[5], result, length) || length < 2) {
    napi_throw_type_error(env, nullptr, "result is too short");
    return nullptr;
  }
  if (!self->fd_.isOpen()) {
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
    ssize_t written = -1;
    errno = EFAULT;
    if (translate(chains, frame, false, iovecs_)) {
      do written = writev(fd_.get(), iovecs_.data(), static_cast<int>(std::min(iovecs_.size(), MAX_IOVECS + 1)));
      while (written < 0 && errno == EINTR);
    }
    if (written < 0) {
      if (errno == EAGAIN) {
        want(UV_WRITABLE);
        return;
      }
      if (errno == EBADFD) {
        pendErrno(env, ENODEV, "write");
        return;
      }
      result[1]++;
    }
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
  if (self == nullptr || !readChains(env, arguments, chains)) return nullptr;
  if (napi_get_value_uint32(env, arguments[5], &wanted) != napi_ok ||
      napi_get_value_bool(env, arguments[6], &mergeable) != napi_ok ||
      !getUint8Array(env, arguments[7], filter, filterLength) || filterLength < Filter::TABLE_AT ||
      !getUint32Array(env, arguments[8], result, length) || length < 3 + 2 * static_cast<size_t>(wanted)) {
    napi_throw_type_error(env, nullptr, "wrong arguments");
    return nullptr;
  }
  if (!self->fd_.isOpen()) {
    pendErrno(env, EBADF, "read");
    return nullptr;
  }
  uint32_t frames = 0;
  try {
    frames = self->readFrames(env, chains, wanted, mergeable, Filter(filter, filterLength), result);
  } catch (const std::bad_alloc&) {
    pendErrno(env, ENOMEM, "read");
    return nullptr;
  }
  napi_value answer = nullptr;
  napi_create_uint32(env, frames, &answer);
  return answer;
}

bool TapQueue::room(const Chains& chains, uint32_t chain, bool mergeable) {
  iovecs_.clear();
  size_t bytes = 0;
  for (uint32_t i = chain; i < chains.end; i++) {
    const size_t before = iovecs_.size();
    if (!translate(chains, i, true, iovecs_)) return false;
    // The last entry is for what does not fit; a chain of that many pieces is no buffer for frames.
    if (iovecs_.size() >= MAX_IOVECS) {
      iovecs_.resize(before);
      break;
    }
    bytes += sizeOf(iovecs_, before);
    if (!mergeable || bytes >= MAX_PACKET) break;
  }
  return true;
}

uint32_t TapQueue::finishPacket(const Chains& chains, uint32_t chain, size_t size, uint32_t* entry) noexcept {
  uint32_t count = 0;
  for (size_t left = size, at = 0; left > 0; count++) {
    const size_t pieces = (chains.ends[chain + count + 1] - chains.ends[chain + count]) / 2;
    size_t bytes = 0;
    for (size_t i = 0; i < pieces; i++) bytes += iovecs_[at + i].iov_len;
    at += pieces;
    left -= std::min(left, bytes);
  }
  uint8_t buffers[2] = {static_cast<uint8_t>(count), static_cast<uint8_t>(count >> 8)};
  copy<true>(iovecs_.data(), iovecs_.size(), NUM_BUFFERS_AT, buffers, sizeof(buffers));
  entry[0] = static_cast<uint32_t>(size);
  entry[1] = count;
  return count;
}

uint32_t TapQueue::readFrames(napi_env env, const Chains& chains, uint32_t wanted, bool mergeable, const Filter& filter,
                              uint32_t* result) {
  result[0] = result[1] = result[2] = 0;
  uint32_t frames = 0;
  uint32_t chain = chains.begin;
  // Frames that are dropped cost time as well.
  for (uint32_t tries = 0; frames < wanted && chain < chains.end && tries < 4 * wanted; tries++) {
    if (!room(chains, chain, mergeable)) {
      pendErrno(env, EFAULT, "read");
      return frames;
    }
    const size_t available = sizeOf(iovecs_, 0);
    if (pendingSize_ > 0) {
      if (pendingSize_ > available) {
        if (mergeable) {
          result[0] = NO_ROOM;
          return frames;
        }
        result[2]++;
      } else {
        copy<true>(iovecs_.data(), iovecs_.size(), 0, pending_.get(), pendingSize_);
        chain += finishPacket(chains, chain, pendingSize_, result + 3 + 2 * frames);
        frames++;
      }
      pendingSize_ = 0;
      continue;
    }
    iovecs_.push_back({overflow_.get(), MAX_PACKET});
    ssize_t got = 0;
    do got = readv(fd_.get(), iovecs_.data(), static_cast<int>(iovecs_.size()));
    while (got < 0 && errno == EINTR);
    iovecs_.pop_back();
    if (got < 0) {
      if (errno == EAGAIN) {
        result[0] = NO_FRAMES;
        want(UV_READABLE);
      } else {
        // The kernel's answer for an interface that was removed.
        pendErrno(env, errno == EBADFD ? ENODEV : errno, "read");
      }
      return frames;
    }
    const auto size = static_cast<size_t>(got);
    if (size < HEADER_SIZE + ETH_HEADER) continue;
    if (size > available && !mergeable) {
      result[2]++;
      continue;
    }
    if (size > available) {
      copy<false>(iovecs_.data(), iovecs_.size(), 0, pending_.get(), available);
      memcpy(pending_.get() + available, overflow_.get(), size - available);
    }
    uint8_t start[PEEKED]{};
    const size_t peeked = std::min(PEEKED, size - HEADER_SIZE);
    if (size > available) memcpy(start, pending_.get() + HEADER_SIZE, peeked);
    else copy<false>(iovecs_.data(), iovecs_.size(), HEADER_SIZE, start, peeked);
    if (!filter.accepts(start, peeked)) {
      result[1]++;
      continue;
    }
    if (size > available) {
      pendingSize_ = size;
      result[0] = NO_ROOM;
      return frames;
    }
    chain += finishPacket(chains, chain, size, result + 3 + 2 * frames);
    frames++;
  }
  if (frames < wanted && chain == chains.end) result[0] = NO_ROOM;
  return frames;
}

/** socketPair(bufferSize) */
Napi::Value socketPair(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int size = static_cast<int>(toInteger(info[0], "bufferSize", 1, INT32_MAX / 2));
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) throwErrno(env, errno, "socketpair");
  for (const int fd : fds) {
    // Beyond the host's limit with privileges, up to it without.
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) != 0)
      setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
  }
  Napi::Array result = Napi::Array::New(env, 2);
  result[0U] = fds[0];
  result[1U] = fds[1];
  return result;
}

void initTap(Napi::Env env, Napi::Object exports) {
  exports.Set("TapQueue", TapQueue::define(env));
  exports.Set("socketPair", Napi::Function::New<socketPair>(env, "socketPair"));
}

}  // namespace vmm
