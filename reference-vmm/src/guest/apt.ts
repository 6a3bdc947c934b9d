import { execFile, execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { VmmError } from '../errors.ts';

/** Receives one line per step of long work. */
export type Progress = (message: string) => void;

/**
 * apt with a state directory of its own, for packages of another architecture than the machine's: it reads
 * the machine's package sources and keys, changes nothing of the machine and needs no root.
 */
export class PrivateApt {
  readonly #directory: string;
  readonly #architecture: string;
  readonly #progress: Progress;

  /** @throws VmmError `NO_APT` where there is no apt-get or dpkg-deb */
  constructor(directory: string, architecture: string, progress: Progress) {
    for (const tool of ['apt-get', 'apt-cache', 'dpkg-deb']) {
      if (findTool(tool) === undefined) {
        throw new VmmError(
          'NO_APT',
          `${tool} is not on this machine, so Debian's kernel cannot be fetched: give your own files with --kernel and --initrd`,
        );
      }
    }
    this.#directory = directory;
    this.#architecture = architecture;
    this.#progress = progress;
    for (const folder of ['lists/partial', 'cache/archives/partial', 'download']) {
      mkdirSync(join(directory, folder), { recursive: true });
    }
    writeFileSync(join(directory, 'status'), '');
    writeFileSync(
      join(directory, 'apt.conf'),
      [
        `APT::Architecture "${architecture}";`,
        `APT::Architectures { "${architecture}"; };`,
        `Dir::State "${directory}";`,
        `Dir::State::status "${join(directory, 'status')}";`,
        `Dir::Cache "${join(directory, 'cache')}";`,
        'Acquire::Languages "none";',
        // apt drops to another user when it runs as root, and that user cannot write here.
        'APT::Sandbox::User "";',
        '',
      ].join('\n'),
    );
  }

  /** Refreshes the package lists. */
  async update(): Promise<void> {
    this.#progress(`reading Debian's package lists for ${this.#architecture}`);
    await this.#run('apt-get', ['update', '-q']);
  }

  /** The packages that a package depends on directly. */
  async dependencies(name: string): Promise<readonly string[]> {
    return (await this.#dependencies([name], false)).get(name) ?? [];
  }

  /** Packages and all they depend on, but those left out and what only these need. */
  async closure(names: readonly string[], leftOut: readonly string[]): Promise<string[]> {
    const dependencies = await this.#dependencies(names, true);
    const closure = new Set(names);
    for (const name of closure)
      for (const each of dependencies.get(name) ?? []) if (!leftOut.includes(each)) closure.add(each);
    return [...closure];
  }

  /** Downloads packages and unpacks them into `target`; answers their versions by name. */
  async unpackAll(names: readonly string[], target: string): Promise<Map<string, string>> {
    const show = await this.#run('apt-cache', ['show', '--no-all-versions', ...names]);
    const stanzas = show.split('\n\n').map((text) => ({
      name: /^Package: (.+)$/m.exec(text)?.[1] ?? '',
      version: /^Version: (.+)$/m.exec(text)?.[1] ?? 'unknown',
      size: Number(/^Size: (\d+)$/m.exec(text)?.[1] ?? 0),
    }));
    const wanted = stanzas.filter(({ name }) => names.includes(name));
    const size = (wanted.reduce((sum, each) => sum + each.size, 0) / 1e6).toFixed(1);
    const what =
      wanted.length > 3
        ? `${wanted.length} packages`
        : wanted.map(({ name, version }) => `${name} ${version}`).join(', ');
    this.#progress(`downloading ${what} (${size} MB)`);
    const folder = join(this.#directory, 'download');
    await this.#run('apt-get', ['download', '-q', ...names], folder);
    mkdirSync(target, { recursive: true });
    const files = readdirSync(folder);
    for (const name of names) {
      const file = files.find((entry) => entry.startsWith(`${name}_`) && entry.endsWith('.deb'));
      if (file === undefined)
        throw new VmmError('APT_FAILED', `apt-get download ${name} left no package file`);
      await this.#run('dpkg-deb', ['-x', join(folder, file), target]);
    }
    return new Map(wanted.map(({ name, version }) => [name, version]));
  }

  /** Downloads a package and unpacks it into `target`; answers its version. */
  async unpack(name: string, target: string): Promise<string> {
    return (await this.unpackAll([name], target)).get(name) ?? 'unknown';
  }

  async #dependencies(names: readonly string[], recurse: boolean): Promise<Map<string, string[]>> {
    const options = ['--important', ...(recurse ? ['--recurse'] : [])];
    const text = await this.#run('apt-cache', ['depends', ...options, ...names]);
    const dependencies = new Map<string, string[]>();
    let current: string[] = [];
    for (const line of text.split('\n')) {
      const name = /^(\S+)$/.exec(line)?.[1];
      if (name !== undefined) dependencies.set(name, (current = []));
      const dependency = /^\s*\|?(?:Pre)?Depends: ([^<\s]+)$/.exec(line)?.[1];
      if (dependency !== undefined) current.push(dependency);
    }
    return dependencies;
  }

  #run(command: string, args: readonly string[], cwd = this.#directory): Promise<string> {
    const env = { ...process.env, APT_CONFIG: join(this.#directory, 'apt.conf'), LC_ALL: 'C' };
    return new Promise((resolve, reject) => {
      execFile(command, args, { cwd, env, maxBuffer: 64 << 20 }, (error, stdout, stderr) => {
        if (error === null) {
          resolve(stdout);
          return;
        }
        const reason = stderr.split('\n').find((line) => line.startsWith('E:')) ?? error.message;
        reject(
          new VmmError(
            'APT_FAILED',
            `${command} ${args.join(' ')}: ${reason.trim()}. Give your own files with --kernel and --initrd, or check the machine's package sources`,
            { cause: error },
          ),
        );
      });
    });
  }
}

/** Where on the PATH a program is. */
export function findTool(name: string): string | undefined {
  return (process.env['PATH'] ?? '')
    .split(':')
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, name))
    .find((path) => existsSync(path));
}

/** Decompresses a kernel module as distributions ship them (`.ko`, `.ko.xz`, `.ko.zst`). */
export function decompressWith(tool: 'xz' | 'zstd', file: string): Uint8Array {
  return execFileSync(tool, ['-dc', file], { maxBuffer: 256 << 20 });
}
