// The least that a VMM does on KVM: real-mode guest code at 0x1000, and KVM_RUN in a loop that answers port reads.
// Prints nanoseconds per exit. Arguments: number of exits, then the code's bytes in hexadecimal.
#include <linux/kvm.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

namespace {

constexpr std::size_t kRam = 0x10000;
constexpr std::size_t kCode = 0x1000;

int check(int result, const char* what) {
  if (result < 0) {
    std::perror(what);
    std::exit(1);
  }
  return result;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const long exits = std::strtol(argv[1], nullptr, 10);
  const int kvm = check(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
  const int vm = check(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
  auto* ram = static_cast<unsigned char*>(
      mmap(nullptr, kRam, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  for (int index = 2; index < argc; index++)
    ram[kCode + static_cast<std::size_t>(index) - 2] =
        static_cast<unsigned char>(std::strtoul(argv[index], nullptr, 16));
  kvm_userspace_memory_region region{};
  region.memory_size = kRam;
  region.userspace_addr = reinterpret_cast<__u64>(ram);
  check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
  const int vcpu = check(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
  const auto size = static_cast<std::size_t>(check(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "mmap size"));
  void* page = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
  auto* run = static_cast<kvm_run*>(page);
  kvm_sregs special{};
  check(ioctl(vcpu, KVM_GET_SREGS, &special), "KVM_GET_SREGS");
  special.cs.base = 0;
  special.cs.selector = 0;
  check(ioctl(vcpu, KVM_SET_SREGS, &special), "KVM_SET_SREGS");
  kvm_regs registers{};
  registers.rip = kCode;
  registers.rflags = 2;
  check(ioctl(vcpu, KVM_SET_REGS, &registers), "KVM_SET_REGS");

  const auto before = std::chrono::steady_clock::now();
  for (long exit = 0; exit < exits; exit++) {
    check(ioctl(vcpu, KVM_RUN, 0), "KVM_RUN");
    if (run->exit_reason != KVM_EXIT_IO || run->io.direction != KVM_EXIT_IO_IN) return 3;
    static_cast<unsigned char*>(page)[run->io.data_offset] = static_cast<unsigned char>(exit);
  }
  const std::chrono::duration<double, std::nano> time = std::chrono::steady_clock::now() - before;
  std::printf("%.0f\n", time.count() / static_cast<double>(exits));
}
