import assert from 'node:assert/strict';
import {
  EXIT_MMIO,
  KVM,
  MMIO,
  PROGRAMS,
  THREAD,
  makeGuest,
  makeVcpu,
  makeVm,
  readExit,
  until,
  untilState,
} from '../guest.mjs';

const DATAMATCH = 1;

/** Doorbells and interrupts by eventfd. */
export default (native) => ({
  'a doorbell takes the store without an exit, and tells once for many': () => {
    const { vm, vcpu } = makeGuest(native, PROGRAMS.rings);
    const bell = vm.createIoeventfd(MMIO + 8, 2, 0, 0, 0);
    const tokens = new Int32Array(4);
    for (let round = 0; round < 3; round++) {
      assert.equal(vcpu.run(), 0);
      assert.equal(readExit(vcpu).address, MMIO);
    }
    assert.equal(vm.spin(0), true);
    assert.equal(vm.poll(tokens), 1);
    assert.equal(tokens[0], bell.token);
    assert.equal(vm.poll(tokens), 0);
    // Entering completes the last exit; the bell rings on the way to the next.
    assert.equal(vcpu.run(), 0);
    assert.equal(vm.poll(tokens), 1);

    bell.close();
    bell.close();
    assert.equal(vcpu.run(), 0);
    assert.deepEqual(readExit(vcpu), { reason: EXIT_MMIO, address: MMIO + 8, value: 7, write: true });
    assert.equal(vm.poll(tokens), 0);
    vm.close();
  },

  'a doorbell with a value takes only that value': () => {
    const { vm, vcpu } = makeGuest(native, PROGRAMS.rings);
    const other = vm.createIoeventfd(MMIO + 8, 2, DATAMATCH, 8, 0);
    assert.equal(vcpu.run(), 0);
    assert.equal(readExit(vcpu).address, MMIO + 8);
    const bell = vm.createIoeventfd(MMIO + 8, 2, DATAMATCH, 7, 0);
    assert.equal(vcpu.run(), 0);
    assert.equal(readExit(vcpu).address, MMIO);
    assert.equal(vcpu.run(), 0);
    assert.equal(readExit(vcpu).address, MMIO);
    const tokens = new Int32Array(4);
    assert.equal(vm.poll(tokens), 1);
    assert.equal(tokens[0], bell.token);
    assert.notEqual(bell.token, other.token);
    vm.close();
    bell.close();
  },

  'a doorbell wakes the event loop through onEvents': async () => {
    const tokens = new Int32Array(4);
    const seen = [];
    const { vm, vcpu } = makeGuest(native, PROGRAMS.rings, () => {
      seen.push(...tokens.subarray(0, vm.poll(tokens)));
    });
    const bell = vm.createIoeventfd(MMIO + 8, 2, 0, 0, 0);
    vcpu.start(0);
    await until(() => seen.includes(bell.token) && seen.includes(vcpu.token));
    vm.close();
  },

  'a doorbell that KVM refuses leaves no token behind': () => {
    const { vm } = makeVm(native, PROGRAMS.rings);
    vm.createIoeventfd(MMIO, 4, 0, 0, 0);
    assert.throws(() => vm.createIoeventfd(MMIO, 4, 0, 0, 0), { code: 'EEXIST' });
    assert.throws(() => vm.createIoeventfd(MMIO, 3, 0, 0, 0), { code: 'EINVAL' });
    assert.throws(() => vm.createIoeventfd(MMIO, 4, 4, 0, 0), { name: 'RangeError' });
    assert.throws(() => vm.createIoeventfd(MMIO, 4, 0, 2 ** 32, 0), { name: 'RangeError' });
    assert.throws(() => vm.createIrqfd(0, 1), { name: 'TypeError' });
    vm.close();
  },

  ...(process.arch === 'x64' ? interrupts(native) : {}),
});

// Real mode, 8259A at vectors 8-15 with only IRQ 5 open, handler at 0x1100 that counts in [0x3000], stores the count to
// MMIO, ends the interrupt and returns. The guest stores 0 when the line is open.
const PIC_GUEST = [
  // cli; xor ax, ax; mov ds, ax; mov ss, ax; mov sp, 0x8000
  0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xd0, 0xbc, 0x00, 0x80,
  // mov word [13 * 4], 0x1100; mov word [13 * 4 + 2], 0
  0xc7, 0x06, 0x34, 0x00, 0x00, 0x11, 0xc7, 0x06, 0x36, 0x00, 0x00, 0x00,
  // ICW1-4, OCW1: mov al, x; out p, al
  0xb0, 0x11, 0xe6, 0x20, 0xb0, 0x08, 0xe6, 0x21, 0xb0, 0x04, 0xe6, 0x21, 0xb0, 0x01, 0xe6, 0x21, 0xb0, 0xdf,
  0xe6, 0x21,
  // mov ax, 0x2000; mov es, ax; mov es:[0], al (0: ready); sti; again: hlt; jmp again
  0xb8, 0x00, 0x20, 0x8e, 0xc0, 0x26, 0xa2, 0x00, 0x00, 0xfb, 0xf4, 0xeb, 0xfd,
];
const PIC_HANDLER = [
  // inc byte [0x3000]; mov bl, [0x3000]; mov ax, 0x2000; mov es, ax; mov es:[0], bl
  0xfe, 0x06, 0x00, 0x30, 0x8a, 0x1e, 0x00, 0x30, 0xb8, 0x00, 0x20, 0x8e, 0xc0, 0x26, 0x88, 0x1e, 0x00, 0x00,
  // mov al, 0x20; out 0x20, al; iret
  0xb0, 0x20, 0xe6, 0x20, 0xcf,
];

function interrupts(native) {
  const makePicGuest = (onEvents) => {
    const { vm, memory } = makeVm(native, PIC_GUEST, onEvents);
    memory.set(PIC_HANDLER, 0x1100);
    vm.ioctl(KVM.CREATE_IRQCHIP, 0);
    return { vm, memory, vcpu: makeVcpu(vm) };
  };

  return {
    'irqfd without an interrupt controller is refused by KVM': () => {
      const { vm } = makeVm(native, PIC_GUEST);
      assert.throws(() => vm.createIrqfd(5, false), { code: 'EINVAL' });
      vm.close();
    },

    'trigger() is an edge that reaches the guest while its thread runs': async () => {
      const { vm, vcpu } = makePicGuest();
      const line = vm.createIrqfd(5, false);
      assert.equal(line.token, -1);
      vcpu.start(0);
      for (let count = 0; count <= 10; count++) {
        await untilState(vcpu, THREAD.EXIT);
        assert.deepEqual(readExit(vcpu), { reason: EXIT_MMIO, address: MMIO, value: count, write: true });
        vcpu.resume();
        line.trigger();
      }
      line.close();
      line.close();
      assert.throws(() => line.trigger(), { code: 'EBADF' });
      vm.close();
    },

    'with resampling the end of the interrupt comes through the epoll set': async () => {
      const tokens = new Int32Array(4);
      let ends = 0;
      const { vm, vcpu } = makePicGuest(() => {
        const count = vm.poll(tokens);
        for (let index = 0; index < count; index++) if (tokens[index] === line.token) ends++;
      });
      const line = vm.createIrqfd(5, true);
      assert.ok(line.token >= 0);
      vcpu.start(0);
      await untilState(vcpu, THREAD.EXIT);
      vcpu.resume();
      for (let count = 1; count <= 5; count++) {
        line.trigger();
        await untilState(vcpu, THREAD.EXIT);
        assert.equal(readExit(vcpu).value, count);
        assert.equal(ends, count - 1);
        vcpu.resume();
        await until(() => ends === count);
      }
      vm.close();
    },
  };
}
