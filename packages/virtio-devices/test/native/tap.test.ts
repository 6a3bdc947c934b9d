import { expect, test } from '@jest/globals';
import { fileURLToPath } from 'node:url';

interface Child {
  runTapChild(addon: string): { readonly status: number | null; readonly stderr: string };
}

const script = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const ADDON = script(`../../prebuilds/linux-${process.arch}/@vmm+virtio-devices.glibc.node`);
const { runTapChild } = (await import(script('tap-child.mjs'))) as Child;

test('native calls of a tap check what they are given, and close with their environment', () => {
  expect(runTapChild(ADDON)).toMatchObject({ status: 0, stderr: '' });
});
