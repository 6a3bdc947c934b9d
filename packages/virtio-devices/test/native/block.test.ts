import { expect, test } from '@jest/globals';
import { fileURLToPath } from 'node:url';
import { requireHost } from '../../src/node/load.ts';

interface Cases {
  blockCases(native: unknown): readonly (readonly [name: string, run: () => Promise<void>])[];
}

interface Endings {
  readonly ENDINGS: readonly string[];
  runEnding(addon: string, name: string): { readonly status: number | null; readonly stderr: string };
}

const script = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const ADDON = script(`../../prebuilds/linux-${process.arch}/@vmm+virtio-devices.glibc.node`);

// Plain JavaScript, because `run.mjs` runs them under a sanitizer without jest.
const { blockCases } = (await import(script('block-cases.mjs'))) as Cases;
const { ENDINGS, runEnding } = (await import(script('run.mjs'))) as Endings;

describe('MemoryMap and BlockFile', () => {
  for (const [name, run] of blockCases(requireHost('the test'))) test(name, run);
});

test.each(ENDINGS)('with requests in flight, the process or worker ends as it should: %s', (name) => {
  const { status, stderr } = runEnding(ADDON, name);
  expect(stderr).toBe(name === 'uncaught' ? stderr : '');
  expect(status).toBe(7);
});
