import { test } from '@jest/globals';
import { fileURLToPath } from 'node:url';
import { requireHost } from '../../src/node/load.ts';

interface Cases {
  fsCases(
    native: unknown,
    addon: string,
  ): readonly (readonly [name: string, run: () => void | Promise<void>])[];
}

const script = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const ADDON = script(`../../prebuilds/linux-${process.arch}/@vmm+virtio-devices.glibc.node`);

// Plain JavaScript, because `run.mjs` runs them under a sanitizer without jest.
const { fsCases } = (await import(script('fs-cases.mjs'))) as Cases;

describe('native calls of the host directory', () => {
  for (const [name, run] of fsCases(requireHost('the test'), ADDON)) test(name, run);
});
