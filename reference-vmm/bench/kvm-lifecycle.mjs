// Pause, resume, snapshot, restore and exec of guests on KVM, in the rig: what lifecycle.mjs and exec.mjs say there. The
// processor is emulated, so these are times of the emulation; each is an upper bound of what hardware takes.
import { runInRig } from '../../scripts/rig/index.mjs';

const FEW = {
  BENCH_HYPERVISOR: 'kvm',
  // Half of it is filled, and Debian's amd64 guest takes 74 MiB.
  BENCH_MEMORY: '256',
  BENCH_PAUSES: '20',
  BENCH_SNAPSHOTS: '1',
  BENCH_RESTORES: '3',
  BENCH_PROCESSES: '1',
  BENCH_ROUNDS: '20',
  BENCH_TRANSPORTS: 'mmio',
};

for (const arch of process.env.BENCH_ARCH?.split(',') ?? ['x86_64', 'arm64']) {
  const { stdout, stderr, code } = await runInRig({
    arch,
    argv: ['sh', '-c', 'node reference-vmm/bench/lifecycle.mjs && node reference-vmm/bench/exec.mjs'],
    env: FEW,
    timeoutMs: 1_200_000,
    progress: (message) => console.error(`rig: ${message}`),
  });
  if (code !== 0) throw new Error(`the benchmark failed in the ${arch} rig (${code})\n${stdout}${stderr}`);
  console.log(`${arch} rig:\n${stdout}`);
}
