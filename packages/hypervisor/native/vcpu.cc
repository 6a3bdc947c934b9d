#include "vcpu.hh"

#include <linux/futex.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <system_error>

#include "events.hh"
#include "vm.hh"

namespace vmm {

namespace {

void relax() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

void futex(std::atomic<uint32_t>& word, int operation, uint32_t value) noexcept {
  static_assert(sizeof(word) == sizeof(uint32_t) && std::atomic<uint32_t>::is_always_lock_free);
  syscall(SYS_futex, &word, operation, value, nullptr, nullptr, 0);
}

/** While it lives, threads start with every asynchronous signal but the kick blocked. */
class QuietSignals {
 public:
  QuietSignals() noexcept {
    sigset_t quiet;
    sigfillset(&quiet);
    for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, kickSignal()}) sigdelset(&quiet, signal);
    pthread_sigmask(SIG_SETMASK, &quiet, &old_);
  }
  ~QuietSignals() { pthread_sigmask(SIG_SETMASK, &old_, nullptr); }
  QuietSignals(const QuietSignals&) = delete;
  QuietSignals& operator=(const QuietSignals&) = delete;

 private:
  sigset_t old_{};
};

}  // namespace

Napi::Function Vcpu::define(Napi::Env env) {
  return DefineClass(env, "Vcpu",
                     {InstanceMethod<&Vcpu::callIoctl>("ioctl"), InstanceMethod<&Vcpu::callClose>("close"),
                      InstanceMethod<&Vcpu::start>("start"), InstanceMethod<&Vcpu::join>("join"),
                      InstanceMethod<&Vcpu::kick>("kick"), InstanceMethod<&Vcpu::stop>("stop"),
                      InstanceMethod<&Vcpu::errorNumber>("errno"), rawMethod<Vcpu>("run", run),
                      rawMethod<Vcpu>("state", state), rawMethod<Vcpu>("resume", resume)});
}

Vcpu::Vcpu(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Vcpu>(info), Handle(FileDescriptor()) {
  const Napi::Env env = info.Env();
  auto& init = Environment::of(env).takeInit<Init>();
  vm_ = &init.vm;
  fd_ = std::move(init.fd);
  event_ = std::move(init.event);
  page_ = std::move(init.page);
  const int token = vm_->watch(env, event_.get());
  Value().DefineProperties(
      {Napi::PropertyDescriptor::Value("token", Napi::Number::New(env, token), napi_enumerable),
       Napi::PropertyDescriptor::Value("runPage", page_.expose(env), napi_enumerable)});
  vm_->adopt(*this, Value());
}

void Vcpu::close() noexcept {
  if (!fd_.isOpen()) return;
  askToStop();
  if (thread_.joinable()) thread_.join();
  state_ = NONE;
  vm_->unwatch(event_.get());
  vm_->disown(*this);
  page_.unmap();
  event_.reset();
  fd_.reset();
}

void Vcpu::callClose(const Napi::CallbackInfo& /*info*/) { close(); }

Napi::Value Vcpu::callIoctl(const Napi::CallbackInfo& info) {
  open(info.Env());
  // KVM would make the event loop wait until the guest exits.
  if (state_ == RUNNING) throwErrno(info.Env(), EBUSY, "ioctl");
  return Handle::callIoctl(info, vm_->xsaveSize());
}

/** KVM_RUN until it returns for a reason. Answers 0 or the errno; `cancelled` is asked after a signal that is no kick. */
template <class Cancelled>
int Vcpu::enter(Cancelled cancelled) noexcept {
  const std::atomic_ref<__u8> immediateExit(page()->immediate_exit);
  for (;;) {
    if (::ioctl(fd_.get(), KVM_RUN, 0) == 0) return 0;
    const int error = errno;
    // x86: a processor that waited for its INIT or SIPI may enter the guest now.
    if (error == EAGAIN) continue;
    if (error != EINTR) return error;
    // In this order: kick() writes the flag first, so whatever it does meanwhile is seen here or in the next entry.
    immediateExit.store(0);
    if (kicked_.exchange(false)) return EINTR;
    if (cancelled()) return ECANCELED;
  }
}

napi_value Vcpu::run(napi_env env, napi_callback_info info) noexcept {
  auto* const self = receiver<Vcpu>(env, info);
  if (self == nullptr) return nullptr;
  int error = 0;
  if (!self->fd_.isOpen()) error = EBADF;
  else if (self->state_ != NONE) error = EBUSY;
  if (error != 0) {
    pendErrno(env, error, "ioctl");
    return nullptr;
  }
  Environment& environment = self->vm_->environment();
  environment.watch.start(self->page());
  const int result = self->enter([&]() noexcept {
    if (environment.ending()) return true;
    environment.watch.start(self->page());
    return false;
  });
  environment.watch.stop();
  napi_value value = nullptr;
  napi_create_int32(env, result, &value);
  return value;
}

void Vcpu::start(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  open(env);
  const double spin = toInteger(info[0], "spinMicroseconds", 0, 1e6);
  if (state_ != NONE) throwErrno(env, EBUSY, "clone");
  spin_ = std::chrono::microseconds(static_cast<int64_t>(spin));
  stopping_ = false;
  state_ = RUNNING;
  try {
    const QuietSignals quiet;
    thread_ = std::thread([this] { loop(); });
  } catch (const std::system_error& failure) {
    state_ = NONE;
    throwErrno(env, failure.code().value(), "clone");
  }
}

void Vcpu::loop() noexcept {
  pthread_setname_np(pthread_self(), "vcpu");
  tid_ = static_cast<pid_t>(syscall(SYS_gettid));
  while (!stopping_) {
    const int error = enter([this]() noexcept { return stopping_.load(); });
    const uint32_t seen = gate_;
    if (stopping_) break;
    error_ = error;
    publish(error == 0 ? EXIT : error == EINTR ? INTERRUPTED : FAILED);
    waitAtGate(seen);
  }
  tid_ = 0;
  publish(ENDED);
}

void Vcpu::publish(State state) noexcept {
  state_ = state;
  signalEventfd(event_.get());
}

void Vcpu::waitAtGate(uint32_t seen) noexcept {
  const auto until = std::chrono::steady_clock::now() + spin_;
  while (gate_ == seen && std::chrono::steady_clock::now() < until) relax();
  sleeping_ = true;
  while (gate_ == seen) futex(gate_, FUTEX_WAIT_PRIVATE, seen);
  sleeping_ = false;
}

void Vcpu::openGate() noexcept {
  gate_++;
  if (sleeping_) futex(gate_, FUTEX_WAKE_PRIVATE, 1);
}

napi_value Vcpu::state(napi_env env, napi_callback_info info) noexcept {
  const auto* const self = receiver<Vcpu>(env, info);
  if (self == nullptr) return nullptr;
  napi_value value = nullptr;
  napi_create_uint32(env, self->state_, &value);
  return value;
}

napi_value Vcpu::resume(napi_env env, napi_callback_info info) noexcept {
  auto* const self = receiver<Vcpu>(env, info);
  if (self == nullptr) return nullptr;
  const uint32_t state = self->state_;
  if (state != EXIT && state != INTERRUPTED && state != FAILED) {
    pendErrno(env, state == NONE ? ESRCH : EBUSY, "futex");
    return nullptr;
  }
  self->state_ = RUNNING;
  self->openGate();
  return nullptr;
}

Napi::Value Vcpu::errorNumber(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), error_); }

void Vcpu::interrupt() noexcept {
  std::atomic_ref<__u8>(page()->immediate_exit).store(1);
  const pid_t tid = tid_;
  if (tid != 0) syscall(SYS_tgkill, getpid(), tid, kickSignal());
}

void Vcpu::kick(const Napi::CallbackInfo& info) {
  open(info.Env());
  kicked_ = true;
  interrupt();
}

void Vcpu::askToStop() noexcept {
  if (!thread_.joinable()) return;
  stopping_ = true;
  openGate();
  interrupt();
}

void Vcpu::stop(const Napi::CallbackInfo& info) {
  open(info.Env());
  askToStop();
}

void Vcpu::join(const Napi::CallbackInfo& info) {
  if (state_ != ENDED) throwErrno(info.Env(), state_ == NONE ? ESRCH : EBUSY, "futex");
  thread_.join();
  state_ = NONE;
}

}  // namespace vmm
