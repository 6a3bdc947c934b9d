import { test } from '@jest/globals';
import { fileURLToPath } from 'node:url';
import { requireHost } from '../../src/node/load.ts';

interface Cases {
  fsCases(native: unknown): readonly (readonly [name: string, run: () => void | Promise<void>])[];
}

// Plain JavaScript, because `run.mjs` runs them under a sanitizer without jest.
const { fsCases } = (await import(fileURLToPath(new URL('fs-cases.mjs', import.meta.url)))) as Cases;

describe('native calls of the host directory', () => {
  for (const [name, run] of fsCases(requireHost('the test'))) test(name, run);
});
