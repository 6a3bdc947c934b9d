#include <fcntl.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>

#include "io.hh"

namespace vmm {

namespace {

/** Threads of one file: as many requests as a disk is given at a time. */
constexpr unsigned MAX_THREADS = 4;

int64_t callOnce(int fd, IoOperation& operation) noexcept {
  const auto position = static_cast<off_t>(operation.position);
  int64_t result = -1;
  switch (operation.kind) {
    case IoOperation::Kind::READ:
      result = pread(fd, operation.memory(), operation.chunk(), position);
      break;
    case IoOperation::Kind::WRITE:
    case IoOperation::Kind::ZERO:
      result = pwrite(fd, operation.memory(), operation.chunk(), position);
      break;
    case IoOperation::Kind::SYNC:
      result = fdatasync(fd);
      break;
    case IoOperation::Kind::ALLOCATE:
      result = fallocate(fd, operation.mode, position, static_cast<off_t>(operation.length));
      break;
  }
  return result < 0 ? -errno : result;
}

/** What the threads share with their engine, and outlives it while one of them is in a system call. */
struct Work {
  std::shared_ptr<const FileDescriptor> file;
  FileDescriptor event;
  std::mutex mutex;
  std::condition_variable wake;
  std::deque<std::unique_ptr<IoOperation>> todo;
  std::vector<std::unique_ptr<IoOperation>> done;
  unsigned threads = 0;
  unsigned idle = 0;
  bool ended = false;
};

void serve(std::shared_ptr<Work> work) noexcept {
  std::unique_lock lock(work->mutex);
  for (;;) {
    work->idle++;
    work->wake.wait(lock, [&] { return work->ended || !work->todo.empty(); });
    work->idle--;
    if (work->ended) return;
    std::unique_ptr<IoOperation> operation = std::move(work->todo.front());
    work->todo.pop_front();
    lock.unlock();
    while (!operation->advance(callOnce(work->file->get(), *operation))) {
    }
    lock.lock();
    work->done.push_back(std::move(operation));
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(work->event.get(), &one, sizeof(one));
  }
}

class IoThreads final : public IoEngine {
 public:
  explicit IoThreads(std::shared_ptr<Work> work) noexcept : work_(std::move(work)) {}

  ~IoThreads() override {
    const std::lock_guard lock(work_->mutex);
    work_->ended = true;
    work_->wake.notify_all();
  }

  const char* name() const noexcept override { return "threads"; }
  int event() const noexcept override { return work_->event.get(); }

  void submit(std::unique_ptr<IoOperation> operation) override {
    const std::lock_guard lock(work_->mutex);
    if (work_->todo.size() >= work_->idle && work_->threads < MAX_THREADS) start();
    work_->todo.push_back(std::move(operation));
    work_->wake.notify_one();
  }

  void flush() noexcept override {}

  void reap(std::vector<std::unique_ptr<IoOperation>>& out) override {
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t taken = read(work_->event.get(), &count, sizeof(count));
    const std::lock_guard lock(work_->mutex);
    for (auto& operation : work_->done) out.push_back(std::move(operation));
    work_->done.clear();
  }

 private:
  void start() {
    // Signals are for Node's own thread.
    sigset_t all;
    sigset_t old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    try {
      std::thread(serve, work_).detach();
      work_->threads++;
    } catch (const std::system_error&) {
      if (work_->threads == 0) {
        pthread_sigmask(SIG_SETMASK, &old, nullptr);
        throw;
      }
    }
    pthread_sigmask(SIG_SETMASK, &old, nullptr);
  }

  std::shared_ptr<Work> work_;
};

}  // namespace

std::unique_ptr<IoEngine> openIoThreads(std::shared_ptr<const FileDescriptor> file) {
  auto work = std::make_shared<Work>();
  work->file = std::move(file);
  work->event = FileDescriptor(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!work->event.isOpen()) return nullptr;
  return std::make_unique<IoThreads>(std::move(work));
}

}  // namespace vmm
