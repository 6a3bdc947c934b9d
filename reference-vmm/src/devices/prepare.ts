import { VirtioEntropy } from '@vmm/virtio-devices';
import type { VmmConfig } from '../config.ts';
import { prepareBalloon } from './balloon.ts';
import { prepareCustomDevice } from './custom.ts';
import { prepareDisk } from './disk.ts';
import { prepareNetwork } from './network.ts';
import type { PreparedDevice } from './prepared.ts';
import { prepareShare } from './share.ts';
import { prepareVsock } from './vsock.ts';

const ENTROPY: PreparedDevice = {
  name: 'entropy',
  drivers: ['virtio_rng'],
  create: () => new VirtioEntropy(),
  close: () => undefined,
};

/**
 * Opens what the devices of a VM need, in a fixed order, so that the guest finds each where it was last time. The console
 * is not among them: it is the first, and always there.
 *
 * @throws VmmError, VirtioDeviceError; nothing stays open then
 */
export async function prepareDevices(config: VmmConfig): Promise<PreparedDevice[]> {
  const prepared: PreparedDevice[] = [ENTROPY];
  try {
    for (const [index, disk] of config.disks.entries()) prepared.push(await prepareDisk(disk, index));
    for (const [index, network] of (config.networks ?? []).entries())
      prepared.push(await prepareNetwork(network, index));
    for (const [index, share] of (config.shares ?? []).entries()) prepared.push(prepareShare(share, index));
    if (config.vsock !== undefined) prepared.push(prepareVsock(config.vsock));
    if (config.balloon !== undefined) prepared.push(prepareBalloon(config.balloon));
    for (const [index, device] of (config.devices ?? []).entries())
      prepared.push(prepareCustomDevice(device, index));
    return prepared;
  } catch (error) {
    await closeDevices(prepared);
    throw error;
  }
}

/** How many virtio devices a VM of this configuration has, the console among them. */
export function virtioDeviceCount(config: VmmConfig): number {
  const { disks, networks = [], shares = [], devices = [], vsock, balloon } = config;
  const optional = [vsock, balloon].filter((each) => each !== undefined).length;
  return 2 + optional + disks.length + networks.length + shares.length + devices.length;
}

/** Closes all of them, whatever one of them throws. */
export async function closeDevices(
  devices: readonly PreparedDevice[],
  failed: (message: string) => void = () => undefined,
): Promise<void> {
  const results = await Promise.allSettled(devices.map(async (device) => device.close()));
  for (const [index, result] of results.entries())
    if (result.status === 'rejected') failed(`${devices[index]!.name}: ${String(result.reason)}`);
}
