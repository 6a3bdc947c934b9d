#pragma once

namespace vmm {

/**
 * From now on, a SIGBUS that ends the process because a mapped file was truncated is explained on standard error, with the
 * file's name. What happens to the signal stays what it was. Any number of calls, from any thread.
 */
void explainBusErrors() noexcept;

}  // namespace vmm
