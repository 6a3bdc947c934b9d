// Boots of a stock kernel on KVM, in the rig: ours and QEMU's with the same kernel, initramfs and command line, in one
// boot of the rig. Times there say something only as ratios.
import { runInRig } from '../../scripts/rig/index.mjs';

const PEER = { x86_64: 'QEMU microvm', arm64: 'QEMU virt' };

for (const arch of ['x86_64', 'arm64']) {
  const { stdout, stderr, code } = await runInRig({
    arch,
    qemu: true,
    argv: ['node', 'reference-vmm/bench/rig/boot.mjs'],
    env: { ROUNDS: process.env.ROUNDS ?? '3' },
    timeoutMs: 1_200_000,
    progress: (message) => console.error(`rig: ${message}`),
  });
  if (code !== 0) throw new Error(`the benchmark failed in the ${arch} rig (${code})\n${stdout}${stderr}`);
  show(arch, JSON.parse(stdout.toString()));
}

function show(arch, { kernel, cmdline, results, ourExits, peerExits, peerPorts }) {
  console.log(`${arch} rig: Debian kernel ${kernel}, 256 MiB, one vCPU, command line "${cmdline}"`);
  const peer = median(results.peer);
  const line = (name, milliseconds, target = '') =>
    console.log(
      `${name.padEnd(56)} ${(milliseconds / 1000).toFixed(2)} s   ${PEER[arch]} ${(peer / 1000).toFixed(2)} s, ` +
        `ratio ${(milliseconds / peer).toFixed(2)}${target}`,
    );
  const [first, ...further] = results.ours.map((run) => run.fromBuild);
  line("build() to first userspace line, the process's first VM", first);
  if (further.length > 0) {
    line('build() to first userspace line, further VMs', median(further), ' (target at most 1.0)');
  }
  line('process start to first userspace line', median(results.process));
  const building = median(results.ours.map((run) => run.building));
  console.log(`${'of which build()'.padEnd(56)} ${(building / 1000).toFixed(2)} s`);

  const sum = (exits) => Object.values(exits).reduce((total, count) => total + count, 0);
  const kinds = (exits) =>
    Object.entries(exits)
      .sort(([, a], [, b]) => b - a)
      .map(([kind, count]) => `${kind} ${count}`)
      .join(', ');
  console.log(
    `${'exits to user space, from start to end'.padEnd(56)} ${sum(ourExits)} (${kinds(ourExits)})   ` +
      `${PEER[arch]} ${sum(peerExits)} (${kinds(peerExits)}), ratio ${(sum(ourExits) / sum(peerExits)).toFixed(3)}`,
  );
  const { statistics } = results.ours[0];
  console.log('  ours until the first line, by address:');
  for (const { reason, write, address, count } of statistics.sites.slice(0, 12)) {
    console.log(`    ${reason} ${write ? 'write' : 'read '} 0x${address.toString(16).padEnd(10)} ${count}`);
  }
  console.log(`  ${PEER[arch]}'s accesses by address, those that KVM answers itself included:`);
  const rows = peerPorts.map(({ port, rw, gpa, type, count }) => ({
    write: Number(rw ?? type) === (rw === undefined ? 2 : 1),
    address: Number(port ?? gpa),
    count,
  }));
  for (const { write, address, count } of rows.sort((a, b) => b.count - a.count).slice(0, 12)) {
    console.log(`    ${write ? 'write' : 'read '} 0x${address.toString(16).padEnd(10)} ${count}`);
  }
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}
