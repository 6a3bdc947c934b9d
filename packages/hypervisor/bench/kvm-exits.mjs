// What KVM costs through this package: exits against a loop in C++, doorbells, interrupts, a VM's creation, its memory.
// Bare-metal guests: any /dev/kvm of an x86-64 machine will do.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createKvmX86Hypervisor, diagnoseKvm } from '@vmm/hypervisor/kvm';
import { FLAG, GSI, REPORT, flagGuest, interruptGuest, realModeGuest } from './support.mjs';

const EXITS = 10_000;
const ROUNDS = 5;
const VMS = 20;
const SAMPLES = 2_000;
/** Milliseconds in which a vCPU thread and its owner fall asleep. */
const REST = 1;
const PORT = 0x500;
// mov dx, 0x500; again: in al, dx; jmp again
const READS_PORT = [0xba, 0x00, 0x05, 0xec, 0xeb, 0xfd];
// mov dx, 0x500; mov cx, 10000; again: out dx, ax; loop again; in al, dx
const RINGS = [0xba, 0x00, 0x05, 0xb9, 0x10, 0x27, 0xef, 0xe2, 0xfd, 0xec];

if (process.arch !== 'x64') {
  console.log('the guests of this benchmark are x86-64 code');
  process.exit();
}
const diagnosis = await diagnoseKvm();
if (!diagnosis.available) {
  for (const finding of diagnosis.findings) if (!finding.ok) console.log(finding.detail);
  console.log('no KVM here; `npm run rig -- node packages/hypervisor/bench/kvm-exits.mjs` has one');
  process.exit();
}
console.log(`KVM ${diagnosis.hardwareBacked ? 'that hardware backs' : 'that emulates guest kernels'}`);
if (availableParallelism() === 1) console.log('one processor, which vCPU threads and their owner share');

const hypervisor = createKvmX86Hypervisor();
const scratch = mkdtempSync(join(tmpdir(), 'vmm-bench-'));
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }));
const loop = compileLoop();

/** Path of the loop in C++; undefined, which is told, on a machine without compiler. */
function compileLoop() {
  const output = join(scratch, 'kvm-loop');
  const source = fileURLToPath(new URL('kvm-loop.cc', import.meta.url));
  try {
    execFileSync('g++', ['-std=c++20', '-O2', '-o', output, source], { stdio: 'inherit' });
    return output;
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
    console.log('no g++ here: no comparison with the loop in C++');
    return undefined;
  }
}

/** Microseconds for each exit, when the owner's thread runs the guest. */
async function runOnOwner() {
  const { vm, vcpu } = await realModeGuest(hypervisor, READS_PORT);
  const before = performance.now();
  for (let exit = 0; exit < EXITS; exit++) vcpu.run().value = exit & 0xff;
  const time = performance.now() - before;
  await vm[Symbol.asyncDispose]();
  return (time / EXITS) * 1000;
}

/** Microseconds for each exit of a vCPU thread, answered on the event loop; both sides poll where that pays. */
async function runOnThread() {
  const { vm, vcpu } = await realModeGuest(hypervisor, READS_PORT);
  let exits = 0;
  const before = performance.now();
  await vcpu.start((exit) => {
    exit.value = exits & 0xff;
    return ++exits === EXITS ? 'stop' : 'resume';
  });
  const time = performance.now() - before;
  await vm[Symbol.asyncDispose]();
  return (time / EXITS) * 1000;
}

/** Microseconds for each store that rings a doorbell. */
async function doorbell() {
  const { vm, vcpu } = await realModeGuest(hypervisor, RINGS);
  vm.createPortDoorbell(PORT, 2, undefined, () => undefined);
  const before = performance.now();
  await vcpu.start(() => 'stop');
  const time = performance.now() - before;
  await vm[Symbol.asyncDispose]();
  return (time / EXITS) * 1000;
}

function plainLoop() {
  const bytes = READS_PORT.map((byte) => byte.toString(16));
  return Number(execFileSync(loop, [`${EXITS}`, ...bytes], { encoding: 'utf8' })) / 1000;
}

/** Milliseconds from createVm() to the first exit, which the guest's second instruction makes. */
async function creation() {
  const before = performance.now();
  const { vm, vcpu } = await realModeGuest(hypervisor, READS_PORT);
  vcpu.run();
  const time = performance.now() - before;
  await vm[Symbol.asyncDispose]();
  return time;
}

/** KiB of this process's resident memory for each further VM that has run. */
async function memory() {
  const resident = () => Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))[1]);
  const vms = [];
  const before = resident();
  for (let count = 0; count < VMS; count++) {
    const { vm, vcpu } = await realModeGuest(hypervisor, READS_PORT);
    vcpu.run();
    vms.push(vm);
  }
  const kibibytes = (resident() - before) / VMS;
  for (const vm of vms) await vm[Symbol.asyncDispose]();
  return kibibytes;
}

/** Microseconds, many times, from `cause`, called when vCPU and owner have been at rest, to `seen`. */
function stopwatch(cause) {
  const times = [];
  let since;
  return {
    times,
    get full() {
      return times.length >= SAMPLES;
    },
    arm() {
      setTimeout(() => {
        since = performance.now();
        cause();
      }, REST);
    },
    seen() {
      if (since !== undefined) times.push((performance.now() - since) * 1000);
      since = undefined;
    },
  };
}

/** From a store of a computing guest to the callback that the exit or the ring of the doorbell has. */
async function fromStore(rings) {
  const { vm, vcpu, ram } = await flagGuest(hypervisor, REPORT);
  const watch = stopwatch(() => (ram[FLAG] ^= 1));
  const told = () => {
    watch.seen();
    if (watch.full) return 'stop';
    watch.arm();
    return 'resume';
  };
  if (rings) vm.createPortDoorbell(REPORT, 1, undefined, () => told() === 'stop' && void vcpu.stop());
  watch.arm();
  await vcpu.start(told);
  await vm[Symbol.asyncDispose]();
  return median(watch.times);
}

/** From trigger() to the callback of the exit that the guest's handler begins with. */
async function fromTrigger(computes) {
  const { vm, vcpu } = await interruptGuest(hypervisor, computes);
  const interrupt = vm.createInterrupt(GSI);
  const watch = stopwatch(() => interrupt.trigger());
  await vcpu.start(() => {
    watch.seen();
    if (watch.full) return 'stop';
    watch.arm();
    return 'resume';
  });
  await vm[Symbol.asyncDispose]();
  return median(watch.times);
}

const samples = { owner: [], thread: [], plain: [], doorbell: [], creation: [] };
for (let round = 0; round < ROUNDS; round++) {
  if (loop !== undefined) samples.plain.push(plainLoop());
  samples.owner.push(await runOnOwner());
  samples.thread.push(await runOnThread());
  samples.doorbell.push(await doorbell());
  for (let vm = 0; vm < 4; vm++) samples.creation.push(await creation());
}
againstLoop('port read, run() on the owner thread', median(samples.owner));
againstLoop('port read of a vCPU thread, back to back', median(samples.thread));
line('doorbell store of a vCPU thread, back to back', median(samples.doorbell), 'us');
line('createVm() to first exit', median(samples.creation), 'ms', '(target under 10 ms)');
line('resident memory of a further VM', await memory(), 'KiB');

const exit = await fromStore(false);
line('port store of a computing vCPU to its handler', exit, 'us');
againstExit('doorbell store of a computing vCPU to its ring', await fromStore(true));
againstExit('trigger() to a handler, vCPU halted', await fromTrigger(false));
againstExit('trigger() to a handler, vCPU computing', await fromTrigger(true));

function againstLoop(name, value) {
  const plain = loop === undefined ? undefined : median(samples.plain);
  const rest =
    plain === undefined ? '' : `C++ loop ${plain.toFixed(1)} us, ratio ${(value / plain).toFixed(2)}`;
  line(name, value, 'us', rest);
}

/** The guest tells of an interrupt by an exit, whose own way to the event loop is part of the figure. */
function againstExit(name, value) {
  line(name, value, 'us', `exit alone ${exit.toFixed(1)} us, ratio ${(value / exit).toFixed(2)}`);
}

function line(name, value, unit, rest = '') {
  const figure = value.toFixed(value < 10 ? 2 : 1).padStart(8);
  console.log(`${name.padEnd(48)} ${figure} ${unit}   ${rest}`.trimEnd());
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}
