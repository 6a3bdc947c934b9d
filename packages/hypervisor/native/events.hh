#pragma once

#include <linux/kvm.h>
#include <napi.h>

#include <cstdint>

#include "environment.hh"
#include "handle.hh"

namespace vmm {

class Vm;

/** A nonblocking eventfd. Throws what eventfd() fails with. */
FileDescriptor makeEventfd(Napi::Env env);
/** Adds one to an eventfd. */
void signalEventfd(int fd) noexcept;

/** Guest stores that signal an eventfd of the VM's epoll set. */
class Ioeventfd final : public Napi::ObjectWrap<Ioeventfd>, public Resource {
 public:
  struct Init {
    Vm& vm;
    FileDescriptor event;
    kvm_ioeventfd assigned;
  };
  static Napi::Function define(Napi::Env env);
  explicit Ioeventfd(const Napi::CallbackInfo& info);
  ~Ioeventfd() override { close(); }
  void close() noexcept override;

 private:
  void callClose(const Napi::CallbackInfo& info);

  Vm* vm_;
  FileDescriptor event_;
  kvm_ioeventfd assigned_;
};

/** An eventfd that raises an interrupt, and with resampling one of the VM's epoll set that tells of its end. */
class Irqfd final : public Napi::ObjectWrap<Irqfd>, public Resource {
 public:
  struct Init {
    Vm& vm;
    FileDescriptor event;
    FileDescriptor resample;
    kvm_irqfd assigned;
  };
  static Napi::Function define(Napi::Env env);
  explicit Irqfd(const Napi::CallbackInfo& info);
  ~Irqfd() override { close(); }
  void close() noexcept override;

 private:
  static napi_value trigger(napi_env env, napi_callback_info info) noexcept;
  void callClose(const Napi::CallbackInfo& info);

  Vm* vm_;
  FileDescriptor event_;
  FileDescriptor resample_;
  kvm_irqfd assigned_;
};

}  // namespace vmm
