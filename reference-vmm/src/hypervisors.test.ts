import { describe, expect, it } from '@jest/globals';
import type { ProbeResult } from '@vmm/hypervisor';
import type { KvmDiagnosis } from '@vmm/hypervisor/kvm';
import {
  type AnyHypervisor,
  type Hypervisors,
  selectHypervisor,
  selected,
  stockGuests,
} from './hypervisors.ts';
import type { Architecture } from './machine/machine.ts';

const HERE: ProbeResult = { available: true, details: {} };
const NOT_HERE: ProbeResult = { available: false, reason: 'it is emulated', remedy: 'Take another machine' };

function fake(name: 'kvm' | 'wasm', arch: Architecture, probe: ProbeResult = HERE): AnyHypervisor {
  const common = { name, maxVcpus: 16, maxMemory: 2 ** 32, probe: () => Promise.resolve(probe) };
  const createVm = (): never => {
    throw new Error('no VM is asked for');
  };
  return arch === 'aarch64'
    ? { ...common, arch, createVm }
    : { ...common, arch, createVm, supportedCpuid: () => Promise.resolve([]) };
}

function machineWith(arch: Architecture | undefined, probe: ProbeResult): Hypervisors {
  return {
    kvm: {
      arch,
      probe: () => Promise.resolve(probe),
      create: () => Promise.resolve(fake('kvm', arch ?? 'x86_64', probe)),
    },
    wasm: () => Promise.resolve(fake('wasm', 'aarch64')),
  };
}

describe('auto', () => {
  it("takes KVM, and the host's architecture, where KVM can run stock guests", async () => {
    for (const arch of ['x86_64', 'aarch64'] as const) {
      const { hypervisor, notice } = await selectHypervisor({}, machineWith(arch, HERE));
      expect([hypervisor.name, hypervisor.arch]).toEqual(['kvm', arch]);
      expect(notice).toMatch(/KVM/);
    }
  });

  it('takes the software hypervisor where KVM cannot, and says why in one line', async () => {
    for (const arch of ['x86_64', undefined] as const) {
      const { hypervisor, notice } = await selectHypervisor({}, machineWith(arch, NOT_HERE));
      expect([hypervisor.name, hypervisor.arch]).toEqual(['wasm', 'aarch64']);
      expect(notice).toMatch(/software.*it is emulated/);
      expect(notice).not.toContain('\n');
    }
  });

  it('takes the software hypervisor for aarch64 guests on an x86-64 machine with KVM', async () => {
    const { hypervisor, notice } = await selectHypervisor({ arch: 'aarch64' }, machineWith('x86_64', HERE));
    expect(hypervisor.name).toBe('wasm');
    expect(notice).toMatch(/x86_64/);
  });

  it('refuses x86_64 guests where nothing runs them, with reason and remedy', async () => {
    await expect(selectHypervisor({ arch: 'x86_64' }, machineWith('x86_64', NOT_HERE))).rejects.toMatchObject(
      {
        code: 'HYPERVISOR_UNAVAILABLE',
        message: expect.stringMatching(/it is emulated\. Take another machine/),
      },
    );
    await expect(selectHypervisor({ arch: 'x86_64' }, machineWith('aarch64', HERE))).rejects.toMatchObject({
      code: 'HYPERVISOR_UNAVAILABLE',
    });
  });
});

describe('a hypervisor by name', () => {
  it('is taken without a word, whatever auto would take', async () => {
    const kvm = await selectHypervisor({ hypervisor: 'kvm' }, machineWith('x86_64', HERE));
    expect([kvm.hypervisor.name, kvm.notice]).toEqual(['kvm', undefined]);
    const wasm = await selectHypervisor({ hypervisor: 'wasm' }, machineWith('x86_64', HERE));
    expect([wasm.hypervisor.name, wasm.notice]).toEqual(['wasm', undefined]);
  });

  it.each([
    ['kvm for another architecture', { hypervisor: 'kvm', arch: 'aarch64' }],
    ['wasm for x86_64', { hypervisor: 'wasm', arch: 'x86_64' }],
  ] as const)('is refused: %s', async (_, request) => {
    await expect(selectHypervisor(request, machineWith('x86_64', HERE))).rejects.toMatchObject({
      code: 'HYPERVISOR_UNAVAILABLE',
    });
  });

  it('is refused when it cannot run, with its reason and remedy', async () => {
    const machine = {
      ...machineWith('x86_64', HERE),
      wasm: () => Promise.resolve(fake('wasm', 'aarch64', NOT_HERE)),
    };
    await expect(selectHypervisor({ hypervisor: 'wasm' }, machine)).rejects.toMatchObject({
      code: 'HYPERVISOR_UNAVAILABLE',
      message: 'wasm: it is emulated. Take another machine',
    });
  });

  it('limits the number of vCPUs to what guests are tested with', () => {
    const { limits } = selected(fake('kvm', 'x86_64'));
    expect(limits).toEqual({ maxCpus: 8, maxMemory: 2 ** 32 });
  });
});

describe('stockGuests', () => {
  const diagnosis: KvmDiagnosis = {
    device: '/dev/kvm',
    arch: 'x86_64',
    available: true,
    hardwareBacked: true,
    nanosecondsPerInstruction: 1,
    capabilities: {},
    findings: [{ check: 'platform', ok: true, detail: 'linux' }],
  };

  it('can run where KVM is backed by hardware', () => {
    expect(stockGuests(diagnosis)).toMatchObject({ available: true });
  });

  it('cannot where it emulates guest kernels, for the reason that the diagnosis found', () => {
    const failed = { check: 'execution', ok: false, detail: '600 ns', remedy: 'Use another' } as const;
    expect(
      stockGuests({ ...diagnosis, hardwareBacked: false, findings: [...diagnosis.findings, failed] }),
    ).toEqual({ available: false, reason: '600 ns', remedy: 'Use another' });
  });

  it('cannot without a measurement', () => {
    expect(stockGuests({ ...diagnosis, hardwareBacked: false })).toMatchObject({ available: false });
  });
});
