// What the KVM addon adds to KVM: exits, doorbells and the making of a VM, against the same in C where there is such.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadNativeKvm } from '../dist/kvm/load.js';
import { MMIO, PROGRAMS, makeGuest } from '../test/native/guest.mjs';

const EXITS = 5_000;
const ROUNDS = 15;
const NOTIFICATIONS = 2_000;

if (!existsSync('/dev/kvm')) {
  console.log('no /dev/kvm here; `npm run rig -- node packages/hypervisor/bench/kvm-exit.mjs` has one');
  process.exit();
}
const native = loadNativeKvm();
// again: out 0x10, al; jmp again
const program = process.arch === 'x64' ? [0xe6, 0x10, 0xeb, 0xfc] : PROGRAMS.exits;

const folder = mkdtempSync(join(tmpdir(), 'kvm-exit-'));
try {
  const binary = join(folder, 'kvm-exit');
  const c = compile(binary) ? () => execFileSync(binary, [String(EXITS)], { encoding: 'utf8' }) : undefined;
  const times = { create: [], exit: [], createC: [], exitC: [] };
  for (let round = 0; round < ROUNDS; round++) {
    const [create, exit] = runLoop();
    times.create.push(create);
    times.exit.push(exit);
    if (c === undefined) continue;
    const [createC, exitC] = c().split(' ').map(Number);
    times.createC.push(createC / 1000);
    times.exitC.push(exitC / 1000);
  }
  report('exit answered by run()', times.exit, times.exitC);
  report('nothing to the first exit of a VM', times.create, times.createC);
} finally {
  rmSync(folder, { recursive: true });
}

report('exit of a vCPU thread, event loop', await throughLoop(false));
report('exit of a vCPU thread, both sides polling', polling());
report('doorbell of a vCPU thread, event loop', await throughLoop(true));

function compile(output) {
  const source = fileURLToPath(new URL('kvm-exit.c', import.meta.url));
  try {
    execFileSync('cc', ['-O2', '-o', output, source], { stdio: ['ignore', 'ignore', 'inherit'] });
    return true;
  } catch (error) {
    console.log(`no comparison with C: ${error.message}`);
    return false;
  }
}

/** Microseconds from nothing to the first exit, and of an exit. */
function runLoop() {
  const begin = performance.now();
  const { vm, vcpu } = makeGuest(native, program);
  vcpu.run();
  const first = performance.now();
  const run = new Uint32Array(vcpu.runPage);
  let reason = 0;
  for (let exit = 0; exit < EXITS; exit++) {
    vcpu.run();
    reason = run[2];
  }
  const end = performance.now();
  vm.close();
  if (reason === 0) throw new Error('The guest did not exit');
  return [(first - begin) * 1000, ((end - first) * 1000) / EXITS];
}

/** From resume() to the callback that tells of the guest's next store, in microseconds. */
function throughLoop(doorbell) {
  const times = [];
  const tokens = new Int32Array(4);
  const { promise, resolve } = deferred();
  let resumed = 0;
  const { vm, vcpu } = makeGuest(native, PROGRAMS.rings, () => {
    const now = performance.now();
    const told = tokens.subarray(0, vm.poll(tokens));
    if (resumed > 0 && told.includes(doorbell ? bell.token : vcpu.token)) {
      times.push((now - resumed) * 1000);
      resumed = 0;
    }
    if (vcpu.state() !== 2) return;
    if (times.length >= NOTIFICATIONS) return resolve(times);
    resumed = performance.now();
    vcpu.resume();
  });
  const bell = vm.createIoeventfd(MMIO + 8, 2, 0, 0, 0);
  vm.ref();
  vcpu.start(0);
  return promise.finally(() => vm.close());
}

function polling() {
  const times = [];
  const tokens = new Int32Array(4);
  const { vm, vcpu } = makeGuest(native, PROGRAMS.exits);
  vcpu.start(1000);
  while (times.length < NOTIFICATIONS) {
    const resumed = performance.now();
    while (!vm.spin(1000));
    vm.poll(tokens);
    if (vcpu.state() === 2) times.push((performance.now() - resumed) * 1000);
    vcpu.resume();
  }
  vm.close();
  return times;
}

function deferred() {
  let resolve;
  const promise = new Promise((settle) => (resolve = settle));
  return { promise, resolve };
}

function median(values) {
  return values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
}

function report(name, values, inC = []) {
  const value = median(values);
  const ratio =
    inC.length > 0 ? `   C ${median(inC).toFixed(1)} µs, ratio ${(value / median(inC)).toFixed(2)}` : '';
  console.log(`${name.padEnd(44)} ${value.toFixed(1).padStart(8)} µs${ratio}`);
}
