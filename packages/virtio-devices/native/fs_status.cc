#include "fs_status.hh"

#include <fcntl.h>

#include "fs_call.hh"

namespace vmm {

namespace {

constexpr unsigned STAT_MASK = STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID;

void putWords(uint32_t* words, uint64_t value) noexcept {
  words[0] = static_cast<uint32_t>(value);
  words[1] = static_cast<uint32_t>(value >> 32);
}

void putTime(uint32_t* words, const struct statx_timestamp& time) noexcept {
  putWords(words, static_cast<uint64_t>(time.tv_sec));
  words[2] = time.tv_nsec;
}

}  // namespace

void putStat(uint32_t* words, const struct statx& st) noexcept {
  words[0] = st.stx_mode;
  words[1] = st.stx_nlink;
  words[2] = st.stx_uid;
  words[3] = st.stx_gid;
  words[4] = st.stx_rdev_major;
  words[5] = st.stx_rdev_minor;
  words[6] = st.stx_dev_major;
  words[7] = st.stx_dev_minor;
  putWords(words + 8, st.stx_ino);
  putWords(words + 10, st.stx_size);
  putWords(words + 12, st.stx_blocks);
  words[14] = st.stx_blksize;
  putTime(words + 15, st.stx_atime);
  putTime(words + 18, st.stx_mtime);
  putTime(words + 21, st.stx_ctime);
  if ((st.stx_mask & STATX_BTIME) != 0) putTime(words + 24, st.stx_btime);
  else words[24] = words[25] = words[26] = 0;
}

int readStat(int fd, struct statx& st) noexcept {
  return resultOf(::statx(fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_SYMLINK_NOFOLLOW, STAT_MASK, &st));
}

bool sameMount(const struct statx& a, const struct statx& b) noexcept {
  if ((a.stx_mask & b.stx_mask & STATX_MNT_ID) != 0) return a.stx_mnt_id == b.stx_mnt_id;
  return a.stx_dev_major == b.stx_dev_major && a.stx_dev_minor == b.stx_dev_minor;
}

}  // namespace vmm
