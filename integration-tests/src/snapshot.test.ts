import { execFile } from 'node:child_process';
import {
  closeSync,
  cpSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { jest } from '@jest/globals';
import { VmBuilder, Vmm } from '@vmm/reference-vmm';
import { MemoryBlockBackend } from '@vmm/virtio-devices';
import { type FirstReport, type SecondReport, expectToGoOn, numbers } from './snapshot-reports.ts';
import { Scratch } from './support.ts';

/** Only a hang reaches it: an emulated machine and VMs in it, on a busy one. */
jest.setTimeout(900_000);

const SCRIPT = fileURLToPath(new URL('rig/snapshot.mjs', import.meta.url));
const RECORD = 4096;
interface Ended {
  readonly stdout: string;
  readonly signal: string | null;
}

async function run(...args: readonly string[]): Promise<Ended> {
  try {
    const { stdout } = await promisify(execFile)(process.execPath, [SCRIPT, ...args], { timeout: 120_000 });
    return { stdout, signal: null };
  } catch (error) {
    const { stdout, stderr, signal } = error as Ended & { readonly stderr: string };
    if (signal !== 'SIGKILL') throw new Error(stderr, { cause: error });
    return { stdout, signal };
  }
}

/** Numbers of the records on a disk, up to the first that is not there. */
function records(disk: string): number {
  const bytes = readFileSync(disk);
  for (let n = 1; ; n++) {
    const record = `record ${n}\n`;
    if (bytes.toString('latin1', n * RECORD, n * RECORD + record.length) !== record) return n - 1;
  }
}

describe('snapshots on the software hypervisor', () => {
  const scratch = new Scratch();
  afterAll(() => scratch[Symbol.dispose]());

  it.each([
    ['mmio', 1],
    ['mmio', 2],
    ['pci', 1],
    ['pci', 2],
  ] as const)('over %s with %i vCPUs, a guest goes on in another process', async (transport, cpus) => {
    const disk = scratch.file(`${transport}-${cpus}.img`, new Uint8Array(8 << 20));
    const snapshot = join(scratch.path, `${transport}-${cpus}`);
    const killed = await run('first', snapshot, disk, 'wasm', transport, String(cpus));
    expect(killed.signal).toBe('SIGKILL');
    const first = JSON.parse(killed.stdout) as FirstReport;
    expect(first.state).toBe('running');
    expect(readdirSync(snapshot).sort()).toEqual(['memory.bin', 'snapshot.json']);
    await delay(1500);
    const reports: SecondReport[] = [];
    // As often as one likes: the last one with the disk as the one before left it, which wrote the same.
    for (const name of ['again', 'and-again'])
      reports.push(
        JSON.parse((await run('second', snapshot, `${name}-${process.pid}`)).stdout) as SecondReport,
      );
    for (const second of reports) expectToGoOn(first, second);
    const last = Math.max(...reports.map(({ lines }) => numbers(lines, 'count').at(-1)!));
    expect(records(disk)).toBeGreaterThanOrEqual(last);
  });

  it('a guest that goes on knows the time, and no two have the same randomness', async () => {
    const path = join(scratch.path, 'time');
    const words = async (vm: Vmm): Promise<readonly string[]> => {
      const script = 'date +%s; head -c 16 /dev/urandom | md5sum';
      const { stdout } = await vm.exec(['sh', '-c', script]).output();
      return Buffer.from(stdout).toString().split('\n');
    };
    const now = (): number => Math.floor(Date.now() / 1000);
    const seen: string[] = [];
    const check = async (vm: Vmm, since: number): Promise<void> => {
      const [date, random] = await words(vm);
      expect(Number(date)).toBeGreaterThanOrEqual(since);
      expect(Number(date)).toBeLessThanOrEqual(now());
      seen.push(random!);
    };
    await using original = await new VmBuilder().hypervisor('wasm').command('sh', '-c', 'read line').build();
    original.start();
    await words(original);
    await original.snapshot(path);
    await delay(2000);
    for (const name of ['time-1', 'time-2']) {
      const since = now();
      await using vm = await Vmm.restore(path, { name });
      await check(vm, since);
      await vm.pause();
      await delay(2000);
      const resumed = now();
      await vm.resume();
      await check(vm, resumed);
    }
    expect(new Set(seen).size).toBe(4);
  });

  it('a full disk: the older one stays, the VM goes on', async () => {
    const directory = scratch.file('small');
    mkdirSync(directory);
    // A filesystem that is there for this process only, root or not.
    const script = `mount -t tmpfs -o size=160m none "$1" && exec "$2" "$3" full "$1"`;
    const { stdout } = await promisify(execFile)(
      'unshare',
      ['--map-root-user', '--mount', 'sh', '-c', script, 'sh', directory, process.execPath, SCRIPT],
      { timeout: 120_000 },
    );
    const report = JSON.parse(stdout) as Record<string, unknown>;
    expect(report).toMatchObject({ code: 'SNAPSHOT_FAILED', state: 'running', kept: true });
    expect(report['message']).toMatch(/ENOSPC/);
    expect(report['names']).toEqual(['filler', 'snapshot']);
  });

  describe('of a guest that waits', () => {
    const path = join(scratch.path, 'waits');
    const SECTORS = 64;
    const disk = new Uint8Array(SECTORS * 512);
    let vm: Vmm;

    beforeAll(async () => {
      vm = await new VmBuilder()
        .hypervisor('wasm')
        .memoryMb(96)
        .blockDevice(new MemoryBlockBackend(disk))
        .command('sh', '-c', 'echo ready; while read line; do echo "heard $line"; done; exit 3')
        .build();
      vm.start();
      await heard(vm, 'ready');
      await vm.snapshot(path);
    });
    afterAll(() => vm[Symbol.asyncDispose]());

    async function heard(from: Vmm, text: string): Promise<void> {
      for await (const bytes of from.streams!.stdout.iterator({ destroyOnReturn: false }))
        if (String(bytes).includes(text)) return;
      throw new Error(`${text} was not heard`);
    }

    const disks = [{ backend: new MemoryBlockBackend(disk) }];
    const refused = async (code: string, message: RegExp, directory = path, options = {}): Promise<void> => {
      const restore = Vmm.restore(directory, { name: 'refused', disks, ...options });
      await expect(restore).rejects.toMatchObject({
        name: 'VmmError',
        code,
        message: expect.stringMatching(message) as string,
      });
    };
    /** A copy of the snapshot with a change. */
    const copy = (name: string, change: (directory: string) => void): string => {
      const directory = join(scratch.path, name);
      cpSync(path, directory, { recursive: true });
      change(directory);
      return directory;
    };

    it('is restored beside the VM that goes on, and each hears what it is told', async () => {
      vm.streams!.stdin.write('one\n');
      await heard(vm, 'heard one');
      await using other = await Vmm.restore(path, { name: 'other', disks });
      expect(other.name).toBe('other');
      other.streams!.stdin.write('two\n');
      await heard(other, 'heard two');
      vm.streams!.stdin.write('three\n');
      await heard(vm, 'heard three');
      other.streams!.stdin.end();
      expect(await other.stopped).toEqual({ kind: 'exited', code: 3 });
    });

    it('is restored under the same name only when that is free', async () => {
      await refused('NAME_TAKEN', new RegExp(vm.name), path, { name: undefined });
    });

    it('a paused VM stays paused, and a snapshot of a restored one is one too', async () => {
      await using restored = await Vmm.restore(path, { name: 'restored', disks, paused: true });
      expect(restored.state).toBe('paused');
      const second = join(scratch.path, 'second');
      await restored.snapshot(second);
      expect(restored.state).toBe('paused');
      await restored.stop();
      expect(await restored.stopped).toEqual({ kind: 'stopped' });
      await using other = await Vmm.restore(second, { name: 'other', disks });
      other.streams!.stdin.end('again\n');
      await heard(other, 'heard again');
      expect(await other.stopped).toEqual({ kind: 'exited', code: 3 });
    });

    it('needs the disks that it cannot have, and as they were', async () => {
      await refused('SNAPSHOT_MISMATCH', /disk 0 .* give disks/, path, { disks: undefined });
      const larger = [{ backend: new MemoryBlockBackend(new Uint8Array(1024 * 512)) }];
      await refused('INVALID_SNAPSHOT', /disk0: .*32768 bytes.*524288/, path, { disks: larger });
      await refused('SNAPSHOT_MISMATCH', /disks: the guest has 1, not 2/, path, {
        disks: [...disks, ...disks],
      });
      const missing = [{ path: join(scratch.path, 'no-disk') }];
      await expect(Vmm.restore(path, { name: 'refused', disks: missing })).rejects.toMatchObject({
        code: 'NOT_FOUND',
      });
    });

    it('that was damaged, cut or is not there is refused', async () => {
      await refused('FILE_NOT_FOUND', /no snapshot/, join(scratch.path, 'nothing'));
      await refused(
        'FILE_NOT_FOUND',
        /no memory.bin/,
        copy('a', (at) => unlinkSync(join(at, 'memory.bin'))),
      );
      const cut = copy('b', (at) => truncateSync(join(at, 'memory.bin'), 4096));
      await refused('INVALID_SNAPSHOT', /4096 bytes/, cut);
      const altered = copy('c', (at) => {
        const file = openSync(join(at, 'memory.bin'), 'r+');
        writeSync(file, Uint8Array.of(0xff), 0, 1, 0x20_0100);
        closeSync(file);
      });
      await refused('INVALID_SNAPSHOT', /memory of the snapshot was altered/, altered);
      const manifest = join(path, 'snapshot.json');
      const text = readFileSync(manifest, 'utf8');
      const without = copy('d', (at) => writeFileSync(join(at, 'snapshot.json'), text.slice(0, -100)));
      await refused('INVALID_SNAPSHOT', /manifest/, without);
      const other = copy('e', (at) =>
        writeFileSync(join(at, 'snapshot.json'), text.replace('"arch":"aarch64"', '"arch":"x86_64"')),
      );
      await refused('INVALID_SNAPSHOT', /checksum/, other);
      const newer = copy('f', (at) =>
        writeFileSync(join(at, 'snapshot.json'), text.replace(/"version":\d+/, '"version":99')),
      );
      await refused('SNAPSHOT_MISMATCH', /version 99/, newer);
    });

    it('is made while running or paused only', async () => {
      await using fresh = await new VmBuilder().hypervisor('wasm').command('true').build();
      await expect(fresh.snapshot(join(scratch.path, 'fresh'))).rejects.toMatchObject({
        code: 'WRONG_STATE',
      });
      expect(existsSync(join(scratch.path, 'fresh'))).toBe(false);
    });

    it('an aborted one leaves the older one, and the VM goes on', async () => {
      const target = copy('aborted', () => undefined);
      const abort = new AbortController();
      const reason = new Error('enough');
      const snapshot = vm.snapshot(target, { signal: abort.signal });
      abort.abort(reason);
      await expect(snapshot).rejects.toBe(reason);
      expect(readFileSync(join(target, 'snapshot.json'))).toEqual(readFileSync(join(path, 'snapshot.json')));
      expect(vm.state).toBe('running');
      vm.streams!.stdin.write('four\n');
      await heard(vm, 'heard four');
    });

    it('a VM that is stopped meanwhile ends, and so does its snapshot', async () => {
      const ending = await Vmm.restore(path, { name: 'ending', disks });
      const target = join(scratch.path, 'ending');
      const snapshot = ending.snapshot(target);
      const [result] = await Promise.allSettled([snapshot, ending.stop()]);
      expect(await ending.stopped).toEqual({ kind: 'stopped' });
      if (result.status === 'rejected') {
        expect(result.reason).toMatchObject({ code: 'WRONG_STATE' });
        expect(existsSync(target)).toBe(false);
      }
      await ending[Symbol.asyncDispose]();
    });
  });
});
