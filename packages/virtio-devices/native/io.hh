#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "file_descriptor.hh"

namespace vmm {

/** Memory of a read or write that is under way: guest memory may be gone by the time the disk answers. */
struct IoBuffer {
  std::unique_ptr<uint8_t[]> bytes;
  size_t capacity = 0;
};

/** Buffers for use again: fresh memory costs a page fault for every 4 KiB, which is more than the copy. */
class IoBuffers {
 public:
  IoBuffer take(size_t size);
  void give(IoBuffer buffer) noexcept;

 private:
  std::vector<IoBuffer> free_;
  size_t bytes_ = 0;
};

/** What an {@link IoEngine} does away from the event loop, all of it, however many system calls that takes. */
struct IoOperation {
  enum class Kind : uint8_t { READ, WRITE, SYNC, ALLOCATE, ZERO };

  Kind kind;
  /** Argument of fallocate(). */
  int mode = 0;
  uint64_t position = 0;
  /** Bytes that are still to do. */
  uint64_t length = 0;
  /** Of a READ or WRITE. */
  IoBuffer buffer;
  /** Bytes of it that are done. */
  uint64_t done = 0;
  /** Outcome: 0 or a positive errno; ENODATA for a read beyond the end of the file. */
  int error = 0;
  /** For whoever submitted it. */
  uint32_t token = 0;

  /** Bytes and memory of the next system call of a READ, WRITE or ZERO. */
  uint32_t chunk() const noexcept;
  uint8_t* memory() const noexcept;
  /**
   * Takes the result of a system call, negative errno or what it answered.
   *
   * @returns whether the operation has come to its end
   */
  bool advance(int64_t result) noexcept;
};

/** Carries out operations on one file, in any order. Used on one thread. Gone at once, whatever is in flight. */
class IoEngine {
 public:
  virtual ~IoEngine() = default;
  /** "io_uring" or "threads". */
  virtual const char* name() const noexcept = 0;
  /** Readable when something is done. */
  virtual int event() const noexcept = 0;
  /** Takes an operation; it may wait for flush(). Throws std::bad_alloc or std::system_error, and has not taken it then. */
  virtual void submit(std::unique_ptr<IoOperation> operation) = 0;
  /** Starts what was submitted. */
  virtual void flush() noexcept = 0;
  /** Appends what is done. */
  virtual void reap(std::vector<std::unique_ptr<IoOperation>>& out) = 0;
};

/** io_uring, where the kernel has it (5.6) and lets us; null otherwise. */
std::unique_ptr<IoEngine> openUring(std::shared_ptr<const FileDescriptor> file);
/** Threads that are started as they are needed; null if there is no eventfd. */
std::unique_ptr<IoEngine> openIoThreads(std::shared_ptr<const FileDescriptor> file);

}  // namespace vmm
