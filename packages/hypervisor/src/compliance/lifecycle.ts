import type { Assembler } from './assembler.ts';
import { DATA, Machine, RAM_SIZE, X_DATA, X_MMIO } from './machine.ts';
import type { ComplianceTest } from './suite.ts';
import { eventually, expectCode, test } from './suite.ts';

const CYCLES = 100;

function counting(a: Assembler): void {
  a.movz(0, 0).label('again').addImmediate(0, 0, 1).store(8, 0, X_DATA).b('again');
}

export const lifecycleTests: readonly ComplianceTest[] = [
  test('probe says that the backend can run here', async (context) => {
    const result = await context.hypervisor.probe();
    context.assert.ok(
      result.available,
      result.available ? 'available' : `${result.reason}; ${result.remedy}`,
    );
    context.assert.equal(context.hypervisor.arch, 'aarch64', 'architecture');
  }),

  test('impossible VMs and vCPUs are refused', async (context) => {
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
    await using machine = await Machine.create(context);
    await expectCode(assert, 'OVERLAP', 'vCPU 0 again', () => machine.vm.createVcpu(0));
    for (const id of [-1, 1, 0.5]) {
      await expectCode(assert, 'INVALID_ARGUMENT', `vCPU ${id}`, () => machine.vm.createVcpu(id));
    }
  }),

  test('everything of a disposed VM refuses, and disposing again is harmless', async (context) => {
    const machine = await Machine.running(context, counting);
    const gic = machine.createGic();
    const { vm, vcpu } = machine;
    await Promise.all([vm[Symbol.asyncDispose](), vm[Symbol.asyncDispose]()]);
    await vm[Symbol.asyncDispose]();
    vcpu[Symbol.dispose]();
    vcpu[Symbol.dispose]();
    await vcpu.stop();
    const uses: Record<string, () => unknown> = {
      run: () => vcpu.run(),
      start: () => vcpu.start(() => 'resume'),
      getRegister: () => vcpu.getRegister('x0'),
      save: () => vcpu.save(),
      kick: () => vcpu.kick(),
      mapMemory: () => vm.mapMemory(0, 4096),
      createVcpu: () => vm.createVcpu(0),
      createDoorbell: () => vm.createDoorbell(0, 4, undefined, () => undefined),
      coalesceWrites: () => vm.coalesceWrites(0, 4, () => undefined),
      shadowRead: () => vm.shadowRead(0, 4),
      setSpi: () => gic.setSpi(40, true),
      saveGic: () => gic.save(),
    };
    for (const [what, use] of Object.entries(uses)) await expectCode(context.assert, 'DISPOSED', what, use);
  }),

  test('a VM can be disposed of while a thread computes, waits, exits or is paused', async (context) => {
    const programs: Record<string, (a: Assembler) => void> = {
      computing: counting,
      waiting: (a) => a.store(8, X_MMIO, X_DATA).label('wait').wfi().b('wait'),
      exiting: (a) => a.store(8, X_MMIO, X_DATA).label('again').store(4, 0, X_MMIO).b('again'),
    };
    for (const [place, program] of Object.entries(programs)) {
      for (const order of ['vm', 'vcpu first', 'paused', 'at once']) {
        const machine = await Machine.running(context, program);
        const thread = machine.vcpu.start(() => 'resume');
        if (order !== 'at once') await eventually(() => machine.word(DATA) !== 0);
        if (order === 'paused') await machine.vcpu.pause();
        if (order === 'vcpu first') machine.vcpu[Symbol.dispose]();
        await machine[Symbol.asyncDispose]();
        await thread;
        const before = machine.word(DATA);
        await eventually(() => true);
        context.assert.equal(machine.word(DATA), before, `${place}, ${order}: nothing runs any more`);
      }
    }
  }),

  test('a handler may dispose of its VM', async (context) => {
    const machine = await Machine.running(context, (a) => a.label('again').store(4, 0, X_MMIO).b('again'));
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

  test(`${CYCLES} VMs one after the other`, async (context) => {
    for (let cycle = 0; cycle < CYCLES; cycle++) {
      await using machine = await Machine.running(context, (a) => a.movz(0, cycle).store(4, 0, X_MMIO));
      context.assert.equal(machine.runToMmio().value, cycle, 'what the guest stored');
    }
  }),

  test('VMs run side by side without seeing each other', async (context) => {
    await using first = await Machine.running(context, counting);
    await using second = await Machine.running(context, counting);
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
