#pragma once

#include <fcntl.h>
#include <napi.h>

namespace vmm {

/** Flags of open(2) that a guest may set. */
inline constexpr int FS_GUEST_FLAGS = O_ACCMODE | O_TRUNC | O_APPEND | O_SYNC | O_DSYNC;
/** Those of every file that is opened: nothing that a guest opens waits or becomes a terminal of this process. */
inline constexpr int FS_OPEN_FLAGS = O_CLOEXEC | O_NOCTTY | O_NONBLOCK;

/** Give `fs` of native-fs.ts its functions. */
void initFsEntries(Napi::Object& fs);
void initFsAttributes(Napi::Object& fs);
void initFsFiles(Napi::Object& fs);

}  // namespace vmm
