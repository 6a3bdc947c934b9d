// What the whole-VM benchmarks share: guests, processes, medians.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildCpio, prepareGuest } from '@vmm/reference-vmm';

export const CLI = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
export const FIRST_LINE = 'FIRST-USERSPACE-LINE';
export const CMDLINE = 'console=ttyAMA0 quiet panic=-1 cryptomgr.notests';

const PEER = 'qemu-system-aarch64';
export const peer = spawnSync(PEER, ['--version'], { encoding: 'utf8' }).stdout?.split('\n')[0];

// Set on some machines, and worth 50 ms at every start of Node 20.
delete process.env.NODE_EXTRA_CA_CERTS;

export const scratch = mkdtempSync(join(tmpdir(), 'vmm-bench-'));
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }));

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

/** The built-in guest's files, and an initramfs made of them with another init script and more files. */
export async function guestWith(script, files = [], arch = 'aarch64') {
  const guest = await prepareGuest((message) => console.error(message), arch);
  const extra = buildCpio([
    ...files,
    {
      type: 'file',
      path: 'init',
      mode: 0o755,
      data: new TextEncoder().encode(`#!/bin/busybox sh\n${script}\n`),
    },
  ]);
  const initrd = join(scratch, `initrd-${Math.random().toString(36).slice(2)}.cpio`);
  // A later archive's files replace an earlier one's.
  writeFileSync(initrd, Buffer.concat([readFileSync(guest.initramfs), extra]));
  return { kernel: guest.kernel, initrd, version: guest.kernelVersion };
}

/** Files and a line of script that load kernel modules in a guest. */
export async function guestDrivers(names, arch = 'aarch64') {
  const modules = (await prepareGuest((message) => console.error(message), arch)).modules(names);
  return {
    files: modules
      .filter(({ data }) => data !== undefined)
      .map(({ name, data }) => ({ type: 'file', path: `lib/modules/${name}.ko`, data, mode: 0o644 })),
    load: `cd /lib/modules && for m in ${modules.map(({ name }) => name).join(' ')}; do /bin/busybox insmod $m.ko; done; cd /`,
  };
}

/** What the load programs measured: by name, `RESULT NAME key=value…` as numbers, the last of each. */
export function measurements(output) {
  const found = new Map();
  for (const [, name, values] of output.matchAll(/^RESULT (\S+) (.*seconds=[\d.]+)/gm)) {
    const entries = values.split(' ').map((pair) => pair.split('='));
    found.set(name, Object.fromEntries(entries.map(([key, value]) => [key, Number(value)])));
  }
  return found;
}

/** What a vsock program of the guest's takes for right: 64-bit numbers in order. */
export function vsockPattern(bytes) {
  const words = 8192;
  return Array.from({ length: bytes / 8 / words }, (_, chunk) =>
    Buffer.from(BigUint64Array.from({ length: words }, (_, i) => BigInt(chunk * words + i)).buffer),
  );
}

/** The host's end of vsock measurements: port 5000 echoes, 5001 takes, 5002 gives `chunks`. */
export function serveVsock(vsock, chunks) {
  vsock.listen(5000, { allowHalfOpen: true }).on('connection', (stream) => stream.pipe(stream));
  vsock.listen(5001).on('connection', (stream) => stream.resume());
  vsock.listen(5002).on('connection', (stream) => {
    let next = 0;
    const more = () => {
      while (next < chunks.length && stream.write(chunks[next++]));
      if (next < chunks.length) stream.once('drain', more);
      else stream.end();
    };
    more();
  });
}

/** Runs a process; answers its output and the milliseconds from its start to the first `marker`, and to its end; kills it after `limitMs`. */
export function timed(command, args, marker, limitMs) {
  return new Promise((resolve, reject) => {
    const started = performance.now();
    let seen;
    let output = '';
    const child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: limitMs,
      killSignal: 'SIGKILL',
    });
    child.stdout.on('data', (bytes) => {
      output += bytes;
      if (seen === undefined && output.includes(marker)) seen = performance.now() - started;
    });
    let errors = '';
    child.stderr.on('data', (bytes) => (errors += bytes));
    child.on('error', reject);
    child.on('close', (code) => {
      if (seen === undefined)
        reject(new Error(`${command}: "${marker}" did not appear (exit ${code})\n${output}${errors}`));
      else resolve({ output, toMarker: seen, total: performance.now() - started });
    });
  });
}

export function ourRun(guest, options = []) {
  return [
    process.execPath,
    [
      CLI,
      'run',
      '--hypervisor',
      'wasm',
      '-k',
      guest.kernel,
      '--initrd',
      guest.initrd,
      '-p',
      CMDLINE,
      '-m',
      '256',
      ...options,
    ],
  ];
}

export function peerRun(guest, options = []) {
  const machine = [
    '-M',
    'virt',
    '-cpu',
    'cortex-a57',
    '-accel',
    'tcg',
    '-m',
    '256',
    '-nodefaults',
    '-display',
    'none',
    '-no-reboot',
    '-serial',
    'stdio',
  ];
  return [
    PEER,
    [...machine, '-kernel', guest.kernel, '-initrd', guest.initrd, '-append', CMDLINE, ...options],
  ];
}

/** Runs ours and the peer in turn, so that the machine's moods hit both. */
export async function inTurn(count, ours, theirs) {
  const results = { ours: [], theirs: [] };
  for (let round = 0; round < count; round++) {
    results.ours.push(await ours());
    if (peer !== undefined) results.theirs.push(await theirs());
  }
  return results;
}

/** A line of the report: our figure, and where a peer ran, its figure and the ratio ours / theirs. */
export function report(name, unit, ours, theirs, target, peerName = 'QEMU TCG') {
  const figure = (value) => value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0);
  let line = `${name.padEnd(44)} ${figure(ours).padStart(8)} ${unit}`;
  if (theirs !== undefined && !Number.isNaN(theirs))
    line += `   ${peerName} ${figure(theirs)} ${unit}, ratio ${(ours / theirs).toFixed(2)}`;
  if (target !== undefined) line += `   (target ${target})`;
  console.log(line);
}

const COMPILERS = {
  aarch64: 'aarch64-linux-gnu-gcc',
  x86_64: process.arch === 'x64' ? 'gcc' : 'x86_64-linux-gnu-gcc',
};

/** A C program as a static executable. */
export function compile(source, arch = 'aarch64') {
  const compiler = COMPILERS[arch];
  const binary = join(scratch, 'load');
  rmSync(binary, { force: true });
  const args = ['-static', '-O2', '-pthread', '-o', binary, source];
  const result = spawnSync(compiler, args, { encoding: 'utf8' });
  if (result.error || !existsSync(binary)) {
    throw new Error(
      `${compiler} is needed for this benchmark (Debian: gcc-aarch64-linux-gnu libc6-dev-arm64-cross)\n${result.stderr ?? ''}`,
    );
  }
  return readFileSync(binary);
}
