#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace vmm {

/** Bytes of a request's argument (_IOC_SIZE). */
size_t requestSize(uint32_t request) noexcept;

/** What goes through the functions that keep count of it, and what this process must not do at all. */
bool isRefused(uint32_t request) noexcept;

/**
 * Bytes that the kernel reads or writes at the structure, its counted tail included.
 *
 * @param xsaveSize size of kvm_xsave (KVM_CAP_XSAVE2)
 */
size_t structureSize(uint32_t request, std::span<const uint8_t> structure, size_t xsaveSize) noexcept;

/** Where the structure holds the address of further bytes; 0 if it does not. */
size_t pointerOffset(uint32_t request) noexcept;

/** Bytes that the kernel reads or writes there, as far as the structure tells. */
size_t pointeeSize(uint32_t request, std::span<const uint8_t> structure) noexcept;

}  // namespace vmm
