#include <fcntl.h>
#include <napi.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>
#include <utility>

#include "errors.hh"
#include "file_descriptor.hh"
#include "memory_map.hh"
#include "polled_descriptor.hh"

namespace vmm {

namespace {

/** What read() and write() answer when no program has the terminal open. */
constexpr double HUNG_UP = -1;

/** The master of a pseudo-terminal: `new PtyMaster(onReady)`. */
class PtyMaster final : public Napi::ObjectWrap<PtyMaster> {
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
    FileDescriptor fd(::posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
    if (!fd.isOpen()) throwErrno(env, errno, "posix_openpt");
    char path[64];
    if (::grantpt(fd.get()) != 0) throwErrno(env, errno, "grantpt");
    if (::unlockpt(fd.get()) != 0) throwErrno(env, errno, "unlockpt");
    const int error = ::ptsname_r(fd.get(), path, sizeof(path));
    if (error != 0) throwErrno(env, error, "ptsname_r");
    path_ = path;
    makeRaw(env, fd.get());
    // A master hangs up when a terminal is closed, not before it was first opened.
    openTerminal(env, fd.get());
    master_.open(info.This().As<Napi::Object>(), std::move(fd), info[0].As<Napi::Function>());
  }

 private:
  void checkOpen(Napi::Env env, const char* what) const {
    if (!master_.isOpen()) throwErrno(env, EBADF, what);
  }

  /** Linux keeps a terminal's settings with the pair, and lets the master set them. */
  static void makeRaw(Napi::Env env, int master) {
    termios settings{};
    if (::tcgetattr(master, &settings) != 0) throwErrno(env, errno, "tcgetattr");
    ::cfmakeraw(&settings);
    if (::tcsetattr(master, TCSANOW, &settings) != 0) throwErrno(env, errno, "tcsetattr");
  }

  static FileDescriptor openTerminal(Napi::Env env, int master) {
    FileDescriptor terminal(::ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (!terminal.isOpen()) throwErrno(env, errno, "TIOCGPTPEER");
    return terminal;
  }

  Napi::Value path(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), path_); }

  bool isHungUp(Napi::Env env) const {
    pollfd poll{master_.get(), 0, 0};
    if (::poll(&poll, 1, 0) < 0 && errno != EINTR) throwErrno(env, errno, "poll");
    return (poll.revents & POLLHUP) != 0;
  }

  Napi::Value hungUp(const Napi::CallbackInfo& info) {
    checkOpen(info.Env(), "poll");
    return Napi::Boolean::New(info.Env(), isHungUp(info.Env()));
  }

  Napi::Value unread(const Napi::CallbackInfo& info) {
    checkOpen(info.Env(), "TIOCINQ");
    const FileDescriptor terminal = openTerminal(info.Env(), master_.get());
    // Its line discipline takes what is still on its way from the master before it says that there is nothing.
    pollfd poll{terminal.get(), POLLIN, 0};
    if (::poll(&poll, 1, 0) < 0 && errno != EINTR) throwErrno(info.Env(), errno, "poll");
    int bytes = 0;
    if (::ioctl(terminal.get(), TIOCINQ, &bytes) != 0) throwErrno(info.Env(), errno, "TIOCINQ");
    return Napi::Number::New(info.Env(), bytes);
  }

  Napi::Value read(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    checkOpen(env, "read");
    uint8_t* buffer = nullptr;
    size_t length = 0;
    if (!getUint8Array(env, info[0], buffer, length)) throw Napi::TypeError::New(env, "buffer is not a Uint8Array");
    ssize_t got = 0;
    do got = ::read(master_.get(), buffer, length);
    while (got < 0 && errno == EINTR);
    return answer(env, got, UV_READABLE, "read");
  }

  Napi::Value write(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    checkOpen(env, "write");
    uint8_t* bytes = nullptr;
    size_t length = 0;
    if (!getUint8Array(env, info[0], bytes, length)) throw Napi::TypeError::New(env, "bytes are no Uint8Array");
    // The kernel takes some for whoever comes next, and then would be full and ready at once.
    if (isHungUp(env)) return Napi::Number::New(env, HUNG_UP);
    ssize_t put = 0;
    do put = ::write(master_.get(), bytes, length);
    while (put < 0 && errno == EINTR);
    return answer(env, put, UV_WRITABLE, "write");
  }

  Napi::Value answer(Napi::Env env, ssize_t bytes, int event, const char* what) {
    if (bytes >= 0) return Napi::Number::New(env, static_cast<double>(bytes));
    if (errno == EIO) return Napi::Number::New(env, HUNG_UP);
    if (errno != EAGAIN) throwErrno(env, errno, what);
    master_.want(event);
    return Napi::Number::New(env, 0);
  }

  Napi::Value size(const Napi::CallbackInfo& info) {
    checkOpen(info.Env(), "TIOCGWINSZ");
    winsize size{};
    if (::ioctl(master_.get(), TIOCGWINSZ, &size) != 0) throwErrno(info.Env(), errno, "TIOCGWINSZ");
    return Napi::Number::New(info.Env(), size.ws_col * 65536.0 + size.ws_row);
  }

  void setSize(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    checkOpen(env, "TIOCSWINSZ");
    winsize size{};
    size.ws_col = static_cast<unsigned short>(toInteger(info[0], "columns", 0, UINT16_MAX));
    size.ws_row = static_cast<unsigned short>(toInteger(info[1], "rows", 0, UINT16_MAX));
    if (::ioctl(master_.get(), TIOCSWINSZ, &size) != 0) throwErrno(env, errno, "TIOCSWINSZ");
  }

  void setRaw(const Napi::CallbackInfo& info) {
    checkOpen(info.Env(), "tcsetattr");
    makeRaw(info.Env(), master_.get());
  }

  void callClose(const Napi::CallbackInfo& /*info*/) { master_.close(); }

  PolledDescriptor master_;
  std::string path_;
};

}  // namespace

void initPty(Napi::Env env, Napi::Object exports) { exports.Set("PtyMaster", PtyMaster::define(env)); }

}  // namespace vmm
