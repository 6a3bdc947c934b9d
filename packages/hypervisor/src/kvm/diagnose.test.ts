import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bare } from '../../test/kvm/exits-of-fake.ts';
import { FakeKvm, systemCallError, type Step } from '../../test/kvm/fake-native.ts';
import { HypervisorUnavailableError } from '../errors.ts';
import { explainPermission, groupEntry } from './diagnose.ts';
import { createKvmX86Hypervisor, diagnoseKvm, type KvmDiagnosis } from './index.ts';
import { KVM_CAP, KVM_EXIT } from './uapi.ts';

const ARCH = 'x86_64';

async function diagnose(native: FakeKvm, device?: string): Promise<KvmDiagnosis> {
  return diagnoseKvm({ native, arch: ARCH, ...(device === undefined ? {} : { device }) });
}

function failures(diagnosis: KvmDiagnosis): string[] {
  return diagnosis.findings.filter(({ ok }) => !ok).map(({ check }) => check);
}

/** Takes longer for a loop of 40,000 instructions than hardware does. */
function slowly(): number {
  const end = performance.now() + 10;
  while (performance.now() < end);
  return 0;
}

describe('diagnosis of KVM', () => {
  it('says that a missing device, or one without driver, has to be made available', async () => {
    for (const code of ['ENOENT', 'ENODEV']) {
      const native = new FakeKvm();
      native.openError = systemCallError(code);
      const diagnosis = await diagnose(native);
      expect([diagnosis.available, diagnosis.hardwareBacked]).toEqual([false, false]);
      expect(failures(diagnosis)).toEqual(['device']);
    }
  });

  it('says that the permission is missing', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'kvm-'));
    try {
      const device = join(folder, 'kvm');
      writeFileSync(device, '', { mode: 0o600 });
      const native = new FakeKvm();
      native.openError = systemCallError('EACCES');
      const diagnosis = await diagnose(native, device);
      expect(failures(diagnosis)).toEqual(['permission']);
      expect(diagnosis.findings.at(-1)?.detail).toContain(device);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('tells a user of the group from one that is not, and from one that joined after login', () => {
    const access = { user: 'ann', group: 'kvm', groupMay: true, listed: false, active: false };
    const explain = (change: object): string => {
      const { detail, remedy } = explainPermission('/dev/kvm', 'EACCES', { ...access, ...change });
      return `${detail}: ${remedy}`;
    };
    expect(explain({})).toMatch(/ann is not in the group kvm.*usermod -aG kvm ann/);
    expect(explain({ listed: true })).toMatch(/after logging in.*newgrp kvm/);
    expect(explain({ listed: true, active: true })).toMatch(/ann may not open.*container/);
    expect(explain({ groupMay: false, listed: true })).toMatch(/ann may not open.*setfacl/);
    expect(explainPermission('/dev/kvm', 'EPERM', undefined).detail).toMatch(/EPERM/);
  });

  it('says that another version of the interface is of no use', async () => {
    const native = new FakeKvm();
    native.apiVersion = 11;
    expect(failures(await diagnose(native))).toEqual(['apiVersion']);
  });

  it('names the capabilities that are missing, and lists those that are there', async () => {
    const native = new FakeKvm();
    native.capabilities.set(KVM_CAP.IRQFD, 0);
    native.capabilities.set(KVM_CAP.XSAVE, 0);
    const diagnosis = await diagnose(native);
    expect(failures(diagnosis)).toEqual(['capabilities']);
    expect(diagnosis.findings.at(-1)?.detail).toMatch(/KVM_CAP_IRQFD, KVM_CAP_XSAVE/);
    expect([diagnosis.capabilities.IRQFD, diagnosis.capabilities.COALESCED_MMIO]).toEqual([0, 2]);
    const refused: unknown = await createKvmX86Hypervisor({ native })
      .createVm({ vcpus: 1, maxMemory: 4096 })
      .catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(HypervisorUnavailableError);
  });

  it('tells KVM on hardware from KVM that emulates guest kernels', async () => {
    const fast = new FakeKvm();
    fast.steps = [1, 2, 3, 4].map(() => bare(KVM_EXIT.HLT));
    const hardware = await diagnose(fast);
    expect([hardware.available, hardware.hardwareBacked, failures(hardware)]).toEqual([true, true, []]);
    const slow = new FakeKvm();
    slow.steps = [1, 2, 3, 4].map(() => (vcpu) => {
      bare(KVM_EXIT.HLT)(vcpu);
      return slowly();
    });
    const emulated = await diagnose(slow);
    expect([emulated.available, emulated.hardwareBacked]).toEqual([true, false]);
    expect(failures(emulated)).toEqual(['execution']);
    expect(emulated.nanosecondsPerInstruction).toBeGreaterThan(100);
  });

  it('measures longer before it calls KVM emulated', async () => {
    const native = new FakeKvm();
    const halt = bare(KVM_EXIT.HLT);
    const slow: Step = (vcpu) => {
      halt(vcpu);
      return slowly();
    };
    native.steps = [slow, slow, halt, halt];
    expect((await diagnose(native)).hardwareBacked).toBe(true);
  });

  it('says that no guest runs at all', async () => {
    const native = new FakeKvm();
    native.steps = [bare(KVM_EXIT.SHUTDOWN)];
    const diagnosis = await diagnose(native);
    expect([diagnosis.available, failures(diagnosis)]).toEqual([false, ['execution']]);
  });

  it('closes what it has opened', async () => {
    const native = new FakeKvm();
    native.steps = [1, 2, 3, 4].map(() => bare(KVM_EXIT.HLT));
    await diagnose(native);
    expect([native.systems.every(({ closed }) => closed), native.vm.closed]).toEqual([true, true]);
  });

  it('is what probe() answers', async () => {
    const native = new FakeKvm();
    native.openError = systemCallError('ENOENT');
    const hypervisor = createKvmX86Hypervisor({ native });
    expect(await hypervisor.probe()).toMatchObject({ available: false, reason: 'there is no /dev/kvm' });
    native.openError = undefined;
    native.steps = [1, 2, 3, 4].map(() => bare(KVM_EXIT.HLT));
    expect(await hypervisor.probe()).toMatchObject({ available: true, details: { execution: 'hardware' } });
  });

  it('finds a group by its number in /etc/group', () => {
    const text = 'root:x:0:\nkvm:x:104:ann,bob\n\nbroken\nnogroup:x::\n';
    expect(groupEntry(text, 104)).toEqual({ name: 'kvm', members: ['ann', 'bob'] });
    expect(groupEntry(text, 0)).toEqual({ name: 'root', members: [] });
    expect(groupEntry(text, 5)).toBeUndefined();
  });
});
