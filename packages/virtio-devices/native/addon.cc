// All of the addon as one translation unit: the headers of Node-API take several times as long to compile as its code.
#include "errors.cc"
#include "environment.cc"
#include "memory_map.cc"
#include "io.cc"
#include "io_threads.cc"
#include "uring.cc"
#include "page_cache.cc"
#include "file_control.cc"
#include "block.cc"
#include "polled_descriptor.cc"
#include "chains.cc"
#include "tap_receiver.cc"
#include "tap.cc"
#include "socket_pair.cc"
#include "fs_call.cc"
#include "fs_status.cc"
#include "fs_entries.cc"
#include "fs_attributes.cc"
#include "fs_files.cc"
#include "fs.cc"
#include "pty.cc"

namespace {

/** NATIVE_CONTRACT of native.ts. */
constexpr int CONTRACT = 2;

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  vmm::Environment::create(env);
  exports.Set("contract", CONTRACT);
  vmm::initMemoryMap(env, exports);
  vmm::initBlock(env, exports);
  vmm::initTap(env, exports);
  vmm::initSocketPair(env, exports);
  vmm::initFs(env, exports);
  vmm::initPty(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(vmm_host, initialize)
