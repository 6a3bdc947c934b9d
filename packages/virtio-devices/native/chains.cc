#include "chains.hh"

namespace vmm {

bool Chains::read(napi_env env, const napi_value* arguments) noexcept {
  double* pairs = nullptr;
  uint32_t* limits = nullptr;
  size_t pairWords = 0;
  size_t limitWords = 0;
  memory = MemoryMap::from(env, arguments[0]);
  if (memory == nullptr || !getFloat64Array(env, arguments[1], pairs, pairWords) ||
      !getUint32Array(env, arguments[2], limits, limitWords) ||
      napi_get_value_uint32(env, arguments[3], &begin) != napi_ok ||
      napi_get_value_uint32(env, arguments[4], &end) != napi_ok || begin > end || end >= limitWords) {
    napi_throw_type_error(env, nullptr, "not a list of chains");
    return false;
  }
  uint32_t last = limits[begin];
  for (uint32_t i = begin; i < end; i++) {
    const uint32_t next = limits[i + 1];
    if (next < last || next > pairWords || (next - last) % 2 != 0) {
      napi_throw_range_error(env, nullptr, "a chain is not inside the iovecs");
      return false;
    }
    last = next;
  }
  iovecs = pairs;
  ends = limits;
  memory->refresh(env);
  return true;
}

}  // namespace vmm
