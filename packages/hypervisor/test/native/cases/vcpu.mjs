import assert from 'node:assert/strict';
import {
  EINTR,
  EXIT_MMIO,
  KVM,
  MMIO,
  PROGRAMS,
  THREAD,
  makeGuest,
  makeVcpu,
  readExit,
  until,
  untilState,
} from '../guest.mjs';

/** run(), kick() and the thread of a vCPU. */
export default (native) => ({
  'run() comes back with 0 and the exit in kvm_run, again and again': () => {
    const { vm, vcpu } = makeGuest(native, PROGRAMS.exits);
    for (let value = 1; value <= 20; value++) {
      assert.equal(vcpu.run(), 0);
      assert.deepEqual(readExit(vcpu), { reason: EXIT_MMIO, address: MMIO, value, write: true });
    }
    vm.close();
  },

  'a kick before run() brings it back at once, once': () => {
    const { vm, vcpu } = makeGuest(native, PROGRAMS.exits);
    vcpu.kick();
    vcpu.kick();
    assert.equal(vcpu.run(), EINTR);
    assert.equal(vcpu.run(), 0);
    assert.equal(readExit(vcpu).value, 1);
    vm.close();
  },

  'run() goes on by itself after other signals': () => {
    // The watch that ends run() with its environment interrupts it every 50 ms, and this guest takes longer.
    const { vm, vcpu } = makeGuest(native, PROGRAMS.exits);
    const until = performance.now() + 200;
    let value = 0;
    while (performance.now() < until) {
      assert.equal(vcpu.run(), 0);
      assert.equal(readExit(vcpu).value, ++value & 0xff);
    }
    vm.close();
  },

  'a thread hands over its exit and waits, and resume() lets it go on': async () => {
    const tokens = new Int32Array(4);
    let told = 0;
    const { vm, vcpu } = makeGuest(native, PROGRAMS.exits, () => {
      const count = vm.poll(tokens);
      for (let index = 0; index < count; index++) if (tokens[index] === vcpu.token) told++;
    });
    vm.ref();
    vcpu.start(0);
    for (let value = 1; value <= 20; value++) {
      await until(() => told === value);
      assert.equal(vcpu.state(), THREAD.EXIT);
      assert.equal(readExit(vcpu).value, value);
      assert.equal(vm.poll(tokens), 0);
      vcpu.resume();
    }
    vm.close();
  },

  'the same while the thread spins before it sleeps': async () => {
    const { vm, vcpu } = makeGuest(native, PROGRAMS.exits);
    vcpu.start(100);
    for (let value = 1; value <= 50; value++) {
      while (!vm.spin(1000));
      assert.equal(vm.poll(new Int32Array(1)), 1);
      assert.equal(vcpu.state(), THREAD.EXIT);
      assert.equal(readExit(vcpu).value, value);
      vcpu.resume();
    }
    vm.close();
  },

  'a kick interrupts a running thread, and one before resume() counts': async () => {
    const { vm, vcpu, memory } = makeGuest(native, PROGRAMS.spins);
    vcpu.start(0);
    for (let round = 0; round < 20; round++) {
      vcpu.kick();
      assert.equal(await untilState(vcpu, THREAD.INTERRUPTED), THREAD.INTERRUPTED);
      vcpu.resume();
    }
    vcpu.kick();
    await untilState(vcpu, THREAD.INTERRUPTED);
    vcpu.kick();
    memory.set(PROGRAMS.exits, 0x1000);
    vcpu.resume();
    await untilState(vcpu, THREAD.INTERRUPTED);
    vcpu.resume();
    assert.equal(await untilState(vcpu, THREAD.EXIT, THREAD.INTERRUPTED), THREAD.EXIT);
    vm.close();
  },

  'a kick before start() counts': async () => {
    const { vm, vcpu } = makeGuest(native, PROGRAMS.exits);
    vcpu.kick();
    vcpu.start(0);
    await untilState(vcpu, THREAD.INTERRUPTED);
    vcpu.resume();
    await untilState(vcpu, THREAD.EXIT);
    vm.close();
  },

  'stop() ends the thread from every state, and its token tells': async () => {
    const { vm, vcpu } = makeGuest(native, PROGRAMS.exits);
    const spinning = makeVcpu(vm, 1);
    vcpu.stop();
    assert.equal(vcpu.state(), THREAD.NONE);
    vcpu.start(0);
    await untilState(vcpu, THREAD.EXIT);
    vm.poll(new Int32Array(8));
    vcpu.stop();
    await untilState(vcpu, THREAD.ENDED);
    await until(() => vm.poll(new Int32Array(8)) === 1);
    vcpu.stop();
    vcpu.join();
    assert.equal(vcpu.state(), THREAD.NONE);

    spinning.start(0);
    spinning.stop();
    await untilState(spinning, THREAD.ENDED);
    spinning.join();
    // The stop has not left a kick behind.
    assert.equal(spinning.run(), 0);
    vm.close();
  },

  'resume() then stop() at once ends the thread, whether it was asleep or not': async () => {
    const { vm, vcpu } = makeGuest(native, PROGRAMS.exits);
    for (let round = 0; round < 50; round++) {
      vcpu.start(round % 3);
      await untilState(vcpu, THREAD.EXIT);
      vcpu.resume();
      vcpu.stop();
      await untilState(vcpu, THREAD.ENDED);
      vcpu.join();
    }
    vm.close();
  },

  'calls in the wrong state are refused with EBUSY or ESRCH': async () => {
    const { vm, vcpu, memory } = makeGuest(native, PROGRAMS.spins);
    assert.throws(() => vcpu.resume(), { code: 'ESRCH' });
    assert.throws(() => vcpu.join(), { code: 'ESRCH' });
    assert.throws(() => vcpu.start(-1), { name: 'RangeError' });
    assert.throws(() => vcpu.start(), { name: 'TypeError' });
    vcpu.start(0);
    assert.throws(() => vcpu.start(0), { code: 'EBUSY' });
    assert.throws(() => vcpu.run(), { code: 'EBUSY' });
    assert.throws(() => vcpu.resume(), { code: 'EBUSY' });
    assert.throws(() => vcpu.join(), { code: 'EBUSY' });
    assert.throws(() => vcpu.ioctl(KVM.GET_ONE_REG, new Uint8Array(16), new Uint8Array(8)), {
      code: 'EBUSY',
    });
    memory.set(PROGRAMS.exits, 0x1000);
    vcpu.kick();
    await untilState(vcpu, THREAD.INTERRUPTED, THREAD.EXIT);
    assert.throws(() => vcpu.run(), { code: 'EBUSY' });
    vm.close();
  },

  'a KVM_RUN that fails is told with its errno, and the thread can be resumed': async () => {
    const { vm, vcpu } = makeGuest(native, PROGRAMS.exits);
    if (process.arch === 'arm64') {
      // A vCPU that was never initialized.
      const raw = vm.createVcpu(1);
      raw.start(0);
      await untilState(raw, THREAD.FAILED);
      assert.equal(raw.errno(), 8);
      raw.resume();
      await untilState(raw, THREAD.FAILED);
    } else {
      // No registers are valid: KVM_SYNC_X86_REGS without its structure (kvm_dirty_regs with an unknown bit).
      new DataView(vcpu.runPage).setBigUint64(296, 1n << 63n, true);
      assert.equal(vcpu.run(), 22);
      vcpu.start(0);
      await untilState(vcpu, THREAD.FAILED);
      assert.equal(vcpu.errno(), 22);
      new DataView(vcpu.runPage).setBigUint64(296, 0n, true);
      vcpu.resume();
      await untilState(vcpu, THREAD.EXIT);
      assert.equal(readExit(vcpu).value, 1);
    }
    vm.close();
  },

  'poll() takes as many tokens as fit, each once': async () => {
    const { vm, vcpu } = makeGuest(native, PROGRAMS.exits);
    const vcpus = [vcpu, makeVcpu(vm, 1), makeVcpu(vm, 2)];
    for (const each of vcpus) each.start(0);
    for (const each of vcpus) await untilState(each, THREAD.EXIT);
    const seen = [];
    const tokens = new Int32Array(2);
    await until(() => {
      const count = vm.poll(tokens);
      seen.push(...tokens.subarray(0, count));
      return seen.length >= 3;
    });
    assert.deepEqual(seen.sort(), vcpus.map((each) => each.token).sort());
    assert.equal(vm.poll(tokens), 0);
    assert.equal(vm.spin(0), false);
    assert.throws(() => vm.poll(new Uint8Array(8)), { name: 'TypeError' });
    assert.throws(() => vm.spin(-1), { name: 'RangeError' });
    vm.close();
  },
});
