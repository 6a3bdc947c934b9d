import { expect, test } from '@jest/globals';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { loadNativeKvm } from '../../src/kvm/load.ts';

type Case = readonly [name: string, run: () => void | Promise<void>];

/** The addon's file, for child processes. */
export const ADDON = fileURLToPath(
  new URL(`../../prebuilds/linux-${process.arch}/@vmm+hypervisor.glibc.node`, import.meta.url),
);

/** This folder's script of that name. */
export function script(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}

/**
 * Whether the tests of the calling file can run here. Without /dev/kvm it registers the one that can, and `run.mjs` runs
 * the others where there is one.
 */
export function kvmHere(): boolean {
  if (existsSync('/dev/kvm')) return true;
  test('no /dev/kvm: its cases run in the emulated machine instead, and here the addon loads and says ENOENT', () => {
    expect(() => loadNativeKvm().openSystem('/dev/kvm')).toThrow(
      expect.objectContaining({ code: 'ENOENT', errno: 2, syscall: 'open' }),
    );
  });
  return false;
}

/** The cases of `cases/`, which are plain JavaScript so that `run.mjs` runs them under bare Node. */
export async function loadCases(): Promise<readonly Case[]> {
  const module = (await import(script('cases/index.mjs'))) as {
    loadCases: (native: unknown) => readonly Case[];
  };
  return module.loadCases(loadNativeKvm());
}

interface Endings {
  readonly ENDINGS: Readonly<Record<string, number>>;
  runEnding(
    addon: string,
    name: string,
    env?: Readonly<Record<string, string>>,
  ): { readonly code: number | null; readonly output: string };
}

/** endings.mjs. */
export async function loadEndings(): Promise<Endings> {
  return (await import(script('endings.mjs'))) as Endings;
}
