#include "fs_call.hh"

#include <cstring>

#include "errors.hh"
#include "fs_status.hh"

namespace vmm {

FsArguments::FsArguments(napi_env env, napi_callback_info info) noexcept : env_(env) {
  size_t count = values_.size();
  check(napi_get_cb_info(env, info, &count, values_.data(), nullptr, nullptr) == napi_ok);
}

double FsArguments::number() noexcept {
  double value = 0;
  check(napi_get_value_double(env_, next(), &value) == napi_ok);
  check(value >= -MAX_SAFE_INTEGER && value <= MAX_SAFE_INTEGER);
  return valid_ ? value : 0;
}

int FsArguments::integer() noexcept {
  int32_t value = 0;
  check(napi_get_value_int32(env_, next(), &value) == napi_ok);
  return value;
}

uint32_t FsArguments::word() noexcept {
  uint32_t value = 0;
  check(napi_get_value_uint32(env_, next(), &value) == napi_ok);
  return value;
}

uint32_t* FsArguments::stat() noexcept {
  uint32_t* data = nullptr;
  size_t length = 0;
  check(getUint32Array(env_, next(), data, length) && length >= STAT_WORDS);
  return data;
}

uint8_t* FsArguments::bytes(size_t& length) noexcept {
  uint8_t* data = nullptr;
  check(getUint8Array(env_, next(), data, length));
  return data;
}

double* FsArguments::doubles(size_t& length) noexcept {
  double* data = nullptr;
  check(getFloat64Array(env_, next(), data, length));
  return data;
}

const MemoryMap* FsArguments::memory() noexcept {
  MemoryMap* const map = MemoryMap::from(env_, next());
  check(map != nullptr);
  if (map != nullptr) map->refresh(env_);
  return map;
}

const char* FsArguments::string(GetString get) noexcept {
  auto& buffer = strings_[used_ < strings_.size() - 1 ? used_++ : used_];
  size_t length = 0;
  check(get(env_, next(), buffer.data(), buffer.size(), &length) == napi_ok && length <= PATH_MAX);
  // The kernel must not see less than what was checked.
  check(valid_ && std::memchr(buffer.data(), 0, length) == nullptr);
  return buffer.data();
}

}  // namespace vmm
