import { describe, expect, it } from '@jest/globals';
import { HypervisorError, HypervisorUnavailableError } from '@vmm/hypervisor';
import type { AnyHypervisor } from '../hypervisors.ts';
import { createMachine } from './platform.ts';

function failing(error: Error): AnyHypervisor {
  return {
    name: 'kvm',
    arch: 'x86_64',
    maxVcpus: 1,
    maxMemory: 2 ** 30,
    probe: () => Promise.resolve({ available: true, details: {} }),
    supportedCpuid: () => Promise.resolve([]),
    createVm: () => Promise.reject(error),
  };
}

const config = { cpus: 1, memory: 2 ** 26, virtioDevices: 0 };
const hooks = { serialOutput: (): void => undefined, debug: (): void => undefined };

describe('createMachine', () => {
  it('tells where to look when the hypervisor is not there, with the cause', async () => {
    const cause = new HypervisorUnavailableError('there is no /dev/kvm');
    await expect(createMachine(failing(cause), config, hooks)).rejects.toMatchObject({
      code: 'HYPERVISOR_UNAVAILABLE',
      message: 'kvm: there is no /dev/kvm. See reference-vmm doctor',
      cause,
    });
  });

  it('passes on what else a hypervisor says', async () => {
    const error = new HypervisorError('OUT_OF_MEMORY', 'no memory');
    await expect(createMachine(failing(error), config, hooks)).rejects.toBe(error);
  });
});
