import { jest } from '@jest/globals';
import { VmBuilder } from '@vmm/reference-vmm';
import { KvmPlace } from './kvm-support.ts';
import { type PauseReport, pauseScenario } from './rig/pause.ts';

/** Only a hang reaches it: the boot of an emulated machine and a VM in it, on a busy one. */
jest.setTimeout(900_000);

const wrong = (state: string): unknown =>
  expect.objectContaining({
    name: 'VmmError',
    code: 'WRONG_STATE',
    message: expect.stringContaining(state) as string,
  });

function expectPause(report: PauseReport): void {
  const { before, after, paused, ahead, during, states, refused, verified, end } = report;
  expect(states).toEqual(['running', 'paused', 'running']);
  expect(refused).toEqual(['WRONG_STATE', 'WRONG_STATE', 'WRONG_STATE']);
  expect(during).toBe(0);
  // Time stood still for the guest: otherwise it were ahead by the pause.
  expect(paused).toBeGreaterThanOrEqual(2);
  expect(after).toBeGreaterThanOrEqual(before);
  expect(ahead).toBeLessThan(1);
  // Nothing was lost on the way to the disk and back, and the guest goes on to listen.
  expect(verified).toBe('same 1, same 2, same 3, same 4, told end');
  expect(end).toEqual({ kind: 'exited', code: 0 });
}

describe('pause and resume', () => {
  it.each(['mmio', 'pci'] as const)('on the software hypervisor, over %s', async (transport) => {
    expectPause(await pauseScenario('wasm', transport));
  });

  it('a paused VM is stopped, and says no to everything afterwards', async () => {
    await using vm = await new VmBuilder().hypervisor('wasm').command('sleep', '1000').build();
    await expect(vm.pause()).rejects.toEqual(wrong('created'));
    vm.start();
    await vm.pause();
    await vm.stop();
    expect(await vm.stopped).toEqual({ kind: 'stopped' });
    await expect(vm.pause()).rejects.toEqual(wrong('stopped'));
    await expect(vm.resume()).rejects.toEqual(wrong('stopped'));
  });
});

describe.each([
  ['x86_64', ['mmio', 'pci']],
  ['aarch64', ['mmio']],
] as const)('pause and resume on KVM, %s', (arch, transports) => {
  const place = new KvmPlace(arch);
  beforeAll(() => place.open());
  afterAll(() => place[Symbol.asyncDispose]());

  it.each(transports)('over %s', async (transport) => {
    const { code, stdout, stderr } = await place.script('integration-tests/src/rig/pause.ts', [
      'kvm',
      transport,
    ]);
    expect([code, stderr]).toEqual([0, '']);
    expectPause(JSON.parse(stdout.toString()) as PauseReport);
  });
});
