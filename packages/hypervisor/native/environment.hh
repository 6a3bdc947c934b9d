#pragma once

#include <napi.h>
#include <uv.h>

#include <atomic>
#include <csignal>
#include <ctime>
#include <unordered_set>
#include <utility>

struct kvm_run;

namespace vmm {

/** Something that owns kernel objects and may have to give them up before its JavaScript object dies. */
class Resource {
 public:
  /** Any number of times. */
  virtual void close() noexcept = 0;

 protected:
  ~Resource() = default;
};

/** Signal that brings a thread back from KVM_RUN. */
int kickSignal() noexcept;

/**
 * Brings the environment's own thread back from KVM_RUN from time to time, since nothing else tells a thread inside the
 * guest that its environment is ending.
 */
class Watch {
 public:
  Watch() = default;
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  /** On the thread that is about to enter the guest. A timer that is still running serves this time too. */
  void start(kvm_run* run) noexcept;
  void stop() noexcept { run_ = nullptr; }
  /** In the signal handler. */
  void expire() noexcept;

 private:
  std::atomic<kvm_run*> run_{nullptr};
  std::atomic<bool> armed_{false};
  bool hasTimer_ = false;
  timer_t timer_{};
};

/** What one Node.js environment (the main thread, a worker) has of the addon. */
class Environment {
 public:
  /** Makes the environment's instance and hands it to Node-API. */
  static void create(Napi::Env env);
  static Environment& of(Napi::Env env);
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

  /** JavaScript will not run any more, because the worker is being terminated or the process is exiting. */
  bool ending() noexcept;

  uv_poll_t* openPoll(int fd, uv_poll_cb callback, void* data) noexcept;
  void closePoll(uv_poll_t* poll) noexcept;

  /** Closed at the end of the environment. */
  void add(Resource& resource) { resources_.insert(&resource); }
  void remove(Resource& resource) noexcept { resources_.erase(&resource); }

  /** Makes an object of one of the addon's classes, whose constructor takes `init` by takeInit(). */
  template <class Init>
  Napi::Object construct(Napi::FunctionReference& constructor, Init& init) {
    init_ = &init;
    return constructor.New({});
  }

  template <class Init>
  Init& takeInit() {
    void* const init = std::exchange(init_, nullptr);
    if (init == nullptr) throw Napi::TypeError::New(env_, "Illegal constructor");
    return *static_cast<Init*>(init);
  }

  /** Key under which an object keeps another alive; unlike a reference, the collector sees through it. */
  Napi::Symbol keeps() const { return keeps_.Value(); }

  Napi::Env env() const { return env_; }

  Watch watch;
  Napi::FunctionReference system, vm, vcpu, device, ioeventfd, irqfd;

 private:
  explicit Environment(Napi::Env env);
  ~Environment() = default;
  void end(napi_async_cleanup_hook_handle hook) noexcept;
  void pollClosed() noexcept;
  void finishIfClosed() noexcept;

  Napi::Env env_;
  uv_loop_t* loop_ = nullptr;
  std::unordered_set<Resource*> resources_;
  Napi::Reference<Napi::Symbol> keeps_;
  void* init_ = nullptr;
  napi_async_cleanup_hook_handle hook_ = nullptr;
  unsigned closing_ = 0;
  bool ended_ = false;
};

}  // namespace vmm
