import { usageError } from '../output.ts';

/** A tar stream on standard input or output. */
export const STREAM = '-';

/** What is copied, and where it goes. */
export type Copy =
  | { readonly to: 'guest'; readonly vm: string; readonly local: string; readonly remote: string }
  | { readonly to: 'host'; readonly vm: string; readonly local: string; readonly remote: string };

/**
 * Reads the operands of `cp`: one of them is `NAME:PATH`, the other a path of this machine or `-`. A path of this machine with a
 * colon is written with a slash before it.
 *
 * @throws VmmError `INVALID_CONFIG`
 */
export function parseCopy(source: string, destination: string): Copy {
  const [from, to] = [parseRemote(source), parseRemote(destination)];
  if (from !== undefined && to !== undefined)
    throw usageError('both are in VMs: copy to this machine first, or through - and -');
  if (from !== undefined) return { to: 'host', ...from, local: local(destination) };
  if (to !== undefined) return { to: 'guest', ...to, local: local(source) };
  throw usageError('neither is in a VM: write NAME:PATH for the one that is');
}

function local(path: string): string {
  if (path === '') throw usageError('an empty path');
  return path;
}

function parseRemote(text: string): { readonly vm: string; readonly remote: string } | undefined {
  const match = /^([^/:]+):(.*)$/s.exec(text);
  if (match === null) return undefined;
  const [, vm = '', path = ''] = match;
  if (path === '') throw usageError(`${text}: the path in the VM is missing`);
  // As with containers: relative to the root.
  return { vm, remote: path.startsWith('/') ? path : `/${path}` };
}

/** A path whose contents are meant, not the directory itself: `DIR/.`. */
export function splitContents(path: string): { readonly path: string; readonly contents: boolean } {
  const contents = /(?:^|\/)\.\/*$/.test(path);
  if (!contents) return { path: path.replace(/(?<=[^/])\/+$/, ''), contents };
  const directory = path.replace(/\/?\.\/*$/, '');
  return { path: directory === '' ? (path.startsWith('/') ? '/' : '.') : directory, contents };
}
