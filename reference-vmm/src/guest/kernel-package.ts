import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { VmmError } from '../errors.ts';
import { decompressWith } from './apt.ts';

/** The first of these paths below a directory that exists: packages place files below `/` or below `/usr`. */
export function firstOf(tree: string, ...paths: readonly string[]): string | undefined {
  return paths.map((path) => join(tree, path)).find((path) => existsSync(path));
}

/** The kernel image of an unpacked kernel package. @throws VmmError `GUEST_INCOMPLETE` */
export function kernelImage(tree: string): string {
  const boot = join(tree, 'boot');
  const name = existsSync(boot) ? readdirSync(boot).find((entry) => entry.startsWith('vmlinuz-')) : undefined;
  if (name === undefined) throw new VmmError('GUEST_INCOMPLETE', 'the kernel package holds no kernel');
  return join(boot, name);
}

/** The modules of an unpacked kernel package. Names are with underscores, or as the files have them. */
export class KernelModules {
  readonly #files = new Map<string, string>();
  readonly #builtin: ReadonlySet<string>;
  readonly #data = new Map<string, Uint8Array>();

  /** @throws VmmError `GUEST_INCOMPLETE` */
  constructor(tree: string) {
    const root = firstOf(tree, 'lib/modules', 'usr/lib/modules');
    const release = root === undefined ? undefined : readdirSync(root)[0];
    if (root === undefined || release === undefined)
      throw new VmmError('GUEST_INCOMPLETE', 'the kernel package holds no modules');
    for (const entry of readdirSync(join(root, release), { recursive: true, encoding: 'utf8' })) {
      const match = /([^/]+)\.ko(\.xz|\.zst)?$/.exec(entry);
      if (match?.[1] !== undefined) this.#files.set(canonical(match[1]), join(root, release, entry));
    }
    this.#builtin = new Set(
      readFileSync(join(root, release, 'modules.builtin'), 'utf8')
        .split('\n')
        .map((line) => canonical(/([^/]+)\.ko$/.exec(line)?.[1] ?? '')),
    );
  }

  /**
   * A module with all that it depends on, in loading order, itself last; nothing when it is built in.
   *
   * @throws VmmError `GUEST_INCOMPLETE` when the kernel has no such module
   */
  closure(module: string): string[] {
    const order = new Set<string>();
    const add = (name: string): void => {
      if (order.has(name) || this.#builtin.has(name)) return;
      for (const dependency of dependenciesOf(this.read(name))) add(canonical(dependency));
      order.add(name);
    };
    add(canonical(module));
    return [...order];
  }

  /** The uncompressed module. @throws VmmError `GUEST_INCOMPLETE` */
  read(module: string): Uint8Array {
    const name = canonical(module);
    const known = this.#data.get(name);
    if (known !== undefined) return known;
    const file = this.#files.get(name);
    if (file === undefined) throw new VmmError('GUEST_INCOMPLETE', `the kernel has no module ${name}`);
    const data = uncompressed(file);
    this.#data.set(name, data);
    return data;
  }
}

function canonical(module: string): string {
  return module.replaceAll('-', '_');
}

function uncompressed(file: string): Uint8Array {
  if (file.endsWith('.xz')) return decompressWith('xz', file);
  if (file.endsWith('.zst')) return decompressWith('zstd', file);
  return readFileSync(file);
}

function dependenciesOf(module: Uint8Array): string[] {
  const text = Buffer.from(module.buffer, module.byteOffset, module.byteLength).toString('latin1');
  return (/\0depends=([^\0]*)\0/.exec(text)?.[1] ?? '').split(',').filter((name) => name !== '');
}
