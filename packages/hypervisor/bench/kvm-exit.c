// What kvm-exit.mjs measures, in C: VM, memory, vCPU, first exit, then a loop of exits. Prints nanoseconds: from the
// beginning to the first exit, and for each exit.
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void check(int result, const char *what) {
  if (result >= 0) return;
  perror(what);
  exit(1);
}

int main(int count, char **arguments) {
  const int exits = count > 1 ? atoi(arguments[1]) : 1000;
  const double begin = now();
  const int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  check(kvm, "/dev/kvm");
  const int vm = ioctl(kvm, KVM_CREATE_VM, 0);
  check(vm, "KVM_CREATE_VM");
  uint8_t *memory = mmap(NULL, 0x10000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  struct kvm_userspace_memory_region region = {0, 0, 0, 0x10000, (uintptr_t)memory};
  check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
  const int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
  check(vcpu, "KVM_CREATE_VCPU");
  const int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
  check(size, "KVM_GET_VCPU_MMAP_SIZE");
  struct kvm_run *run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
#if defined(__x86_64__)
  // again: out 0x10, al; jmp again
  memcpy(memory + 0x1000, "\xe6\x10\xeb\xfc", 4);
  struct kvm_sregs sregs;
  check(ioctl(vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
  sregs.cs.base = 0;
  sregs.cs.selector = 0;
  check(ioctl(vcpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
  struct kvm_regs regs = {.rip = 0x1000, .rflags = 2};
  check(ioctl(vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
#else
  // movz x0, #2, lsl #16; again: strb w1, [x0]; b again
  const uint32_t code[] = {0xd2a00040, 0x39000001, 0x17ffffff};
  memcpy(memory + 0x1000, code, sizeof(code));
  struct kvm_vcpu_init target;
  check(ioctl(vm, KVM_ARM_PREFERRED_TARGET, &target), "KVM_ARM_PREFERRED_TARGET");
  check(ioctl(vcpu, KVM_ARM_VCPU_INIT, &target), "KVM_ARM_VCPU_INIT");
  uint64_t pc = 0x1000;
  struct kvm_one_reg reg = {0x6030000000100040, (uintptr_t)&pc};
  check(ioctl(vcpu, KVM_SET_ONE_REG, &reg), "KVM_SET_ONE_REG");
#endif
  check(ioctl(vcpu, KVM_RUN, 0), "KVM_RUN");
  const double first = now();
  volatile uint32_t reason = 0;
  for (int index = 0; index < exits; index++) {
    check(ioctl(vcpu, KVM_RUN, 0), "KVM_RUN");
    reason = run->exit_reason;
  }
  printf("%.0f %.0f\n", first - begin, (now() - first) / exits);
  return reason == KVM_EXIT_IO || reason == KVM_EXIT_MMIO ? 0 : 1;
}
