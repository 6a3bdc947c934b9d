#include "events.hh"

#include <sys/eventfd.h>
#include <unistd.h>

#include "vm.hh"

namespace vmm {

FileDescriptor makeEventfd(Napi::Env env) {
  FileDescriptor result(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!result.isOpen()) throwErrno(env, errno, "eventfd");
  return result;
}

void signalEventfd(int fd) noexcept {
  // Fails only when nobody has read 2^64 - 2 signals, and then it is readable all the same.
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(fd, &one, sizeof(one));
}

Napi::Function Ioeventfd::define(Napi::Env env) {
  return DefineClass(env, "Ioeventfd", {InstanceMethod<&Ioeventfd::callClose>("close")});
}

Ioeventfd::Ioeventfd(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Ioeventfd>(info) {
  auto& init = Environment::of(info.Env()).takeInit<Init>();
  vm_ = &init.vm;
  event_ = std::move(init.event);
  assigned_ = init.assigned;
  const int token = vm_->watch(info.Env(), event_.get());
  Value().DefineProperty(Napi::PropertyDescriptor::Value("token", Napi::Number::New(info.Env(), token), napi_enumerable));
  vm_->adopt(*this, Value());
}

void Ioeventfd::close() noexcept {
  if (!event_.isOpen()) return;
  assigned_.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
  callKvm(vm_->fd(), KVM_IOEVENTFD, &assigned_);
  vm_->unwatch(event_.get());
  vm_->disown(*this);
  event_.reset();
}

void Ioeventfd::callClose(const Napi::CallbackInfo& /*info*/) { close(); }

Napi::Function Irqfd::define(Napi::Env env) {
  return DefineClass(
      env, "Irqfd", {rawMethod<Irqfd>("trigger", trigger), InstanceMethod<&Irqfd::callClose>("close")});
}

Irqfd::Irqfd(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Irqfd>(info) {
  auto& init = Environment::of(info.Env()).takeInit<Init>();
  vm_ = &init.vm;
  event_ = std::move(init.event);
  resample_ = std::move(init.resample);
  assigned_ = init.assigned;
  const int token = resample_.isOpen() ? vm_->watch(info.Env(), resample_.get()) : -1;
  Value().DefineProperty(Napi::PropertyDescriptor::Value("token", Napi::Number::New(info.Env(), token), napi_enumerable));
  vm_->adopt(*this, Value());
}

void Irqfd::close() noexcept {
  if (!event_.isOpen()) return;
  assigned_.flags = KVM_IRQFD_FLAG_DEASSIGN;
  callKvm(vm_->fd(), KVM_IRQFD, &assigned_);
  if (resample_.isOpen()) vm_->unwatch(resample_.get());
  vm_->disown(*this);
  resample_.reset();
  event_.reset();
}

void Irqfd::callClose(const Napi::CallbackInfo& /*info*/) { close(); }

napi_value Irqfd::trigger(napi_env env, napi_callback_info info) noexcept {
  const auto* const self = receiver<Irqfd>(env, info);
  if (self == nullptr) return nullptr;
  if (!self->event_.isOpen()) pendErrno(env, EBADF, "write");
  else signalEventfd(self->event_.get());
  return nullptr;
}

}  // namespace vmm
