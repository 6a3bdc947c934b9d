#include <fcntl.h>
#include <linux/kvm.h>
#include <napi.h>
#include <sys/epoll.h>

#include <cerrno>
#include <string>

#include "environment.hh"
#include "events.hh"
#include "handle.hh"
#include "memory.hh"
#include "vcpu.hh"
#include "vm.hh"

namespace vmm {

namespace {

/** NATIVE_CONTRACT of native.ts. */
constexpr int CONTRACT = 3;

/** /dev/kvm. */
class System final : public Napi::ObjectWrap<System>, public Handle {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "System",
                       {InstanceMethod<&System::callIoctl>("ioctl"), InstanceMethod<&System::callClose>("close"),
                        InstanceMethod<&System::createVm>("createVm")});
  }

  explicit System(const Napi::CallbackInfo& info)
      : Napi::ObjectWrap<System>(info),
        Handle(std::move(Environment::of(info.Env()).takeInit<FileDescriptor>())) {}

 private:
  Napi::Value callIoctl(const Napi::CallbackInfo& info) { return Handle::callIoctl(info, 0); }

  void callClose(const Napi::CallbackInfo& /*info*/) { fd_.reset(); }

  Napi::Value createVm(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const int system = open(env);
    const double type = toInteger(info[0], "type", 0, MAX_SAFE_INTEGER);
    if (!info[1].IsFunction()) throw Napi::TypeError::New(env, "onEvents is not a function");
    const int runSize = callKvm(system, KVM_GET_VCPU_MMAP_SIZE, 0UL);
    if (runSize < 0) throwErrno(env, -runSize, "ioctl");
    FileDescriptor epoll(epoll_create1(EPOLL_CLOEXEC));
    if (!epoll.isOpen()) throwErrno(env, errno, "epoll_create1");
    const int fd = callKvm(system, KVM_CREATE_VM, static_cast<unsigned long>(type));
    if (fd < 0) throwErrno(env, -fd, "ioctl");
    Vm::Init init{FileDescriptor(fd), std::move(epoll), static_cast<size_t>(runSize), info[1].As<Napi::Function>()};
    Environment& environment = Environment::of(env);
    return environment.construct(environment.vm, init);
  }
};

Napi::Value openSystem(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsString()) throw Napi::TypeError::New(env, "path is not a string");
  const std::string path = info[0].As<Napi::String>();
  FileDescriptor fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd.isOpen()) throwErrno(env, errno, "open");
  Environment& environment = Environment::of(env);
  return environment.construct(environment.system, fd);
}

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  Environment::create(env);
  Environment& environment = Environment::of(env);
  const auto keep = [](Napi::Function constructor) {
    Napi::FunctionReference reference = Napi::Persistent(constructor);
    // Node-API takes it away with its environment.
    reference.SuppressDestruct();
    return reference;
  };
  environment.system = keep(System::define(env));
  environment.vm = keep(Vm::define(env));
  environment.vcpu = keep(Vcpu::define(env));
  environment.device = keep(Device::define(env));
  environment.ioeventfd = keep(Ioeventfd::define(env));
  environment.irqfd = keep(Irqfd::define(env));
  exports.Set("contract", CONTRACT);
  exports.Set("discard", Napi::Function::New<discard>(env, "discard"));
  exports.Set("mapFile", Napi::Function::New<mapFile>(env, "mapFile"));
  exports.Set("openSystem", Napi::Function::New<openSystem>(env, "openSystem"));
  return exports;
}

}  // namespace

}  // namespace vmm

namespace {

Napi::Object initializeAddon(Napi::Env env, Napi::Object exports) { return vmm::initialize(env, exports); }

}  // namespace

NODE_API_MODULE(vmm_kvm, initializeAddon)
