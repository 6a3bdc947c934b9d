#include "requests.hh"

#include <linux/kvm.h>

#include <algorithm>
#include <cstring>
#include <limits>

namespace vmm {

namespace {

/** A structure that ends in an array: its length's width and place (always at the start), and what an element takes. */
struct Counted {
  uint32_t request;
  size_t countSize;
  size_t header;
  size_t element;
};

constexpr Counted COUNTED[] = {
    {KVM_SET_GSI_ROUTING, 4, sizeof(kvm_irq_routing), sizeof(kvm_irq_routing_entry)},
    {KVM_GET_REG_LIST, 8, sizeof(kvm_reg_list), sizeof(uint64_t)},
#if defined(__x86_64__)
    {KVM_GET_SUPPORTED_CPUID, 4, sizeof(kvm_cpuid2), sizeof(kvm_cpuid_entry2)},
    {KVM_GET_EMULATED_CPUID, 4, sizeof(kvm_cpuid2), sizeof(kvm_cpuid_entry2)},
    {KVM_GET_SUPPORTED_HV_CPUID, 4, sizeof(kvm_cpuid2), sizeof(kvm_cpuid_entry2)},
    {KVM_SET_CPUID, 4, sizeof(kvm_cpuid), sizeof(kvm_cpuid_entry)},
    {KVM_SET_CPUID2, 4, sizeof(kvm_cpuid2), sizeof(kvm_cpuid_entry2)},
    {KVM_GET_CPUID2, 4, sizeof(kvm_cpuid2), sizeof(kvm_cpuid_entry2)},
    {KVM_GET_MSRS, 4, sizeof(kvm_msrs), sizeof(kvm_msr_entry)},
    {KVM_SET_MSRS, 4, sizeof(kvm_msrs), sizeof(kvm_msr_entry)},
    {KVM_GET_MSR_INDEX_LIST, 4, sizeof(kvm_msr_list), sizeof(uint32_t)},
    {KVM_GET_MSR_FEATURE_INDEX_LIST, 4, sizeof(kvm_msr_list), sizeof(uint32_t)},
#endif
};

constexpr uint32_t REFUSED[] = {
    // Answer file descriptors, or belong to a function of their own.
    KVM_CREATE_VM, KVM_CREATE_VCPU, KVM_CREATE_DEVICE, KVM_GET_STATS_FD, KVM_RUN,
    KVM_IRQFD, KVM_IOEVENTFD,
    // Hand addresses of this process to the guest.
    KVM_SET_USER_MEMORY_REGION, KVM_SET_MEMORY_REGION,
    // The thread that enters the guest decides about signals.
    KVM_SET_SIGNAL_MASK,
    // Address a second structure by a pointer, and nobody needs them.
    KVM_MEMORY_ENCRYPT_OP, KVM_MEMORY_ENCRYPT_REG_REGION, KVM_MEMORY_ENCRYPT_UNREG_REGION,
#if defined(__x86_64__)
    KVM_XEN_HVM_CONFIG, KVM_X86_SET_MSR_FILTER, KVM_HYPERV_EVENTFD,
#endif
#if defined(__aarch64__)
    KVM_ARM_MTE_COPY_TAGS,
#endif
};

/** Requests newer than the oldest kernel headers that this compiles with: KVM_SET_USER_MEMORY_REGION2, KVM_CREATE_GUEST_MEMFD. */
constexpr uint32_t REFUSED_NUMBERS[] = {0x49, 0xd4};

template <class T>
T load(std::span<const uint8_t> bytes, size_t offset) noexcept {
  T value{};
  if (offset + sizeof(T) <= bytes.size()) std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

}  // namespace

size_t requestSize(uint32_t request) noexcept { return _IOC_SIZE(request); }

bool isRefused(uint32_t request) noexcept {
  return _IOC_TYPE(request) != KVMIO || std::ranges::find(REFUSED, request) != std::end(REFUSED) ||
         std::ranges::find(REFUSED_NUMBERS, _IOC_NR(request)) != std::end(REFUSED_NUMBERS);
}

size_t structureSize(uint32_t request, std::span<const uint8_t> structure, size_t xsaveSize) noexcept {
  const size_t size = requestSize(request);
#if defined(__x86_64__)
  if (request == KVM_SET_XSAVE || request == KVM_GET_XSAVE2) return std::max(size, xsaveSize);
#else
  static_cast<void>(xsaveSize);
#endif
  const auto* const counted = std::ranges::find(COUNTED, request, &Counted::request);
  if (counted == std::end(COUNTED)) return size;
  const uint64_t count = counted->countSize == 8 ? load<uint64_t>(structure, 0) : load<uint32_t>(structure, 0);
  if (count > std::numeric_limits<uint32_t>::max()) return std::numeric_limits<size_t>::max();
  return std::max(size, counted->header + counted->element * static_cast<size_t>(count));
}

size_t pointerOffset(uint32_t request) noexcept {
  switch (request) {
    case KVM_GET_ONE_REG:
    case KVM_SET_ONE_REG:
      return offsetof(kvm_one_reg, addr);
    case KVM_GET_DEVICE_ATTR:
    case KVM_SET_DEVICE_ATTR:
    case KVM_HAS_DEVICE_ATTR:
      return offsetof(kvm_device_attr, addr);
    case KVM_GET_DIRTY_LOG:
      return offsetof(kvm_dirty_log, dirty_bitmap);
    case KVM_CLEAR_DIRTY_LOG:
      return offsetof(kvm_clear_dirty_log, dirty_bitmap);
    default:
      return 0;
  }
}

size_t pointeeSize(uint32_t request, std::span<const uint8_t> structure) noexcept {
  switch (request) {
    case KVM_GET_ONE_REG:
    case KVM_SET_ONE_REG: {
      const auto id = load<uint64_t>(structure, offsetof(kvm_one_reg, id));
      return size_t{1} << ((id & KVM_REG_SIZE_MASK) >> KVM_REG_SIZE_SHIFT);
    }
    case KVM_CLEAR_DIRTY_LOG: {
      const auto pages = load<uint32_t>(structure, offsetof(kvm_clear_dirty_log, num_pages));
      return (size_t{pages} + 63) / 64 * 8;
    }
    default:
      return 0;
  }
}

}  // namespace vmm
