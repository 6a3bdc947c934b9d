#include <linux/io_uring.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <deque>
#include <unordered_map>

#include "io.hh"

namespace vmm {

namespace {

/** Operations that the kernel has at a time; it takes a queue of twice as many results. */
constexpr unsigned ENTRIES = 64;

int setup(unsigned entries, io_uring_params* parameters) noexcept {
  return static_cast<int>(syscall(__NR_io_uring_setup, entries, parameters));
}

int enter(int fd, unsigned submit) noexcept {
  return static_cast<int>(syscall(__NR_io_uring_enter, fd, submit, 0U, 0U, nullptr, 0UL));
}

int registerWith(int fd, unsigned opcode, void* argument, unsigned count) noexcept {
  return static_cast<int>(syscall(__NR_io_uring_register, fd, opcode, argument, count));
}

/** A mapping of the ring. */
class Mapping {
 public:
  Mapping() = default;
  Mapping(int fd, size_t size, off_t offset) noexcept
      : data_(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, offset)), size_(size) {}
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    if (isOpen()) munmap(data_, size_);
  }

  bool isOpen() const noexcept { return data_ != MAP_FAILED; }
  template <class T>
  T* at(uint32_t offset) const noexcept {
    return reinterpret_cast<T*>(static_cast<uint8_t*>(data_) + offset);
  }

 private:
  void* data_ = MAP_FAILED;
  size_t size_ = 0;
};

bool supports(int ring) noexcept {
  constexpr unsigned COUNT = 256;
  alignas(io_uring_probe) uint8_t memory[sizeof(io_uring_probe) + COUNT * sizeof(io_uring_probe_op)] = {};
  auto* const probe = reinterpret_cast<io_uring_probe*>(memory);
  if (registerWith(ring, IORING_REGISTER_PROBE, probe, COUNT) != 0) return false;
  for (const unsigned opcode : {IORING_OP_READ, IORING_OP_WRITE, IORING_OP_FSYNC, IORING_OP_FALLOCATE}) {
    if (opcode > probe->last_op || (probe->ops[opcode].flags & IO_URING_OP_SUPPORTED) == 0) return false;
  }
  return true;
}

class Uring final : public IoEngine {
 public:
  Uring(std::shared_ptr<const FileDescriptor> file, FileDescriptor ring, FileDescriptor event,
        const io_uring_params& parameters) noexcept
      : file_(std::move(file)),
        ring_(std::move(ring)),
        event_(std::move(event)),
        rings_(ring_.get(),
               std::max<size_t>(parameters.sq_off.array + parameters.sq_entries * sizeof(uint32_t),
                                parameters.cq_off.cqes + parameters.cq_entries * sizeof(io_uring_cqe)),
               IORING_OFF_SQ_RING),
        entries_(ring_.get(), parameters.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES),
        parameters_(parameters) {}

  ~Uring() override {
    // The kernel may still write to what it was given, and nothing waits for it here: that memory stays.
    for (auto& entry : flying_) static_cast<void>(entry.second.release());
  }

  bool isOpen() const noexcept { return rings_.isOpen() && entries_.isOpen(); }

  const char* name() const noexcept override { return "io_uring"; }
  int event() const noexcept override { return event_.get(); }

  void submit(std::unique_ptr<IoOperation> operation) override { todo_.push_back(std::move(operation)); }

  void flush() noexcept override {
    auto* const tail = rings_.at<uint32_t>(parameters_.sq_off.tail);
    const uint32_t mask = *rings_.at<uint32_t>(parameters_.sq_off.ring_mask);
    auto* const array = rings_.at<uint32_t>(parameters_.sq_off.array);
    auto* const entries = entries_.at<io_uring_sqe>(0);
    uint32_t next = *tail;
    while (!todo_.empty() && flying_.size() < ENTRIES) {
      std::unique_ptr<IoOperation>& operation = todo_.front();
      const uint32_t index = next & mask;
      entries[index] = describe(*operation);
      array[index] = index;
      next++;
      unsubmitted_++;
      flying_.emplace(operation.get(), std::move(operation));
      todo_.pop_front();
    }
    std::atomic_ref(*tail).store(next, std::memory_order_release);
    while (unsubmitted_ > 0) {
      const int taken = enter(ring_.get(), unsubmitted_);
      if (taken < 0 && errno == EINTR) continue;
      // EAGAIN, EBUSY: the kernel is short of memory or of room for results; reap() tries again.
      if (taken <= 0) break;
      unsubmitted_ -= static_cast<unsigned>(taken);
    }
    if (unsubmitted_ > 0 && unsubmitted_ == flying_.size()) signal();
  }

  void reap(std::vector<std::unique_ptr<IoOperation>>& out) override {
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t read = ::read(event_.get(), &count, sizeof(count));
    auto* const head = rings_.at<uint32_t>(parameters_.cq_off.head);
    auto* const tail = rings_.at<uint32_t>(parameters_.cq_off.tail);
    const uint32_t mask = *rings_.at<uint32_t>(parameters_.cq_off.ring_mask);
    const auto* const results = rings_.at<io_uring_cqe>(parameters_.cq_off.cqes);
    uint32_t next = *head;
    while (next != std::atomic_ref(*tail).load(std::memory_order_acquire)) {
      const io_uring_cqe& result = results[next & mask];
      const auto found = flying_.find(reinterpret_cast<IoOperation*>(result.user_data));
      const int32_t outcome = result.res;
      next++;
      std::atomic_ref(*head).store(next, std::memory_order_release);
      if (found == flying_.end()) continue;
      std::unique_ptr<IoOperation> operation = std::move(found->second);
      flying_.erase(found);
      if (operation->advance(outcome)) out.push_back(std::move(operation));
      else todo_.push_front(std::move(operation));
    }
    flush();
  }

 private:
  io_uring_sqe describe(const IoOperation& operation) const noexcept {
    io_uring_sqe entry{};
    entry.fd = file_->get();
    entry.user_data = reinterpret_cast<uint64_t>(&operation);
    entry.off = operation.position;
    switch (operation.kind) {
      case IoOperation::Kind::READ:
        entry.opcode = IORING_OP_READ;
        break;
      case IoOperation::Kind::WRITE:
      case IoOperation::Kind::ZERO:
        entry.opcode = IORING_OP_WRITE;
        break;
      case IoOperation::Kind::SYNC:
        entry.opcode = IORING_OP_FSYNC;
        entry.off = 0;
        entry.fsync_flags = IORING_FSYNC_DATASYNC;
        return entry;
      case IoOperation::Kind::ALLOCATE:
        entry.opcode = IORING_OP_FALLOCATE;
        entry.len = static_cast<uint32_t>(operation.mode);
        entry.addr = operation.length;
        return entry;
    }
    entry.addr = reinterpret_cast<uint64_t>(operation.memory());
    entry.len = operation.chunk();
    return entry;
  }

  void signal() const noexcept {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(event_.get(), &one, sizeof(one));
  }

  std::shared_ptr<const FileDescriptor> file_;
  FileDescriptor ring_;
  FileDescriptor event_;
  Mapping rings_;
  Mapping entries_;
  io_uring_params parameters_;
  std::deque<std::unique_ptr<IoOperation>> todo_;
  /** What the kernel has, by the address that it knows it under. */
  std::unordered_map<IoOperation*, std::unique_ptr<IoOperation>> flying_;
  unsigned unsubmitted_ = 0;
};

}  // namespace

std::unique_ptr<IoEngine> openUring(std::shared_ptr<const FileDescriptor> file) {
  io_uring_params parameters{};
  FileDescriptor ring(setup(ENTRIES, &parameters));
  if (!ring.isOpen() || (parameters.features & IORING_FEAT_SINGLE_MMAP) == 0 || !supports(ring.get())) return nullptr;
  FileDescriptor event(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  int number = event.get();
  if (!event.isOpen() || registerWith(ring.get(), IORING_REGISTER_EVENTFD, &number, 1) != 0) return nullptr;
  auto result = std::make_unique<Uring>(std::move(file), std::move(ring), std::move(event), parameters);
  return result->isOpen() ? std::move(result) : nullptr;
}

}  // namespace vmm
