import { afterEach, expect, test } from '@jest/globals';
import { GuestMemory } from '@vmm/vm-memory';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { load, loadHost, memoryMapOf, requireHost } from './load.ts';
import { NATIVE_CONTRACT } from './native.ts';

const folders: string[] = [];

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

/** A package's folder with that as its addon. */
function folderWith(addon?: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'host-load-'));
  folders.push(folder);
  if (addon !== undefined) {
    const prebuilds = join(folder, 'prebuilds', `linux-${process.arch}`);
    mkdirSync(prebuilds, { recursive: true });
    writeFileSync(join(prebuilds, 'addon.node'), addon);
  }
  return folder;
}

test('the addon of this platform has the contract of this package, and is loaded once', () => {
  const host = requireHost('the test');
  expect(host.contract).toBe(NATIVE_CONTRACT);
  expect(loadHost()).toBe(host);
});

test('a guest memory has one map', () => {
  const host = requireHost('the test');
  const memory = new GuestMemory([{ guestAddress: 0, bytes: new Uint8Array(4096) }]);
  expect(memoryMapOf(host, memory)).toBe(memoryMapOf(host, memory));
});

test.each([
  ['darwin', 'arm64'],
  ['linux', 'riscv64'],
])('on %s-%s it says which platforms have an addon', (platform, arch) => {
  expect(() => load(platform, arch, folderWith())).toThrow(
    expect.objectContaining({
      code: 'NO_ADDON',
      message: expect.stringContaining(`this is ${platform}-${arch}`),
    }),
  );
});

test('without a prebuild for this machine it says how to build one', () => {
  expect(() => load('linux', process.arch, folderWith())).toThrow(
    expect.objectContaining({
      message: expect.stringContaining('node scripts/build-native.mjs'),
      cause: expect.objectContaining({
        message: expect.stringContaining('No native build was found'),
      }),
    }),
  );
});

test('an addon that does not load is named, with the reason as cause', () => {
  const folder = folderWith('no shared object');
  expect(() => load('linux', process.arch, folder)).toThrow(
    expect.objectContaining({
      message: expect.stringContaining(join(folder, 'prebuilds')),
      cause: expect.objectContaining({ code: 'ERR_DLOPEN_FAILED' }),
    }),
  );
});
