#include "bus-error.hh"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <mutex>

namespace vmm {

namespace {

/** A line of /proc/self/maps: the longest path and what stands before it. */
constexpr size_t LINE = 4096 + 128;

struct sigaction previousBusAction;

void say(const char* text, size_t length) noexcept {
  while (length > 0) {
    const ssize_t written = write(STDERR_FILENO, text, length);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;
    text += written;
    length -= static_cast<size_t>(written);
  }
}

/** Reads hexadecimal digits and steps behind them. */
uintptr_t toAddress(const char*& text) noexcept {
  uintptr_t value = 0;
  for (;; text++) {
    if (*text >= '0' && *text <= '9')
      value = value * 16 + static_cast<uintptr_t>(*text - '0');
    else if (*text >= 'a' && *text <= 'f')
      value = value * 16 + static_cast<uintptr_t>(*text - 'a' + 10);
    else
      return value;
  }
}

/** The path of the file in a line of /proc/self/maps if it is the mapping of `address`; else nullptr. */
const char* pathOf(const char* line, uintptr_t address) noexcept {
  const uintptr_t start = toAddress(line);
  if (*line++ != '-') return nullptr;
  const uintptr_t end = toAddress(line);
  return address >= start && address < end ? std::strchr(line, '/') : nullptr;
}

/** Says what file is mapped at `address`, if any is. In a signal handler: system calls and the stack only. */
void explain(uintptr_t address) noexcept {
  const int maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (maps < 0) return;
  std::array<char, LINE> line;
  std::array<char, 1024> block;
  size_t length = 0;
  ssize_t count = 0;
  const char* path = nullptr;
  while (path == nullptr && (count = read(maps, block.data(), block.size())) > 0) {
    for (ssize_t index = 0; path == nullptr && index < count; index++) {
      const char character = block[static_cast<size_t>(index)];
      if (character != '\n') {
        if (length < LINE - 1) line[length++] = character;
        continue;
      }
      line[length] = '\0';
      length = 0;
      path = pathOf(line.data(), address);
    }
  }
  close(maps);
  if (path == nullptr) return;
  constexpr char BEFORE[] = "@vmm/hypervisor: ";
  constexpr char AFTER[] =
      " cannot be read where it is mapped as guest memory: it is shorter than it was, or its disk failed. The process "
      "cannot go on.\n";
  say(BEFORE, sizeof(BEFORE) - 1);
  say(path, std::strlen(path));
  say(AFTER, sizeof(AFTER) - 1);
}

void onBusError(int signal, siginfo_t* info, void* /*context*/) {
  const int error = errno;
  if (info->si_code == BUS_ADRERR) explain(reinterpret_cast<uintptr_t>(info->si_addr));
  // The access is made again after this, and ends as it would have without.
  sigaction(signal, &previousBusAction, nullptr);
  // One that somebody sent does not come again by itself.
  if (info->si_code <= 0) raise(signal);
  errno = error;
}

}  // namespace

void explainBusErrors() noexcept {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action{};
    action.sa_sigaction = onBusError;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGBUS, &action, &previousBusAction);
  });
}

}  // namespace vmm
