#include "environment.hh"

#include <linux/kvm.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>

#include "errors.hh"

// Neither glibc before 2.36 nor musl names the field.
#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

namespace vmm {

namespace {

/** How long a terminated worker may stay in the guest, in nanoseconds. */
constexpr long WATCH_PERIOD = 50'000'000;

// No thread-local variable: the first use in a thread allocates, which a signal handler must not.
void onKick(int /*signal*/, siginfo_t* info, void* /*context*/) {
  if (info->si_code == SI_TIMER) static_cast<Watch*>(info->si_value.sival_ptr)->expire();
}

/** The first real-time signal from SIGRTMIN + 6 that nobody handles; Node.js and libuv use none. */
int installKickSignal() noexcept {
  for (int signal = SIGRTMIN + 6; signal <= SIGRTMAX; signal++) {
    struct sigaction old {};
    if (sigaction(signal, nullptr, &old) != 0 || old.sa_handler != SIG_DFL) continue;
    struct sigaction action {};
    action.sa_sigaction = onKick;
    action.sa_flags = SA_RESTART | SA_SIGINFO;
    sigemptyset(&action.sa_mask);
    if (sigaction(signal, &action, nullptr) == 0) return signal;
  }
  return 0;
}

}  // namespace

void Watch::start(kvm_run* run) noexcept {
  run_ = run;
  if (armed_) return;
  if (!hasTimer_) {
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = kickSignal();
    event.sigev_value.sival_ptr = this;
    event.sigev_notify_thread_id = static_cast<pid_t>(syscall(SYS_gettid));
    hasTimer_ = timer_create(CLOCK_MONOTONIC, &event, &timer_) == 0;
  }
  if (!hasTimer_) return;
  armed_ = true;
  itimerspec once{};
  once.it_value.tv_nsec = WATCH_PERIOD;
  timer_settime(timer_, 0, &once, nullptr);
}

void Watch::expire() noexcept {
  armed_ = false;
  kvm_run* const run = run_;
  if (run != nullptr) std::atomic_ref<__u8>(run->immediate_exit).store(1);
}

Watch::~Watch() {
  if (hasTimer_) timer_delete(timer_);
}

int kickSignal() noexcept {
  static const int signal = installKickSignal();
  return signal;
}

void Environment::create(Napi::Env env) {
  if (kickSignal() == 0) throwErrno(env, EBUSY, "sigaction");
  auto* const self = new Environment(env);
  napi_set_instance_data(env, self, nullptr, nullptr);
  const auto hook = [](napi_async_cleanup_hook_handle handle, void* data) {
    static_cast<Environment*>(data)->end(handle);
  };
  if (napi_add_async_cleanup_hook(env, hook, self, nullptr) != napi_ok) throw Napi::Error::New(env);
}

Environment& Environment::of(Napi::Env env) {
  void* self = nullptr;
  napi_get_instance_data(env, &self);
  return *static_cast<Environment*>(self);
}

Environment::Environment(Napi::Env env) : env_(env) {
  napi_get_uv_event_loop(env, &loop_);
  keeps_ = Napi::Persistent(Napi::Symbol::New(env, "keeps"));
  keeps_.SuppressDestruct();
}

bool Environment::ending() noexcept {
  if (ended_) return true;
  // Whatever may run JavaScript is refused by Node-API once the environment is stopping.
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env_, &scope) != napi_ok) return true;
  napi_value global = nullptr;
  bool has = false;
  const bool refused = napi_get_global(env_, &global) != napi_ok || napi_has_named_property(env_, global, "undefined", &has) != napi_ok;
  napi_close_handle_scope(env_, scope);
  return refused;
}

uv_poll_t* Environment::openPoll(int fd, uv_poll_cb callback, void* data) noexcept {
  auto* const poll = new uv_poll_t{};
  const int error = uv_poll_init(loop_, poll, fd);
  if (error != 0) {
    delete poll;
    return nullptr;
  }
  poll->data = data;
  uv_unref(reinterpret_cast<uv_handle_t*>(poll));
  uv_poll_start(poll, UV_READABLE, callback);
  return poll;
}

void Environment::closePoll(uv_poll_t* poll) noexcept {
  closing_++;
  poll->data = this;
  uv_close(reinterpret_cast<uv_handle_t*>(poll), [](uv_handle_t* handle) {
    auto* const self = static_cast<Environment*>(handle->data);
    delete reinterpret_cast<uv_poll_t*>(handle);
    self->pollClosed();
  });
}

void Environment::pollClosed() noexcept {
  closing_--;
  finishIfClosed();
}

void Environment::finishIfClosed() noexcept {
  if (!ended_ || closing_ != 0) return;
  napi_remove_async_cleanup_hook(hook_);
  delete this;
}

void Environment::end(napi_async_cleanup_hook_handle hook) noexcept {
  hook_ = hook;
  ended_ = true;
  napi_handle_scope scope = nullptr;
  napi_open_handle_scope(env_, &scope);
  while (!resources_.empty()) {
    Resource* const resource = *resources_.begin();
    resources_.erase(resources_.begin());
    resource->close();
  }
  napi_close_handle_scope(env_, scope);
  finishIfClosed();
}

}  // namespace vmm
