import { HypervisorUnavailableError } from '../errors.ts';
import type { NativeKvm, NativeSystem } from './native.ts';
import { system } from './system-error.ts';
import type { KvmCapability } from './uapi.ts';
import { KVM_API_VERSION, KVM_CAP, KVM_CHECK_EXTENSION, KVM_GET_API_VERSION } from './uapi.ts';

/** The device node of KVM. */
export const KVM_DEVICE = '/dev/kvm';

/** An open /dev/kvm: version and capabilities. */
export class KvmSystem {
  readonly native: NativeSystem;
  /** The addon that it was opened with. */
  readonly addon: NativeKvm;
  readonly #capabilities = new Map<KvmCapability, number>();

  private constructor(addon: NativeKvm, native: NativeSystem) {
    this.addon = addon;
    this.native = native;
  }

  /**
   * @param path device node
   * @param needed capabilities without which nothing works
   * @throws HypervisorUnavailableError
   */
  static open(kvm: NativeKvm, path: string, needed: readonly KvmCapability[]): KvmSystem {
    let opened: KvmSystem;
    try {
      opened = KvmSystem.openUnchecked(kvm, path);
    } catch (cause) {
      throw new HypervisorUnavailableError(`${path} cannot be opened: ${String(cause)}`, { cause });
    }
    const version = opened.apiVersion();
    const missing = needed.filter((name) => opened.capability(name) === 0);
    if (version === KVM_API_VERSION && missing.length === 0) return opened;
    opened.native.close();
    throw new HypervisorUnavailableError(
      version === KVM_API_VERSION
        ? `${path} lacks ${missing.map((name) => `KVM_CAP_${name}`).join(', ')}`
        : `${path} speaks version ${version} of KVM's interface, and not ${KVM_API_VERSION}`,
    );
  }

  /** Opens the device without asking anything of it; throws the system's error. */
  static openUnchecked(kvm: NativeKvm, path: string): KvmSystem {
    return new KvmSystem(kvm, kvm.openSystem(path));
  }

  apiVersion(): number {
    return system('KVM_GET_API_VERSION', () => this.native.ioctl(KVM_GET_API_VERSION, 0));
  }

  /** KVM_CHECK_EXTENSION: 0 when there is no such thing. */
  capability(name: KvmCapability): number {
    let value = this.#capabilities.get(name);
    if (value === undefined) {
      value = system(`KVM_CHECK_EXTENSION(KVM_CAP_${name})`, () =>
        this.native.ioctl(KVM_CHECK_EXTENSION, KVM_CAP[name]),
      );
      this.#capabilities.set(name, value);
    }
    return value;
  }
}
