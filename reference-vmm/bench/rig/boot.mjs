// Runs inside the rig: boots of a stock kernel on KVM, ours and QEMU's in turn, and the exits of each.
import { spawn } from 'node:child_process';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { VmBuilder, buildCpio, prepareGuest } from '@vmm/reference-vmm';

const FIRST_LINE = 'FIRST-USERSPACE-LINE';
const CLI = '/work/reference-vmm/dist/cli/main.js';
const TRACING = '/sys/kernel/tracing';
const EXIT_KINDS = {
  2: 'port access',
  5: 'halt',
  6: 'MMIO',
  8: 'shutdown',
  10: 'interrupted',
  24: 'system event',
};
const rounds = Number(process.env.ROUNDS ?? 3);
const arch = process.arch === 'x64' ? 'x86_64' : 'aarch64';

const PEER = {
  x86_64: ['qemu-system-x86_64', '-M', 'microvm,rtc=on', '-bios', 'qboot.rom', '-cpu', 'host'],
  aarch64: ['qemu-system-aarch64', '-M', 'virt,gic-version=host', '-cpu', 'host'],
}[arch];
const CMDLINE = {
  x86_64: 'console=ttyS0 quiet panic=-1 reboot=t pci=off 8250.nr_uarts=1 cryptomgr.notests',
  aarch64: 'console=ttyAMA0 quiet panic=-1 cryptomgr.notests',
}[arch];

execFileSync('mount', ['-t', 'tracefs', 'tracefs', TRACING]);
const guest = await prepareGuest((message) => console.error(message), arch);
const initrd = '/tmp/initrd.cpio';
const init = `#!/bin/busybox sh\n/bin/busybox echo ${FIRST_LINE}\n/bin/busybox reboot -f\n`;
const entry = { type: 'file', path: 'init', mode: 0o755, data: new TextEncoder().encode(init) };
// A later archive's files replace an earlier one's.
writeFileSync(initrd, Buffer.concat([readFileSync(guest.initramfs), buildCpio([entry])]));
const files = { kernel: guest.kernel, initrd };

/** Counts an event of KVM's by its fields while `body` runs. */
async function counted(event, keys, body) {
  const folder = `${TRACING}/events/kvm/${event}`;
  writeFileSync(`${folder}/trigger`, `hist:keys=${keys}:size=4096`);
  try {
    await body();
    const lines = readFileSync(`${folder}/hist`, 'utf8').matchAll(/^\{ (.*) \} hitcount:\s+(\d+)/gm);
    return [...lines].map(([, text, count]) => {
      const fields = Object.fromEntries(
        text.split(',').map((field) => field.split(':').map((s) => s.trim())),
      );
      return { ...fields, count: Number(count) };
    });
  } finally {
    writeFileSync(`${folder}/trigger`, `!hist:keys=${keys}:size=4096`);
  }
}

/** Milliseconds from a process's start to the first userspace line. */
function timed(command, args) {
  return new Promise((resolve, reject) => {
    const started = performance.now();
    let seen;
    let output = '';
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout.on('data', (bytes) => {
      output += bytes;
      if (seen === undefined && output.includes(FIRST_LINE)) seen = performance.now() - started;
    });
    child.stderr.on('data', (bytes) => (output += bytes));
    child.on('error', reject);
    child.on('close', (code) => {
      if (seen === undefined) reject(new Error(`${command}: no first line (exit ${code})\n${output}`));
      else resolve(seen);
    });
  });
}

function oursAsProcess() {
  const run = [
    'run',
    '--hypervisor',
    'kvm',
    '-k',
    files.kernel,
    '--initrd',
    initrd,
    '-p',
    CMDLINE,
    '-m',
    '256',
  ];
  return timed(process.execPath, [CLI, ...run]);
}

function peer() {
  const [command, ...machine] = PEER;
  const common = ['-accel', 'kvm', '-m', '256', '-nodefaults', '-display', 'none', '-no-reboot'];
  const boot = ['-serial', 'stdio', '-kernel', files.kernel, '-initrd', initrd, '-append', CMDLINE];
  return timed(command, [...machine, ...common, ...boot]);
}

/** Milliseconds from `build()` and from `start()` to the first line, and the exits that this process answered. */
async function oursAsLibrary() {
  const started = performance.now();
  const vm = await new VmBuilder()
    .hypervisor('kvm')
    .kernel(files.kernel)
    .initrd(initrd)
    .cmdline(CMDLINE)
    .memoryMb(256)
    .build();
  const built = performance.now();
  vm.start();
  let text = '';
  for await (const chunk of vm.console) {
    text += chunk;
    if (text.includes(FIRST_LINE)) break;
  }
  const seen = performance.now();
  const statistics = vm.exitStatistics();
  await vm.stopped;
  await vm[Symbol.asyncDispose]();
  return { fromBuild: seen - started, building: built - started, statistics };
}

const results = { ours: [], process: [], peer: [] };
for (let round = 0; round < rounds; round++) {
  results.ours.push(await oursAsLibrary());
  results.process.push(await oursAsProcess());
  results.peer.push(await peer());
}

const byKind = (rows) =>
  Object.fromEntries(rows.map(({ reason, count }) => [EXIT_KINDS[reason] ?? `reason ${reason}`, count]));
const ourExits = byKind(await counted('kvm_userspace_exit', 'reason', oursAsLibrary));
const peerExits = byKind(await counted('kvm_userspace_exit', 'reason', peer));
const peerPorts =
  arch === 'x86_64' ? await counted('kvm_pio', 'port,rw', peer) : await counted('kvm_mmio', 'gpa,type', peer);
console.log(
  JSON.stringify({ kernel: guest.kernelVersion, cmdline: CMDLINE, results, ourExits, peerExits, peerPorts }),
);
