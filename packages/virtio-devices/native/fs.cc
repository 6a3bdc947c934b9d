// System calls of the file system backend, on handles. Everything answers a negative errno or a result.
#include "fs.hh"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <memory>
#include <utility>

#include "errors.hh"
#include "file_descriptor.hh"
#include "fs_call.hh"

namespace vmm {

namespace {

/** Raises the soft limit of open files to the hard one, and answers it. */
double descriptorLimit(FsArguments& /*arguments*/) noexcept {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) < 0) return -errno;
  if (limit.rlim_cur < limit.rlim_max) {
    const rlimit raised{limit.rlim_max, limit.rlim_max};
    if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  return static_cast<double>(limit.rlim_cur);
}

/** syncfs(2) on the thread pool. */
class Sync final : public Napi::AsyncWorker {
 public:
  Sync(Napi::Env env, FileDescriptor fd) : Napi::AsyncWorker(env), fd_(std::move(fd)) {
    if (napi_create_promise(env, &deferred_, &promise_) != napi_ok) throw Napi::Error::New(env);
  }
  /** Of the scope that it was made in. */
  napi_value promise() const noexcept { return promise_; }

  void Execute() override { error_ = resultOf(::syncfs(fd_.get())); }

  void OnOK() override {
    // Not by Napi::Promise: it throws when the environment is ending, which nobody catches.
    napi_value error = nullptr;
    if (napi_create_int32(Env(), error_, &error) == napi_ok) napi_resolve_deferred(Env(), deferred_, error);
  }

 private:
  napi_deferred deferred_ = nullptr;
  napi_value promise_ = nullptr;
  FileDescriptor fd_;
  int error_ = 0;
};

Napi::Value syncFileSystem(const Napi::CallbackInfo& info) {
  const int node = static_cast<int>(toInteger(info[0], "fd", 0, INT_MAX));
  // A handle is not enough for syncfs, and must not be closed while it runs.
  FileDescriptor fd(::openat(node, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.isOpen()) throwErrno(info.Env(), errno, "openat");
  auto worker = std::make_unique<Sync>(info.Env(), std::move(fd));
  const Napi::Value promise(info.Env(), worker->promise());
  worker->Queue();
  // It ends itself.
  static_cast<void>(worker.release());
  return promise;
}

}  // namespace

void initFs(Napi::Env env, Napi::Object exports) {
  Napi::Object fs = Napi::Object::New(env);
  initFsEntries(fs);
  initFsAttributes(fs);
  initFsFiles(fs);
  defineFs<descriptorLimit>(fs, "descriptorLimit");
  fs.Set("syncfs", Napi::Function::New(env, syncFileSystem, "syncfs"));
  exports.Set("fs", fs);
}

}  // namespace vmm
