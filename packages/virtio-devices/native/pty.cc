#include <fcntl.h>
#include <napi.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>

#include "environment.hh"
#include "errors.hh"
#include "file_descriptor.hh"

namespace vmm {

namespace {

/** What read() and write() answer when no program has the terminal open. */
constexpr double HUNG_UP = -1;

}  // namespace

/** The master of a pseudo-terminal: `new PtyMaster(onReady)`. */
class PtyMaster final : public Napi::ObjectWrap<PtyMaster>, public Resource {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(
        env, "PtyMaster",
        {InstanceAccessor<&PtyMaster::path>("path"), InstanceAccessor<&PtyMaster::hungUp>("hungUp"),
         InstanceAccessor<&PtyMaster::unread>("unread"), InstanceMethod<&PtyMaster::read>("read"),
         InstanceMethod<&PtyMaster::write>("write"), InstanceMethod<&PtyMaster::size>("size"),
         InstanceMethod<&PtyMaster::setSize>("setSize"), InstanceMethod<&PtyMaster::setRaw>("setRaw"),
         InstanceMethod<&PtyMaster::callClose>("close")});
  }

  explicit PtyMaster(const Napi::CallbackInfo& info) : Napi::ObjectWrap<PtyMaster>(info) {
    const Napi::Env env = info.Env();
    if (!info[0].IsFunction()) throw Napi::TypeError::New(env, "wrong arguments");
    fd_ = FileDescriptor(::posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
    if (!fd_.isOpen()) throwErrno(env, errno, "posix_openpt");
    char path[64];
    if (::grantpt(fd_.get()) != 0) throwErrno(env, errno, "grantpt");
    if (::unlockpt(fd_.get()) != 0) throwErrno(env, errno, "unlockpt");
    const int error = ::ptsname_r(fd_.get(), path, sizeof(path));
    if (error != 0) throwErrno(env, error, "ptsname_r");
    path_ = path;
    makeRaw(env);
    // A master hangs up when a terminal is closed, not before it was first opened.
    openTerminal(env);
    onReady_ = Napi::Persistent(info[0].As<Napi::Function>());
    Environment& environment = Environment::of(env);
    poll_ = environment.openPoll(fd_.get(), onPoll, this);
    if (poll_ == nullptr) throw Napi::Error::New(env, "no memory for a poll handle");
    polled_ = wanted_ = UV_READABLE;
    environment.add(*this);
    // Kept until close(): the event loop calls it.
    Ref();
  }

  void close() noexcept override {
    if (poll_ == nullptr) return;
    Environment& environment = Environment::of(Env());
    environment.closePoll(poll_);
    poll_ = nullptr;
    environment.remove(*this);
    fd_.reset();
    onReady_.Reset();
    Unref();
  }

 private:
  void checkOpen(Napi::Env env, const char* what) const {
    if (!fd_.isOpen()) throwErrno(env, EBADF, what);
  }

  /** Linux keeps a terminal's settings with the pair, and lets the master set them. */
  void makeRaw(Napi::Env env) {
    termios settings{};
    if (::tcgetattr(fd_.get(), &settings) != 0) throwErrno(env, errno, "tcgetattr");
    ::cfmakeraw(&settings);
    if (::tcsetattr(fd_.get(), TCSANOW, &settings) != 0) throwErrno(env, errno, "tcsetattr");
  }

  FileDescriptor openTerminal(Napi::Env env) {
    FileDescriptor terminal(::ioctl(fd_.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (!terminal.isOpen()) throwErrno(env, errno, "TIOCGPTPEER");
    return terminal;
  }

  Napi::Value path(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), path_); }

  bool isHungUp(Napi::Env env) const {
    pollfd poll{fd_.get(), 0, 0};
    if (::poll(&poll, 1, 0) < 0 && errno != EINTR) throwErrno(env, errno, "poll");
    return (poll.revents & POLLHUP) != 0;
  }

  Napi::Value hungUp(const Napi::CallbackInfo& info) {
    checkOpen(info.Env(), "poll");
    return Napi::Boolean::New(info.Env(), isHungUp(info.Env()));
  }

  Napi::Value unread(const Napi::CallbackInfo& info) {
    checkOpen(info.Env(), "TIOCINQ");
    const FileDescriptor terminal = openTerminal(info.Env());
    int bytes = 0;
    if (::ioctl(terminal.get(), TIOCINQ, &bytes) != 0) throwErrno(info.Env(), errno, "TIOCINQ");
    return Napi::Number::New(info.Env(), bytes);
  }

  Napi::Value read(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    checkOpen(env, "read");
    if (!info[0].IsTypedArray() || info[0].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array)
      throw Napi::TypeError::New(env, "buffer is not a Uint8Array");
    auto buffer = info[0].As<Napi::Uint8Array>();
    ssize_t got = 0;
    do got = ::read(fd_.get(), buffer.Data(), buffer.ByteLength());
    while (got < 0 && errno == EINTR);
    return answer(env, got, UV_READABLE, "read");
  }

  Napi::Value write(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    checkOpen(env, "write");
    if (!info[0].IsTypedArray() || info[0].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array)
      throw Napi::TypeError::New(env, "bytes are no Uint8Array");
    const auto bytes = info[0].As<Napi::Uint8Array>();
    // The kernel takes some for whoever comes next, and then would be full and ready at once.
    if (isHungUp(env)) return Napi::Number::New(env, HUNG_UP);
    ssize_t put = 0;
    do put = ::write(fd_.get(), bytes.Data(), bytes.ByteLength());
    while (put < 0 && errno == EINTR);
    return answer(env, put, UV_WRITABLE, "write");
  }

  Napi::Value answer(Napi::Env env, ssize_t bytes, int event, const char* what) {
    if (bytes >= 0) return Napi::Number::New(env, static_cast<double>(bytes));
    if (errno == EIO) return Napi::Number::New(env, HUNG_UP);
    if (errno != EAGAIN) throwErrno(env, errno, what);
    wanted_ |= event;
    if (!inCallback_) updatePoll();
    return Napi::Number::New(env, 0);
  }

  Napi::Value size(const Napi::CallbackInfo& info) {
    checkOpen(info.Env(), "TIOCGWINSZ");
    winsize size{};
    if (::ioctl(fd_.get(), TIOCGWINSZ, &size) != 0) throwErrno(info.Env(), errno, "TIOCGWINSZ");
    return Napi::Number::New(info.Env(), size.ws_col * 65536.0 + size.ws_row);
  }

  void setSize(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    checkOpen(env, "TIOCSWINSZ");
    winsize size{};
    size.ws_col = static_cast<unsigned short>(toInteger(info[0], "columns", 0, UINT16_MAX));
    size.ws_row = static_cast<unsigned short>(toInteger(info[1], "rows", 0, UINT16_MAX));
    if (::ioctl(fd_.get(), TIOCSWINSZ, &size) != 0) throwErrno(env, errno, "TIOCSWINSZ");
  }

  void setRaw(const Napi::CallbackInfo& info) {
    checkOpen(info.Env(), "tcsetattr");
    makeRaw(info.Env());
  }

  void callClose(const Napi::CallbackInfo& /*info*/) { close(); }

  void updatePoll() noexcept {
    if (poll_ == nullptr || wanted_ == polled_) return;
    polled_ = wanted_;
    if (wanted_ == 0) uv_poll_stop(poll_);
    else uv_poll_start(poll_, wanted_, onPoll);
  }

  static void onPoll(uv_poll_t* poll, int status, int events) {
    auto* const self = static_cast<PtyMaster*>(poll->data);
    // Whatever is wrong, the next read says it.
    if (status < 0) {
      events = self->polled_;
      self->polled_ = 0;
    }
    // Each event is told once: what hung up stays ready.
    self->wanted_ &= ~events;
    self->inCallback_ = true;
    const Napi::Env env = self->Env();
    const Napi::HandleScope scope(env);
    const napi_value argument = Napi::Number::New(env, events);
    callFromLoop(env, self->Value(), self->onReady_.Value(), 1, &argument);
    self->inCallback_ = false;
    self->updatePoll();
  }

  FileDescriptor fd_;
  std::string path_;
  Napi::FunctionReference onReady_;
  uv_poll_t* poll_ = nullptr;
  int wanted_ = 0;
  int polled_ = 0;
  bool inCallback_ = false;
};

void initPty(Napi::Env env, Napi::Object exports) { exports.Set("PtyMaster", PtyMaster::define(env)); }

}  // namespace vmm
