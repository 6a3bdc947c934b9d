// Pause, resume, snapshot and restore of guests on the software hypervisor, in this process and, for what the first
// restore of a process takes, in others. `BENCH_HYPERVISOR=kvm` measures KVM; kvm-lifecycle.mjs does so in the rig.
//
// The guests are busy all the time, so a vCPU that runs is seen by its counter of instructions, which the engine raises
// every 4096 of them; on KVM by its doorbells, since it reads from a device there. Restoring counts from the call of
// Vmm.restore() until then, with the checks of the snapshot that are the default.
import { spawnSync } from 'node:child_process';
import { createWriteStream, rmSync, statSync } from 'node:fs';
import { randomFillSync } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { setImmediate as nextTurn, setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { VmBuilder, Vmm } from '@vmm/reference-vmm';
import { median, report, scratch } from './support.mjs';

const HYPERVISOR = process.env.BENCH_HYPERVISOR ?? 'wasm';
const SIZES = (process.env.BENCH_MEMORY ?? '256,2048').split(',').map(Number);
const PAUSES = Number(process.env.BENCH_PAUSES ?? 200);
const RESTORES = Number(process.env.BENCH_RESTORES ?? 15);
const PROCESSES = Number(process.env.BENCH_PROCESSES ?? 7);
const SNAPSHOTS = Number(process.env.BENCH_SNAPSHOTS ?? 3);
const MIB = 1 << 20;
/** Computes, and prints, so that there is always something in flight; on KVM every read rings a doorbell. */
const BUSY =
  HYPERVISOR === 'wasm' ? 'while :; do echo >/dev/console; done' : 'exec cat /dev/hwrng >/dev/null';

if (process.argv[2] === 'restore') {
  const [, , , directory] = process.argv;
  const { vm, ran } = await restored(directory, `child-${process.pid}`);
  await vm[Symbol.asyncDispose]();
  console.log(ran);
} else {
  console.log(
    `lifecycle: ${HYPERVISOR === 'wasm' ? 'software hypervisor' : 'KVM'}, 1 vCPU that is busy all the time`,
  );
  for (const size of SIZES) await measure(size);
}

async function measure(size) {
  const name = `${size} MiB`;
  const snapshot = join(scratch, `snapshot-${size}`);
  const disk = join(scratch, `disk-${size}`);
  // Half of the memory is in use.
  await fill(disk, (size / 2) * MIB);
  const vm = await new VmBuilder()
    .hypervisor(HYPERVISOR)
    .name(`lifecycle-${size}-${process.pid}`)
    .memoryMb(size)
    .blockDevice(disk, { readOnly: true })
    .command(
      'sh',
      '-c',
      `mkdir -p /ram && mount -t tmpfs -o size=90% none /ram && cat /dev/vda >/ram/data; echo filled; ${BUSY}`,
    )
    .build();
  vm.console.resume();
  const filled = once(vm.streams.stdout, 'data');
  vm.start();
  await filled;
  await vm.agent.ready();
  if (size === SIZES[0]) await pauses(vm, name);
  await snapshots(vm, name, snapshot);
  await vm[Symbol.asyncDispose]();
  await restores(name, snapshot);
  for (const path of [snapshot, disk]) rmSync(path, { recursive: true });
}

async function fill(path, bytes) {
  const piece = randomFillSync(Buffer.alloc(MIB));
  const file = createWriteStream(path);
  for (let done = 0; done < bytes; done += MIB) if (!file.write(piece)) await once(file, 'drain');
  file.end();
  await once(file, 'close');
}

/** Resolves when the guest has executed something. */
async function runs(vm, before) {
  while (progress(vm) === before) await nextTurn();
}

function progress(vm) {
  if (HYPERVISOR === 'wasm') return vm.instructionCount();
  const rings = vm.devices.map(({ transport }) => transport.statistics.notifications);
  return rings.reduce((sum, count) => sum + count, vm.exitStatistics().total);
}

async function pauses(vm, name) {
  const times = { pause: [], resume: [] };
  for (let round = 0; round < PAUSES; round++) {
    // It is somewhere else each time.
    await delay(Math.random() * 5);
    let started = performance.now();
    await vm.pause();
    times.pause.push(performance.now() - started);
    const before = progress(vm);
    started = performance.now();
    await vm.resume();
    await runs(vm, before);
    times.resume.push(performance.now() - started);
  }
  report(`${name}: pause(), median of ${PAUSES}`, 'ms', median(times.pause));
  report(`${name}: pause(), 95th percentile`, 'ms', percentile(times.pause, 0.95));
  report(`${name}: resume() until a vCPU ran, median`, 'ms', median(times.resume));
  report(`${name}: resume() until a vCPU ran, 95th percentile`, 'ms', percentile(times.resume, 0.95));
}

async function snapshots(vm, name, directory) {
  const times = { total: [], paused: [] };
  for (let round = 0; round < SNAPSHOTS; round++) {
    const standing = stoodStill(vm);
    const started = performance.now();
    await vm.snapshot(directory);
    times.total.push(performance.now() - started);
    times.paused.push(await standing);
  }
  const { blocks } = statSync(join(directory, 'memory.bin'));
  const written = Math.round((blocks * 512) / MIB);
  report(`${name}: snapshot(), ${written} MiB to disk, median of ${SNAPSHOTS}`, 'ms', median(times.total));
  report(`${name}: of which the guest stands still`, 'ms', median(times.paused));
}

/** Milliseconds that the VM is paused for, when it has run, been paused and runs again. */
async function stoodStill(vm) {
  let since;
  for await (const state of vm.states()) {
    if (state === 'paused') since = performance.now();
    else if (since !== undefined) return performance.now() - since;
  }
  return NaN;
}

async function restored(directory, name) {
  const started = performance.now();
  const vm = await Vmm.restore(directory, { name });
  vm.console.resume();
  await runs(vm, progress(vm));
  const ran = performance.now() - started;
  return { vm, ran, started };
}

async function restores(name, directory) {
  const times = { ran: [], exec: [] };
  for (let round = 0; round < RESTORES; round++) {
    const { vm, ran, started } = await restored(directory, `restored-${process.pid}`);
    const { code } = await vm.exec(['true']).exit;
    if (code !== 0) throw new Error(`true ended with ${code}`);
    times.ran.push(ran);
    times.exec.push(performance.now() - started);
    await vm[Symbol.asyncDispose]();
  }
  const target = HYPERVISOR === 'wasm' ? '50 ms' : undefined;
  report(
    `${name}: restore() until a vCPU ran, median of ${RESTORES}`,
    'ms',
    median(times.ran),
    undefined,
    target,
  );
  report(`${name}: the same, 95th percentile`, 'ms', percentile(times.ran, 0.95));
  report(`${name}: restore() until a first exec has ended`, 'ms', median(times.exec));
  const first = [];
  for (let round = 0; round < PROCESSES; round++) {
    const command = [fileURLToPath(import.meta.url), 'restore', directory];
    const { stdout, stderr, status } = spawnSync(process.execPath, command, { encoding: 'utf8' });
    if (status !== 0) throw new Error(stderr);
    first.push(Number(stdout));
  }
  report(`${name}: a process's first restore(), median of ${PROCESSES} processes`, 'ms', median(first));
}

function percentile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}
