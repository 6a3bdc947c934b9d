#pragma once

#include <napi.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstdint>

#include "memory_map.hh"

namespace vmm {

/** What a system call answered, or the negative errno. */
inline int resultOf(long value) noexcept { return value < 0 ? -errno : static_cast<int>(value); }

/** The arguments of a call of native-fs.ts, which only this package makes: what is wrong is a TypeError. */
class FsArguments {
 public:
  FsArguments(napi_env env, napi_callback_info info) noexcept;

  double number() noexcept;
  int integer() noexcept;
  uint32_t word() noexcept;
  /** One character for each byte. */
  const char* name() noexcept { return string(napi_get_value_string_latin1); }
  const char* text() noexcept { return string(napi_get_value_string_utf8); }
  /** A status to be filled. */
  uint32_t* stat() noexcept;
  uint8_t* bytes(size_t& length) noexcept;
  double* doubles(size_t& length) noexcept;
  /** Ready to translate. */
  const MemoryMap* memory() noexcept;

  /** Whether all that was asked for so far is there; nothing may be done with it otherwise. */
  bool valid() const noexcept { return valid_; }

 private:
  using GetString = napi_status (*)(napi_env, napi_value, char*, size_t, size_t*);

  napi_value next() noexcept { return at_ < values_.size() ? values_[at_++] : nullptr; }
  void check(bool condition) noexcept {
    if (!condition) valid_ = false;
  }
  const char* string(GetString get) noexcept;

  napi_env env_;
  std::array<napi_value, 16> values_{};
  size_t at_ = 0;
  /** With room for one more character of UTF-8: a string that was cut is longer than PATH_MAX all the same. */
  std::array<std::array<char, PATH_MAX + 8>, 2> strings_;
  size_t used_ = 0;
  bool valid_ = true;
};

/** Makes a function of JavaScript from one that takes arguments and answers a number. */
template <auto Call>
napi_value callFs(napi_env env, napi_callback_info info) noexcept {
  FsArguments arguments(env, info);
  const double value = static_cast<double>(Call(arguments));
  if (!arguments.valid()) {
    napi_throw_type_error(env, nullptr, "wrong arguments");
    return nullptr;
  }
  napi_value number = nullptr;
  napi_create_double(env, value, &number);
  return number;
}

/** Gives an object such a function. */
template <auto Call>
void defineFs(Napi::Object& object, const char* name) {
  napi_value function = nullptr;
  if (napi_create_function(object.Env(), name, NAPI_AUTO_LENGTH, callFs<Call>, nullptr, &function) != napi_ok)
    throw Napi::Error::New(object.Env());
  object.Set(name, function);
}

}  // namespace vmm
