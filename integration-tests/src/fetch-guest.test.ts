import { jest } from '@jest/globals';
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, readdirSync, utimesSync, watch } from 'node:fs';
import { delimiter, join } from 'node:path';
import { BOOT_TIMEOUT, ROOT, Scratch } from './support.ts';

jest.setTimeout(BOOT_TIMEOUT);

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

const DRIVERS = `virtio_mmio virtio_pci virtio_console virtio_rng virtio_blk virtio_net virtiofs
vmw_vsock_virtio_transport virtio_balloon button evdev`.split(/\s+/);
/** Debian's tools, as far as the built-in guest needs them: a download waits until $PARTNERS processes are at it. */
const TOOLS = {
  'apt-get': `
[ "$1" = update ] && exit 0
shift 2
for name; do echo "$name" >"\${name}_1_arm64.deb"; done
: >"$MEETING/$$"
until [ "$(ls "$MEETING" | wc -l)" -ge "$PARTNERS" ]; do sleep 0.05; done`,
  'apt-cache': `
case $1 in
depends) echo linux-image-cloud-arm64; echo '  Depends: linux-image-6-cloud-arm64' ;;
show) shift 2; for name; do printf 'Package: %s\\nVersion: 1\\nSize: 1\\n\\n' "$name"; done ;;
esac`,
  'dpkg-deb': `
mkdir -p "$3/boot" "$3/lib/modules/6" "$3/bin"
echo kernel >"$3/boot/vmlinuz-6"
echo busybox >"$3/bin/busybox"
printf 'kernel/%s.ko\\n' ${DRIVERS.join(' ')} >"$3/lib/modules/6/modules.builtin"`,
};
const bin = scratch.file('bin');
mkdirSync(bin);
for (const [name, script] of Object.entries(TOOLS))
  chmodSync(scratch.file(`bin/${name}`, `#!/bin/sh -e\n${script}\n`), 0o755);

interface Fetch {
  readonly child: ChildProcess;
  readonly kernel: Promise<string>;
}

function fetchGuest(cache: string, partners: number): Fetch {
  const program = `
    import { prepareGuest } from '@vmm/reference-vmm';
    process.stdout.write((await prepareGuest(() => undefined, 'aarch64')).kernel);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    cwd: join(ROOT, 'integration-tests'),
    env: {
      ...process.env,
      PATH: `${bin}${delimiter}${process.env['PATH'] ?? ''}`,
      XDG_CACHE_HOME: cache,
      MEETING: join(cache, 'meeting'),
      PARTNERS: String(partners),
    },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  const kernel = new Promise<string>((resolve, reject) => {
    let output = '';
    let errors = '';
    child.stdout.on('data', (bytes: Buffer) => (output += bytes.toString()));
    child.stderr.on('data', (bytes: Buffer) => (errors += bytes.toString()));
    child.on('close', (code) => {
      if (code === 0) resolve(output);
      else reject(new Error(`ended with ${code}: ${errors}`));
    });
  });
  kernel.catch(() => undefined);
  return { child, kernel };
}

function cacheWith(name: string): string {
  const cache = scratch.file(name);
  mkdirSync(join(cache, 'meeting'), { recursive: true });
  return cache;
}

/** What is in the cache besides complete guests. */
function leftovers(cache: string): string[] {
  return readdirSync(join(cache, 'reference-vmm')).filter((name) => !name.startsWith('guest-'));
}

it('processes that fetch the built-in guest at the same time all get it, and leave nothing else', async () => {
  const cache = cacheWith('together');
  const fetches = [1, 2].map(() => fetchGuest(cache, 2));
  const [first, second] = await Promise.all(fetches.map(({ kernel }) => kernel));
  expect(first).toBe(second);
  expect(readFileSync(first!, 'utf8')).toBe('kernel\n');
  expect(leftovers(cache)).toEqual([]);
});

it('one that was killed while it fetched blocks nobody, and what it left is removed when it is old', async () => {
  const cache = cacheWith('killed');
  const meeting = join(cache, 'meeting');
  const { child, kernel } = fetchGuest(cache, 99);
  await new Promise<void>((resolve) => {
    const watcher = watch(meeting, look);
    function look(): void {
      if (readdirSync(meeting).length === 0) return;
      watcher.close();
      resolve();
    }
    look();
  });
  // The whole group: apt-get of the fake kind would wait for ever.
  process.kill(-child.pid!, 'SIGKILL');
  await expect(kernel).rejects.toThrow();

  const left = leftovers(cache);
  expect(left).toHaveLength(1);
  const long = new Date(Date.now() - 2 * 3_600_000);
  utimesSync(join(cache, 'reference-vmm', left[0]!), long, long);
  const made = await fetchGuest(cache, 1).kernel;
  expect(existsSync(made)).toBe(true);
  expect(leftovers(cache)).toEqual([]);
});
