import type { KvmHost } from './host.ts';
import type { KvmSystem } from './system.ts';
import type { KvmCapability } from './uapi.ts';

/** What the diagnosis needs to know of an architecture. */
export interface KvmArchitecture {
  /** Capabilities without which no VM is made. */
  readonly capabilities: readonly KvmCapability[];
  /**
   * Nanoseconds that an instruction of a guest kernel takes.
   *
   * @param enough time that no longer measurement is needed for
   * @throws when no VM can be made or the guest does not come to its end
   */
  readonly measure: (host: KvmHost, system: KvmSystem, enough: number) => Promise<number>;
}

export async function loadArchitecture(arch: 'aarch64' | 'x86_64'): Promise<KvmArchitecture> {
  if (arch === 'aarch64') {
    const [{ AARCH64_CAPABILITIES }, { measureAarch64 }] = await Promise.all([
      import('./aarch64/hypervisor.ts'),
      import('./aarch64/measure.ts'),
    ]);
    return { capabilities: AARCH64_CAPABILITIES, measure: measureAarch64 };
  }
  const [{ X86_CAPABILITIES }, { measureX86 }] = await Promise.all([
    import('./x86/hypervisor.ts'),
    import('./x86/measure.ts'),
  ]);
  return { capabilities: X86_CAPABILITIES, measure: measureX86 };
}
