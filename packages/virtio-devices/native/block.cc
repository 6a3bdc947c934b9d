#include <fcntl.h>
#include <linux/falloc.h>
#include <napi.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <new>
#include <string>
#include <system_error>
#include <utility>

#include "environment.hh"
#include "errors.hh"
#include "file_control.hh"
#include "io.hh"
#include "iovecs.hh"
#include "memory_map.hh"
#include "page_cache.hh"
#include "pending_reads.hh"
#include "transfers.hh"

namespace vmm {

namespace {

// As in native-block.ts.
constexpr uint32_t ENGINE_ONLY = 1;
constexpr size_t DONE_WORDS = 2;

/** Transfers up to here are one operation each of the engine; larger ones too, but they have to be numbers. */
constexpr double MAX_TRANSFER = 1 << 30;

/** A file of sectors: what is in the page cache at once, what would wait through an IoEngine. */
class BlockFile final : public Napi::ObjectWrap<BlockFile>, public Resource {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(
        env, "BlockFile",
        {rawMethod<BlockFile>("submit", submit), rawMethod<BlockFile>("take", take), rawMethod<BlockFile>("finish", finish),
         InstanceMethod<&BlockFile::sync>("sync"), InstanceMethod<&BlockFile::allocate>("allocate"),
         InstanceMethod<&BlockFile::zero>("zero"), InstanceMethod<&BlockFile::lock>("lock"),
         InstanceMethod<&BlockFile::callClose>("close"), InstanceAccessor<&BlockFile::size>("size"),
         InstanceAccessor<&BlockFile::engine>("engine")});
  }

  explicit BlockFile(const Napi::CallbackInfo& info) : Napi::ObjectWrap<BlockFile>(info) {
    const Napi::Env env = info.Env();
    const int given = static_cast<int>(toInteger(info[0], "fd", 0, INT_MAX));
    if (!info[1].IsString()) throw Napi::TypeError::New(env, "engine is not a string");
    const std::string engine = info[1].As<Napi::String>();
    if (!info[2].IsFunction()) throw Napi::TypeError::New(env, "onDone is not a function");
    FileDescriptor fd(fcntl(given, F_DUPFD_CLOEXEC, 0));
    if (!fd.isOpen()) throwErrno(env, errno, "fcntl");
    file_ = std::make_shared<const FileDescriptor>(std::move(fd));
    cache_ = PageCache(file_->get());
    if (engine == "auto" || engine == "io_uring") engine_ = openUring(file_);
    if (engine_ == nullptr && engine == "io_uring") throwErrno(env, ENOSYS, "io_uring_setup");
    if (engine_ == nullptr) engine_ = openIoThreads(file_);
    if (engine_ == nullptr) throwErrno(env, EMFILE, "eventfd");
    onDone_ = Napi::Persistent(info[2].As<Napi::Function>());
    const auto callback = [](uv_poll_t* handle, int /*status*/, int /*events*/) {
      static_cast<BlockFile*>(handle->data)->onReadable();
    };
    environment_ = &Environment::of(env);
    poll_ = environment_->openPoll(engine_->event(), callback, this);
    if (poll_ == nullptr) throwErrno(env, ENOMEM, "epoll_ctl");
    environment_->add(*this);
  }

  ~BlockFile() override { close(); }

  void close() noexcept override {
    if (poll_ == nullptr) return;
    environment_->remove(*this);
    environment_->closePoll(std::exchange(poll_, nullptr));
    // Now, since an idle thread of the engine keeps the file open for a moment; what is in flight keeps the lock too.
    if (flying_ == 0) lockFile(file_->get(), F_UNLCK);
    engine_.reset();
    file_.reset();
    reads_.clear();
    done_.clear();
    taken_.clear();
    onDone_.Reset();
  }

 private:
  /** Loop keeps alive what somebody waits for. */
  void hold() noexcept {
    if (flying_++ == 0) uv_ref(reinterpret_cast<uv_handle_t*>(poll_));
  }

  void release() noexcept {
    if (--flying_ == 0) uv_unref(reinterpret_cast<uv_handle_t*>(poll_));
  }

  uint32_t newToken() noexcept {
    // Tokens are of 31 bits, because submit() answers them as negative numbers.
    do nextToken_ = (nextToken_ & INT32_MAX) % INT32_MAX + 1;
    while (reads_.find(nextToken_) != nullptr);
    return nextToken_;
  }

  void start(std::unique_ptr<IoOperation> operation) {
    engine_->submit(std::move(operation));
    hold();
  }

  void onReadable() noexcept {
    try {
      engine_->reap(done_);
    } catch (const std::bad_alloc&) {
      return;
    }
    if (done_.empty()) return;
    const Napi::Env env = Env();
    napi_handle_scope scope = nullptr;
    if (napi_open_handle_scope(env, &scope) != napi_ok) return;
    napi_value global = nullptr;
    napi_get_global(env, &global);
    callFromLoop(env, global, onDone_.Value(), 0, nullptr);
    napi_close_handle_scope(env, scope);
  }

  static napi_value submit(napi_env env, napi_callback_info info) noexcept {
    napi_value arguments[6] = {};
    auto* const self = receiver<BlockFile>(env, info, 6, arguments);
    if (self == nullptr) return nullptr;
    try {
      return self->submitBatch(env, arguments);
    } catch (const std::exception& error) {
      napi_throw_error(env, nullptr, error.what());
      return nullptr;
    }
  }

  napi_value submitBatch(napi_env env, const napi_value (&arguments)[6]) {
    if (poll_ == nullptr) {
      pendErrno(env, EBADF, "preadv");
      return nullptr;
    }
    MemoryMap* const memory = MemoryMap::from(env, arguments[0]);
    double* transfers = nullptr;
    double* pairs = nullptr;
    int32_t* results = nullptr;
    size_t transferWords = 0;
    size_t pairWords = 0;
    size_t resultWords = 0;
    uint32_t count = 0;
    uint32_t flags = 0;
    if (memory == nullptr || !getFloat64Array(env, arguments[1], transfers, transferWords) ||
        napi_get_value_uint32(env, arguments[2], &count) != napi_ok ||
        !getFloat64Array(env, arguments[3], pairs, pairWords) || !getInt32Array(env, arguments[4], results, resultWords) ||
        napi_get_value_uint32(env, arguments[5], &flags) != napi_ok) {
      napi_throw_type_error(env, nullptr, "submit(memory, transfers, count, iovecs, results, flags)");
      return nullptr;
    }
    if (transferWords / TransferList::WORDS < count || resultWords < count) {
      napi_throw_range_error(env, nullptr, "count is beyond transfers or results");
      return nullptr;
    }
    const TransferList list(transfers, count, pairWords / 2);
    // First, for what was begun before an exception would be nobody's.
    if (!list.isValid()) {
      napi_throw_range_error(env, nullptr, "a transfer is out of range");
      return nullptr;
    }
    memory->refresh(env);
    uint32_t pending = 0;
    for (uint32_t i = 0; i < count; i++) {
      results[i] = carryOut(env, arguments[0], *memory, list[i], pairs, flags);
      if (results[i] < 0) pending++;
    }
    if (pending > 0) engine_->flush();
    napi_value result = nullptr;
    napi_create_uint32(env, pending, &result);
    return result;
  }

  /** Answers 0, an errno, or the negative token of what the engine does. */
  int32_t carryOut(napi_env env, napi_value memoryValue, const MemoryMap& memory, const Transfer& transfer,
                   const double* pairs, uint32_t flags) {
    pieces_.clear();
    const double* const first = pairs + 2 * transfer.first;
    const size_t count = transfer.end - transfer.first;
    if (!memory.translate(first, count, !transfer.write, pieces_)) return EFAULT;
    const size_t bytes = bytesOf(pieces_);
    if (bytes == 0) return 0;
    if (static_cast<double>(bytes) > MAX_TRANSFER) return EINVAL;
    const auto position = static_cast<off_t>(transfer.position);
    if ((flags & ENGINE_ONLY) == 0) {
      const int error = transfer.write ? cache_.write(pieces_, position, syncs_ > 0) : cache_.read(pieces_, position);
      if (error != EAGAIN) return error;
      pieces_.clear();
      if (!memory.translate(first, count, !transfer.write, pieces_)) return EFAULT;
    }
    try {
      return delegate(env, memoryValue, transfer.write, position, first, count);
    } catch (const std::bad_alloc&) {
      return ENOMEM;
    } catch (const std::system_error& error) {
      return error.code().value();
    }
  }

  /** Gives the engine a transfer of `pieces_`, in guest memory `count` pairs. Answers the negative token, or an errno. */
  int32_t delegate(napi_env env, napi_value memory, bool write, off_t position, const double* pairs, size_t count) {
    auto operation = std::make_unique<IoOperation>();
    const uint32_t token = newToken();
    operation->token = token;
    operation->kind = write ? IoOperation::Kind::WRITE : IoOperation::Kind::READ;
    operation->position = static_cast<uint64_t>(position);
    operation->length = bytesOf(pieces_);
    operation->buffer = buffers_.take(operation->length);
    if (write) {
      gather(pieces_, 0, operation->buffer.bytes.get(), operation->length);
    } else {
      napi_ref reference = nullptr;
      if (napi_create_reference(env, memory, 1, &reference) != napi_ok) return ENOMEM;
      reads_.add(token, reference, pairs, count);
    }
    try {
      start(std::move(operation));
    } catch (...) {
      reads_.remove(token);
      throw;
    }
    return -static_cast<int32_t>(token);
  }

  /** Tells what is done: stores (token, errno) and answers how many. Reads are kept for finish(). */
  static napi_value take(napi_env env, napi_callback_info info) noexcept {
    napi_value argument = nullptr;
    auto* const self = receiver<BlockFile>(env, info, 1, &argument);
    if (self == nullptr) return nullptr;
    int32_t* out = nullptr;
    size_t words = 0;
    if (!getInt32Array(env, argument, out, words)) {
      napi_throw_type_error(env, nullptr, "out is not an Int32Array");
      return nullptr;
    }
    uint32_t count = 0;
    while (count < words / DONE_WORDS && !self->done_.empty()) {
      std::unique_ptr<IoOperation> operation = std::move(self->done_.back());
      self->done_.pop_back();
      out[count * DONE_WORDS] = static_cast<int32_t>(operation->token);
      out[count * DONE_WORDS + 1] = operation->error;
      count++;
      self->release();
      if (operation->kind == IoOperation::Kind::SYNC) self->syncs_--;
      if (self->reads_.find(operation->token) != nullptr) self->taken_.push_back(std::move(operation));
      else self->buffers_.give(std::move(operation->buffer));
    }
    napi_value result = nullptr;
    napi_create_uint32(env, count, &result);
    return result;
  }

  /** Copies what a taken read has brought into guest memory, or forgets it. Answers 0 or an errno. */
  static napi_value finish(napi_env env, napi_callback_info info) noexcept {
    napi_value arguments[2] = {};
    auto* const self = receiver<BlockFile>(env, info, 2, arguments);
    if (self == nullptr) return nullptr;
    uint32_t token = 0;
    bool copy = false;
    if (napi_get_value_uint32(env, arguments[0], &token) != napi_ok ||
        napi_get_value_bool(env, arguments[1], &copy) != napi_ok) {
      napi_throw_type_error(env, nullptr, "finish(token, copy)");
      return nullptr;
    }
    napi_value result = nullptr;
    napi_create_int32(env, self->finishRead(env, token, copy), &result);
    return result;
  }

  int32_t finishRead(napi_env env, uint32_t token, bool copy) noexcept {
    const auto found = std::find_if(taken_.begin(), taken_.end(), [&](const auto& entry) { return entry->token == token; });
    if (found == taken_.end()) return ENOENT;
    const std::unique_ptr<IoOperation> operation = std::move(*found);
    taken_.erase(found);
    const PendingReads::Entry* const read = reads_.find(token);
    int32_t error = operation->error;
    napi_value value = nullptr;
    if (copy && error == 0) {
      MemoryMap* memory = nullptr;
      if (napi_get_reference_value(env, read->memory, &value) == napi_ok && value != nullptr)
        memory = MemoryMap::from(env, value);
      error = memory == nullptr ? EFAULT : store(env, *memory, read->pairs, operation->buffer.bytes.get());
    }
    buffers_.give(std::move(operation->buffer));
    reads_.remove(token);
    return error;
  }

  int32_t store(napi_env env, MemoryMap& memory, const std::vector<double>& pairs, const uint8_t* from) noexcept {
    memory.refresh(env);
    pieces_.clear();
    if (!memory.translate(pairs.data(), pairs.size() / 2, true, pieces_)) return EFAULT;
    scatter(pieces_, 0, from, bytesOf(pieces_));
    return 0;
  }

  void checkOpen(Napi::Env env, const char* call) const {
    if (poll_ == nullptr) throwErrno(env, EBADF, call);
  }

  Napi::Value begin(Napi::Env env, std::unique_ptr<IoOperation> operation) {
    const uint32_t token = newToken();
    operation->token = token;
    start(std::move(operation));
    engine_->flush();
    return Napi::Number::New(env, token);
  }

  Napi::Value sync(const Napi::CallbackInfo& info) {
    checkOpen(info.Env(), "fdatasync");
    auto operation = std::make_unique<IoOperation>();
    operation->kind = IoOperation::Kind::SYNC;
    const Napi::Value token = begin(info.Env(), std::move(operation));
    syncs_++;
    return token;
  }

  static std::unique_ptr<IoOperation> ofRange(const Napi::CallbackInfo& info, IoOperation::Kind kind, size_t at) {
    auto operation = std::make_unique<IoOperation>();
    operation->kind = kind;
    operation->position = static_cast<uint64_t>(toInteger(info[at], "position", 0, MAX_SAFE_INTEGER));
    operation->length = static_cast<uint64_t>(toInteger(info[at + 1], "length", 1, MAX_SAFE_INTEGER));
    return operation;
  }

  Napi::Value allocate(const Napi::CallbackInfo& info) {
    checkOpen(info.Env(), "fallocate");
    if (!info[0].IsString()) throw Napi::TypeError::New(info.Env(), "mode is not a string");
    const std::string mode = info[0].As<Napi::String>();
    auto operation = ofRange(info, IoOperation::Kind::ALLOCATE, 1);
    if (mode == "punch") operation->mode = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE;
    else if (mode == "zero") operation->mode = FALLOC_FL_KEEP_SIZE | FALLOC_FL_ZERO_RANGE;
    else throw Napi::RangeError::New(info.Env(), "mode is neither punch nor zero");
    return begin(info.Env(), std::move(operation));
  }

  Napi::Value zero(const Napi::CallbackInfo& info) {
    checkOpen(info.Env(), "pwrite");
    return begin(info.Env(), ofRange(info, IoOperation::Kind::ZERO, 0));
  }

  Napi::Value lock(const Napi::CallbackInfo& info) {
    checkOpen(info.Env(), "fcntl");
    if (!info[0].IsBoolean()) throw Napi::TypeError::New(info.Env(), "exclusive is not a boolean");
    const int error = lockFile(file_->get(), info[0].As<Napi::Boolean>() ? F_WRLCK : F_RDLCK);
    if (error != 0 && error != EAGAIN) throwErrno(info.Env(), error, "fcntl");
    return Napi::Boolean::New(info.Env(), error == 0);
  }

  Napi::Value size(const Napi::CallbackInfo& info) {
    checkOpen(info.Env(), "fstat");
    uint64_t bytes = 0;
    const int error = sizeOfFile(file_->get(), bytes);
    if (error != 0) throwErrno(info.Env(), error, "fstat");
    return Napi::Number::New(info.Env(), static_cast<double>(bytes));
  }

  Napi::Value engine(const Napi::CallbackInfo& info) {
    checkOpen(info.Env(), "read");
    return Napi::String::New(info.Env(), engine_->name());
  }

  void callClose(const Napi::CallbackInfo& /*info*/) { close(); }

  Environment* environment_ = nullptr;
  uv_poll_t* poll_ = nullptr;
  Napi::FunctionReference onDone_;
  std::shared_ptr<const FileDescriptor> file_;
  std::unique_ptr<IoEngine> engine_;
  PageCache cache_;
  unsigned syncs_ = 0;
  uint32_t nextToken_ = 0;
  unsigned flying_ = 0;
  IoBuffers buffers_;
  PendingReads reads_{Env()};
  /** Done, and not told yet. */
  std::vector<std::unique_ptr<IoOperation>> done_;
  /** Told, and waiting for finish(). */
  std::vector<std::unique_ptr<IoOperation>> taken_;
  std::vector<iovec> pieces_;
};

}  // namespace

void initBlock(Napi::Env env, Napi::Object exports) { exports.Set("BlockFile", BlockFile::define(env)); }

}  // namespace vmm
