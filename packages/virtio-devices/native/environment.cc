#include "environment.hh"

namespace vmm {

void Environment::create(Napi::Env env) {
  auto* const self = new Environment(env);
  napi_set_instance_data(env, self, nullptr, nullptr);
  const auto hook = [](napi_async_cleanup_hook_handle handle, void* data) {
    static_cast<Environment*>(data)->end(handle);
  };
  if (napi_add_async_cleanup_hook(env, hook, self, nullptr) != napi_ok) throw Napi::Error::New(env);
}

Environment& Environment::of(napi_env env) {
  void* self = nullptr;
  napi_get_instance_data(env, &self);
  return *static_cast<Environment*>(self);
}

Environment::Environment(napi_env env) : env_(env) { napi_get_uv_event_loop(env, &loop_); }

uv_poll_t* Environment::openPoll(int fd, uv_poll_cb callback, void* data) noexcept {
  auto* const poll = new uv_poll_t{};
  if (uv_poll_init(loop_, poll, fd) != 0) {
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
    self->closing_--;
    self->finishIfClosed();
  });
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

void callFromLoop(napi_env env, napi_value receiver, napi_value function, size_t count,
                  const napi_value* arguments) noexcept {
  napi_make_callback(env, nullptr, receiver, function, count, arguments, nullptr);
  bool pending = false;
  napi_value error = nullptr;
  if (napi_is_exception_pending(env, &pending) == napi_ok && pending &&
      napi_get_and_clear_last_exception(env, &error) == napi_ok && error != nullptr)
    napi_fatal_exception(env, error);
}

}  // namespace vmm
