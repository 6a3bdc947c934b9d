// What an exit, a doorbell, an interrupt and a pause cost with the software hypervisor.
import { sysreg } from '@vmm/hypervisor';
import { Assembler } from '@vmm/hypervisor/compliance';
import { createWasmHypervisor } from '@vmm/hypervisor/wasm';

const RAM = 0x8000_0000;
const MMIO = 0x1000_0000;
const EXITS = 20_000;
const SAMPLES = 10_000;
const CNTVCT_EL0 = sysreg(3, 3, 14, 0, 2);

const hypervisor = createWasmHypervisor();

await bench('MMIO exit, run() on the owner thread', async (vm) => {
  const vcpu = guest(vm, (a) => a.label('again').load(4, 0, 1).b('again'));
  const before = performance.now();
  for (let exit = 0; exit < EXITS; exit++) vcpu.run().value = exit;
  return ((performance.now() - before) / EXITS) * 1000;
});

for (const loops of [0, 2_000, 30_000]) {
  await bench(`MMIO exit of a vCPU thread, every ${loops} loops`, async (vm) => {
    const vcpu = guest(vm, (a) => {
      a.label('again');
      if (loops > 0) a.movImmediate(2, loops).label('delay').subImmediate(2, 2, 1).cbnz(2, 'delay');
      // The guest reads the counter (16 ns) before and after the exit and hands over the difference.
      a.mrs(3, CNTVCT_EL0).load(4, 0, 1).mrs(4, CNTVCT_EL0).sub(0, 4, 3).store(4, 0, 1, 4).b('again');
    });
    const times = [];
    await vcpu.start((exit) => {
      if (!exit.write) return 'resume';
      return times.push(exit.value * 0.016) === SAMPLES ? 'stop' : 'resume';
    });
    return times.sort((a, b) => a - b)[SAMPLES / 2];
  });
}

await bench('doorbell store of a vCPU thread', async (vm) => {
  const vcpu = guest(vm, (a) => {
    a.movImmediate(2, EXITS)
      .mrs(3, CNTVCT_EL0)
      .label('again')
      .store(4, 0, 1)
      .subImmediate(2, 2, 1)
      .cbnz(2, 'again');
    a.mrs(4, CNTVCT_EL0).sub(0, 4, 3).store(4, 0, 1, 4);
  });
  vm.createDoorbell(MMIO, 4, undefined, () => undefined);
  let time = 0;
  await vcpu.start((exit) => {
    time = (exit.value * 0.016) / EXITS;
    return 'stop';
  });
  return time;
});

await bench('pause of a computing vCPU thread', async (vm) => {
  const vcpu = guest(vm, (a) => a.label('again').addImmediate(0, 0, 1).b('again'));
  const thread = vcpu.start(() => 'resume');
  await new Promise((resolve) => setTimeout(resolve, 100));
  let total = 0;
  for (let round = 0; round < 200; round++) {
    const before = performance.now();
    await vcpu.pause();
    total += performance.now() - before;
    vcpu.resume();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await vcpu.stop();
  await thread;
  return (total / 200) * 1000;
});

await bench('VM created, run once and disposed of', async () => {
  const rounds = 50;
  const before = performance.now();
  for (let round = 0; round < rounds; round++) {
    await withVm(async (vm) => void guest(vm, (a) => a.store(4, 0, 1)).run());
  }
  return ((performance.now() - before) / rounds) * 1000;
});

await bench('thread started, one exit, ended', async (vm) => {
  const vcpu = guest(vm, (a) => a.label('again').store(4, 0, 1).b('again'));
  const rounds = 20;
  const before = performance.now();
  for (let round = 0; round < rounds; round++) await vcpu.start(() => 'stop');
  return ((performance.now() - before) / rounds) * 1000;
});

/** A vCPU about to run what `write` assembles, with the MMIO address in x1. */
function guest(vm, write) {
  const ram = vm.mapMemory(RAM, 65536);
  const vcpu = vm.createVcpu(0);
  const a = new Assembler().movImmediate(1, MMIO);
  write(a);
  ram.bytes.set(a.bytes());
  vcpu.setRegister('pc', BigInt(RAM));
  return vcpu;
}

async function withVm(use) {
  const vm = await hypervisor.createVm({ vcpus: 1, maxMemory: 1 << 20 });
  try {
    return await use(vm);
  } finally {
    await vm[Symbol.asyncDispose]();
  }
}

async function bench(name, measure) {
  const times = [];
  for (let round = 0; round < 3; round++) times.push(await withVm(measure));
  times.sort((a, b) => a - b);
  console.log(`${name.padEnd(60)} ${times[1].toFixed(2).padStart(10)} us`);
}
