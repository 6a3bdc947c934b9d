#pragma once

#include <napi.h>
#include <uv.h>

#include <unordered_set>

namespace vmm {

/** Something that has to be given up before its JavaScript object dies. */
class Resource {
 public:
  /** At the end of the environment, if remove() was not called before; JavaScript must not run. */
  virtual void close() noexcept = 0;

 protected:
  ~Resource() = default;
};

/** What one Node.js environment (the main thread, a worker) has of the addon. */
class Environment {
 public:
  /** Makes the environment's instance and hands it to Node-API. */
  static void create(Napi::Env env);
  static Environment& of(napi_env env);
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

  /** Calls back on the event loop while `fd` is readable. Does not keep the loop alive: uv_ref() does. Null: no memory. */
  uv_poll_t* openPoll(int fd, uv_poll_cb callback, void* data) noexcept;
  /** The callback is not called again; close `fd` after this. */
  void closePoll(uv_poll_t* poll) noexcept;

  /** Has the resource closed at the end of the environment. */
  void add(Resource& resource) { resources_.insert(&resource); }
  void remove(Resource& resource) noexcept { resources_.erase(&resource); }

  napi_env env() const noexcept { return env_; }

 private:
  explicit Environment(napi_env env);
  ~Environment() = default;
  void end(napi_async_cleanup_hook_handle hook) noexcept;
  void finishIfClosed() noexcept;

  napi_env env_;
  uv_loop_t* loop_ = nullptr;
  std::unordered_set<Resource*> resources_;
  napi_async_cleanup_hook_handle hook_ = nullptr;
  unsigned closing_ = 0;
  bool ended_ = false;
};

/** Calls a JavaScript function from the event loop; what it throws is an uncaught exception. Open a handle scope first. */
void callFromLoop(napi_env env, napi_value receiver, napi_value function, size_t count, const napi_value* arguments) noexcept;

/** `this` of a method that node-addon-api does not wrap, whose receiver V8 has checked; nullptr with an exception. */
template <class T>
T* receiver(napi_env env, napi_callback_info info, size_t count = 0, napi_value* arguments = nullptr) noexcept {
  napi_value self = nullptr;
  void* data = nullptr;
  if (napi_get_cb_info(env, info, &count, arguments, &self, nullptr) == napi_ok &&
      napi_unwrap(env, self, &data) == napi_ok && data != nullptr)
    return static_cast<T*>(data);
  napi_throw_type_error(env, nullptr, "Illegal invocation");
  return nullptr;
}

/** Describes such a method: half the cost of `InstanceMethod` for what is called often. */
template <class T>
Napi::ClassPropertyDescriptor<T> rawMethod(const char* name, napi_callback method) noexcept {
  napi_property_descriptor descriptor{};
  descriptor.utf8name = name;
  descriptor.method = method;
  return descriptor;
}

}  // namespace vmm
