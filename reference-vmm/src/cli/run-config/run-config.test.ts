import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VmmError } from '../../errors.ts';
import { environmentName } from './flags.ts';
import { effectiveConfig, resolvePaths } from './layers.ts';
import { nearest } from './nearest.ts';
import { SETTINGS } from './schema.ts';

const directory = mkdtempSync(join(tmpdir(), 'vmm-config-'));
afterAll(() => rmSync(directory, { recursive: true }));

function file(content: unknown, name = 'vm.json'): string {
  const path = join(directory, name);
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

function refusal(read: () => unknown): string {
  try {
    read();
  } catch (error) {
    expect(error).toBeInstanceOf(VmmError);
    return (error as VmmError).message;
  }
  throw new Error('it was taken');
}

const fromFile = (content: unknown): unknown => effectiveConfig({ config: file(content) }, [], {});

/** By key: texts of the flag, and the same in the file. */
const SAME: Readonly<Record<string, readonly [string | readonly string[] | boolean, unknown]>> = {
  name: ['web', 'web'],
  hypervisor: ['kvm', 'kvm'],
  arch: ['x86_64', 'x86_64'],
  cpus: ['4', 4],
  memory: ['1G', '1G'],
  kernel: ['/k', '/k'],
  initrd: ['/i', '/i'],
  cmdline: ['a b', 'a b'],
  disk: [
    ['/a,ro,serial=x,queues=2,io=threads,bandwidth=1M,iops=5', '/b,overlay', '/c,overlay=/o'],
    [
      { path: '/a', readOnly: true, serial: 'x', queues: 2, io: 'threads', bandwidth: 1 << 20, iops: 5 },
      { path: '/b', readOnly: false, overlay: 'memory' },
      { path: '/c', readOnly: false, overlay: { file: '/o' } },
    ],
  ],
  net: [
    [
      'tap=t0,mac=02:00:00:00:00:01,mtu=1500,queues=2',
      'user,tcp=127.0.0.1:8080:80,udp=5:6,host-loopback,pcap=/p',
    ],
    [
      { kind: 'tap', interface: 't0', mac: '02:00:00:00:00:01', mtu: 1500, queues: 2 },
      {
        kind: 'user',
        tcp: [{ host: 8080, guest: 80, address: '127.0.0.1' }],
        udp: [{ host: 5, guest: 6 }],
        hostLoopback: true,
        pcap: '/p',
      },
    ],
  ],
  share: [
    ['/s:tag,ro', '/t:/work'],
    [
      { directory: '/s', tag: 'tag', readOnly: true },
      { directory: '/t', mountPoint: '/work', readOnly: false },
    ],
  ],
  vsock: ['42,path=/v', { cid: 42, path: '/v' }],
  balloon: ['64,no-reporting', { target: '64M', deflateOnOom: true, freePageReporting: false }],
  console: ['pty=/l', { kind: 'pty', link: '/l' }],
  transport: ['pci', 'pci'],
  ring: ['packed', 'packed'],
  irqchip: ['split', 'split'],
  cpu: ['portable', 'portable'],
  bootProtocol: ['pvh', 'pvh'],
  guestFiles: ['/g', '/g'],
  timeout: ['5m', '5m'],
  debug: [true, true],
  detach: [true, true],
  interactive: [true, true],
  tty: [true, true],
};

describe('flags, environment and file', () => {
  const settings = SETTINGS.filter(({ key }) => key !== 'command');

  it.each(settings.map((setting) => [setting.key, setting] as const))('say the same: %s', (key, setting) => {
    const [flag, value] = SAME[key] ?? [];
    const variable = environmentName(setting)!;
    const text = Array.isArray(flag) ? flag.join('\n') : String(flag);
    const expected = { [key]: value };
    expect(effectiveConfig({ [key]: flag }, [], {})).toMatchObject(expected);
    expect(effectiveConfig({}, [], { [variable]: text })).toMatchObject(expected);
    expect(fromFile(expected)).toMatchObject(expected);
  });

  it('are asked in that order, the defaults last, and lists are taken whole', () => {
    const config = file({ cpus: 2, memory: 512, transport: 'pci', disk: [{ path: '/f' }], command: ['a'] });
    const environment = {
      REFERENCE_VMM_CPUS: '3',
      REFERENCE_VMM_RING: 'packed',
      REFERENCE_VMM_TRANSPORT: 'mmio',
      REFERENCE_VMM_NAME: '',
      REFERENCE_VMM_CONFIG: config,
    };
    expect(effectiveConfig({ cpus: '4', disk: ['/x', '/y'] }, ['b', '-c'], environment)).toMatchObject({
      cpus: 4,
      memory: 512,
      transport: 'pci',
      ring: 'packed',
      console: 'stdio',
      debug: false,
      net: [],
      disk: [{ path: '/x' }, { path: '/y' }],
      command: ['b', '-c'],
    });
  });

  it('can take back what another one turned on', () => {
    expect(
      effectiveConfig({ debug: false, net: ['none'] }, [], {
        REFERENCE_VMM_DEBUG: 'yes',
        REFERENCE_VMM_NET: 'user',
      }),
    ).toMatchObject({ debug: false, net: [] });
  });

  it('a bad variable is named', () => {
    const bad = (variable: string, text: string): string =>
      refusal(() => effectiveConfig({}, [], { [variable]: text }));
    expect(bad('REFERENCE_VMM_CPUS', 'two')).toBe(
      'REFERENCE_VMM_CPUS: cpus: "two" is not a whole number from 1 to 8',
    );
    expect(bad('REFERENCE_VMM_RING', 'round')).toMatch(
      /^REFERENCE_VMM_RING: .*"round" is not one of split, packed$/,
    );
    expect(bad('REFERENCE_VMM_DISK', '/d,nonsense')).toMatch(/^REFERENCE_VMM_DISK: .*nonsense/);
    expect(bad('REFERENCE_VMM_DEBUG', 'maybe')).toMatch(/^REFERENCE_VMM_DEBUG: "maybe" is none of 1, 0/);
  });
});

describe('a file', () => {
  it.each<[string, unknown, RegExp]>([
    [
      'an unknown key',
      { memroy: 1 },
      /memroy: there is no such key, did you mean "memory"\? There are name, /,
    ],
    ['an unknown key inside', { disk: [{ path: 'a', readonly: true }] }, /disk\[0\]\.readonly: .*"readOnly"/],
    ['a key that is missing', { disk: [{ readOnly: true }] }, /disk\[0\]\.path: is missing/],
    ['a value of another type', { cpus: '2' }, /cpus: "2" is not a whole number from 1 to 8/],
    ['a choice that is none', { hypervisor: 'xen' }, /hypervisor: "xen" is not one of auto, kvm, wasm/],
    [
      'a number out of range',
      { disk: [{ path: 'a', queues: 99 }] },
      /disk\[0\]\.queues: 99 is not a whole .* 16/,
    ],
    ['a network of no kind', { net: [{ mtu: 1500 }] }, /net\[0\].*"kind", which is "tap" or "user"/],
    [
      'a port',
      { net: [{ kind: 'user', tcp: [{ host: 0, guest: 80 }] }] },
      /net\[0\]\.tcp\[0\]\.host: 0 is not/,
    ],
    ['a console', { console: 'window' }, /console: "window" is not "stdio", /],
    ['a console inside', { console: { kind: 'file', paht: 'x' } }, /console.*(path|"kind": "file")/],
    ['a size', { memory: 'lots' }, /memory: "lots" is not a size/],
    ['a list that is none', { disk: { path: 'a' } }, /disk: .* is not a list/],
    ['an empty command', { command: [] }, /command: is empty/],
    ['no object', [1], /is not a JSON object/],
    ['no JSON', '{"cpus": 2', /vm\.json is not JSON/],
  ])('is refused with the path of the key: %s', (_, content, message) => {
    const text = refusal(() => fromFile(content));
    expect(text).toMatch(message);
    expect(text).toContain(directory);
  });

  it('that is not there is an error of its own', () => {
    expect(() => effectiveConfig({ config: '/no/such/file' }, [], {})).toThrow(
      expect.objectContaining({ code: 'FILE_NOT_FOUND' }),
    );
  });

  it('has paths relative to itself, and may name its schema', () => {
    const content = {
      $schema: './config.schema.json',
      kernel: 'Image',
      disk: [{ path: 'a', overlay: { file: 'b' } }],
    };
    expect(fromFile(content)).toMatchObject({
      kernel: join(directory, 'Image'),
      disk: [{ path: join(directory, 'a'), overlay: { file: join(directory, 'b') } }],
    });
    expect(effectiveConfig({ kernel: 'Image' }, [], {})).toMatchObject({ kernel: 'Image' });
  });

  it('can be what inspect tells, all of it or its configuration', () => {
    const flags = Object.fromEntries(Object.entries(SAME).map(([key, [flag]]) => [key, flag]));
    const config = resolvePaths(effectiveConfig(flags, ['sh'], {}), '/');
    expect(fromFile(config)).toEqual(config);
    expect(fromFile({ name: 'web', pid: 1, state: 'running', config })).toEqual(config);
  });
});

it('a mistyped word has a nearest one, and nonsense has none', () => {
  expect(nearest('memry', ['cpus', 'memory'])).toBe('memory');
  expect(nearest('Readonly', ['readOnly'])).toBe('readOnly');
  expect(nearest('xyzzy', ['cpus', 'memory', 'net'])).toBeUndefined();
});
