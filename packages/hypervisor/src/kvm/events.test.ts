import { mmio } from '../../test/kvm/exits-of-fake.ts';
import { FakeKvm, systemCallError, type FakeVm } from '../../test/kvm/fake-native.ts';
import { HypervisorError } from '../errors.ts';
import type { X86KvmVcpu, X86KvmVm } from './index.ts';
import { createKvmX86Hypervisor } from './index.ts';

const QUEUE = 0xd000_0000;
const RING_CAPACITY = 169;

interface Fixture {
  readonly native: FakeKvm;
  readonly fake: FakeVm;
  readonly vm: X86KvmVm;
  readonly vcpu: X86KvmVcpu;
}

async function create(vcpus = 1): Promise<Fixture> {
  const native = new FakeKvm();
  const vm = await createKvmX86Hypervisor({ native }).createVm({ vcpus, maxMemory: 1 << 20 });
  vm.createIrqChip({ mode: 'kernel' });
  return { native, fake: native.vm, vm, vcpu: vm.createVcpu(0) };
}

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return error instanceof HypervisorError ? error.code : String(error);
  }
  return 'nothing';
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}

describe('what reaches the owner of a VM', () => {
  it.each([false, true])(
    'comes as doorbells, coalesced writes, exits; tokens reversed: %s',
    async (reversed) => {
      const { native, fake, vm, vcpu } = await create();
      fake.reversed = reversed;
      const log: string[] = [];
      vm.createDoorbell(0x1000, 4, undefined, () => log.push('ring'));
      vm.createInterrupt(5, () => log.push('ring'));
      vm.coalesceWrites(QUEUE, 8, (address, length, value) =>
        log.push(`write ${address - QUEUE} ${length} ${value}`),
      );
      native.steps = [
        (self) => {
          fake.coalesce(QUEUE, 4, 7);
          fake.events[0]!.ring();
          fake.irqfds[0]!.ring();
          return mmio(0x5000, 4, [1, 0, 0, 0])(self);
        },
      ];
      await vcpu.start((exit) => {
        log.push(exit.reason);
        return 'stop';
      });
      expect(log).toEqual(['ring', 'ring', 'write 0 4 7', 'mmio']);
      await vm[Symbol.asyncDispose]();
    },
  );

  it('is called once for any number of rings', async () => {
    const { fake, vm, vcpu, native } = await create();
    let rung = 0;
    vm.createDoorbell(0x1000, 4, undefined, () => rung++);
    native.steps = [
      (self) => {
        fake.events[0]!.ring();
        fake.events[0]!.ring();
        return mmio(0, 4)(self);
      },
      (self) => {
        fake.events[0]!.ring();
        return mmio(0, 4)(self);
      },
    ];
    vcpu.run();
    expect(rung).toBe(1);
    vcpu.run();
    expect(rung).toBe(2);
  });

  it('is not called for a doorbell that was disposed of with a ring pending', async () => {
    const { fake, vm, vcpu, native } = await create();
    const log: string[] = [];
    const second = vm.createDoorbell(0x2000, 4, undefined, () => log.push('second'));
    vm.createDoorbell(0x1000, 4, undefined, () => {
      log.push('first');
      second[Symbol.dispose]();
    });
    native.steps = [
      (self) => {
        fake.events[1]!.ring();
        fake.events[0]!.ring();
        return mmio(0, 4)(self);
      },
    ];
    vcpu.run();
    expect(log).toEqual(['first']);
    expect(fake.events[0]!.closed).toBe(true);
  });

  it('comes from more eventfds than one poll tells', async () => {
    const { fake, vm, vcpu, native } = await create();
    let rung = 0;
    for (let index = 0; index < 200; index++) {
      vm.createDoorbell(0x1000 + 4 * index, 4, undefined, () => rung++);
    }
    native.steps = [
      (self) => {
        for (const event of fake.events) event.ring();
        return mmio(0, 4)(self);
      },
    ];
    vcpu.run();
    expect(rung).toBe(200);
  });

  it('is the exit after a callback that threw in run()', async () => {
    const { fake, vm, vcpu, native } = await create();
    const error = new Error('of the callback');
    vm.createDoorbell(0x1000, 4, undefined, () => {
      throw error;
    });
    native.steps = [
      (self) => {
        fake.events[0]!.ring();
        return mmio(0x1234, 4)(self);
      },
    ];
    expect(() => vcpu.run()).toThrow(error);
    const exit = vcpu.run();
    expect(exit.reason === 'mmio' ? exit.address : 0).toBe(0x1234);
    expect(fake.vcpus[0]!.entered).toBe(1);
  });

  it('stops all threads when a callback throws, and every start() rejects with the very error', async () => {
    const { fake, vm, vcpu } = await create(2);
    const other = vm.createVcpu(1);
    const error = new Error('of the doorbell');
    vm.createDoorbell(0x1000, 4, undefined, () => {
      throw error;
    });
    const threads = [vcpu, other].map((one) => one.start(() => 'resume').catch((thrown: unknown) => thrown));
    await new Promise((resolve) => setTimeout(resolve, 5));
    fake.events[0]!.ring();
    expect(await Promise.all(threads)).toEqual([error, error]);
    expect(fake.referenced).toBe(false);
  });

  it('keeps the event loop alive as long as a thread runs', async () => {
    const { fake, vcpu } = await create();
    expect(fake.referenced).toBe(false);
    const thread = vcpu.start(() => 'resume');
    expect(fake.referenced).toBe(true);
    await vcpu.stop();
    await thread;
    expect(fake.referenced).toBe(false);
  });
});

describe('coalesced writes', () => {
  it('arrive from a thread that never exits', async () => {
    const { fake, vm, vcpu } = await create();
    const values: number[] = [];
    vm.coalesceWrites(QUEUE, 4, (_address, _length, value) => values.push(value));
    const thread = vcpu.start(() => 'resume');
    for (let value = 1; value <= 3; value++) {
      fake.coalesce(QUEUE, 4, value);
      await until(() => values.length === value);
    }
    await vcpu.stop();
    await thread;
    expect(values).toEqual([1, 2, 3]);
  });

  it('have the bits of their width only, and those of 8 bytes come as two', async () => {
    const { fake, vm, vcpu, native } = await create();
    const seen: number[][] = [];
    vm.coalesceWrites(QUEUE, 16, (address, length, value) => seen.push([address - QUEUE, length, value]));
    native.steps = [
      (self) => {
        fake.coalesce(QUEUE, 1, 0xffff_ffff);
        fake.coalesce(QUEUE + 2, 2, 0xffff_fffe);
        fake.coalesce(QUEUE + 4, 4, 0xffff_fffd);
        fake.coalesce(QUEUE + 8, 8, 0x8000_0001, 0x8000_0002);
        return mmio(0, 4)(self);
      },
    ];
    vcpu.run();
    expect(seen).toEqual([
      [0, 1, 0xff],
      [2, 2, 0xfffe],
      [4, 4, 0xffff_fffd],
      [8, 4, 0x8000_0001],
      [12, 4, 0x8000_0002],
    ]);
  });

  it('of ports and of memory are kept apart', async () => {
    const { fake, vm, vcpu, native } = await create();
    const seen: string[] = [];
    vm.coalesceWrites(0x3f8, 8, () => seen.push('memory'));
    vm.coalescePortWrites(0x3f8, 8, () => seen.push('port'));
    native.steps = [
      (self) => {
        fake.coalesce(0x3f8, 1, 1, 0, 1);
        fake.coalesce(0x3f8, 1, 1);
        return mmio(0, 4)(self);
      },
    ];
    vcpu.run();
    expect(seen).toEqual(['port', 'memory']);
  });

  it('go round in the ring of the kernel, and a full one loses nothing', async () => {
    const { fake, vm, vcpu, native } = await create();
    const values: number[] = [];
    vm.coalesceWrites(QUEUE, 4, (_address, _length, value) => values.push(value));
    let next = 0;
    native.steps = Array.from({ length: 5 }, () => (self) => {
      while (fake.coalesce(QUEUE, 4, next)) next++;
      return mmio(0, 4)(self);
    });
    for (let round = 0; round < 5; round++) vcpu.run();
    expect(values).toEqual(Array.from({ length: 5 * RING_CAPACITY }, (_, index) => index));
  });

  it('exit where KVM does not take port writes', async () => {
    const native = new FakeKvm();
    native.capabilities.set(162, 0);
    const vm = await createKvmX86Hypervisor({ native }).createVm({ vcpus: 1, maxMemory: 4096 });
    const requests: number[] = [];
    native.vm.onIoctl = (request) => {
      requests.push(request);
      return 0;
    };
    vm.coalescePortWrites(0x3f8, 8, () => undefined)[Symbol.dispose]();
    expect(requests).toEqual([]);
  });
});

describe('eventfds of KVM', () => {
  it('are refused with the code that fits what the system says', async () => {
    const { fake, vm } = await create();
    for (const [errno, code] of [
      ['EEXIST', 'OVERLAP'],
      ['ENOSPC', 'UNSUPPORTED'],
      ['EMFILE', 'UNSUPPORTED'],
      ['ENOMEM', 'OUT_OF_MEMORY'],
      ['EIO', 'SYSTEM'],
    ] as const) {
      fake.eventError = systemCallError(errno);
      expect(codeOf(() => vm.createDoorbell(0x1000, 4, 1, () => undefined))).toBe(code);
    }
    fake.eventError = systemCallError('EINVAL');
    expect(codeOf(() => vm.createInterrupt(5))).toBe('INVALID_ARGUMENT');
    expect(codeOf(() => vm.createInterrupt(5, () => undefined))).toBe('UNSUPPORTED');
  });

  it('are refused where they make no sense', async () => {
    const { vm } = await create();
    const none = (): void => undefined;
    vm.createPortDoorbell(0x80, 1, 7, none);
    for (const action of [
      () => vm.createDoorbell(0x1002, 4, undefined, none),
      () => vm.createDoorbell(0x1000, 3 as 4, undefined, none),
      () => vm.createDoorbell(0x1000, 2, 0x1_0000, none),
      () => vm.createPortDoorbell(0x1_0000, 1, undefined, none),
      () => vm.coalescePortWrites(0xffff, 2, none),
      () => vm.createInterrupt(-1),
      () => vm.createInterrupt(4096),
      () => vm.createInterrupt(0.5),
    ]) {
      expect(codeOf(action)).toBe('INVALID_ARGUMENT');
    }
    expect(codeOf(() => vm.createPortDoorbell(0x80, 1, 7, none))).toBe('OVERLAP');
  });

  it('can be disposed of before and after their VM, any number of times', async () => {
    const { vm } = await create();
    const none = (): void => undefined;
    const things = [
      vm.createDoorbell(0x1000, 4, undefined, none),
      vm.createInterrupt(5),
      vm.createInterrupt(6, none),
      vm.coalesceWrites(QUEUE, 4, none),
      vm.shadowRead(0x2000, 5),
    ];
    const [first] = things;
    first![Symbol.dispose]();
    const input = vm.createInterrupt(7);
    input.trigger();
    await vm[Symbol.asyncDispose]();
    for (const thing of [...things, ...things]) thing[Symbol.dispose]();
    expect(codeOf(() => input.trigger())).toBe('DISPOSED');
    input[Symbol.dispose]();
    input.trigger();
  });
});
