#pragma once

#include <napi.h>
#include <uv.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <unordered_set>

#include "environment.hh"
#include "handle.hh"
#include "memory.hh"

namespace vmm {

/** A VM, its memory, its epoll set, and what was made with it. */
class Vm final : public Napi::ObjectWrap<Vm>, public Handle, public Resource {
 public:
  struct Init {
    FileDescriptor fd;
    FileDescriptor epoll;
    size_t runSize;
    Napi::Function onEvents;
  };
  static Napi::Function define(Napi::Env env);
  explicit Vm(const Napi::CallbackInfo& info);
  ~Vm() override { close(); }
  void close() noexcept override;

  int fd() const noexcept { return fd_.get(); }
  Environment& environment() const noexcept { return *environment_; }
  size_t xsaveSize() const noexcept { return xsaveSize_; }

  /** Takes an eventfd into the epoll set, edge-triggered, so that it need not be read. Answers its token. */
  int watch(Napi::Env env, int eventfd);
  void unwatch(int eventfd) noexcept;

  /** From now on the object keeps the VM's alive, and closes with the VM. */
  void adopt(Resource& child, Napi::Object object);
  void disown(Resource& child) noexcept { children_.erase(&child); }

 protected:
  size_t pointeeBytes(uint32_t request, std::span<const uint8_t> structure) const override;

 private:
  Napi::Value callIoctl(const Napi::CallbackInfo& info);
  void callClose(const Napi::CallbackInfo& info);
  Napi::Value mapMemory(const Napi::CallbackInfo& info);
  void unmapMemory(const Napi::CallbackInfo& info);
  void setMemoryFlags(const Napi::CallbackInfo& info);
  Napi::Value createVcpu(const Napi::CallbackInfo& info);
  Napi::Value createDevice(const Napi::CallbackInfo& info);
  Napi::Value createIoeventfd(const Napi::CallbackInfo& info);
  Napi::Value createIrqfd(const Napi::CallbackInfo& info);
  void ref(const Napi::CallbackInfo& info);
  void unref(const Napi::CallbackInfo& info);
  static napi_value poll(napi_env env, napi_callback_info info) noexcept;
  static napi_value spin(napi_env env, napi_callback_info info) noexcept;

  int setMemory(uint32_t slot, uint32_t flags, uint64_t guestAddress, uint64_t size, void* data) noexcept;
  void onReadable() noexcept;

  Environment* environment_;
  FileDescriptor epoll_;
  uv_poll_t* poll_ = nullptr;
  size_t runSize_;
  size_t xsaveSize_ = 0;
  int nextToken_ = 0;
  bool referenced_ = false;
  std::map<uint32_t, SharedMapping> memory_;
  std::unordered_set<Resource*> children_;
};

/** A device inside the kernel (KVM_CREATE_DEVICE). */
class Device final : public Napi::ObjectWrap<Device>, public Handle, public Resource {
 public:
  struct Init {
    Vm& vm;
    FileDescriptor fd;
  };
  static Napi::Function define(Napi::Env env);
  explicit Device(const Napi::CallbackInfo& info);
  ~Device() override { close(); }
  void close() noexcept override;

 private:
  Napi::Value callIoctl(const Napi::CallbackInfo& info) { return Handle::callIoctl(info, 0); }
  void callClose(const Napi::CallbackInfo& /*info*/) { close(); }

  Vm* vm_;
};

}  // namespace vmm
