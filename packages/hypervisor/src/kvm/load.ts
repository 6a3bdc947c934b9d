import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { HypervisorUnavailableError } from '../errors.ts';
import { NATIVE_CONTRACT, type NativeKvm } from './native.ts';

const ARCHITECTURES: readonly string[] = ['x64', 'arm64'];
const REBUILD = 'build it with "node scripts/build-native.mjs" in the package (needs g++, make and python3)';

let loaded: NativeKvm | undefined;

/**
 * The addon of this platform, loaded once for each environment.
 *
 * @throws HypervisorUnavailableError where there is none, with the reason as `cause`
 */
export function loadNativeKvm(): NativeKvm {
  loaded ??= load(process.platform, process.arch, fileURLToPath(new URL('../..', import.meta.url)));
  return loaded;
}

/**
 * Loads the addon for a platform from a package's folder; apart for tests.
 *
 * @throws HypervisorUnavailableError
 */
export function load(platform: string, arch: string, folder: string): NativeKvm {
  if (platform !== 'linux') {
    throw unavailable(`KVM is a part of Linux, and this is ${platform}`, new Error(`platform ${platform}`));
  }
  if (!ARCHITECTURES.includes(arch)) {
    throw unavailable(`the KVM addon supports x64 and arm64, not ${arch}`, new Error(`architecture ${arch}`));
  }
  const require = createRequire(import.meta.url);
  const find = require('node-gyp-build') as { resolve(folder: string): string };
  let path: string;
  try {
    path = find.resolve(folder);
  } catch (cause) {
    throw unavailable(`there is no KVM addon for linux-${arch} in ${folder}; ${REBUILD}`, cause);
  }
  let addon: unknown;
  try {
    addon = require(path);
  } catch (cause) {
    throw unavailable(`the KVM addon ${path} does not load; ${REBUILD}`, cause);
  }
  if (!isNativeKvm(addon)) {
    const cause = new Error(`contract ${contractOf(addon)} instead of ${NATIVE_CONTRACT}`);
    throw unavailable(`the KVM addon ${path} is of another version of the package; ${REBUILD}`, cause);
  }
  return addon;
}

function unavailable(message: string, cause: unknown): HypervisorUnavailableError {
  return new HypervisorUnavailableError(message, { cause });
}

function contractOf(addon: unknown): string {
  if (typeof addon !== 'object' || addon === null || !('contract' in addon)) return 'none';
  return String(addon.contract);
}

function isNativeKvm(addon: unknown): addon is NativeKvm {
  return contractOf(addon) === String(NATIVE_CONTRACT);
}
