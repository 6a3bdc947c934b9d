import { jest } from '@jest/globals';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { VmBuilder, type VmmEvent } from '@vmm/reference-vmm';
import { guestProgram } from './guest-program.ts';
import { KvmPlace } from './kvm-support.ts';
import { type ControlReport, controlScenario } from './rig/control.ts';
import { BOOT_TIMEOUT, ROOT, Scratch, guest, initrdWith } from './support.ts';

/** Only a hang reaches it: the boot of an emulated machine and a VM in it, on a busy one. */
jest.setTimeout(Math.max(BOOT_TIMEOUT, 900_000));

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

const code = (value: string): unknown => expect.objectContaining({ name: 'VmmError', code: value });
const HTTP = guestProgram('bin/http', readFileSync(join(ROOT, 'integration-tests/src/http-guest.c'), 'utf8'));

describe('vm.expect()', () => {
  it('talks to a shell on the console, with nobody else reading', async () => {
    await using vm = await new VmBuilder().hypervisor('wasm').build();
    vm.start();
    await vm.expect('# ');
    vm.console.write('echo $((6 * 7)); seq 1 20000; echo do""ne\n');
    expect((await vm.expect(/^(\d+)\r$/m)).groups).toEqual(['42']);
    const { before } = await vm.expect(/done\r\n/);
    expect(before).toContain('\n20000\r\n');
    const gone = expect(vm.expect('never')).rejects.toEqual(code('ENDED'));
    vm.console.write('exit\n');
    expect(await vm.stopped).toEqual({ kind: 'exited', code: 0 });
    await gone;
  });
});

describe('vm.fetch()', () => {
  it('asks a server in the guest, and takes its answers as they come', async () => {
    await using vm = await new VmBuilder()
      .hypervisor('wasm')
      .vsock(3)
      .guestFiles([HTTP])
      .command('http', '8080')
      .build();
    vm.start();
    for await (const chunk of vm.streams!.stdout as AsyncIterable<Buffer>) {
      expect(chunk.toString()).toBe('listening\n');
      break;
    }
    const body = 'x'.repeat(100_000);
    const echo = await vm.fetch('http://guest:8080/echo', { method: 'PUT', body });
    expect([echo.status, echo.headers.get('content-type')]).toEqual([200, 'text/plain']);
    expect(await echo.text()).toBe(`PUT /echo HTTP/1.1\r\n${body}`);
    expect((await vm.fetch('http://guest:8080/nothing')).status).toBe(404);

    const controller = new AbortController();
    const endless = await vm.fetch('http://guest:8080/endless', { signal: controller.signal });
    const reader = endless.body!.getReader();
    await reader.read();
    const reason = new Error('enough');
    controller.abort(reason);
    await expect(
      (async () => {
        while (!(await reader.read()).done);
      })(),
    ).rejects.toBe(reason);

    const half = await vm.fetch('http://guest:8080/abort');
    await expect(half.text()).rejects.toThrow();
    await expect(vm.fetch('http://guest:8081/')).rejects.toHaveProperty('code', 'CONNECTION_REFUSED');
  });

  it('needs a vsock device', async () => {
    await using vm = await new VmBuilder().hypervisor('wasm').command('true').build();
    await expect(vm.fetch('http://guest/')).rejects.toEqual(code('NO_VSOCK'));
  });
});

describe('vm.shutdown()', () => {
  it.each(['mmio', 'pci'] as const)('ends the command of the built-in guest over %s', async (transport) => {
    await using vm = await new VmBuilder()
      .hypervisor('wasm')
      .transport(transport)
      .command('sh', '-c', 'trap "echo asked; exit 7" TERM; echo up; while :; do sleep 1; done')
      .build();
    vm.start();
    const output = vm.streams!.stdout[Symbol.asyncIterator]();
    expect(String((await output.next()).value)).toBe('up\n');
    const end = vm.shutdown({ grace: Infinity });
    expect(String((await output.next()).value)).toBe('asked\n');
    expect(await end).toEqual({ kind: 'exited', code: 7 });
  });

  it('is not lost on a guest that is still booting, whatever it is doing', async () => {
    for (const wait of [0, 150, 200, 230, 260, 400]) {
      await using vm = await new VmBuilder()
        .hypervisor('wasm')
        .command('sh', '-c', 'trap "exit 7" TERM; while :; do sleep 1; done')
        .build();
      vm.start();
      await delay(wait);
      const end = await vm.shutdown({ grace: Infinity });
      // It may not have set its trap.
      expect([7, 128 + 15]).toContain(end.kind === 'exited' ? end.code : end.kind);
    }
  });

  it('powers a guest with a shell off', async () => {
    await using vm = await new VmBuilder().hypervisor('wasm').build();
    vm.start();
    await vm.expect('# ');
    expect(await vm.shutdown({ grace: Infinity })).toEqual({ kind: 'shutdown' });
  });

  it('ends a guest that does not listen after the time of grace', async () => {
    await using vm = await new VmBuilder()
      .hypervisor('wasm')
      .command('sh', '-c', 'trap "" TERM; echo up; while :; do sleep 1; done')
      .build();
    vm.start();
    for await (const chunk of vm.streams!.stdout as AsyncIterable<Buffer>) {
      expect(chunk.toString()).toBe('up\n');
      break;
    }
    const controller = new AbortController();
    const taken = vm.shutdown({ grace: Infinity, signal: controller.signal });
    const reason = new Error('not now');
    controller.abort(reason);
    await expect(taken).rejects.toBe(reason);
    await vm.pause();
    await expect(vm.shutdown()).rejects.toEqual(code('WRONG_STATE'));
    await vm.resume();
    expect(await vm.shutdown({ grace: 300 })).toEqual({ kind: 'stopped' });
    expect(await vm.shutdown()).toEqual({ kind: 'stopped' });
  });
});

describe('vm.reset()', () => {
  it.each(['mmio', 'pci'] as const)('starts the guest anew over %s, running or paused', async (transport) => {
    const disk = scratch.file(`${transport}.img`, new Uint8Array(1024 * 1024));
    // What is on the disk stays; what is in memory, and the kernel's time, does not.
    const script = `
      read -r uptime _ </proc/uptime
      count=$(head -c 1 /dev/vda | tr '\\0' '0')
      echo $((count + 1)) | dd of=/dev/vda bs=1 count=1 conv=notrunc,fsync 2>/dev/null
      echo "boot $count $([ -e /tmp/mark ] && echo marked || echo fresh) \${uptime%.*}"
      touch /tmp/mark
      [ $count = 2 ] || sleep 1000`;
    await using vm = await new VmBuilder()
      .hypervisor('wasm')
      .cpus(2)
      .transport(transport)
      .vsock(3)
      .blockDevice(disk)
      .command('sh', '-c', script)
      .build();
    const events: VmmEvent[] = [];
    const listener = (async () => {
      for await (const event of vm.events()) events.push(event);
    })();
    vm.start();
    let output = '';
    const { stdout } = vm.streams!;
    const boots = [0, 1, 2].map(
      (boot) =>
        new Promise<void>((resolve) => {
          stdout.on('data', (chunk: Buffer) => {
            output += boot === 0 ? chunk.toString() : '';
            if (output.includes(`boot ${boot} `)) resolve();
          });
        }),
    );
    await boots[0];
    await vm.reset();
    expect(vm.state).toBe('running');
    await boots[1];
    await vm.pause();
    await vm.reset();
    await boots[2];
    expect(await vm.stopped).toEqual({ kind: 'exited', code: 0 });
    const lines = output.split('\n').filter((line) => line !== '');
    expect(lines.map((line) => line.replace(/\d+$/, ''))).toEqual([
      'boot 0 fresh ',
      'boot 1 fresh ',
      'boot 2 fresh ',
    ]);
    await listener;
    expect(events.map((event) => (event.kind === 'state' ? event.state : event.kind))).toEqual([
      ...['created', 'starting', 'running'],
      ...['paused', 'reset', 'running'],
      ...['paused', 'reset', 'running'],
      ...['stopping', 'stopped', 'stopped'],
    ]);
    await expect(vm.reset()).rejects.toEqual(code('WRONG_STATE'));
  });

  it('changes nothing when the files to boot are gone', async () => {
    const { kernel } = await guest();
    const initrd = scratch.file(
      'gone.cpio',
      await initrdWith('echo "ready>"; read line; echo "heard $line"; poweroff -f'),
    );
    await using vm = await new VmBuilder().hypervisor('wasm').kernel(kernel).initrd(initrd).build();
    vm.start();
    await vm.expect('ready>');
    rmSync(initrd);
    expect(existsSync(initrd)).toBe(false);
    await expect(vm.reset()).rejects.toEqual(code('FILE_NOT_FOUND'));
    vm.console.write('still here\n');
    await vm.expect('heard still here');
    expect(await vm.stopped).toEqual({ kind: 'shutdown' });
  });
});

function expectControl({ lines, events, end }: ControlReport): void {
  expect(lines).toEqual(['up with 2, fresh', 'up with 2, fresh', 'asked']);
  expect(events).toEqual([
    ...['created', 'starting', 'running'],
    ...['paused', 'reset', 'running'],
    ...['powerButton', 'stopping', 'stopped', 'stopped'],
  ]);
  expect(end).toEqual({ kind: 'exited', code: 7 });
}

describe('reset and power button', () => {
  it.each(['mmio', 'pci'] as const)('on the software hypervisor, over %s', async (transport) => {
    expectControl(await controlScenario('wasm', transport));
  });
});

describe.each([
  ['x86_64', ['mmio', 'pci']],
  ['aarch64', ['mmio']],
] as const)('reset and power button on KVM, %s', (arch, transports) => {
  const place = new KvmPlace(arch);
  beforeAll(() => place.open());
  afterAll(() => place[Symbol.asyncDispose]());

  it.each(transports)('over %s', async (transport) => {
    const {
      code: exit,
      stdout,
      stderr,
    } = await place.script('integration-tests/src/rig/control.ts', ['kvm', transport]);
    expect([exit, stderr]).toEqual([0, '']);
    expectControl(JSON.parse(stdout.toString()) as ControlReport);
  });
});
