#include "memory_map.hh"

#include <cmath>

#include "errors.hh"

namespace vmm {

namespace {

constexpr napi_type_tag MEMORY_MAP_TAG{0x6d6d765f6d656d6fULL, 0x72795f6d61705f31ULL};

template <class T>
bool getArray(napi_env env, napi_value value, napi_typedarray_type expected, T*& data, size_t& length) noexcept {
  data = nullptr;
  length = 0;
  napi_typedarray_type type{};
  void* bytes = nullptr;
  size_t count = 0;
  if (napi_get_typedarray_info(env, value, &type, &count, &bytes, nullptr, nullptr) != napi_ok || type != expected)
    return false;
  data = static_cast<T*>(bytes);
  length = bytes == nullptr ? 0 : count;
  return true;
}

}  // namespace

bool getFloat64Array(napi_env env, napi_value value, double*& data, size_t& length) noexcept {
  return getArray(env, value, napi_float64_array, data, length);
}

bool getInt32Array(napi_env env, napi_value value, int32_t*& data, size_t& length) noexcept {
  return getArray(env, value, napi_int32_array, data, length);
}

bool getUint32Array(napi_env env, napi_value value, uint32_t*& data, size_t& length) noexcept {
  return getArray(env, value, napi_uint32_array, data, length);
}

bool getUint8Array(napi_env env, napi_value value, uint8_t*& data, size_t& length) noexcept {
  return getArray(env, value, napi_uint8_array, data, length);
}

Napi::Function MemoryMap::define(Napi::Env env) { return DefineClass(env, "MemoryMap", {}); }

MemoryMap::MemoryMap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<MemoryMap>(info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsArray()) throw Napi::TypeError::New(env, "regions is not an array");
  const auto list = info[0].As<Napi::Array>();
  struct Checked {
    double guestAddress;
    bool readOnly;
    Napi::Value bytes;
  };
  std::vector<Checked> checked;
  for (uint32_t i = 0; i < list.Length(); i++) {
    const Napi::Value item = list[i];
    if (!item.IsObject()) throw Napi::TypeError::New(env, "a region is not an object");
    const auto region = item.As<Napi::Object>();
    const double address = toInteger(region.Get("guestAddress"), "guestAddress", 0, MAX_SAFE_INTEGER);
    const Napi::Value bytes = region.Get("bytes");
    uint8_t* data = nullptr;
    size_t length = 0;
    if (!bytes.IsTypedArray() || !getUint8Array(env, bytes, data, length))
      throw Napi::TypeError::New(env, "bytes is not a Uint8Array");
    checked.push_back({address, region.Get("readOnly").ToBoolean(), bytes});
  }
  regions_.reserve(checked.size());
  for (const Checked& region : checked) {
    napi_ref array = nullptr;
    if (napi_create_reference(env, region.bytes, 1, &array) != napi_ok) throw Napi::Error::New(env);
    regions_.push_back({region.guestAddress, 0, region.readOnly, array, nullptr});
  }
  Value().TypeTag(&MEMORY_MAP_TAG);
}

MemoryMap::~MemoryMap() {
  for (const Region& region : regions_) napi_delete_reference(Env(), region.array);
}

MemoryMap* MemoryMap::from(napi_env env, napi_value value) noexcept {
  bool tagged = false;
  napi_valuetype type{};
  if (napi_typeof(env, value, &type) != napi_ok || type != napi_object ||
      napi_check_object_type_tag(env, value, &MEMORY_MAP_TAG, &tagged) != napi_ok || !tagged)
    return nullptr;
  void* data = nullptr;
  return napi_unwrap(env, value, &data) == napi_ok ? static_cast<MemoryMap*>(data) : nullptr;
}

void MemoryMap::refresh(napi_env env) noexcept {
  for (Region& region : regions_) {
    napi_value array = nullptr;
    size_t length = 0;
    if (napi_get_reference_value(env, region.array, &array) != napi_ok || array == nullptr ||
        !getUint8Array(env, array, region.data, length))
      length = 0;
    region.size = static_cast<double>(length);
  }
}

void* MemoryMap::find(double address, double length, bool forWriting) const noexcept {
  // Written so that NaN, fractions, negative numbers and sums that are inexact are refused.
  if (!(length >= 0 && address >= 0 && address + length <= MAX_SAFE_INTEGER) || std::trunc(address) != address ||
      std::trunc(length) != length)
    return nullptr;
  for (const Region& region : regions_) {
    const double offset = address - region.guestAddress;
    if (offset < 0 || offset + length > region.size || (offset >= region.size)) continue;
    return forWriting && region.readOnly ? nullptr : region.data + static_cast<size_t>(offset);
  }
  return nullptr;
}

bool MemoryMap::translate(const double* pairs, size_t count, bool forWriting, std::vector<iovec>& out) const {
  for (size_t i = 0; i < count; i++) {
    // Each once: the array may lie in memory that somebody else writes.
    const double address = pairs[2 * i];
    const double length = pairs[2 * i + 1];
    void* const base = find(address, length, forWriting);
    if (base == nullptr) return false;
    out.push_back({base, static_cast<size_t>(length)});
  }
  return true;
}

void initMemoryMap(Napi::Env env, Napi::Object exports) { exports.Set("MemoryMap", MemoryMap::define(env)); }

}  // namespace vmm
