import { VirtioDeviceError } from '../errors.ts';

/** What hosts have for random numbers; not part of ECMAScript. */
interface HostCrypto {
  readonly crypto?: { getRandomValues(target: Uint8Array): unknown };
}

/**
 * An Ethernet address of a device: 6 bytes, or text like `02:00:5e:10:00:01`.
 *
 * @throws VirtioDeviceError `INVALID_OPTION`, also for a multicast address and for all zeroes
 */
export function parseMac(mac: string | Uint8Array): Uint8Array {
  let bytes: Uint8Array;
  if (typeof mac === 'string') {
    if (!/^[0-9a-f]{2}([:-][0-9a-f]{2}){5}$/i.test(mac)) {
      throw new VirtioDeviceError('INVALID_OPTION', `mac is like "02:00:5e:10:00:01", not "${mac}"`);
    }
    bytes = Uint8Array.from(mac.split(/[:-]/), (digits) => Number.parseInt(digits, 16));
  } else {
    bytes = Uint8Array.from(mac);
  }
  if (bytes.length !== 6 || (bytes[0]! & 1) !== 0 || bytes.every((byte) => byte === 0)) {
    throw new VirtioDeviceError(
      'INVALID_OPTION',
      `mac must be 6 bytes, neither a multicast address nor zero, not ${formatMac(bytes)}`,
    );
  }
  return bytes;
}

/** Lower-case hexadecimal with colons. */
export function formatMac(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}

/**
 * A random locally administered address.
 *
 * @throws VirtioDeviceError `INVALID_OPTION` when the host has no random numbers
 */
export function randomMac(): Uint8Array {
  const { crypto } = globalThis as HostCrypto;
  if (crypto === undefined) {
    throw new VirtioDeviceError('INVALID_OPTION', 'this host has no crypto.getRandomValues: give a mac');
  }
  const mac = new Uint8Array(6);
  crypto.getRandomValues(mac);
  mac[0] = (mac[0]! & 0xfc) | 2;
  return mac;
}
