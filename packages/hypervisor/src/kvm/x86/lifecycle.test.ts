import { readdirSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { kvmHere } from '../../../test/native/support.ts';
import { HypervisorUnavailableError } from '../../errors.ts';
import { createKvmX86Hypervisor, type X86KvmVcpu, type X86KvmVm } from '../index.ts';

const CYCLES = 100;
const MEMORY = 1 << 20;
/** Where code of a processor after reset is, seen from its memory: CS.base 0xFFFF_0000 + IP 0xFFF0. */
const RESET_PAGE = 0xffff_f000;
const RESET_OFFSET = 0xff0;
/** out 0x80, al; jmp to itself */
const EXITS = [0xe6, 0x80, 0xeb, 0xfc];

const hypervisor = createKvmX86Hypervisor();

const collectGarbage = ((): (() => void) => {
  setFlagsFromString('--expose-gc');
  const gc: unknown = runInNewContext('gc');
  if (typeof gc !== 'function') throw new Error('there is no gc()');
  return () => void Reflect.apply(gc, undefined, []);
})();

function openFiles(): number {
  return readdirSync('/proc/self/fd').length;
}

function threads(): number {
  return readdirSync('/proc/self/task').length;
}

/** Threads that have been joined are listed for a while: their number when it stays, or has come down to the limit. */
async function settledThreads(limit = 0): Promise<number> {
  let count = threads();
  for (let same = 0; same < 100 && count > limit; same++) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    const now = threads();
    if (now !== count) same = 0;
    count = now;
  }
  return count;
}

async function create(): Promise<{ vm: X86KvmVm; vcpu: X86KvmVcpu }> {
  const vm = await hypervisor.createVm({ vcpus: 1, maxMemory: 2 * MEMORY });
  vm.mapMemory(0, MEMORY).bytes.fill(1);
  vm.mapMemory(RESET_PAGE, 4096).bytes.set(EXITS, RESET_OFFSET);
  vm.createDoorbell(0xd000_0000, 4, undefined, () => vm.regions);
  vm.coalesceWrites(0xd000_1000, 4, () => vm.regions);
  return { vm, vcpu: vm.createVcpu(0) };
}

/** A VM that nobody knows any more when this returns. */
async function forget(): Promise<void> {
  const { vm, vcpu } = await create();
  expect(vcpu.run().reason).toBe('io');
  vm.createDoorbell(0xd000_0004, 4, undefined, () => vcpu.id);
}

const onX86 = process.arch === 'x64';

if (!onX86) {
  it('refuses x86-64 guests on a host of another architecture', async () => {
    await expect(hypervisor.createVm({ vcpus: 1, maxMemory: MEMORY })).rejects.toThrow(
      HypervisorUnavailableError,
    );
  });
}

if (onX86 && kvmHere()) {
  describe('a VM of KVM', () => {
    it('leaves no file and no thread behind', async () => {
      await (await create()).vm[Symbol.asyncDispose]();
      collectGarbage();
      const before = { files: openFiles(), threads: await settledThreads() };
      for (let cycle = 0; cycle < CYCLES; cycle++) {
        const { vm, vcpu } = await create();
        let exits = 0;
        await vcpu.start(() => (++exits === 3 ? 'stop' : 'resume'));
        await vm[Symbol.asyncDispose]();
      }
      collectGarbage();
      expect(openFiles()).toBe(before.files);
      expect(await settledThreads(before.threads)).toBeLessThanOrEqual(before.threads);
    });

    it('is collected with its files when it is forgotten', async () => {
      collectGarbage();
      const before = openFiles();
      for (let count = 0; count < 5; count++) await forget();
      expect(openFiles()).toBeGreaterThan(before);
      while (openFiles() > before) {
        collectGarbage();
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    });

    it('is not collected while a thread runs', async () => {
      let exits = 0;
      const thread = create().then(({ vcpu }) => vcpu.start(() => (++exits < 20 ? 'resume' : 'stop')));
      while (exits < 20) {
        collectGarbage();
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      await thread;
    });

    it('keeps its doorbells when their user keeps only the callback', async () => {
      const { vm, vcpu } = await create();
      // mov [0x8000], eax in real mode, and the port again.
      vm.regions[1]!.bytes.set([0x66, 0xa3, 0x00, 0x80, ...EXITS], RESET_OFFSET);
      const { ds } = vcpu.getSpecialRegisters();
      vcpu.setSpecialRegisters({ ds: { ...ds, base: 0xc000_0000n } });
      let rung = 0;
      for (let count = 0; count < 20; count++)
        vm.createDoorbell(0xd100_0000 + 4 * count, 4, undefined, () => 0);
      vm.createDoorbell(0xc000_8000, 4, undefined, () => rung++);
      for (let count = 0; count < 5; count++) {
        collectGarbage();
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      expect([vcpu.run().reason, rung]).toEqual(['io', 1]);
      await vm[Symbol.asyncDispose]();
    });

    it('detaches the views of its memory when it is disposed of', async () => {
      const { vm } = await create();
      const [region] = vm.regions;
      expect(region?.bytes.length).toBe(MEMORY);
      await vm[Symbol.asyncDispose]();
      expect(region?.bytes.length).toBe(0);
    });

    it('has regions side by side, to which the guest sees no border', async () => {
      const { vm, vcpu } = await create();
      const next = vm.mapMemory(MEMORY, 4096);
      expect(vm.regions.map(({ guestAddress }) => guestAddress)).toEqual([0, MEMORY, RESET_PAGE]);
      // mov [0xFFFE], eax in real mode, DS.base put so that the store goes over the border.
      vm.regions[2]!.bytes.set([0x66, 0xa3, 0xfe, 0xff, ...EXITS], RESET_OFFSET);
      const { ds } = vcpu.getSpecialRegisters();
      vcpu.setSpecialRegisters({ ds: { ...ds, base: BigInt(MEMORY - 0x1_0000), limit: 0xf_ffff } });
      vcpu.setRegister('rax', 0x4433_2211n);
      expect(vcpu.run().reason).toBe('io');
      expect([...vm.regions[0]!.bytes.subarray(-2), ...next.bytes.subarray(0, 2)]).toEqual([
        0x11, 0x22, 0x33, 0x44,
      ]);
      await vm[Symbol.asyncDispose]();
    });

    it('refuses memory where KVM has pages of its own, and regions that are too large', async () => {
      const vm = await hypervisor.createVm({ vcpus: 1, maxMemory: 2 ** 40 });
      expect(() => vm.mapMemory(0xfffb_c000, 4096)).toThrow(/KVM needs/);
      expect(() => vm.mapMemory(0xfffb_b000, 0x2000)).toThrow(/KVM needs/);
      expect(() => vm.mapMemory(0x1_0000_0000, vm.maxRegionSize + 4096)).toThrow(/maxRegionSize/);
      vm.mapMemory(0xfffb_b000, 0x1000);
      vm.mapMemory(0xfffc_0000, 0x1000);
      await vm[Symbol.asyncDispose]();
    });
  });
}
