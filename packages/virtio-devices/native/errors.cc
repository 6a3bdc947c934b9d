#include "errors.hh"

#include <uv.h>

#include <cmath>
#include <string>

namespace vmm {

Napi::Error makeErrno(Napi::Env env, int error, const char* syscall) {
  const std::string code = uv_err_name(-error);
  Napi::Error result = Napi::Error::New(env, code + ": " + uv_strerror(-error) + ", " + syscall);
  result.Set("code", code);
  result.Set("errno", static_cast<double>(error));
  result.Set("syscall", syscall);
  return result;
}

void throwErrno(Napi::Env env, int error, const char* syscall) { throw makeErrno(env, error, syscall); }

void pendErrno(napi_env env, int error, const char* syscall) noexcept {
  try {
    makeErrno(env, error, syscall).ThrowAsJavaScriptException();
  } catch (...) {
    // The environment is ending, and there is nobody to tell.
  }
}

double toInteger(const Napi::Value& value, const char* name, double minimum, double maximum) {
  if (!value.IsNumber()) throw Napi::TypeError::New(value.Env(), std::string(name) + " is not a number");
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= minimum && number <= maximum) || std::trunc(number) != number)
    throw Napi::RangeError::New(value.Env(), std::string(name) + " is out of range");
  return number;
}

uint32_t toUint32(const Napi::Value& value, const char* name) {
  return static_cast<uint32_t>(toInteger(value, name, 0, UINT32_MAX));
}

}  // namespace vmm
