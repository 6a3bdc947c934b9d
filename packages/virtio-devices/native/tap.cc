#include <napi.h>

namespace vmm {

void initTap(Napi::Env /*env*/, Napi::Object /*exports*/) {}

}  // namespace vmm
