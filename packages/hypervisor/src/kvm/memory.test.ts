import { BAD_FD, FakeKvm, systemCallError } from '../../test/kvm/fake-native.ts';
import { HypervisorError } from '../errors.ts';
import { MemorySlots } from './memory.ts';
import { KVM_GET_DIRTY_LOG, KVM_MEM_LOG_DIRTY_PAGES } from './uapi.ts';

const LIMITS = { maxMemory: 2 ** 20, maxRegionSize: 2 ** 20, slots: 8, readOnly: true };

function setUp(): { kvm: FakeKvm; memory: MemorySlots } {
  const kvm = new FakeKvm();
  kvm.openSystem().createVm(0, () => undefined);
  return { kvm, memory: new MemorySlots(kvm.vm, LIMITS, (bytes, fd) => kvm.mapFile(bytes, fd)) };
}

function codeOf(action: () => unknown): string | undefined {
  try {
    action();
  } catch (error) {
    if (error instanceof HypervisorError) return error.code;
    throw error;
  }
  return undefined;
}

describe('memory slots', () => {
  it('are given back when the file for them cannot be mapped', () => {
    const { kvm, memory } = setUp();
    expect(codeOf(() => memory.map(0, 4096, { file: { fd: BAD_FD, offset: 0 } }))).toBe('SYSTEM');
    expect(kvm.vm.unmapped).toEqual([0]);
    expect(memory.regions).toEqual([]);
    const region = memory.map(0, 4096, { file: { fd: 3, offset: 0 } });
    expect([region.bytes[0], memory.fileBytes(region)]).toEqual([1, 4096]);
  });

  it('have dirty logs from the beginning to the end of the log, but for read-only ones', () => {
    const { kvm, memory } = setUp();
    memory.map(0, 4096);
    memory.map(4096, 4096, { readOnly: true });
    memory.startDirtyLog();
    expect([...kvm.vm.memoryFlags]).toEqual([[0, KVM_MEM_LOG_DIRTY_PAGES]]);
    memory.stopDirtyLog();
    memory.stopDirtyLog();
    expect([...kvm.vm.memoryFlags]).toEqual([[0, 0]]);
  });

  it('have no log when one of them refuses it', () => {
    const { kvm, memory } = setUp();
    memory.map(0, 4096);
    memory.map(4096, 4096);
    const set = kvm.vm.setMemoryFlags.bind(kvm.vm);
    kvm.vm.setMemoryFlags = (slot, flags) => {
      if (slot === 1 && flags !== 0) throw systemCallError('ENOMEM');
      set(slot, flags);
    };
    expect(codeOf(() => memory.startDirtyLog())).toBe('OUT_OF_MEMORY');
    expect(memory.dirtyLog).toBe(false);
    expect(kvm.vm.memoryFlags.get(0)).toBe(0);
  });

  it('are asked for their log by number', () => {
    const { kvm, memory } = setUp();
    memory.map(0, 4096);
    const region = memory.map(4096, 33 * 4096);
    memory.startDirtyLog();
    const asked: unknown[] = [];
    kvm.vm.onIoctl = (request, argument) => {
      asked.push(request, argument);
      return 0;
    };
    expect(memory.takeDirtyPages(region)).toHaveLength(2);
    expect(asked).toEqual([KVM_GET_DIRTY_LOG, Uint8Array.of(1, ...new Uint8Array(15))]);
  });
});
