import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EXIT_MMIO, KVM, MMIO, PROGRAMS, RAM_SIZE, makeGuest, makeVm, readExit } from '../guest.mjs';

const KVM_MEM_LOG_DIRTY_PAGES = 1;
const KVM_MEM_READONLY = 2;

/** Nothing else in the process is as large as this. */
const ODD_SIZE = 0x12345000;

/** Guest memory: both sides see the same bytes, and JavaScript loses them before they go. */
export default (native) => ({
  'the guest stores into the bytes that JavaScript has': () => {
    const { vm, vcpu, memory } = makeGuest(native, PROGRAMS.stores);
    assert.equal(vcpu.run(), 0);
    assert.equal(readExit(vcpu).reason, EXIT_MMIO);
    assert.equal(memory[0x3000], 0x5a);
    vm.close();
    assert.equal(memory.length, 0);
  },

  'memory is zero, and where size allows it suits huge pages': () => {
    const { vm } = makeVm(native, PROGRAMS.spins);
    const bytes = new Uint8Array(vm.mapMemory(1, 2 ** 32, 64 << 20, 0));
    assert.equal(bytes.length, 64 << 20);
    assert.equal(bytes[0] | bytes[bytes.length - 1] | bytes[32 << 20], 0);
    bytes[bytes.length - 1] = 1;
    assert.equal(bytes[bytes.length - 1], 1);
    vm.close();
  },

  'a region of several GiB that is not touched takes no memory': () => {
    const { vm } = makeVm(native, PROGRAMS.spins);
    const before = process.memoryUsage.rss();
    const bytes = new Uint8Array(vm.mapMemory(1, 2 ** 32, 3 * 2 ** 30, 0));
    bytes[3 * 2 ** 30 - 1] = 1;
    assert.ok(process.memoryUsage.rss() - before < 2 ** 28);
    vm.close();
  },

  'an address or size that is no multiple of 4096, or zero, is refused': () => {
    const { vm } = makeVm(native, PROGRAMS.spins);
    assert.throws(() => vm.mapMemory(1, 0x100001, 4096, 0), { name: 'RangeError' });
    assert.throws(() => vm.mapMemory(1, 0x100000, 4097, 0), { name: 'RangeError' });
    assert.throws(() => vm.mapMemory(1, 0x100000, 0, 0), { name: 'RangeError' });
    assert.throws(() => vm.mapMemory(1, -4096, 4096, 0), { name: 'RangeError' });
    assert.throws(() => vm.mapMemory(1, 2 ** 53, 4096, 0), { name: 'RangeError' });
    assert.throws(() => vm.mapMemory(1, Number.NaN, 4096, 0), { name: 'RangeError' });
    assert.throws(() => vm.mapMemory('1', 0x100000, 4096, 0), { name: 'TypeError' });
    vm.close();
  },

  'what KVM refuses leaves nothing behind: overlap, unknown flags, too many slots': () => {
    const { vm } = makeVm(native, PROGRAMS.spins);
    assert.throws(() => vm.mapMemory(1, RAM_SIZE - 4096, ODD_SIZE, 0), { code: 'EEXIST' });
    assert.throws(() => vm.mapMemory(1, 0x100000, ODD_SIZE, 2 ** 31), { code: 'EINVAL' });
    assert.throws(() => vm.mapMemory(0xffff, 0x100000, ODD_SIZE, 0), { code: 'EINVAL' });
    assert.throws(() => vm.mapMemory(0, 0x100000, ODD_SIZE, 0), { code: 'EEXIST' });
    assert.throws(() => vm.mapMemory(1, 0x100000, 2 ** 52, 0), { code: 'ENOMEM' });
    assert.equal(oddMappings(), 0);
    vm.mapMemory(2, 0x100000, ODD_SIZE, 0);
    assert.equal(oddMappings(), 1);
    vm.unmapMemory(2);
    assert.equal(oddMappings(), 0);
    vm.mapMemory(1, 0x100000, 4096, 0);
    vm.close();
  },

  'discarded pages are zero, take no memory, and can be used again': () => {
    const { vm } = makeVm(native, PROGRAMS.spins);
    const size = 64 << 20;
    const bytes = new Uint8Array(vm.mapMemory(1, 2 ** 32, size, 0)).fill(1);
    const before = process.memoryUsage.rss();
    native.discard(bytes, Float64Array.of(4096, (32 << 20) - 4096, 32 << 20, (32 << 20) - 100), 4, 0);
    assert.ok(before - process.memoryUsage.rss() > 60 << 20);
    assert.deepEqual([bytes[4095], bytes[4096], bytes[40 << 20]], [1, 0, 0]);
    // The last page is not whole.
    assert.equal(bytes[size - 1], 1);
    bytes[4096] = 2;
    assert.equal(bytes[4096], 2);
    vm.close();
    assert.throws(() => native.discard(bytes, Float64Array.of(0, 4096), 2, 0), { name: 'RangeError' });
  },

  'shared memory of WebAssembly is discarded as well': () => {
    const { buffer } = new WebAssembly.Memory({ initial: 1024, maximum: 1024, shared: true });
    const bytes = new Uint8Array(buffer, 65536).fill(1);
    const before = process.memoryUsage.rss();
    native.discard(bytes, Float64Array.of(0, bytes.length), 2, 0);
    assert.ok(before - process.memoryUsage.rss() > 60 << 20);
    assert.equal(bytes[0] | bytes[bytes.length - 1], 0);
  },

  'discarding takes ranges of the bytes and nothing else': () => {
    const bytes = new Uint8Array(65536).fill(1);
    const bad = [
      [0, 65537],
      [-4096, 4096],
      [61440, 8192],
      [Number.NaN, 4096],
      [0, Number.NaN],
      [0, Infinity],
      [2 ** 70, 4096],
    ];
    for (const range of bad) {
      assert.throws(() => native.discard(bytes, Float64Array.from(range), 2, 0), { name: 'RangeError' });
    }
    assert.throws(() => native.discard(bytes, new Float64Array(2), 3, 0), { name: 'RangeError' });
    assert.throws(() => native.discard(bytes, new Float32Array(2), 2, 0), { name: 'TypeError' });
    assert.throws(() => native.discard(bytes.buffer, new Float64Array(2), 2, 0), { name: 'TypeError' });
    assert.ok(bytes.every((byte) => byte === 1));
  },

  'a file is mapped copy-on-write, to its end, and read where it cannot be mapped': () => {
    withFile(3 * 4096 + 5, (fd, path) => {
      const { vm } = makeVm(native, PROGRAMS.spins);
      const bytes = new Uint8Array(vm.mapMemory(1, 2 ** 32, 5 * 4096, 0)).fill(9);
      assert.equal(native.mapFile(bytes, fd, 4096), 3 * 4096);
      assert.deepEqual([bytes[0], bytes[2 * 4096 + 4]], [2, 4]);
      // The rest of the file's last page, and the page behind it.
      assert.deepEqual([bytes[2 * 4096 + 5], bytes[3 * 4096]], [0, 9]);
      bytes[0] = 7;
      assert.equal(readFileSync(path)[4096], 2);
      const odd = bytes.subarray(1);
      assert.equal(native.mapFile(odd, fd, 0), 0);
      assert.deepEqual([odd[0], odd[3 * 4096 + 4], odd[3 * 4096 + 5]], [1, 4, 9]);
      vm.close();
    });
  },

  'discarding a part of a file leaves zeros, and the file as it is': () => {
    withFile(3 * 4096, (fd, path) => {
      const { buffer } = new WebAssembly.Memory({ initial: 2, maximum: 2, shared: true });
      const bytes = new Uint8Array(buffer, 65536).fill(9);
      const mapped = native.mapFile(bytes, fd, 0);
      assert.equal(mapped, 3 * 4096);
      native.discard(bytes, Float64Array.of(4096, 4096, 2 * 4096, 2 * 4096), 4, mapped);
      const firsts = [0, 1, 2, 3, 4].map((page) => bytes[page * 4096]);
      assert.deepEqual(firsts, [1, 0, 0, 0, 9]);
      assert.equal(readFileSync(path)[4096], 2);
      assert.throws(() => native.discard(bytes, Float64Array.of(0, 4096), 2, 65537), { name: 'RangeError' });
    });
  },

  'any number of pages of a file can be discarded': () => {
    const pages = 66_000;
    withFile(4096, (fd, path) => {
      truncateSync(path, pages * 4096);
      const { vm } = makeVm(native, PROGRAMS.spins);
      const bytes = new Uint8Array(vm.mapMemory(1, 2 ** 32, pages * 4096, 0));
      const mapped = native.mapFile(bytes, fd, 0);
      const ranges = new Float64Array(pages).map((_, at) => (at % 2 === 0 ? at * 4096 : 4096));
      for (let page = 0; page < pages; page++) bytes[page * 4096 + 1] = 1;
      native.discard(bytes, ranges, pages, mapped);
      for (let page = 0; page < pages; page++) assert.equal(bytes[page * 4096 + 1], page % 2, `page ${page}`);
      // There are mappings left for others.
      vm.mapMemory(2, 2 ** 33, 4096, 0);
      vm.close();
    });
  },

  'what is no file is not mapped, and the memory stays': () => {
    const bytes = new Uint8Array(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }).buffer);
    assert.throws(() => native.mapFile(bytes, 9999, 0), { code: 'EBADF', syscall: 'fstat' });
    const device = openSync('/dev/zero', 'r');
    assert.throws(() => native.mapFile(bytes, device, 0), { code: 'ENODEV' });
    closeSync(device);
    withFile(4096, (fd, path) => {
      const writeOnly = openSync(path, 'a');
      assert.throws(() => native.mapFile(bytes.fill(9), writeOnly, 0), { code: 'EACCES', syscall: 'mmap' });
      closeSync(writeOnly);
      // As it was made: the mapping that was there may have gone.
      assert.ok(bytes[4096] === 9 && (bytes[0] === 9 || bytes[0] === 0));
      assert.throws(() => native.mapFile(bytes, fd, -4096), { name: 'RangeError' });
      assert.throws(() => native.mapFile(bytes, fd, Number.NaN), { name: 'RangeError' });
      assert.throws(() => native.mapFile(bytes, 0.5, 0), { name: 'RangeError' });
      assert.throws(() => native.mapFile(bytes.buffer, fd, 0), { name: 'TypeError' });
      truncateSync(path, 0);
      assert.equal(native.mapFile(bytes, fd, 0), 0);
    });
  },

  'an unmapped slot is empty for both sides, and can be used again': () => {
    const { vm } = makeVm(native, PROGRAMS.spins);
    const buffer = vm.mapMemory(1, MMIO, 4096, 0);
    const view = new DataView(buffer);
    vm.unmapMemory(1);
    assert.equal(buffer.byteLength, 0);
    assert.throws(() => view.getUint8(0), { name: 'TypeError' });
    assert.throws(() => vm.unmapMemory(1), { code: 'ENOENT' });
    assert.equal(vm.mapMemory(1, MMIO, 8192, 0).byteLength, 8192);
    vm.close();
  },

  'stores to memory where there was some and now is none exit': () => {
    const { vm, vcpu } = makeGuest(native, PROGRAMS.exits);
    const bytes = new Uint8Array(vm.mapMemory(1, MMIO, 4096, KVM_MEM_READONLY));
    assert.equal(vcpu.run(), 0);
    assert.deepEqual(readExit(vcpu), { reason: EXIT_MMIO, address: MMIO, value: 1, write: true });
    assert.equal(bytes[0], 0);
    vm.unmapMemory(1);
    assert.equal(vcpu.run(), 0);
    assert.equal(readExit(vcpu).value, 2);
    vm.close();
  },

  'the dirty log tells the page that the guest wrote, and needs a bitmap for the whole slot': () => {
    const { vm, vcpu, memory } = makeGuest(native, PROGRAMS.stores);
    const code = memory.slice();
    vm.unmapMemory(0);
    const logged = new Uint8Array(vm.mapMemory(0, 0, RAM_SIZE, KVM_MEM_LOG_DIRTY_PAGES));
    logged.set(code);
    assert.equal(vcpu.run(), 0);
    const log = new Uint8Array(16);
    assert.throws(() => vm.ioctl(KVM.GET_DIRTY_LOG, log, new Uint8Array(0)), { name: 'RangeError' });
    const bitmap = new Uint8Array(8);
    vm.ioctl(KVM.GET_DIRTY_LOG, log, bitmap);
    assert.equal(bitmap[0] & (1 << 3), 1 << 3);
    vm.close();
  },

  'the dirty log of a slot can be turned on and off': () => {
    const { vm, vcpu, memory } = makeGuest(native, PROGRAMS.stores);
    const log = new Uint8Array(16);
    const bitmap = new Uint8Array(8);
    assert.throws(() => vm.ioctl(KVM.GET_DIRTY_LOG, log, bitmap), { code: 'ENOENT' });
    vm.setMemoryFlags(0, KVM_MEM_LOG_DIRTY_PAGES);
    assert.equal(vcpu.run(), 0);
    vm.ioctl(KVM.GET_DIRTY_LOG, log, bitmap);
    assert.equal(bitmap[0] & (1 << 3), 1 << 3);
    assert.equal(memory[0x3000], 0x5a);
    vm.setMemoryFlags(0, 0);
    assert.throws(() => vm.ioctl(KVM.GET_DIRTY_LOG, log, bitmap), { code: 'ENOENT' });
    assert.throws(() => vm.setMemoryFlags(1, 0), { code: 'ENOENT' });
    assert.throws(() => vm.setMemoryFlags(0, 2 ** 31), { code: 'EINVAL' });
    vm.close();
    assert.throws(() => vm.setMemoryFlags(0, 0), { code: 'EBADF' });
  },
});

/** Mappings of this process that have {@link ODD_SIZE}. */
function oddMappings() {
  return readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .map((line) => /^([0-9a-f]+)-([0-9a-f]+) /.exec(line))
    .filter((range) => range && parseInt(range[2], 16) - parseInt(range[1], 16) === ODD_SIZE).length;
}

/** Calls back with a file whose pages begin with 1, 2, 3 …, each full of its number. */
function withFile(size, use) {
  const directory = mkdtempSync(join(tmpdir(), 'vmm-native-'));
  const path = join(directory, 'memory');
  writeFileSync(
    path,
    Uint8Array.from({ length: size }, (_, at) => 1 + Math.floor(at / 4096)),
  );
  const fd = openSync(path, 'r');
  try {
    use(fd, path);
  } finally {
    closeSync(fd);
    rmSync(directory, { recursive: true });
  }
}
