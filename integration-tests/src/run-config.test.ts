import { jest } from '@jest/globals';
import { BOOT_TIMEOUT, type CliResult, Scratch, cli } from './support.ts';

jest.setTimeout(BOOT_TIMEOUT);

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());
const env = { XDG_RUNTIME_DIR: scratch.path };

function json({ stdout }: CliResult): Readonly<Record<string, unknown>> {
  return JSON.parse(stdout.toString('utf8')) as Readonly<Record<string, unknown>>;
}

it('a VM is what file, environment and options say, inspect tells it, and another one is made of that', async () => {
  scratch.file('disk.img', new Uint8Array(1 << 20));
  const file = scratch.file(
    'vm.json',
    JSON.stringify({
      hypervisor: 'wasm',
      name: 'of-the-file',
      memory: '200M',
      disk: [{ path: 'disk.img', readOnly: true, serial: 'of-the-file' }],
      command: ['sh', '-c', 'cat /sys/block/vda/serial; echo; echo up; sleep 1000'],
    }),
  );
  const environment = { ...env, REFERENCE_VMM_MEMORY: '1G', REFERENCE_VMM_TRANSPORT: 'pci' };
  let inspected: CliResult | undefined;
  const log = scratch.file('console.log');
  const first = await cli(['run', '--config', file, '--name', 'one', '--console', `file=${log}`], {
    env: environment,
    onOutput: (text, { kill }) => {
      if (!text.includes('up') || inspected !== undefined) return;
      inspected = {} as CliResult;
      void cli(['inspect', '-n', 'one', '--format', 'json'], { env }).then((result) => {
        inspected = result;
        kill('SIGTERM');
      });
    },
  });
  expect(first.code).toBe(128 + 15);
  expect(first.stdout.toString()).toBe('of-the-file\nup\n');

  const info = json(inspected!);
  expect(info).toMatchObject({
    name: 'one',
    memory: 200 << 20,
    config: {
      name: 'one',
      memory: '200M',
      transport: 'pci',
      console: { kind: 'file', path: log },
      disk: [{ path: scratch.file('disk.img'), readOnly: true, serial: 'of-the-file' }],
    },
  });

  const again = scratch.file('inspected.json', inspected!.stdout);
  const script =
    'ls /sys/bus/pci/devices | grep -c .; cat /sys/block/vda/serial; echo; grep -c "^MemTotal: *1[0-9]\\{5\\} kB" /proc/meminfo; exit 3';
  const second = await cli(
    ['run', '--config', again, '-n', 'two', '--format', 'json', '--', 'sh', '-c', script],
    {
      env,
    },
  );
  expect([second.code, json(second)]).toMatchObject([
    3,
    { name: 'two', exitCode: 3, reason: { kind: 'exited', code: 3 }, duration: expect.any(Number) },
  ]);
  // With --format json standard error has what the guest prints.
  expect(second.stderr).toMatch(/[1-9]\d*\nof-the-file\n1\n/);
});

it.each<[string, string, RegExp]>([
  [
    'a key that there is not',
    '{"memroy": "1G"}',
    /vm\.json: memroy: there is no such key, did you mean "memory"\?/,
  ],
  ['a value', '{"disk": [{"path": "a", "queues": 17}]}', /vm\.json: disk\[0\]\.queues: 17 is not .* 1 to 16/],
  ['no JSON', '{"cpus": }', /vm\.json is not JSON/],
])('a file is refused with a reason: %s', async (_, content, message) => {
  const file = scratch.file('vm.json', content);
  const result = await cli(['run', '--config', file, '--format', 'json'], { env });
  expect(result.code).toBe(2);
  expect(json(result)['error']).toMatchObject({
    code: 'INVALID_CONFIG',
    message: expect.stringMatching(message),
  });
  expect(result.stderr).toMatch(message);
});

it('a variable that says nonsense is named', async () => {
  const result = await cli(['run', '--', 'true'], { env: { ...env, REFERENCE_VMM_CPUS: 'many' } });
  expect([result.code, result.stdout.toString()]).toEqual([2, '']);
  expect(result.stderr).toBe(
    'reference-vmm: REFERENCE_VMM_CPUS: cpus: "many" is not a whole number from 1 to 8 [INVALID_CONFIG]\n',
  );
});
