#include "vm.hh"

#include <linux/kvm.h>
#include <poll.h>
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "events.hh"
#include "vcpu.hh"

namespace vmm {

namespace {

/** Guest page, and the unit of the dirty log. */
constexpr uint64_t PAGE = 4096;

/** Tokens that one epoll_wait() takes. */
constexpr size_t BATCH = 64;

uint64_t toPages(const Napi::Value& value, const char* name, double minimum) {
  const double number = toInteger(value, name, minimum, MAX_SAFE_INTEGER);
  const auto result = static_cast<uint64_t>(number);
  if (result % PAGE != 0) throw Napi::RangeError::New(value.Env(), std::string(name) + " is not a multiple of 4096");
  return result;
}

}  // namespace

Napi::Function Vm::define(Napi::Env env) {
  return DefineClass(
      env, "Vm",
      {InstanceMethod<&Vm::callIoctl>("ioctl"), InstanceMethod<&Vm::callClose>("close"),
       InstanceMethod<&Vm::mapMemory>("mapMemory"), InstanceMethod<&Vm::unmapMemory>("unmapMemory"),
       InstanceMethod<&Vm::setMemoryFlags>("setMemoryFlags"),
       InstanceMethod<&Vm::createVcpu>("createVcpu"), InstanceMethod<&Vm::createDevice>("createDevice"),
       InstanceMethod<&Vm::createIoeventfd>("createIoeventfd"), InstanceMethod<&Vm::createIrqfd>("createIrqfd"),
       InstanceMethod<&Vm::ref>("ref"), InstanceMethod<&Vm::unref>("unref"), rawMethod<Vm>("poll", poll),
       rawMethod<Vm>("spin", spin)});
}

Vm::Vm(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<Vm>(info), Handle(FileDescriptor()), environment_(&Environment::of(info.Env())) {
  auto& init = environment_->takeInit<Init>();
  runSize_ = init.runSize;
#if defined(__x86_64__)
  xsaveSize_ = static_cast<size_t>(std::max(0, callKvm(init.fd.get(), KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2)));
#endif
  Value().DefineProperty(Napi::PropertyDescriptor::Value(environment_->keeps(), init.onEvents));
  const auto callback = [](uv_poll_t* handle, int /*status*/, int /*events*/) {
    static_cast<Vm*>(handle->data)->onReadable();
  };
  poll_ = environment_->openPoll(init.epoll.get(), callback, this);
  if (poll_ == nullptr) throwErrno(info.Env(), ENOMEM, "epoll_ctl");
  epoll_ = std::move(init.epoll);
  fd_ = std::move(init.fd);
  environment_->add(*this);
}

void Vm::close() noexcept {
  if (!fd_.isOpen()) return;
  environment_->remove(*this);
  // All of them first, so that they end side by side.
  for (Resource* child : children_) {
    if (auto* const vcpu = dynamic_cast<Vcpu*>(child)) vcpu->askToStop();
  }
  while (!children_.empty()) (*children_.begin())->close();
  environment_->closePoll(poll_);
  memory_.clear();
  epoll_.reset();
  fd_.reset();
}

void Vm::callClose(const Napi::CallbackInfo& info) {
  unref(info);
  close();
}

Napi::Value Vm::callIoctl(const Napi::CallbackInfo& info) { return Handle::callIoctl(info, xsaveSize_); }

size_t Vm::pointeeBytes(uint32_t request, std::span<const uint8_t> structure) const {
  if (request != KVM_GET_DIRTY_LOG) return Handle::pointeeBytes(request, structure);
  uint32_t slot = 0;
  std::memcpy(&slot, structure.data() + offsetof(kvm_dirty_log, slot), sizeof(slot));
  const auto memory = memory_.find(slot);
  return memory == memory_.end() ? 0 : (memory->second.size() / PAGE + 63) / 64 * 8;
}

int Vm::watch(Napi::Env env, int eventfd) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  event.data.u32 = static_cast<uint32_t>(nextToken_);
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, eventfd, &event) != 0) throwErrno(env, errno, "epoll_ctl");
  return nextToken_++;
}

void Vm::unwatch(int eventfd) noexcept { epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, eventfd, nullptr); }

void Vm::adopt(Resource& child, Napi::Object object) {
  object.DefineProperty(Napi::PropertyDescriptor::Value(environment_->keeps(), Value()));
  children_.insert(&child);
}

void Vm::onReadable() noexcept {
  // Raw calls: while its worker is terminated, an exception that cannot be wrapped would abort the process.
  const napi_env env = environment_->env();
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  napi_value self = nullptr;
  napi_value callback = nullptr;
  if (napi_get_reference_value(env, *this, &self) == napi_ok && self != nullptr &&
      napi_get_property(env, self, environment_->keeps(), &callback) == napi_ok)
    napi_make_callback(env, nullptr, self, callback, 0, nullptr, nullptr);
  bool pending = false;
  napi_value error = nullptr;
  if (napi_is_exception_pending(env, &pending) == napi_ok && pending &&
      napi_get_and_clear_last_exception(env, &error) == napi_ok && error != nullptr)
    napi_fatal_exception(env, error);
  napi_close_handle_scope(env, scope);
}

Napi::Value Vm::mapMemory(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  open(env);
  const uint32_t slot = toUint32(info[0], "slot");
  const uint64_t guestAddress = toPages(info[1], "guestAddress", 0);
  const uint64_t size = toPages(info[2], "size", PAGE);
  const uint32_t flags = toUint32(info[3], "flags");
  if (memory_.contains(slot)) throwErrno(env, EEXIST, "ioctl");
  SharedMapping mapping = SharedMapping::anonymous(env, size, guestAddress);
  const Napi::ArrayBuffer buffer = mapping.expose(env);
  const int result = setMemory(slot, flags, guestAddress, size, mapping.data());
  if (result < 0) throwErrno(env, -result, "ioctl");
  memory_.emplace(slot, std::move(mapping));
  return buffer;
}

void Vm::unmapMemory(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  open(env);
  const uint32_t slot = toUint32(info[0], "slot");
  const auto memory = memory_.find(slot);
  if (memory == memory_.end()) throwErrno(env, ENOENT, "ioctl");
  const int result = setMemory(slot, 0, 0, 0, nullptr);
  if (result < 0) throwErrno(env, -result, "ioctl");
  memory_.erase(memory);
}

void Vm::setMemoryFlags(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  open(env);
  const uint32_t slot = toUint32(info[0], "slot");
  const uint32_t flags = toUint32(info[1], "flags");
  const auto memory = memory_.find(slot);
  if (memory == memory_.end()) throwErrno(env, ENOENT, "ioctl");
  const SharedMapping& mapping = memory->second;
  const int result = setMemory(slot, flags, mapping.guestAddress(), mapping.size(), mapping.data());
  if (result < 0) throwErrno(env, -result, "ioctl");
}

int Vm::setMemory(uint32_t slot, uint32_t flags, uint64_t guestAddress, uint64_t size, void* data) noexcept {
  kvm_userspace_memory_region region{slot, flags, guestAddress, size, reinterpret_cast<uint64_t>(data)};
  return callKvm(fd_.get(), KVM_SET_USER_MEMORY_REGION, &region);
}

Napi::Value Vm::createVcpu(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  open(env);
  const uint32_t id = toUint32(info[0], "id");
  FileDescriptor event = makeEventfd(env);
  const int fd = callKvm(fd_.get(), KVM_CREATE_VCPU, static_cast<unsigned long>(id));
  if (fd < 0) throwErrno(env, -fd, "ioctl");
  FileDescriptor owned(fd);
  Vcpu::Init init{*this, std::move(owned), std::move(event), SharedMapping::ofFile(env, fd, runSize_)};
  return environment_->construct(environment_->vcpu, init);
}

Napi::Value Vm::createDevice(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  open(env);
  kvm_create_device device{toUint32(info[0], "type"), 0, 0};
  const int result = callKvm(fd_.get(), KVM_CREATE_DEVICE, &device);
  if (result < 0) throwErrno(env, -result, "ioctl");
  Device::Init init{*this, FileDescriptor(static_cast<int>(device.fd))};
  return environment_->construct(environment_->device, init);
}

Napi::Value Vm::createIoeventfd(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  open(env);
  kvm_ioeventfd assigned{};
  assigned.addr = static_cast<uint64_t>(toInteger(info[0], "address", 0, MAX_SAFE_INTEGER));
  assigned.len = toUint32(info[1], "length");
  assigned.flags = toUint32(info[2], "flags");
  if ((assigned.flags & ~uint32_t{KVM_IOEVENTFD_FLAG_DATAMATCH | KVM_IOEVENTFD_FLAG_PIO}) != 0)
    throw Napi::RangeError::New(env, "flags is out of range");
  assigned.datamatch = toUint32(info[3], "matchLow") | uint64_t{toUint32(info[4], "matchHigh")} << 32;
  FileDescriptor event = makeEventfd(env);
  assigned.fd = event.get();
  const int result = callKvm(fd_.get(), KVM_IOEVENTFD, &assigned);
  if (result < 0) throwErrno(env, -result, "ioctl");
  Ioeventfd::Init init{*this, std::move(event), assigned};
  return environment_->construct(environment_->ioeventfd, init);
}

Napi::Value Vm::createIrqfd(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  open(env);
  kvm_irqfd assigned{};
  assigned.gsi = toUint32(info[0], "gsi");
  if (!info[1].IsBoolean()) throw Napi::TypeError::New(env, "resample is not a boolean");
  FileDescriptor event = makeEventfd(env);
  FileDescriptor resample;
  assigned.fd = static_cast<uint32_t>(event.get());
  if (info[1].As<Napi::Boolean>()) {
    resample = makeEventfd(env);
    assigned.resamplefd = static_cast<uint32_t>(resample.get());
    assigned.flags = KVM_IRQFD_FLAG_RESAMPLE;
  }
  const int result = callKvm(fd_.get(), KVM_IRQFD, &assigned);
  if (result < 0) throwErrno(env, -result, "ioctl");
  Irqfd::Init init{*this, std::move(event), std::move(resample), assigned};
  return environment_->construct(environment_->irqfd, init);
}

void Vm::ref(const Napi::CallbackInfo& info) {
  open(info.Env());
  if (referenced_) return;
  referenced_ = true;
  // The loop's handle and the collector agree: nobody else may hold the VM while its threads run.
  Ref();
  uv_ref(reinterpret_cast<uv_handle_t*>(poll_));
}

void Vm::unref(const Napi::CallbackInfo& /*info*/) {
  if (!referenced_ || !fd_.isOpen()) return;
  referenced_ = false;
  Unref();
  uv_unref(reinterpret_cast<uv_handle_t*>(poll_));
}

napi_value Vm::poll(napi_env env, napi_callback_info info) noexcept {
  napi_value argument = nullptr;
  const auto* const self = receiver<Vm>(env, info, 1, &argument);
  if (self == nullptr) return nullptr;
  napi_typedarray_type type{};
  size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(env, argument, &type, &length, &data, nullptr, nullptr) != napi_ok ||
      type != napi_int32_array) {
    napi_throw_type_error(env, nullptr, "tokens is not an Int32Array");
    return nullptr;
  }
  if (!self->epoll_.isOpen()) {
    pendErrno(env, EBADF, "epoll_wait");
    return nullptr;
  }
  auto* const tokens = static_cast<int32_t*>(data);
  std::array<epoll_event, BATCH> events;
  size_t stored = 0;
  while (stored < length) {
    const size_t wanted = std::min(length - stored, BATCH);
    const int count = epoll_wait(self->epoll_.get(), events.data(), static_cast<int>(wanted), 0);
    if (count < 0 && errno == EINTR) continue;
    for (int index = 0; index < count; index++)
      tokens[stored++] = static_cast<int32_t>(events[static_cast<size_t>(index)].data.u32);
    if (count < static_cast<int>(wanted)) break;
  }
  napi_value result = nullptr;
  napi_create_uint32(env, static_cast<uint32_t>(stored), &result);
  return result;
}

napi_value Vm::spin(napi_env env, napi_callback_info info) noexcept {
  napi_value argument = nullptr;
  const auto* const self = receiver<Vm>(env, info, 1, &argument);
  if (self == nullptr) return nullptr;
  double microseconds = 0;
  if (napi_get_value_double(env, argument, &microseconds) != napi_ok || !(microseconds >= 0 && microseconds <= 1e6)) {
    napi_throw_range_error(env, nullptr, "microseconds is out of range");
    return nullptr;
  }
  if (!self->epoll_.isOpen()) {
    pendErrno(env, EBADF, "poll");
    return nullptr;
  }
  using Clock = std::chrono::steady_clock;
  const auto until = Clock::now() + std::chrono::microseconds(static_cast<int64_t>(microseconds));
  pollfd set{self->epoll_.get(), POLLIN, 0};
  bool ready = false;
  do {
    ready = ::poll(&set, 1, 0) > 0;
  } while (!ready && Clock::now() < until);
  napi_value result = nullptr;
  napi_get_boolean(env, ready, &result);
  return result;
}

Napi::Function Device::define(Napi::Env env) {
  return DefineClass(env, "Device",
                     {InstanceMethod<&Device::callIoctl>("ioctl"), InstanceMethod<&Device::callClose>("close")});
}

Device::Device(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Device>(info), Handle(FileDescriptor()) {
  auto& init = Environment::of(info.Env()).takeInit<Init>();
  vm_ = &init.vm;
  fd_ = std::move(init.fd);
  vm_->adopt(*this, Value());
}

void Device::close() noexcept {
  if (!fd_.isOpen()) return;
  vm_->disown(*this);
  fd_.reset();
}

}  // namespace vmm
