#pragma once

#include <linux/kvm.h>
#include <napi.h>
#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>

#include "environment.hh"
#include "handle.hh"
#include "memory.hh"

namespace vmm {

class Vm;

/** A vCPU. All of it belongs to the environment's thread, but for what the vCPU's own thread and the atomics share. */
class Vcpu final : public Napi::ObjectWrap<Vcpu>, public Handle, public Resource {
 public:
  struct Init {
    Vm& vm;
    FileDescriptor fd;
    FileDescriptor event;
    SharedMapping page;
  };
  static Napi::Function define(Napi::Env env);
  explicit Vcpu(const Napi::CallbackInfo& info);
  ~Vcpu() override { close(); }
  void close() noexcept override;

  /** Asks the thread to end, without waiting for it. */
  void askToStop() noexcept;

 private:
  /** VCPU_THREAD of native.ts. */
  enum State : uint32_t { NONE, RUNNING, EXIT, INTERRUPTED, FAILED, ENDED };

  Napi::Value callIoctl(const Napi::CallbackInfo& info);
  void callClose(const Napi::CallbackInfo& info);
  void start(const Napi::CallbackInfo& info);
  void join(const Napi::CallbackInfo& info);
  void kick(const Napi::CallbackInfo& info);
  void stop(const Napi::CallbackInfo& info);
  Napi::Value errorNumber(const Napi::CallbackInfo& info);
  static napi_value run(napi_env env, napi_callback_info info) noexcept;
  static napi_value state(napi_env env, napi_callback_info info) noexcept;
  static napi_value resume(napi_env env, napi_callback_info info) noexcept;

  template <class Cancelled>
  int enter(Cancelled cancelled) noexcept;
  void loop() noexcept;
  void publish(State state) noexcept;
  void waitAtGate(uint32_t seen) noexcept;
  void openGate() noexcept;
  void interrupt() noexcept;
  kvm_run* page() const noexcept { return static_cast<kvm_run*>(page_.data()); }

  Vm* vm_;
  SharedMapping page_;
  FileDescriptor event_;
  std::thread thread_;
  std::chrono::microseconds spin_{0};
  int error_ = 0;
  std::atomic<uint32_t> state_{NONE};
  /** Counts the reasons to leave a wait; a futex word. */
  std::atomic<uint32_t> gate_{0};
  std::atomic<bool> sleeping_{false};
  std::atomic<bool> stopping_{false};
  std::atomic<bool> kicked_{false};
  std::atomic<pid_t> tid_{0};
};

}  // namespace vmm
