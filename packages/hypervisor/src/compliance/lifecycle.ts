import type { GuestTest } from './guest-test.ts';
import { guestTest } from './guest-test.ts';
import { DATA, INPUTS, MMIO, RAM_SIZE } from './machine.ts';
import { counting, PLACES } from './programs.ts';
import { eventually, expectCode } from './suite.ts';

const CYCLES = 100;

export const lifecycleTests: readonly GuestTest[] = [
  guestTest('probe says whether the backend can run stock guests here', async (context) => {
    const result = await context.hypervisor.probe();
    if (result.available) {
      context.assert.ok(Object.keys(result.details).length > 0, 'details');
    } else {
      context.assert.ok(result.reason !== '' && result.remedy !== '', 'reason and remedy');
    }
  }),

  guestTest('impossible VMs and vCPUs are refused', async (context) => {
    const { hypervisor, assert } = context;
    const { maxVcpus, maxMemory } = hypervisor;
    const invalid = [
      { vcpus: 0, maxMemory: RAM_SIZE },
      { vcpus: maxVcpus + 1, maxMemory: RAM_SIZE },
      { vcpus: 1.5, maxMemory: RAM_SIZE },
      { vcpus: 1, maxMemory: -1 },
      { vcpus: 1, maxMemory: Number.NaN },
    ];
    for (const config of invalid) {
      const what = JSON.stringify(config);
      await expectCode(assert, 'INVALID_ARGUMENT', what, () => hypervisor.createVm(config));
    }
    await expectCode(assert, 'OUT_OF_MEMORY', 'too much memory', () =>
      hypervisor.createVm({ vcpus: 1, maxMemory: maxMemory + 4096 }),
    );
    await using machine = await context.createMachine();
    await expectCode(assert, 'OVERLAP', 'vCPU 0 again', () => machine.vm.createVcpu(0));
    for (const id of [-1, 1, 0.5]) {
      await expectCode(assert, 'INVALID_ARGUMENT', `vCPU ${id}`, () => machine.vm.createVcpu(id));
    }
  }),

  guestTest('everything of a disposed VM refuses, and disposing again is harmless', async (context) => {
    const machine = await context.running(counting, { interrupts: true });
    const { vm, vcpu, interrupts } = machine;
    const input = vm.createInterrupt(INPUTS.edge);
    const bell = vm.createDoorbell(MMIO, 4, undefined, () => undefined);
    const range = vm.coalesceWrites(MMIO + 16, 4, () => undefined);
    await Promise.all([vm[Symbol.asyncDispose](), vm[Symbol.asyncDispose]()]);
    await vm[Symbol.asyncDispose]();
    vcpu[Symbol.dispose]();
    vcpu[Symbol.dispose]();
    for (const each of [input, bell, range]) each[Symbol.dispose]();
    await vcpu.stop();
    const uses: Record<string, () => unknown> = {
      run: () => vcpu.run(),
      start: () => vcpu.start(() => 'resume'),
      getRegister: () => machine.getRegister('a'),
      save: () => vcpu.save(),
      kick: () => vcpu.kick(),
      mapMemory: () => vm.mapMemory(0, 4096),
      discardMemory: () => vm.discardMemory(new Float64Array(0)),
      startDirtyLog: () => vm.startDirtyLog(),
      takeDirtyPages: () => vm.takeDirtyPages(machine.ram),
      stopDirtyLog: () => vm.stopDirtyLog(),
      createVcpu: () => vm.createVcpu(0),
      createInterrupt: () => vm.createInterrupt(INPUTS.edge),
      createDoorbell: () => vm.createDoorbell(0, 4, undefined, () => undefined),
      coalesceWrites: () => vm.coalesceWrites(0, 4, () => undefined),
      shadowRead: () => vm.shadowRead(0, 4),
      setLine: () => interrupts.setLine(INPUTS.level, true),
      saveInterrupts: () => interrupts.save(),
    };
    for (const [what, use] of Object.entries(uses)) await expectCode(context.assert, 'DISPOSED', what, use);
  }),

  guestTest('a VM can be disposed of while a thread computes, waits, exits or is paused', async (context) => {
    for (const [place, program] of Object.entries(PLACES)) {
      for (const order of ['vm', 'vcpu first', 'paused', 'at once']) {
        const machine = await context.running(program);
        const { vcpu } = machine;
        const thread = vcpu.start(() => 'resume');
        if (order !== 'at once') await eventually(() => machine.word(DATA) !== 0);
        if (order === 'paused') await vcpu.pause();
        if (order === 'vcpu first') vcpu[Symbol.dispose]();
        await machine[Symbol.asyncDispose]();
        await thread;
        await expectCode(context.assert, 'DISPOSED', `${place}, ${order}: run`, () => vcpu.run());
      }
    }
  }),

  guestTest('a handler may dispose of its VM', async (context) => {
    const machine = await context.running((program) => {
      program.label('again').store(4, 'a', MMIO).jump('again');
    });
    let disposed: PromiseLike<void> | undefined;
    let exits = 0;
    await machine.vcpu.start(() => {
      exits++;
      disposed ??= machine[Symbol.asyncDispose]();
      return 'resume';
    });
    await disposed;
    context.assert.equal(exits, 1, 'exits that were handled');
  }),

  guestTest(`${CYCLES} VMs one after the other`, async (context) => {
    for (let cycle = 0; cycle < CYCLES; cycle++) {
      await using machine = await context.running((program) => program.set('a', cycle).store(4, 'a', MMIO));
      context.assert.equal(machine.runToMmio().value, cycle, 'what the guest stored');
    }
  }),

  guestTest('VMs run side by side without seeing each other', async (context) => {
    await using first = await context.running(counting);
    await using second = await context.running(counting);
    const threads = [first, second].map(({ vcpu }) => vcpu.start(() => 'resume'));
    await eventually(() => first.word(DATA) !== 0 && second.word(DATA) !== 0);
    await first.vcpu.stop();
    const still = first.word(DATA);
    const moving = second.word(DATA);
    await eventually(() => second.word(DATA) !== moving);
    context.assert.equal(first.word(DATA), still, 'the one that was stopped');
    await second.vcpu.stop();
    await Promise.all(threads);
  }),
];
