#pragma once

#include <sys/stat.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>

namespace vmm {

/** Words of a status, see FS_STAT in native-fs.ts. */
inline constexpr size_t STAT_WORDS = 30;
/** Where `create` puts the handle. */
inline constexpr size_t STAT_HANDLE = 27;

/** The path of what a handle stands for. */
class HandlePath {
 public:
  explicit HandlePath(int fd) noexcept { std::snprintf(path_.data(), path_.size(), "/proc/self/fd/%d", fd); }
  const char* get() const noexcept { return path_.data(); }

 private:
  std::array<char, 32> path_{};
};

/** The status of what a handle or descriptor stands for. Answers 0 or a negative errno. */
int readStat(int fd, struct statx& st) noexcept;
void putStat(uint32_t* words, const struct statx& st) noexcept;
bool sameMount(const struct statx& a, const struct statx& b) noexcept;

}  // namespace vmm
