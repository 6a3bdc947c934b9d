import { jest } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { type CpioEntry, type TreeSource, VmBuilder, Vmm, buildCpio } from '@vmm/reference-vmm';
import { BOOT_TIMEOUT, ROOT, Scratch, guest } from './support.ts';

const AGENT = join(ROOT, 'reference-vmm/agent/dist/aarch64/vmm-agent');

jest.setTimeout(BOOT_TIMEOUT);

async function start(files: readonly CpioEntry[] = []): Promise<Vmm> {
  const vm = await new VmBuilder().hypervisor('wasm').guestFiles(files).command('sleep', '100000').build();
  vm.start();
  return vm;
}

/** Reads on until the text has come; what follows is for the next reader. */
async function until(stream: Readable, what: string): Promise<string> {
  let seen = '';
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    seen += String(chunk);
    if (seen.includes(what)) return seen;
  }
  throw new Error(`"${what}" did not come: ${seen}`);
}

const failure = (code: string, cause?: string): unknown =>
  expect.objectContaining({
    name: 'VmmError',
    code,
    ...(cause === undefined ? {} : { cause: expect.objectContaining({ code: cause }) }),
  });

describe('vm.exec() in the built-in guest', () => {
  let vm: Vmm;
  beforeAll(async () => {
    vm = await start();
    expect(await vm.agent.ready()).toEqual({ version: 1, arch: 'aarch64' });
  });
  afterAll(() => vm[Symbol.asyncDispose]());

  it('has standard input, output and error apart, and an exit code', async () => {
    const command = vm.exec(['sh', '-c', 'read a; echo "out $a"; echo "err $A" >&2; exit 7'], {
      env: { A: 'b' },
    });
    command.stdin.end('x\n');
    expect(await Promise.all([text(command.stdout), text(command.stderr), command.exit])).toEqual([
      'out x\n',
      'err b\n',
      { code: 7 },
    ]);
  });

  it('gives a terminal its size, and a new one', async () => {
    const script =
      'stty size; until [ "$(stty size)" = "40 120" ]; do usleep 1000; done; stty size; tty; exec cat';
    const command = vm.exec(['sh', '-c', script], { tty: { columns: 100, rows: 30 } });
    await until(command.stdout, '30 100');
    command.resize({ columns: 120, rows: 40 });
    expect(await until(command.stdout, '/dev/pts/')).toContain('40 120');
    command.stdin.write('typed\n');
    await until(command.stdout, 'typed');
    command.stdin.write('\x03');
    expect(await command.exit).toEqual({ signal: 'SIGINT' });
    expect(await text(command.stderr)).toBe('');
  });

  it('runs 20 at once', async () => {
    const results = await Promise.all(
      Array.from({ length: 20 }, (_, i) => vm.exec(['sh', '-c', `echo ${i}; exit ${i}`]).output()),
    );
    expect(results.map(({ stdout, exit }) => [stdout, exit])).toEqual(
      results.map((_, i) => [`${i}\n`, { code: i }]),
    );
  });

  it('lets one command work while nobody reads the flood of another, which a signal ends', async () => {
    const flood = vm.exec(['yes']);
    const silent = vm.exec(['sleep', '100000']);
    silent.stdin.write(new Uint8Array(4 << 20));
    for (let i = 0; i < 3; i++) expect((await vm.exec(['echo', 'hello']).output()).stdout).toBe('hello\n');
    flood.kill('SIGKILL');
    silent.kill();
    expect(await Promise.all([flood.exit, silent.exit])).toEqual([
      { signal: 'SIGKILL' },
      { signal: 'SIGTERM' },
    ]);
  });

  it('carries megabytes both ways', async () => {
    const data = Buffer.alloc(4 << 20, 'the quick brown fox ');
    const command = vm.exec(['cat']);
    command.stdin.end(data);
    const chunks: Uint8Array[] = [];
    for await (const chunk of command.stdout as AsyncIterable<Uint8Array>) chunks.push(chunk);
    expect(Buffer.concat(chunks).equals(data)).toBe(true);
    expect(await command.exit).toEqual({ code: 0 });
  });

  it('kills a command after its time', async () => {
    const command = vm.exec(['sh', '-c', 'sleep 100 & echo $!; wait'], { timeout: 500 });
    await expect(command.exit).rejects.toEqual(failure('TIMED_OUT'));
    const { stdout } = await vm
      .exec(['sh', '-c', 'until ! pgrep -f "[s]h -c sleep"; do usleep 1000; done; echo gone'])
      .output();
    expect(stdout.endsWith('gone\n')).toBe(true);
  });

  it('says why a command could not be started', async () => {
    await expect(vm.exec(['no-such-program']).exit).rejects.toEqual(failure('GUEST_ERROR', 'ENOENT'));
    await expect(vm.exec(['/etc/passwd']).exit).rejects.toEqual(failure('GUEST_ERROR', 'EACCES'));
  });

  it('copies files both ways', async () => {
    const base = { uid: 12, gid: 34, mtime: 1_600_000_000_000 };
    const tree: TreeSource[] = [
      { ...base, type: 'directory', path: 'top', mode: 0o750, size: 0 },
      {
        ...base,
        type: 'file',
        path: 'top/file',
        mode: 0o640,
        size: 300_000,
        content: [new Uint8Array(300_000).fill(7)],
      },
      { ...base, type: 'symlink', path: 'top/link', mode: 0o777, size: 0, target: 'file' },
    ];
    await vm.agent.put('/tmp', tree);
    const { stdout } = await vm.exec(['stat', '-c', '%a %u %g %Y %s', '/tmp/top/file']).output();
    expect(stdout).toBe('640 12 34 1600000000 300000\n');
    const found = new Map<string, number>();
    for await (const { path, content } of vm.agent.get('/tmp/top')) {
      let size = 0;
      for await (const chunk of content) size += chunk.filter((byte) => byte === 7).length;
      found.set(path, size);
    }
    expect([...found].sort()).toEqual([
      ['top', 0],
      ['top/file', 300_000],
      ['top/link', 0],
    ]);
  });

  it('sets the clock, the network and the entropy', async () => {
    await vm.agent.setClock(Date.UTC(2031, 4, 6));
    expect((await vm.exec(['date', '-u', '+%Y-%m-%d']).output()).stdout).toBe('2031-05-06\n');
    await vm.agent.addEntropy(crypto.getRandomValues(new Uint8Array(64)));
    await vm.agent.setNetwork({ device: 'lo', address: '127.1.2.3', prefix: 8 });
    expect((await vm.exec(['ip', '-4', 'addr', 'show', 'lo']).output()).stdout).toContain('127.1.2.3/8');
  });

  it('is refused while the VM is paused, and works afterwards', async () => {
    const command = vm.exec(['cat']);
    await vm.pause();
    expect(() => vm.exec(['true'])).toThrow(expect.objectContaining({ code: 'WRONG_STATE' }));
    await vm.resume();
    command.stdin.end('still there');
    expect(await text(command.stdout)).toBe('still there');
  });
});

it('the agent powers the guest off', async () => {
  await using vm = await start();
  const command = vm.exec(['sleep', '100000']);
  await vm.agent.shutdown();
  expect(await vm.stopped).toEqual({ kind: 'shutdown' });
  await expect(command.exit).rejects.toEqual(expect.objectContaining({ name: 'VmmError' }));
  expect(() => vm.agent).toThrow(expect.objectContaining({ code: 'WRONG_STATE' }));
});

it('a reset ends what runs, and the agent of the new guest is there', async () => {
  await using vm = await start();
  await vm.exec(['touch', '/tmp/before']).exit;
  const command = vm.exec(['sleep', '100000']);
  await vm.agent.ping();
  await vm.reset();
  await expect(command.exit).rejects.toEqual(failure('AGENT_LOST'));
  expect(await vm.exec(['test', '-e', '/tmp/before']).exit).toEqual({ code: 1 });
});

it('a restored guest speaks to the host that restored it, and its old commands are over', async () => {
  using scratch = new Scratch();
  await using vm = await start();
  const flood = vm.exec(['yes']);
  const { stdout } = await vm.exec(['sh', '-c', 'echo $PPID']).output();
  await vm.snapshot(scratch.file('snapshot'));
  await using other = await Vmm.restore(scratch.file('snapshot'), { name: `${vm.name}-restored` });
  const script = 'echo $PPID; while pgrep -x yes >/dev/null; do usleep 1000; done; echo over';
  expect((await other.exec(['sh', '-c', script]).output()).stdout).toBe(`${stdout}over\n`);
  // The first one goes on with its own.
  flood.kill('SIGKILL');
  expect(await flood.exit).toEqual({ signal: 'SIGKILL' });
});

it('an agent that comes after a pause has the time of its own for that, and sets the clock then', async () => {
  const real = readFileSync(AGENT);
  const wait = `#!/bin/sh
case "$1" in --power*) ;; *) until [ -e /tmp/go ]; do usleep 1000; done ;; esac
exec /vmm/real "$@"
`;
  await using vm = await new VmBuilder()
    .hypervisor('wasm')
    .guestFiles([
      { type: 'file', path: 'vmm/real', data: real, mode: 0o755 },
      { type: 'file', path: 'vmm/agent', data: new TextEncoder().encode(wait), mode: 0o755 },
    ])
    .command('sh', '-c', 'echo up; read line; touch /tmp/go; exec sleep 100000')
    .build();
  vm.start();
  await until(vm.streams!.stdout, 'up\n');
  await vm.pause();
  // Longer than a guest without an agent is waited for.
  await new Promise((resolve) => setTimeout(resolve, 6000));
  const before = Date.now() / 1000;
  await vm.resume();
  vm.streams!.stdin.write('go\n');
  const { stdout } = await vm.exec(['date', '+%s']).output();
  expect(Number(stdout)).toBeGreaterThan(before - 2);
  expect(Number(stdout)).toBeLessThanOrEqual(Date.now() / 1000 + 1);
});

it('the agent is a first process, and reaches the host by vsock where there is no console', async () => {
  using scratch = new Scratch();
  const { kernel, initramfs, modules } = await guest();
  const drivers = modules(['virtio_mmio', 'vmw_vsock_virtio_transport']);
  const init = `#!/bin/busybox sh
for name in ${drivers.map(({ name }) => name).join(' ')}; do /bin/busybox insmod /lib/modules/$name.ko; done
exec /agent --init -- /bin/busybox sh -c 'until [ -e /tmp/end ]; do /bin/busybox usleep 10000; done'
`;
  const extra = buildCpio([
    ...drivers.flatMap(({ name, data }): CpioEntry[] =>
      data === undefined ? [] : [{ type: 'file', path: `lib/modules/${name}.ko`, data }],
    ),
    { type: 'file', path: 'init', data: new TextEncoder().encode(init), mode: 0o755 },
    { type: 'file', path: 'agent', data: readFileSync(AGENT), mode: 0o755 },
  ]);
  const initrd = scratch.file('initrd', Buffer.concat([readFileSync(initramfs), extra]));
  await using vm = await new VmBuilder().hypervisor('wasm').kernel(kernel).initrd(initrd).vsock(42).build();
  vm.start();
  const { stdout } = await vm.exec(['/bin/busybox', 'sh', '-c', 'echo $PPID; cat /proc/1/comm']).output();
  expect(stdout).toBe('1\nagent\n');
  // The guest may be gone before this command has ended.
  const last = vm.exec(['/bin/busybox', 'touch', '/tmp/end']).exit.catch((error: unknown) => error);
  expect(await vm.stopped).toEqual({ kind: 'shutdown' });
  expect([{ code: 0 }, failure('AGENT_LOST')]).toContainEqual(await last);
});

describe('a guest without an agent', () => {
  const agent = (script: string, mode = 0o755): CpioEntry => ({
    type: 'file',
    path: 'vmm/agent',
    data: new TextEncoder().encode(`#!/bin/sh\n${script}\n`),
    mode,
  });

  it('is recognised some seconds after its start, and at once from then on', async () => {
    await using vm = await start([agent('', 0o644)]);
    const first = vm.exec(['true']);
    await expect(first.exit).rejects.toEqual(failure('NO_AGENT'));
    await expect(text(first.stdout)).rejects.toEqual(failure('NO_AGENT'));
    await expect(vm.exec(['true']).output()).rejects.toEqual(failure('NO_AGENT'));
    await expect(vm.agent.ping()).rejects.toEqual(failure('NO_AGENT'));
    expect(vm.state).toBe('running');
  });

  it('is recognised at once when its port is closed', async () => {
    await using vm = await start([
      agent(
        'case "$1" in --power*) exit 1; esac; until [ -e /dev/vport0p5 ]; do usleep 1000; done; exec 3<>/dev/vport0p5; sleep 1',
      ),
    ]);
    await expect(vm.exec(['true']).exit).rejects.toEqual(
      expect.objectContaining({ code: 'NO_AGENT', message: expect.stringContaining('closed') as string }),
    );
  });

  it('has its nonsense found out', async () => {
    await using vm = await start([
      agent(
        'case "$1" in --power*) exit 1; esac; until [ -e /dev/vport0p5 ]; do usleep 1000; done; exec cat /dev/zero >/dev/vport0p5',
      ),
    ]);
    await expect(vm.exec(['true']).exit).rejects.toEqual(failure('AGENT_LOST'));
    expect(vm.state).toBe('running');
  });
});
