#include <napi.h>

namespace vmm {

void initBlock(Napi::Env /*env*/, Napi::Object /*exports*/) {}

}  // namespace vmm
