#include "requests.hh"

#include <linux/kvm.h>

#include <algorithm>
#include <cstring>
#include <limits>

namespace vmm {

namespace {

// Younger than the oldest kernel headers that this compiles with.
constexpr uint32_t KVM_SET_USER_MEMORY_REGION2_NR = 0x49;
constexpr uint32_t KVM_CREATE_GUEST_MEMFD_NR = 0xd4;

/**
 * A structure that ends in an array, whose length it begins with. By number and with sizes spelt out: the kernel's headers
 * give such structures another size in C++, and with it another request.
 */
struct Counted {
  uint32_t number;
  size_t countSize;
  size_t header;
  size_t element;
};

constexpr Counted COUNTED[] = {
    {_IOC_NR(KVM_SET_GSI_ROUTING), 4, 8, sizeof(kvm_irq_routing_entry)},
    {_IOC_NR(KVM_GET_REG_LIST), 8, 8, sizeof(uint64_t)},
#if defined(__x86_64__)
    {_IOC_NR(KVM_GET_SUPPORTED_CPUID), 4, 8, sizeof(kvm_cpuid_entry2)},
    {_IOC_NR(KVM_GET_EMULATED_CPUID), 4, 8, sizeof(kvm_cpuid_entry2)},
    {_IOC_NR(KVM_GET_SUPPORTED_HV_CPUID), 4, 8, sizeof(kvm_cpuid_entry2)},
    {_IOC_NR(KVM_SET_CPUID), 4, 8, sizeof(kvm_cpuid_entry)},
    {_IOC_NR(KVM_SET_CPUID2), 4, 8, sizeof(kvm_cpuid_entry2)},
    {_IOC_NR(KVM_GET_CPUID2), 4, 8, sizeof(kvm_cpuid_entry2)},
    {_IOC_NR(KVM_GET_MSRS), 4, 8, sizeof(kvm_msr_entry)},
    {_IOC_NR(KVM_SET_MSRS), 4, 8, sizeof(kvm_msr_entry)},
    {_IOC_NR(KVM_GET_MSR_INDEX_LIST), 4, 4, sizeof(uint32_t)},
    {_IOC_NR(KVM_GET_MSR_FEATURE_INDEX_LIST), 4, 4, sizeof(uint32_t)},
#endif
};

/** By number too. The kernel has no other request of these numbers on these architectures. */
constexpr uint32_t REFUSED[] = {
    // Answer file descriptors, or belong to a function of their own.
    _IOC_NR(KVM_CREATE_VM), _IOC_NR(KVM_CREATE_VCPU), _IOC_NR(KVM_CREATE_DEVICE), _IOC_NR(KVM_GET_STATS_FD),
    _IOC_NR(KVM_RUN), _IOC_NR(KVM_IRQFD), _IOC_NR(KVM_IOEVENTFD), KVM_CREATE_GUEST_MEMFD_NR,
    // Hand addresses of this process to the guest.
    _IOC_NR(KVM_SET_USER_MEMORY_REGION), _IOC_NR(KVM_SET_MEMORY_REGION), KVM_SET_USER_MEMORY_REGION2_NR,
    // The thread that enters the guest decides about signals.
    _IOC_NR(KVM_SET_SIGNAL_MASK),
    // Address a second structure by a pointer, and nobody needs them.
    _IOC_NR(KVM_MEMORY_ENCRYPT_OP), _IOC_NR(KVM_MEMORY_ENCRYPT_REG_REGION),
    _IOC_NR(KVM_MEMORY_ENCRYPT_UNREG_REGION),
#if defined(__x86_64__)
    _IOC_NR(KVM_XEN_HVM_CONFIG), _IOC_NR(KVM_X86_SET_MSR_FILTER), _IOC_NR(KVM_HYPERV_EVENTFD),
    _IOC_NR(KVM_SET_PMU_EVENT_FILTER),
#endif
#if defined(__aarch64__)
    _IOC_NR(KVM_ARM_MTE_COPY_TAGS),
#endif
};

template <class T>
T load(std::span<const uint8_t> bytes, size_t offset) noexcept {
  T value{};
  if (offset + sizeof(T) <= bytes.size()) std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

}  // namespace

size_t requestSize(uint32_t request) noexcept { return _IOC_SIZE(request); }

bool isRefused(uint32_t request) noexcept {
  return _IOC_TYPE(request) != KVMIO || std::ranges::find(REFUSED, _IOC_NR(request)) != std::end(REFUSED);
}

size_t structureSize(uint32_t request, std::span<const uint8_t> structure, size_t xsaveSize) noexcept {
  const size_t size = requestSize(request);
#if defined(__x86_64__)
  const uint32_t number = _IOC_NR(request);
  // KVM_SIGNAL_MSI has the number of KVM_SET_XSAVE.
  if (request == KVM_SIGNAL_MSI) return size;
  if (number == _IOC_NR(KVM_SET_XSAVE) || number == _IOC_NR(KVM_GET_XSAVE2)) return std::max(size, xsaveSize);
  if (number == _IOC_NR(KVM_GET_NESTED_STATE) || number == _IOC_NR(KVM_SET_NESTED_STATE))
    return std::max<size_t>(size, load<uint32_t>(structure, offsetof(kvm_nested_state, size)));
#else
  static_cast<void>(xsaveSize);
#endif
  const auto* const counted = std::ranges::find(COUNTED, _IOC_NR(request), &Counted::number);
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
