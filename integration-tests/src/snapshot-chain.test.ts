import { once } from 'node:events';
import { cpSync, readFileSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { jest } from '@jest/globals';
import { VmBuilder, Vmm } from '@vmm/reference-vmm';
import { guestProgram } from './guest-program.ts';
import { GuestShell } from './guest-shell.ts';
import { BOOT_TIMEOUT, ROOT, Scratch } from './support.ts';

jest.setTimeout(BOOT_TIMEOUT);

const MIB = 1 << 20;
const PROGRAM = guestProgram(
  'bin/vsock',
  readFileSync(join(ROOT, 'integration-tests/src/vsock-guest.c'), 'utf8'),
);

/** A copy of a VM's memory. */
function memoryOf(vm: Vmm): Buffer[] {
  return vm.memory.regions.map(({ bytes }) => Buffer.from(bytes));
}

function hasMemory(vm: Vmm, memory: readonly Buffer[]): boolean {
  return vm.memory.regions.every(
    ({ bytes }, index) =>
      memory[index]!.compare(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)) === 0,
  );
}

/** One guest, and all that is done with its snapshots, in this order. */
describe('differential snapshots', () => {
  const scratch = new Scratch();
  const place = (name: string): string => join(scratch.path, name);
  let shell: GuestShell;
  let restored = 0;
  const restore = (name: string, options: Parameters<typeof Vmm.restore>[1] = {}): Promise<Vmm> =>
    Vmm.restore(place(name), { name: `chain-${process.pid}-${restored++}`, ...options });
  const refused = async (work: Promise<unknown>, code: string, message: RegExp): Promise<void> => {
    await expect(work).rejects.toMatchObject({ code, message: expect.stringMatching(message) as string });
  };

  beforeAll(async () => {
    const builder = new VmBuilder().hypervisor('wasm').memoryMb(96).vsock(42).guestFiles([PROGRAM]);
    shell = await GuestShell.start(builder);
    // A connection from the guest that stays, and a socket that listens.
    await shell.run(
      'vsock listen stream 7000 echo >/tmp/7000 2>&1 & until grep -q listening /tmp/7000; do usleep 1000; done',
    );
    const server = shell.vm.vsock!.listen(5000);
    const connected = once(server, 'connection');
    await shell.run('(vsock connect stream 5000 receive; echo "it ended") >/tmp/5000 2>&1 &');
    const [stream] = (await connected) as [Duplex];
    // It breaks off with the VM.
    stream.on('error', () => undefined);
    server.close();
  });
  afterAll(async () => {
    await shell[Symbol.asyncDispose]();
    scratch[Symbol.dispose]();
  });

  it('have what changed since a base that is tracked, and nothing can be based on one that is not', async () => {
    const { vm } = shell;
    const plain = await vm.snapshot(place('plain'));
    expect(plain).toMatchObject({ directory: place('plain'), kind: 'full', memoryBytes: 96 * MIB });
    await refused(
      vm.snapshot(place('x'), { base: place('plain') }),
      'SNAPSHOT_MISMATCH',
      /not known: a base/,
    );
    await refused(vm.snapshot(place('x'), { base: place('nothing') }), 'FILE_NOT_FOUND', /nothing/);
    await vm.snapshot(place('full'), { track: true });
    await shell.run('head -c 600000 /dev/urandom >/tmp/one');
    const progress: number[] = [];
    const onProgress = (written: number, total: number): void => void progress.push(written / total);
    const one = await vm.snapshot(place('one'), { base: place('full'), onProgress });
    expect(one.kind).toBe('differential');
    expect(one.memoryBytes).toBeGreaterThan(600_000);
    expect(one.memoryBytes).toBeLessThan(48 * MIB);
    expect(statSync(join(place('one'), 'memory.diff')).size).toBe(one.memoryBytes);
    expect([progress[0], progress.at(-1)]).toEqual([0, 1]);
    expect(readdirSync(scratch.path).sort()).toEqual(['full', 'one', 'plain']);
  });

  it('over their base are the memory that a full one has of the same pause, and the guest goes on', async () => {
    const { vm } = shell;
    await shell.run(
      'rm /tmp/one; head -c 500000 /dev/urandom | tee /tmp/two | md5sum >/tmp/sum; echo 3 >/proc/sys/vm/drop_caches',
    );
    await vm.pause();
    // On the one before, on the full one, and what a full one has.
    await vm.snapshot(place('two'), { base: place('one') });
    await vm.snapshot(place('other'), { base: place('full') });
    await vm.snapshot(place('whole'));
    const expected = memoryOf(vm);
    await vm.resume();
    for (const [name, verify] of [
      ['other', false],
      ['whole', false],
      ['two', true],
      ['two', false],
    ] as const) {
      await using copy = await restore(name, { paused: true, verify });
      expect([name, verify, hasMemory(copy, expected)]).toEqual([name, verify, true]);
      if (!verify) continue;
      const other = GuestShell.of(copy);
      await copy.resume();
      expect(await other.run('md5sum </tmp/two | cmp - /tmp/sum && echo same')).toBe('same');
    }
    expect(await shell.run('md5sum </tmp/two | cmp - /tmp/sum && echo same')).toBe('same');
  });

  it('go on from a restored VM, when that is tracked from the start', async () => {
    await using copy = await restore('two', { track: true });
    const other = GuestShell.of(copy);
    await other.run('head -c 300000 /dev/urandom >/tmp/three');
    await copy.pause();
    const three = await copy.snapshot(place('three'), { base: place('two') });
    expect(three.memoryBytes).toBeLessThan(48 * MIB);
    await using again = await restore('three', { paused: true });
    expect(hasMemory(again, memoryOf(copy))).toBe(true);
    await copy.resume();
    // Another run: it shares nothing with the first but what it began with.
    await refused(copy.snapshot(place('x'), { base: place('one') }), 'SNAPSHOT_MISMATCH', /not known/);
  });

  it('end connections over vsock for the guest, and take new ones', async () => {
    await using copy = await restore('two');
    const other = GuestShell.of(copy);
    expect(await other.run('until grep "it ended" /tmp/5000; do usleep 1000; done')).toBe('it ended');
    const stream = await copy.vsock!.connect(7000);
    stream.on('error', () => undefined);
    stream.end('hello');
    expect(String(await once(stream, 'data'))).toBe('hello');
    // In the one that was saved it lives.
    expect(await shell.run('grep -c "it ended" /tmp/5000 || true')).toBe('0');
  });

  it('of a restored VM can be reset, which ends the chain', async () => {
    await using copy = await restore('two', { track: true });
    const other = GuestShell.of(copy);
    await other.run('true');
    await copy.reset();
    expect(await other.run('ls /tmp | wc -l; test -x /bin/vsock && echo there')).toBe('0\nthere');
    await refused(copy.snapshot(place('x'), { base: place('two') }), 'SNAPSHOT_MISMATCH', /not known/);
    await copy.snapshot(place('fresh'));
    await using fresh = await restore('fresh');
    expect(await GuestShell.of(fresh).run('echo on')).toBe('on');
  });

  it('do not take the place of what they are based on', async () => {
    const before = readFileSync(join(place('full'), 'snapshot.json'), 'utf8');
    const snapshot = shell.vm.snapshot(place('full'), { base: place('one') });
    await refused(snapshot, 'SNAPSHOT_FAILED', /based on/);
    expect(readFileSync(join(place('full'), 'snapshot.json'), 'utf8')).toBe(before);
  });

  it('can be moved with their bases, and are refused without them', async () => {
    for (const name of ['full', 'one', 'two'])
      cpSync(place(name), join(place('moved'), name), { recursive: true });
    await using copy = await restore('moved/two', { paused: true });
    await using original = await restore('two', { paused: true });
    expect(hasMemory(copy, memoryOf(original))).toBe(true);
    renameSync(join(place('moved'), 'one'), place('away'));
    await refused(restore('moved/two'), 'FILE_NOT_FOUND', /based on: .*moved\/one is no snapshot/);
    // Another one in its place.
    cpSync(place('full'), join(place('moved'), 'one'), { recursive: true });
    await refused(restore('moved/two'), 'INVALID_SNAPSHOT', /another snapshot than the one that is in/);
    rmSync(place('away'), { recursive: true });
  });

  it('are refused when anything in any file of the chain was altered', async () => {
    const files = [
      'full/snapshot.json',
      'full/memory.bin',
      'one/snapshot.json',
      'one/memory.diff',
      'two/snapshot.json',
      'two/memory.diff',
    ];
    for (const name of ['full', 'one', 'two']) {
      rmSync(join(place('moved'), name), { recursive: true, force: true });
      cpSync(place(name), join(place('moved'), name), { recursive: true });
    }
    for (const file of files) {
      const path = join(place('moved'), file);
      const bytes = readFileSync(path);
      const at = Math.floor(bytes.length / 2);
      const altered = Buffer.from(bytes);
      altered[at]! ^= 4;
      writeFileSync(path, altered);
      await refused(restore('moved/two'), 'INVALID_SNAPSHOT', /altered|no JSON|cannot be read/);
      writeFileSync(path, bytes.subarray(0, at));
      await refused(restore('moved/two'), 'INVALID_SNAPSHOT', /bytes, and should have|no JSON/);
      writeFileSync(path, bytes);
    }
    await using whole = await restore('moved/two', { paused: true });
    expect(whole.state).toBe('paused');
  });

  it('are there or leave no trace when the VM is stopped meanwhile', async () => {
    const copy = await restore('two', { track: true });
    const onProgress = (): void => void copy.stop();
    const [result] = await Promise.allSettled([
      copy.snapshot(place('late'), { base: place('two'), onProgress }),
    ]);
    expect(await copy.stopped).toEqual({ kind: 'stopped' });
    await copy[Symbol.asyncDispose]();
    // Whichever comes first.
    if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'WRONG_STATE' });
    const left = readdirSync(scratch.path).filter((name) => name.includes('late'));
    expect(left).toEqual(result.status === 'rejected' ? [] : ['late']);
  });
});
