// What goes wrong with snapshots, each in a process of its own; prints what came of it:
//
//   node snapshot-faults.mjs killed SNAPSHOT      is killed by SIGKILL half-way through the second one
//   node snapshot-faults.mjs next SNAPSHOT NAME   goes on from the first one, and makes another in its place
//   node snapshot-faults.mjs chain DIRECTORY kvm|wasm
//
// The last one compares the memory that a full and a differential snapshot of the same pause have, restored.
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { VmBuilder, Vmm } from '@vmm/reference-vmm';

const GUEST =
  'echo ready; while read line; do echo "$line" >>/tmp/lines; echo "heard $(wc -l </tmp/lines)"; done; exit 3';

function build(hypervisor) {
  return new VmBuilder().hypervisor(hypervisor).memoryMb(96).command('sh', '-c', GUEST).build();
}

/** Says something, and waits for an answer. */
async function tell(vm, line, answer) {
  if (line !== undefined) vm.streams.stdin.write(`${line}\n`);
  let heard = '';
  for await (const bytes of vm.streams.stdout.iterator({ destroyOnReturn: false })) {
    heard += bytes;
    if (heard.includes(answer)) return;
  }
  throw new Error(`no "${answer}" in "${heard}"`);
}

async function report(value) {
  if (!process.stdout.write(`${JSON.stringify(value)}\n`)) await once(process.stdout, 'drain');
}

async function killed(snapshot) {
  const vm = await build('wasm');
  vm.start();
  await tell(vm, undefined, 'ready');
  await tell(vm, 'one', 'heard 1');
  await vm.snapshot(snapshot);
  await tell(vm, 'two', 'heard 2');
  const onProgress = (written, total) => {
    if (written > 0 && written < total) process.kill(process.pid, 'SIGKILL');
  };
  await vm.snapshot(snapshot, { onProgress });
}

async function next(snapshot, name) {
  const names = () => readdirSync(dirname(snapshot)).filter((each) => each.includes(basename(snapshot)));
  const left = names().length;
  const vm = await Vmm.restore(snapshot, { name });
  // Its second line: it never heard what came after the first snapshot.
  await tell(vm, 'other', 'heard 2');
  await vm.snapshot(snapshot);
  await vm[Symbol.asyncDispose]();
  await report({ left, names: names() });
}

const PAGE = 4096;

/** Addresses of the pages in which memory is not as it was. KVM has some of its own that a restore sets: its clocks. */
function differences(regions, { memory }) {
  return memory.regions.flatMap(({ guestAddress, bytes }, index) => {
    const [now, before] = [Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length), regions[index]];
    return Array.from({ length: bytes.length / PAGE }, (_, page) => page * PAGE)
      .filter((at) => now.compare(before, at, at + PAGE, at, at + PAGE) !== 0)
      .map((at) => guestAddress + at);
  });
}

async function chain(directory, hypervisor) {
  const vm = await build(hypervisor);
  vm.start();
  await tell(vm, undefined, 'ready');
  const place = (name) => join(directory, name);
  await vm.snapshot(place('base'), { track: true });
  await tell(vm, 'one', 'heard 1');
  const { memoryBytes } = await vm.snapshot(place('one'), { base: place('base') });
  await tell(vm, 'two', 'heard 2');
  await vm.pause();
  await vm.snapshot(place('two'), { base: place('one') });
  await vm.snapshot(place('whole'));
  const paused = vm.memory.regions.map(({ bytes }) => Buffer.from(bytes));
  const pages = {};
  await vm[Symbol.asyncDispose]();
  for (const name of ['two', 'whole']) {
    const copy = await Vmm.restore(place(name), { name: `${name}-${process.pid}`, paused: true });
    pages[name] = differences(paused, copy);
    await copy.resume();
    await tell(copy, 'three', 'heard 3');
    await copy.reset();
    await tell(copy, undefined, 'ready');
    await copy[Symbol.asyncDispose]();
  }
  // The other kind of hypervisor.
  const { createWasmHypervisor } = await import('@vmm/hypervisor/wasm');
  const other = await Vmm.restore(place('whole'), { name: 'other', hypervisor: createWasmHypervisor() }).then(
    async (copy) => {
      await copy[Symbol.asyncDispose]();
      return 'restored';
    },
    ({ code }) => code,
  );
  await report({ memoryBytes, pages, other });
}

const [mode, ...args] = process.argv.slice(2);
await { killed, next, chain }[mode](...args);
