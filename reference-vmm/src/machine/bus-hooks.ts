import type { BusOptions } from '@vmm/vm-device';

/** Tells what goes wrong on a bus. */
export function busHooks(
  debug: (message: string) => void,
): Required<Pick<BusOptions, 'onUnclaimed' | 'onDeviceError'>> {
  return {
    onUnclaimed: (address, length, write) =>
      debug(`${write ? 'store' : 'load'} of ${length} bytes at 0x${address.toString(16)} met no device`),
    onDeviceError: (error) => debug(error.message),
  };
}
