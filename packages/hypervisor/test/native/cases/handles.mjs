import assert from 'node:assert/strict';
import { KVM, PROGRAMS, THREAD, makeGuest, makeVm } from '../guest.mjs';

/** What a closed, foreign or wrong argument does, and what ioctl() lets through. */
export default (native) => ({
  'a file that cannot be opened throws an Error with code, errno and syscall': () => {
    assert.throws(() => native.openSystem('/nonexistent'), { code: 'ENOENT', errno: 2, syscall: 'open' });
    assert.throws(() => native.openSystem(undefined), { name: 'TypeError' });
  },

  'what is not KVM fails in the ioctl': () => {
    const system = native.openSystem('/dev/null');
    assert.throws(() => system.ioctl(KVM.GET_API_VERSION, 0), {
      code: 'ENOTTY',
      errno: 25,
      syscall: 'ioctl',
    });
    assert.throws(() => system.createVm(0, () => undefined), { code: 'ENOTTY' });
  },

  'the API version is 12, as the kernel promises for good': () => {
    const system = native.openSystem('/dev/kvm');
    assert.equal(system.ioctl(KVM.GET_API_VERSION, 0), 12);
    system.close();
    system.close();
    assert.throws(() => system.ioctl(KVM.GET_API_VERSION, 0), { code: 'EBADF' });
    assert.throws(() => system.createVm(0, () => undefined), { code: 'EBADF' });
  },

  'requests that belong to a function of the addon, or answer descriptors, are refused': () => {
    const { vm, vcpu } = makeGuest(native, PROGRAMS.spins);
    assert.throws(() => vm.ioctl(KVM.SET_USER_MEMORY_REGION, new Uint8Array(32)), { name: 'RangeError' });
    assert.throws(() => vm.ioctl(KVM.CREATE_VCPU, 1), { name: 'RangeError' });
    assert.throws(() => vcpu.ioctl(KVM.RUN, 0), { name: 'RangeError' });
    // KVM_IRQFD, KVM_IOEVENTFD, KVM_CREATE_DEVICE, KVM_SET_USER_MEMORY_REGION2, KVM_CREATE_GUEST_MEMFD, KVM_GET_STATS_FD
    for (const request of [0x4020ae76, 0x4040ae79, 0xc00caee0, 0x40a0ae49, 0xc040aed4, 0xaece])
      assert.throws(() => vm.ioctl(request, new Uint8Array(256)), { name: 'RangeError' });
    // TCGETS: not KVM's.
    assert.throws(() => vm.ioctl(0x5401, 0), { name: 'RangeError' });
    vm.close();
  },

  'a structure shorter than _IOC_SIZE or than its counted tail is refused, and so is a number for a structure':
    () => {
      const { vm, vcpu } = makeGuest(native, PROGRAMS.spins);
      assert.throws(() => vcpu.ioctl(KVM.GET_ONE_REG, new Uint8Array(15)), { name: 'RangeError' });
      assert.throws(() => vcpu.ioctl(KVM.GET_ONE_REG, 4096), { name: 'TypeError' });
      assert.throws(() => vcpu.ioctl(KVM.GET_ONE_REG, new Uint32Array(4)), { name: 'TypeError' });
      assert.throws(() => vm.ioctl(KVM.CHECK_EXTENSION, new Uint8Array(8)), { name: 'TypeError' });
      assert.throws(() => vm.ioctl(KVM.CHECK_EXTENSION, -1), { name: 'RangeError' });
      assert.throws(() => vm.ioctl(KVM.CHECK_EXTENSION, 0.5), { name: 'RangeError' });
      assert.throws(() => vm.ioctl(2 ** 32, 0), { name: 'RangeError' });
      // KVM_SET_GSI_ROUTING with two entries in the space of one.
      const routing = new Uint8Array(8 + 48);
      routing[0] = 2;
      assert.throws(() => vm.ioctl(0x4008ae6a, routing), { name: 'RangeError' });
      if (process.arch === 'x64') {
        // One more entry, and one more byte of kvm_xsave, than there is room for.
        const cpuid = new Uint8Array(8 + 40);
        cpuid[0] = 2;
        assert.throws(() => vcpu.ioctl(KVM.SET_CPUID2, cpuid), { name: 'RangeError' });
        assert.throws(() => vcpu.ioctl(0x5000aea5, new Uint8Array(4095)), { name: 'RangeError' });
        // KVM_SIGNAL_MSI has the number of KVM_SET_XSAVE and another size: KVM refuses it, without a controller, not the addon.
        assert.throws(() => vm.ioctl(0x4020aea5, new Uint8Array(32)), { code: 'EINVAL' });
        // kvm_nested_state says that it is larger than the array.
        const nested = new Uint8Array(128);
        new DataView(nested.buffer).setUint32(4, 129, true);
        assert.throws(() => vcpu.ioctl(0xc080aebe, nested), { name: 'RangeError' });
      }
      vm.close();
    },

  'a register is read through the pointee, which must hold it, and no address stays behind': () => {
    const { vm, vcpu } = makeGuest(native, PROGRAMS.spins);
    const wide = new DataView(new ArrayBuffer(16));
    // KVM_REG_SIZE_U64
    wide.setBigUint64(0, 0x6030000000100040n, true);
    const structure = new Uint8Array(wide.buffer);
    assert.throws(() => vcpu.ioctl(KVM.GET_ONE_REG, structure, new Uint8Array(7)), { name: 'RangeError' });
    assert.throws(() => vcpu.ioctl(KVM.GET_ONE_REG, structure), { name: 'RangeError' });
    if (process.arch === 'arm64') {
      const value = new BigUint64Array(1);
      vcpu.ioctl(KVM.GET_ONE_REG, structure, new Uint8Array(value.buffer));
      assert.equal(value[0], 0x1000n);
    }
    assert.equal(wide.getBigUint64(8, true), 0n);
    vm.close();
  },

  'a method takes no other receiver, and classes cannot be constructed': () => {
    const { vm, vcpu } = makeGuest(native, PROGRAMS.spins);
    for (const method of ['run', 'state', 'resume', 'kick', 'ioctl', 'close'])
      assert.throws(() => vcpu[method].call(vm), { name: 'TypeError' });
    for (const method of ['poll', 'spin', 'createVcpu'])
      assert.throws(() => vm[method].call({}), { name: 'TypeError' });
    assert.throws(() => new vm.constructor(), { name: 'TypeError' });
    assert.throws(() => new vcpu.constructor(vm, 0), { name: 'TypeError' });
    assert.equal(vcpu.state(), THREAD.NONE);
    vm.close();
  },

  'a closed VM refuses everything with EBADF': () => {
    const { vm } = makeVm(native, PROGRAMS.spins);
    vm.close();
    for (const call of [
      () => vm.ioctl(KVM.CHECK_EXTENSION, 0),
      () => vm.mapMemory(1, 0x100000, 4096, 0),
      () => vm.unmapMemory(0),
      () => vm.createVcpu(0),
      () => vm.createDevice(4),
      () => vm.createIoeventfd(0x1000, 4, 0, 0, 0),
      () => vm.createIrqfd(0, false),
      () => vm.poll(new Int32Array(1)),
      () => vm.spin(0),
      () => vm.ref(),
    ])
      assert.throws(call, { code: 'EBADF' });
  },

  'a vCPU number that KVM does not have fails with its errno': () => {
    const { vm } = makeVm(native, PROGRAMS.spins);
    vm.createVcpu(0);
    assert.throws(() => vm.createVcpu(0), { code: 'EEXIST', syscall: 'ioctl' });
    assert.throws(() => vm.createVcpu(1 << 20), { code: 'EINVAL' });
    assert.throws(() => vm.createDevice(0xffff), { code: 'ENODEV' });
    vm.close();
  },
});
