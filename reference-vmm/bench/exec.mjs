// A command in an idle guest, from vm.exec() to its exit code, and what of that is the way there and back. On KVM in the rig:
// kvm-lifecycle.mjs.
import { VmBuilder } from '@vmm/reference-vmm';
import { median, report } from './support.mjs';

const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 200);
const WARM_UP = ROUNDS / 4;
const TRANSPORTS = (process.env.BENCH_TRANSPORTS ?? 'mmio,pci').split(',');

/** On KVM it is reported. */
const TARGET = (process.env.BENCH_HYPERVISOR ?? 'wasm') === 'wasm' ? '10 ms' : undefined;

async function each(count, run) {
  const times = [];
  for (let i = 0; i < count; i++) {
    const started = performance.now();
    await run();
    times.push(performance.now() - started);
  }
  return median(times);
}

async function measure(transport) {
  const vm = await new VmBuilder()
    .hypervisor(process.env.BENCH_HYPERVISOR ?? 'wasm')
    .transport(transport)
    .command('sleep', '100000')
    .build();
  try {
    vm.start();
    await vm.agent.ready();
    const run = (...argv) => vm.exec(argv).exit;
    await each(WARM_UP, () => run('true'));
    const times = {
      command: await each(ROUNDS, () => run('true')),
      output: await each(ROUNDS, () => vm.exec(['echo', 'hello']).output()),
      small: await each(ROUNDS, () => run('/vmm/agent', '--help')),
      ping: await each(ROUNDS, () => vm.agent.ping()),
    };
    report(`${transport}: exec true (busybox), to its exit code`, 'ms', times.command, undefined, TARGET);
    report(`${transport}: exec echo, to the end of its output`, 'ms', times.output);
    report(`${transport}: exec of a program without busybox`, 'ms', times.small);
    report(`${transport}: ping`, 'ms', times.ping);
  } finally {
    await vm[Symbol.asyncDispose]();
  }
}

console.log(
  `exec: median of ${ROUNDS}, one after the other, idle guest, ${process.env.BENCH_HYPERVISOR ?? 'software'} hypervisor`,
);
for (const transport of TRANSPORTS) await measure(transport);
