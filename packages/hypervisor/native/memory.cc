#include "memory.hh"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <utility>

#include "bus-error.hh"
#include "errors.hh"

namespace vmm {

namespace {

/** x86-64's and AArch64's (with 4 KiB pages) second-level block. */
constexpr uint64_t HUGE_PAGE = 2 << 20;

}  // namespace

SharedMapping::SharedMapping(SharedMapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      guestAddress_(other.guestAddress_),
      env_(other.env_),
      buffer_(std::exchange(other.buffer_, nullptr)) {}

SharedMapping& SharedMapping::operator=(SharedMapping&& other) noexcept {
  if (this != &other) {
    unmap();
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
    guestAddress_ = other.guestAddress_;
    env_ = other.env_;
    buffer_ = std::exchange(other.buffer_, nullptr);
  }
  return *this;
}

SharedMapping SharedMapping::anonymous(Napi::Env env, size_t size, uint64_t guestAddress) {
  // KVM maps a huge page only where guest and host address agree in the offset inside it.
  const size_t slack = size >= HUGE_PAGE ? HUGE_PAGE : 0;
  void* const reserved =
      mmap(nullptr, size + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) throwErrno(env, errno, "mmap");
  auto* data = static_cast<uint8_t*>(reserved);
  if (slack != 0) {
    const size_t before = (guestAddress - reinterpret_cast<uint64_t>(data)) % HUGE_PAGE;
    if (before != 0) munmap(data, before);
    data += before;
    if (before != slack) munmap(data + size, slack - before);
  }
  // Both are wishes. A child process that only calls exec() shall not make the guest's pages copy-on-write.
  madvise(data, size, MADV_HUGEPAGE);
  madvise(data, size, MADV_DONTFORK);
  return {data, size, guestAddress};
}

SharedMapping SharedMapping::ofFile(Napi::Env env, int fd, size_t size) {
  void* const data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (data == MAP_FAILED) throwErrno(env, errno, "mmap");
  return {data, size};
}

Napi::ArrayBuffer SharedMapping::expose(Napi::Env env) {
  napi_value buffer = nullptr;
  // No finalizer: this object says when the memory goes.
  if (napi_create_external_arraybuffer(env, data_, size_, nullptr, nullptr, &buffer) != napi_ok)
    throw Napi::Error::New(env);
  if (napi_create_reference(env, buffer, 0, &buffer_) != napi_ok) throw Napi::Error::New(env);
  env_ = env;
  return Napi::ArrayBuffer(env, buffer);
}

bool SharedMapping::detach() noexcept {
  if (buffer_ == nullptr) return true;
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env_, &scope) != napi_ok) return false;
  napi_value buffer = nullptr;
  bool gone = napi_get_reference_value(env_, buffer_, &buffer) == napi_ok;
  if (gone && buffer != nullptr) gone = napi_detach_arraybuffer(env_, buffer) == napi_ok;
  napi_delete_reference(env_, buffer_);
  buffer_ = nullptr;
  napi_close_handle_scope(env_, scope);
  return gone;
}

void SharedMapping::unmap() noexcept {
  if (data_ == nullptr) return;
  // Memory that JavaScript may still reach must stay, whatever that costs.
  if (detach()) munmap(data_, size_);
  data_ = nullptr;
  size_ = 0;
}

namespace {

/** The elements of a typed array; a TypeError if it is another kind. Shared memory counts as well. */
template <class T>
std::span<T> toSpan(const Napi::Value& value, napi_typedarray_type wanted, const char* name) {
  bool isArray = false;
  napi_typedarray_type type{};
  size_t length = 0;
  void* data = nullptr;
  if (napi_is_typedarray(value.Env(), value, &isArray) != napi_ok || !isArray ||
      napi_get_typedarray_info(value.Env(), value, &type, &length, &data, nullptr, nullptr) != napi_ok ||
      type != wanted)
    throw Napi::TypeError::New(value.Env(), std::string(name) + " is not a typed array of the right kind");
  return {static_cast<T*>(data), length};
}

constexpr int PRIVATE = MAP_PRIVATE | MAP_NORESERVE;

/**
 * Holes that guests may make in mappings of files. Each takes up to two of the 65530 mappings that Linux gives a process
 * (vm.max_map_count), and those are for everything else in it, too.
 */
constexpr uint32_t MAX_HOLES = 16384;

/** Maps zeros in the place of whole pages. Answers errno or 0. */
int mapZeros(void* place, size_t length) noexcept {
  if (mmap(place, length, PROT_READ | PROT_WRITE, PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) return errno;
  madvise(place, length, MADV_DONTFORK);
  return 0;
}

/** Makes whole pages that a file is mapped to zero. Answers errno or 0. */
int replaceWithZeros(uintptr_t start, size_t length) noexcept {
  static std::atomic<uint32_t> holes = 0;
  void* const place = reinterpret_cast<void*>(start);
  const int error = holes < MAX_HOLES ? mapZeros(place, length) : ENOMEM;
  if (error == 0) holes++;
  if (error != ENOMEM) return error;
  // The pages stay then, and only their contents go.
  std::memset(place, 0, length);
  return 0;
}

/** Discards whole pages, of which those below `fileEnd` are mapped to a file. Answers errno or 0. */
int discardPages(uintptr_t start, uintptr_t end, uintptr_t fileEnd) noexcept {
  const uintptr_t middle = std::clamp(fileEnd, start, end);
  if (start < middle) {
    const int error = replaceWithZeros(start, middle - start);
    if (error != 0) return error;
  }
  if (middle < end && madvise(reinterpret_cast<void*>(middle), end - middle, MADV_DONTNEED) != 0) return errno;
  return 0;
}

/** Reads until the bytes are full or the file ends. Answers errno or 0. */
int readFile(std::span<uint8_t> bytes, int fd, off_t offset) noexcept {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count = pread(fd, bytes.data() + done, bytes.size() - done, offset + static_cast<off_t>(done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno;
    if (count == 0) break;
    done += static_cast<size_t>(count);
  }
  return 0;
}

}  // namespace

void discard(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::span<uint8_t> bytes = toSpan<uint8_t>(info[0], napi_uint8_array, "bytes");
  const std::span<double> ranges = toSpan<double>(info[1], napi_float64_array, "ranges");
  const auto words = static_cast<size_t>(toInteger(info[2], "words", 0, static_cast<double>(ranges.size())));
  const auto size = static_cast<double>(bytes.size());
  const auto fileBytes = static_cast<uintptr_t>(toInteger(info[3], "fileBytes", 0, size));
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto base = reinterpret_cast<uintptr_t>(bytes.data());
  for (size_t i = 0; i + 1 < words; i += 2) {
    const double offset = ranges[i];
    const double length = ranges[i + 1];
    // Written so that NaN is refused as well.
    if (!(offset >= 0 && length >= 0 && offset + length <= size))
      throw Napi::RangeError::New(env, "a range is not inside the bytes");
    const uintptr_t first = base + static_cast<uintptr_t>(offset);
    const uintptr_t start = (first + page - 1) / page * page;
    const uintptr_t end = (first + static_cast<uintptr_t>(length)) / page * page;
    if (start >= end) continue;
    const int error = discardPages(start, end, base + fileBytes);
    if (error != 0) throwErrno(env, error, "madvise");
  }
}

Napi::Value mapFile(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::span<uint8_t> bytes = toSpan<uint8_t>(info[0], napi_uint8_array, "bytes");
  const auto fd = static_cast<int>(toInteger(info[1], "fd", 0, std::numeric_limits<int>::max()));
  const auto offset = static_cast<off_t>(toInteger(info[2], "offset", 0, MAX_SAFE_INTEGER));
  struct stat status{};
  if (fstat(fd, &status) != 0) throwErrno(env, errno, "fstat");
  if (!S_ISREG(status.st_mode)) throwErrno(env, ENODEV, "mmap");
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const off_t left = std::max<off_t>(0, status.st_size - offset);
  const size_t wanted = std::min(bytes.size(), static_cast<size_t>(left));
  const bool aligned =
      reinterpret_cast<uintptr_t>(bytes.data()) % page == 0 && static_cast<size_t>(offset) % page == 0;
  // Whole pages of the bytes only; what lies behind them is not theirs.
  const size_t mapped = aligned ? std::min((wanted + page - 1) / page * page, bytes.size() / page * page) : 0;
  if (mapped > 0) {
    explainBusErrors();
    if (mmap(bytes.data(), mapped, PROT_READ | PROT_WRITE, PRIVATE | MAP_FIXED, fd, offset) == MAP_FAILED) {
      const int error = errno;
      // A call that fails may have taken away what was there.
      mapZeros(bytes.data(), mapped);
      throwErrno(env, error, "mmap");
    }
    madvise(bytes.data(), mapped, MADV_DONTFORK);
  }
  if (mapped < wanted) {
    const int error = readFile(bytes.subspan(mapped, wanted - mapped), fd, offset + static_cast<off_t>(mapped));
    if (error != 0) throwErrno(env, error, "pread");
  }
  return Napi::Number::New(env, static_cast<double>(mapped));
}

}  // namespace vmm
