import type { VirtioDevice } from '@vmm/virtio-devices';
import type { GuestModule } from '../guest/guest.ts';
import type { DeviceHost, PreparedDevice } from './prepared.ts';

export interface CustomDeviceOptions {
  /** What the built-in guest loads for it. Default: nothing. */
  readonly drivers?: readonly GuestModule[] | undefined;
  /** Shell commands of the built-in guest's first process, once all drivers are loaded. */
  readonly setup?: readonly string[] | undefined;
  /** Called after the machine has ended. */
  readonly close?: (() => void | Promise<void>) | undefined;
}

/** A virtio device of one's own. */
export interface CustomDeviceConfig extends CustomDeviceOptions {
  readonly create: (host: DeviceHost) => VirtioDevice;
}

export function prepareCustomDevice(config: CustomDeviceConfig, index: number): PreparedDevice {
  return {
    name: `device${index}`,
    drivers: config.drivers ?? [],
    setup: config.setup ?? [],
    create: config.create,
    close: () => config.close?.(),
  };
}
