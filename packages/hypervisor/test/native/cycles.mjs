// Makes and closes VMs with memory, a vCPU, its running thread and events, and watches what the process holds.
// node --expose-gc cycles.mjs ADDON COUNT; prints the growth since the first tenth as JSON.
import { readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';
import { MMIO, PROGRAMS, THREAD, makeGuest, untilState } from './guest.mjs';

const [addon, count] = process.argv.slice(2);
const native = createRequire(import.meta.url)(addon);

async function cycle(index) {
  const { vm, vcpu, memory } = makeGuest(native, PROGRAMS.rings);
  const bell = vm.createIoeventfd(MMIO + 8, 2, 0, 0, 0);
  memory.fill(1, 0x4000);
  vcpu.start(0);
  if (index % 2 === 0) {
    await untilState(vcpu, THREAD.EXIT);
    vcpu.resume();
  }
  // Every order of closing, and none: then the collector does it.
  if (index % 5 === 1) vcpu.close();
  if (index % 5 === 2) bell.close();
  if (index % 5 === 3) vm.unmapMemory(0);
  if (index % 5 !== 4) vm.close();
}

async function measure() {
  for (let round = 0; round < 5; round++) {
    globalThis.gc();
    // Finalizers and closing handles take their turns of the event loop.
    await sleep(20);
  }
  return {
    descriptors: readdirSync('/proc/self/fd').length,
    threads: readdirSync('/proc/self/task').length,
    mappings: readFileSync('/proc/self/maps', 'utf8').split('kvm-vcpu').length,
    kibibytes: Math.round(process.memoryUsage.rss() / 1024),
  };
}

let before;
for (let index = 0; index < Number(count); index++) {
  if (index === Number(count) / 10) before = await measure();
  await cycle(index);
  if (index % 50 === 49) await measure();
}
const after = await measure();
console.log(
  JSON.stringify(Object.fromEntries(Object.keys(after).map((key) => [key, after[key] - before[key]]))),
);
