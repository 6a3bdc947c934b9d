import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type { GuestMemory } from '@vmm/vm-memory';
import { VirtioDeviceError } from '../errors.ts';
import { NATIVE_CONTRACT, type NativeHost, type NativeMemoryMap } from './native.ts';

const ARCHITECTURES: readonly string[] = ['x64', 'arm64'];
const REBUILD = 'build it with "node scripts/build-native.mjs" in the package (needs g++, make and python3)';

let loaded: NativeHost | VirtioDeviceError | undefined;
const maps = new WeakMap<GuestMemory, NativeMemoryMap>();

/** The addon of this platform, loaded once for each environment; undefined where there is none. */
export function loadHost(): NativeHost | undefined {
  const host = loadOnce();
  return host instanceof VirtioDeviceError ? undefined : host;
}

/**
 * The addon, for what cannot do without.
 *
 * @param purpose who needs it, for the message
 * @throws VirtioDeviceError `NO_ADDON`, with the reason as `cause`
 */
export function requireHost(purpose: string): NativeHost {
  const host = loadOnce();
  if (!(host instanceof VirtioDeviceError)) return host;
  throw new VirtioDeviceError('NO_ADDON', `${purpose} needs the native addon: ${host.message}`, {
    cause: host,
  });
}

/** The addon's map of a guest memory; one for each memory. */
export function memoryMapOf(host: NativeHost, memory: GuestMemory): NativeMemoryMap {
  let map = maps.get(memory);
  if (map === undefined) {
    map = new host.MemoryMap(memory.regions);
    maps.set(memory, map);
  }
  return map;
}

function loadOnce(): NativeHost | VirtioDeviceError {
  if (loaded === undefined) {
    try {
      loaded = load(process.platform, process.arch, fileURLToPath(new URL('../..', import.meta.url)));
    } catch (error) {
      if (!(error instanceof VirtioDeviceError)) throw error;
      loaded = error;
    }
  }
  return loaded;
}

/**
 * Loads the addon for a platform from a package's folder; apart for tests.
 *
 * @throws VirtioDeviceError `NO_ADDON`
 */
export function load(platform: string, arch: string, folder: string): NativeHost {
  if (platform !== 'linux' || !ARCHITECTURES.includes(arch)) {
    throw noAddon(`there is one for linux-x64 and linux-arm64, and this is ${platform}-${arch}`);
  }
  const require = createRequire(import.meta.url);
  const find = require('node-gyp-build') as { resolve(folder: string): string };
  let path: string;
  try {
    path = find.resolve(folder);
  } catch (cause) {
    throw noAddon(`there is none for linux-${arch} in ${folder}; ${REBUILD}`, cause);
  }
  let addon: unknown;
  try {
    addon = require(path);
  } catch (cause) {
    throw noAddon(`${path} does not load; ${REBUILD}`, cause);
  }
  if (!isNativeHost(addon)) throw noAddon(`${path} is of another version of the package; ${REBUILD}`);
  return addon;
}

function noAddon(message: string, cause?: unknown): VirtioDeviceError {
  return new VirtioDeviceError('NO_ADDON', message, { cause });
}

function isNativeHost(addon: unknown): addon is NativeHost {
  return (
    typeof addon === 'object' && addon !== null && 'contract' in addon && addon.contract === NATIVE_CONTRACT
  );
}
