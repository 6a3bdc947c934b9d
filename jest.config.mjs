import { existsSync, readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { createDefaultEsmPreset } from 'ts-jest';

const preset = createDefaultEsmPreset({ tsconfig: '<rootDir>/tsconfig.json', diagnostics: false });
const folders = [
  ...readdirSync(new URL('packages', import.meta.url)).map((name) => `packages/${name}`),
  'reference-vmm',
  'integration-tests',
].filter((folder) => existsSync(new URL(`${folder}/package.json`, import.meta.url)));

export default {
  // Whole VMs are most of the work, and each keeps more than one core busy only now and then.
  maxWorkers: Math.max(2, Math.floor(availableParallelism() / 2)),
  // A worker that ran many files has a large heap.
  workerIdleMemoryLimit: '1GB',
  testSequencer: '<rootDir>/scripts/jest-sequencer.mjs',
  reporters: ['default', '<rootDir>/scripts/jest-count-reporter.mjs'],
  projects: folders.map((folder) => ({
    ...preset,
    displayName: folder.replace('packages/', ''),
    rootDir: folder,
    testEnvironment: 'node',
    setupFilesAfterEnv: [fileURLToPath(new URL('jest.setup.mjs', import.meta.url))],
    testMatch: ['<rootDir>/{src,test}/**/*.test.ts'],
    // Relative imports carry the .ts extension in sources; compiled dependencies come from dist.
    modulePathIgnorePatterns: ['<rootDir>/dist/'],
  })),
};
