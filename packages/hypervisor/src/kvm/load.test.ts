import { afterEach, expect, test } from '@jest/globals';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HypervisorUnavailableError } from '../errors.ts';
import { load, loadNativeKvm } from './load.ts';
import { NATIVE_CONTRACT } from './native.ts';

const folders: string[] = [];

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

/** A package's folder with that as its addon. */
function folderWith(addon?: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'kvm-load-'));
  folders.push(folder);
  if (addon !== undefined) {
    const prebuilds = join(folder, 'prebuilds', `linux-${process.arch}`);
    mkdirSync(prebuilds, { recursive: true });
    writeFileSync(join(prebuilds, 'addon.node'), addon);
  }
  return folder;
}

function refusal(platform: string, arch: string, folder: string): HypervisorUnavailableError {
  try {
    load(platform, arch, folder);
  } catch (error) {
    if (error instanceof HypervisorUnavailableError) return error;
    throw error;
  }
  throw new Error('It loaded');
}

test('the addon of this platform has the contract of this package, and is loaded once', () => {
  const native = loadNativeKvm();
  expect(native.contract).toBe(NATIVE_CONTRACT);
  expect(loadNativeKvm()).toBe(native);
});

test('off Linux it says that KVM is a part of Linux', () => {
  const error = refusal('darwin', 'arm64', folderWith());
  expect(error).toMatchObject({ code: 'UNAVAILABLE', cause: expect.any(Error) });
  expect(error.message).toBe('KVM is a part of Linux, and this is darwin');
});

test('on an architecture without addon it says which there are', () => {
  const error = refusal('linux', 'riscv64', folderWith());
  expect(error.message).toBe('the KVM addon supports x64 and arm64, not riscv64');
});

test('without a prebuild for this machine it says how to build one', () => {
  const error = refusal('linux', process.arch, folderWith());
  expect(error.message).toContain('node scripts/build-native.mjs');
  expect(error.cause).toMatchObject({ message: expect.stringContaining('No native build was found') });
});

test('an addon that does not load is named, with the reason as cause', () => {
  const folder = folderWith('no shared object');
  const error = refusal('linux', process.arch, folder);
  expect(error.message).toContain(join(folder, 'prebuilds'));
  expect(error.message).toContain('does not load');
  expect(error.cause).toMatchObject({ code: 'ERR_DLOPEN_FAILED' });
});
