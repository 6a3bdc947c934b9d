import { type Arch, openRig } from '../../scripts/rig/index.mjs';

/** Only a hang reaches it. */
const LIMIT = 900_000;
const SUITE = 'packages/hypervisor/test/rig/compliance.mjs';

const MACHINES: readonly { name: string; arch: Arch; gic?: 2 | 3 }[] = [
  { name: 'x86-64', arch: 'x86_64' },
  { name: 'arm64 with a GICv3', arch: 'arm64', gic: 3 },
  { name: 'arm64 with a GICv2', arch: 'arm64', gic: 2 },
];

describe.each(MACHINES)('the KVM backend on $name', ({ arch, gic }) => {
  it(
    'passes the compliance suite of hypervisors where KVM is complete',
    async () => {
      const progress = (message: string): void => void process.stderr.write(`rig: ${message}\n`);
      await using rig = await openRig({ arch, ...(gic === undefined ? {} : { gic }), progress });
      const { code, stdout, stderr, timedOut } = await rig.run(['node', SUITE, '--complete']);
      const lines = stdout.toString().split('\n');
      expect(lines.filter((line) => line.startsWith('not ok'))).toEqual([]);
      expect({ code, timedOut, stderr: code === 0 ? '' : stderr.toString() }).toEqual({
        code: 0,
        timedOut: false,
        stderr: '',
      });
      expect(lines.filter((line) => line.startsWith('ok ')).length).toBeGreaterThan(10);
    },
    LIMIT,
  );
});
