import { describe, expect, it } from '@jest/globals';
import type { ProbeResult } from '@vmm/hypervisor';
import type { KvmDiagnosis } from '@vmm/hypervisor/kvm';
import { type Patient, describe as describeReport, examine } from './doctor.ts';

const HEALTHY: KvmDiagnosis = {
  device: '/dev/kvm',
  arch: 'x86_64',
  available: true,
  hardwareBacked: true,
  nanosecondsPerInstruction: 0.5,
  capabilities: { IRQFD: 1 },
  findings: [{ check: 'execution', ok: true, detail: 'an instruction takes 0.5 ns' }],
};

function withoutKvm(check: KvmDiagnosis['findings'][number]['check'], available = false): KvmDiagnosis {
  return {
    ...HEALTHY,
    available,
    hardwareBacked: false,
    findings: [{ check, ok: false, detail: 'what is wrong', remedy: 'what to do' }],
  };
}

const ENGINE: ProbeResult = { available: true, details: { execution: 'interpreter' } };
const NO_ENGINE: ProbeResult = { available: false, reason: 'no threads', remedy: 'Take a newer Node' };

function patient(kvm: KvmDiagnosis, wasm: ProbeResult, other: Partial<Patient> = {}): Patient {
  return {
    nodeVersion: 'v22.12.0',
    diagnoseKvm: () => Promise.resolve(kvm),
    probeWasm: () => Promise.resolve(wasm),
    findTool: (name) => `/usr/bin/${name}`,
    devices: () =>
      Promise.resolve([
        { what: 'passt', ok: true, detail: '/usr/bin/passt' },
        { what: 'tap', ok: false, detail: 'no /dev/net/tun', remedy: 'modprobe tun' },
      ]),
    guests: () => [],
    kernels: () => [],
    ...other,
  };
}

describe('doctor', () => {
  it.each<[string, KvmDiagnosis, ProbeResult, boolean, string | undefined]>([
    ['KVM', HEALTHY, ENGINE, true, 'kvm'],
    ['KVM alone', HEALTHY, NO_ENGINE, true, 'kvm'],
    ['the software hypervisor, without permission for KVM', withoutKvm('permission'), ENGINE, true, 'wasm'],
    ['the software hypervisor, beside an emulating KVM', withoutKvm('execution', true), ENGINE, true, 'wasm'],
    [
      'nothing for stock guests, but KVM for small ones',
      withoutKvm('execution', true),
      NO_ENGINE,
      true,
      undefined,
    ],
    ['nothing', withoutKvm('device'), NO_ENGINE, false, undefined],
  ])('finds that %s works', async (_, kvm, wasm, ok, taken) => {
    const report = await examine(patient(kvm, wasm));
    expect(report.ok).toBe(ok);
    expect(report.auto?.hypervisor).toBe(taken);
    expect(JSON.parse(JSON.stringify(report))).toEqual(report);
  });

  it('says what is wrong and what to do about it', async () => {
    const report = await examine(patient(withoutKvm('permission'), NO_ENGINE));
    const text = describeReport(report);
    expect(text).toMatch(/-- {2}permission: what is wrong\n\s+what to do/);
    expect(text).toMatch(/no threads\n\s+Take a newer Node/);
    expect(text).toContain('No hypervisor works here.');
  });

  it('tells what devices need', async () => {
    const text = describeReport(await examine(patient(HEALTHY, ENGINE)));
    expect(text).toContain('ok  passt: /usr/bin/passt');
    expect(text).toMatch(/-- {2}tap: no \/dev\/net\/tun\n\s+modprobe tun/);
  });

  it('tells tools, kernels and cached guests', async () => {
    const report = await examine(
      patient(HEALTHY, ENGINE, {
        findTool: (name) => (name === 'xz' ? undefined : `/usr/bin/${name}`),
        guests: () => [{ arch: 'aarch64', kernelVersion: '6.1', directory: '/cache/guest' }],
        kernels: () => [{ path: '/boot/vmlinuz', arch: 'x86_64' }],
      }),
    );
    expect(report.tools).toMatchObject({ xz: null, 'apt-get': '/usr/bin/apt-get' });
    const text = describeReport(report);
    expect(text).toMatch(/-- {2}xz: not found/);
    expect(text).toContain('/cache/guest');
    expect(text).toContain('/boot/vmlinuz');
  });

  it.each([
    ['v18.20.0', false],
    ['v20.18.0', false],
    ['v20.19.0', true],
    ['v21.7.0', false],
    ['v22.11.0', false],
    ['v22.12.0', true],
    ['v24.0.0', true],
  ])('knows whether Node %s is supported', async (nodeVersion, supported) => {
    const report = await examine(patient(HEALTHY, ENGINE, { nodeVersion }));
    expect(report.node.supported).toBe(supported);
  });
});
