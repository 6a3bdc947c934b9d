import { test } from '@jest/globals';
import { fileURLToPath } from 'node:url';
import { requireHost } from '../../src/node/load.ts';

interface Cases {
  ptyCases(native: unknown): readonly (readonly [name: string, run: () => Promise<void>])[];
}

// Plain JavaScript, because `run.mjs` runs them under a sanitizer without jest.
const { ptyCases } = (await import(fileURLToPath(new URL('pty-cases.mjs', import.meta.url)))) as Cases;

describe('native calls of the pseudo-terminal', () => {
  for (const [name, run] of ptyCases(requireHost('the test'))) test(name, run);
});
