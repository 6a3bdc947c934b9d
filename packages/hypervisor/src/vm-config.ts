import { HypervisorError } from './errors.ts';
import type { VmConfig } from './vm.ts';

/**
 * @throws HypervisorError `INVALID_ARGUMENT` or `OUT_OF_MEMORY` unless a hypervisor with these limits can make such a VM
 */
export function checkVmConfig(
  config: VmConfig,
  limits: { readonly maxVcpus: number; readonly maxMemory: number },
): void {
  const { vcpus, maxMemory, clock } = config;
  if (!Number.isInteger(vcpus) || vcpus < 1 || vcpus > limits.maxVcpus) {
    throw new HypervisorError('INVALID_ARGUMENT', `${vcpus} vCPUs: a VM has 1 to ${limits.maxVcpus}`);
  }
  if (!Number.isSafeInteger(maxMemory) || maxMemory < 0) {
    throw new HypervisorError('INVALID_ARGUMENT', `maxMemory ${maxMemory} is not a number of bytes`);
  }
  if (maxMemory > limits.maxMemory) {
    throw new HypervisorError(
      'OUT_OF_MEMORY',
      `${maxMemory} bytes of guest memory: this backend has ${limits.maxMemory} at most`,
    );
  }
  const clocks: readonly unknown[] = [undefined, 'host', 'instructions'];
  if (!clocks.includes(clock)) {
    throw new HypervisorError(
      'INVALID_ARGUMENT',
      `clock '${String(clock)}' is neither 'host' nor 'instructions'`,
    );
  }
}
