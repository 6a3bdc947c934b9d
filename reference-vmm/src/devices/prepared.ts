import type { Vm } from '@vmm/hypervisor';
import type { VirtioDevice } from '@vmm/virtio-devices';
import type { GuestMemory } from '@vmm/vm-memory';
import type { GuestModule } from '../guest/guest.ts';

/** What a device may be made from. */
export interface DeviceHost {
  readonly vm: Vm;
  readonly memory: GuestMemory;
  /** Errors of backends, broken drivers. Must not throw. */
  readonly debug: (message: string) => void;
}

/**
 * A device whose files, sockets and interfaces are open, before there is a machine for it: what cannot be used is found
 * out before anything is fetched or booted.
 */
export interface PreparedDevice {
  /** Of this device among the VM's, e.g. `disk0`. */
  readonly name: string;
  /** What the built-in guest loads for it. */
  readonly drivers: readonly GuestModule[];
  /** Shell commands of the built-in guest's first process, once all drivers are loaded. */
  readonly setup?: readonly string[];

  /** Makes the device. Once. */
  create(host: DeviceHost): VirtioDevice;

  /** Closes what is open, after the machine has ended or when it was never made. */
  close(): void | Promise<void>;
}

/** Quotes a word for the guest's shell. */
export function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
