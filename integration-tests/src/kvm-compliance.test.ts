import { type Arch, type Rig, openRig } from '../../scripts/rig/index.mjs';

/** Only a hang reaches it. */
const LIMIT = 1_800_000;

const MACHINES: readonly { name: string; arch: Arch; gic?: 2 | 3 }[] = [
  { name: 'x86-64', arch: 'x86_64' },
  { name: 'arm64 with a GICv3', arch: 'arm64', gic: 3 },
  { name: 'arm64 with a GICv2', arch: 'arm64', gic: 2 },
];

describe.each(MACHINES)('KVM on $name', ({ arch, gic }) => {
  let rig: Rig;

  beforeAll(async () => {
    const progress = (message: string): void => void process.stderr.write(`rig: ${message}\n`);
    rig = await openRig({ arch, ...(gic === undefined ? {} : { gic }), progress });
  }, LIMIT);

  afterAll(() => rig.close());

  /** Runs a program that prints `ok` or `not ok` for each of its tests. */
  async function passes(...argv: readonly string[]): Promise<void> {
    const { code, stdout, stderr } = await rig.run(argv, { timeoutMs: LIMIT });
    const lines = stdout.toString().split('\n');
    const failures = lines.filter((line) => line.startsWith('not ok'));
    const errors = code === 0 ? '' : stderr.toString();
    expect({ code, failures, errors }).toEqual({ code: 0, failures: [], errors: '' });
    expect(lines.filter((line) => line.startsWith('ok ')).length).toBeGreaterThan(10);
  }

  it(
    'passes the compliance suite of hypervisors',
    () => passes('node', 'packages/hypervisor/test/rig/compliance.mjs', '--complete'),
    LIMIT,
  );

  it(
    "keeps the addon's contract, and ends cleanly in every order",
    () => passes('node', 'packages/hypervisor/test/native/run.mjs'),
    LIMIT,
  );
});
