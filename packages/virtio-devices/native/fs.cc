#include <napi.h>

namespace vmm {

void initFs(Napi::Env /*env*/, Napi::Object /*exports*/) {}

}  // namespace vmm
