// What KVM costs through this package: exits against a loop in C++, a doorbell, a VM's creation, its memory. Bare-metal
// guests: any /dev/kvm of an x86-64 machine will do.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createKvmX86Hypervisor, diagnoseKvm } from '@vmm/hypervisor/kvm';

const EXITS = 10_000;
const ROUNDS = 5;
const VMS = 20;
const PORT = 0x500;
const CODE = 0x1000;
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
  console.error(
    diagnosis.findings
      .filter(({ ok }) => !ok)
      .map(({ detail }) => detail)
      .join('\n'),
  );
  process.exit(1);
}
console.log(`KVM ${diagnosis.hardwareBacked ? 'that hardware backs' : 'that emulates guest kernels'}`);

const hypervisor = createKvmX86Hypervisor();
const scratch = mkdtempSync(join(tmpdir(), 'vmm-bench-'));
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }));
const loop = join(scratch, 'kvm-loop');
const source = fileURLToPath(new URL('kvm-loop.cc', import.meta.url));
execFileSync('g++', ['-std=c++20', '-O2', '-o', loop, source], { stdio: 'inherit' });

/** A VM whose vCPU begins with the code, in real mode. */
async function guest(code) {
  const vm = await hypervisor.createVm({ vcpus: 1, maxMemory: 1 << 20 });
  vm.mapMemory(0, 0x10000).bytes.set(code, CODE);
  const vcpu = vm.createVcpu(0);
  const { cs } = vcpu.getSpecialRegisters();
  vcpu.setSpecialRegisters({ cs: { ...cs, base: 0n, selector: 0 } });
  vcpu.setRegister('rip', BigInt(CODE));
  return { vm, vcpu };
}

/** Microseconds for each exit, when the owner's thread runs the guest. */
async function runOnOwner() {
  const { vm, vcpu } = await guest(READS_PORT);
  const before = performance.now();
  for (let exit = 0; exit < EXITS; exit++) vcpu.run().value = exit & 0xff;
  const time = performance.now() - before;
  await vm[Symbol.asyncDispose]();
  return (time / EXITS) * 1000;
}

/** Microseconds for each exit of a vCPU thread, answered on the event loop. */
async function runOnThread() {
  const { vm, vcpu } = await guest(READS_PORT);
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
  const { vm, vcpu } = await guest(RINGS);
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
  const { vm, vcpu } = await guest(READS_PORT);
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
    const { vm, vcpu } = await guest(READS_PORT);
    vcpu.run();
    vms.push(vm);
  }
  const kibibytes = (resident() - before) / VMS;
  for (const vm of vms) await vm[Symbol.asyncDispose]();
  return kibibytes;
}

const samples = { owner: [], thread: [], plain: [], doorbell: [], creation: [] };
for (let round = 0; round < ROUNDS; round++) {
  samples.plain.push(plainLoop());
  samples.owner.push(await runOnOwner());
  samples.thread.push(await runOnThread());
  samples.doorbell.push(await doorbell());
  for (let vm = 0; vm < 4; vm++) samples.creation.push(await creation());
}
const plain = median(samples.plain);
const against = (value) => `   C++ loop ${plain.toFixed(1)} us, ratio ${(value / plain).toFixed(2)}`;
line('port read, run() on the owner thread', median(samples.owner), 'us', against(median(samples.owner)));
line('port read of a vCPU thread', median(samples.thread), 'us', against(median(samples.thread)));
line('doorbell store of a vCPU thread', median(samples.doorbell), 'us');
line('createVm() to first exit', median(samples.creation), 'ms', '   (target under 10 ms)');
line('resident memory of a further VM', await memory(), 'KiB');

function line(name, value, unit, rest = '') {
  console.log(`${name.padEnd(44)} ${value.toFixed(value < 10 ? 2 : 1).padStart(8)} ${unit}${rest}`);
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}
