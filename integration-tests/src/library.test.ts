import { jest } from '@jest/globals';
import { text } from 'node:stream/consumers';
import { VmBuilder, type Vmm } from '@vmm/reference-vmm';
import { BOOT_TIMEOUT, Scratch, guest, initrdWith } from './support.ts';

jest.setTimeout(BOOT_TIMEOUT);

const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());

describe('VmBuilder', () => {
  it('runs a command and gives its streams and its exit code', async () => {
    await using vm = await new VmBuilder()
      .command('sh', '-c', 'read line; echo "[$line]"; echo no >&2; exit 3')
      .build();
    vm.start();
    vm.streams!.stdin.end('over\n');
    const [stdout, stderr, stopped] = await Promise.all([
      text(vm.streams!.stdout),
      text(vm.streams!.stderr),
      vm.stopped,
    ]);
    expect(stdout).toBe('[over]\n');
    expect(stderr).toBe('no\n');
    expect(stopped).toEqual({ kind: 'exited', code: 3 });
    expect(vm.state).toBe('stopped');
  });

  it("boots a user's own files with the console as an async iterable and a writable", async () => {
    const { kernel } = await guest();
    const initrd = scratch.file(
      'own.cpio',
      await initrdWith('echo "ready>"; read line; echo "heard $line"; poweroff -f'),
    );
    await using vm = await new VmBuilder().kernel(kernel).initrd(initrd).build();
    vm.start();
    let seen = '';
    for await (const chunk of vm.console as AsyncIterable<Uint8Array>) {
      const before = seen.includes('ready>');
      seen += Buffer.from(chunk).toString();
      if (!before && seen.includes('ready>')) vm.console.write('you\n');
    }
    expect(seen).toContain('heard you');
    expect(await vm.stopped).toEqual({ kind: 'shutdown' });
  });

  it('stops a running VM, twice, and two VMs live in one process', async () => {
    const build = (): Promise<Vmm> => new VmBuilder().command('sh', '-c', 'echo up; sleep 1000').build();
    const vms = await Promise.all([build(), build()]);
    for (const vm of vms) vm.start();
    for (const vm of vms) {
      for await (const chunk of vm.streams!.stdout as AsyncIterable<Uint8Array>) {
        expect(Buffer.from(chunk).toString()).toBe('up\n');
        break;
      }
      await Promise.all([vm.stop(), vm.stop()]);
      expect(await vm.stopped).toEqual({ kind: 'stopped' });
      await vm[Symbol.asyncDispose]();
      await vm[Symbol.asyncDispose]();
    }
  });

  it('refuses a second start with a typed error', async () => {
    await using vm = await new VmBuilder().command('true').build();
    vm.start();
    expect(() => vm.start()).toThrow(expect.objectContaining({ name: 'VmmError', code: 'WRONG_STATE' }));
    await vm.stopped;
  });
});
