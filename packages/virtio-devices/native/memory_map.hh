#pragma once

#include <napi.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace vmm {

/**
 * Guest memory as native code reaches it: `new MemoryMap([{ guestAddress, bytes, readOnly? }])`.
 *
 * It keeps the arrays alive and asks where their bytes are at each use, since a buffer may be detached (its memory is
 * unmapped then). Addresses that it answers hold until JavaScript runs again, and must not be kept for longer: whoever
 * waits for something translates again.
 */
class MemoryMap final : public Napi::ObjectWrap<MemoryMap> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit MemoryMap(const Napi::CallbackInfo& info);
  ~MemoryMap();

  /** The map behind an argument; nullptr if it is something else. Leaves no exception. */
  static MemoryMap* from(napi_env env, napi_value value) noexcept;

  /** Asks where the bytes are. First in each call from JavaScript that translates. */
  void refresh(napi_env env) noexcept;

  /** The host's bytes of a guest range that lies in one region; nullptr if it does not, or may not be written. */
  void* find(double address, double length, bool forWriting) const noexcept;

  /**
   * Appends one iovec for each pair (guest address, length) of a packed Float64Array, as GuestMemory.iovecs() makes them.
   *
   * @param count pairs
   * @param forWriting the caller is going to store into guest memory
   * @returns false if a pair is not inside one region; `out` may have grown then
   */
  bool translate(const double* pairs, size_t count, bool forWriting, std::vector<iovec>& out) const;

 private:
  struct Region {
    double guestAddress;
    double size;
    bool readOnly;
    napi_ref array;
    uint8_t* data;
  };

  std::vector<Region> regions_;
};

/** A typed array argument of Float64Array type; null `data` and false if it is something else. */
bool getFloat64Array(napi_env env, napi_value value, double*& data, size_t& length) noexcept;
/** The same of Int32Array. */
bool getInt32Array(napi_env env, napi_value value, int32_t*& data, size_t& length) noexcept;
/** The same of Uint32Array. */
bool getUint32Array(napi_env env, napi_value value, uint32_t*& data, size_t& length) noexcept;
/** The same of Uint8Array (or Buffer), on an ArrayBuffer or a SharedArrayBuffer. */
bool getUint8Array(napi_env env, napi_value value, uint8_t*& data, size_t& length) noexcept;

void initMemoryMap(Napi::Env env, Napi::Object exports);

}  // namespace vmm
