#pragma once

#include <napi.h>
#include <uv.h>

#include "environment.hh"
#include "file_descriptor.hh"

namespace vmm {

/**
 * A non-blocking descriptor of a JavaScript object, which is told once of what it was found to wait for: what is ready and
 * stays unread does not wake the event loop again. Does not keep the loop alive.
 */
class PolledDescriptor final : public Resource {
 public:
  PolledDescriptor() = default;
  PolledDescriptor(const PolledDescriptor&) = delete;
  PolledDescriptor& operator=(const PolledDescriptor&) = delete;
  ~PolledDescriptor() { close(); }

  /**
   * Once. The first thing that is waited for is UV_READABLE.
   *
   * @param self has the descriptor; kept alive until close(), since the event loop calls it
   * @param onReady its callback, with UV_READABLE and UV_WRITABLE bits
   */
  void open(const Napi::Object& self, FileDescriptor fd, const Napi::Function& onReady);
  void close() noexcept override;

  /** -1 when it is closed. */
  int get() const noexcept { return fd_.get(); }
  bool isOpen() const noexcept { return fd_.isOpen(); }

  /** Waits for these events too. */
  void want(int events) noexcept;

 private:
  static void onPoll(uv_poll_t* poll, int status, int events);
  void update() noexcept;

  Environment* environment_ = nullptr;
  FileDescriptor fd_;
  Napi::ObjectReference self_;
  Napi::FunctionReference onReady_;
  uv_poll_t* poll_ = nullptr;
  int wanted_ = 0;
  int polled_ = 0;
  bool inCallback_ = false;
};

}  // namespace vmm
