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
  async dependencies(name: string): Promise<string[]> {
    const text = await this.#run('apt-cache', ['depends', '--important', name]);
    return [...text.matchAll(/^\s*\|?Depends: ([^<\s]+)$/gm)].map((match) => match[1]!);
  }

  /** Downloads a package and unpacks it into `target`; answers its version. */
  async unpack(name: string, target: string): Promise<string> {
    const show = await this.#run('apt-cache', ['show', '--no-all-versions', name]);
    const version = /^Version: (.+)$/m.exec(show)?.[1] ?? 'unknown';
    const size = Number(/^Size: (\d+)$/m.exec(show)?.[1] ?? 0);
    this.#progress(`downloading ${name} ${version} (${(size / 1e6).toFixed(1)} MB)`);
    const folder = join(this.#directory, 'download');
    await this.#run('apt-get', ['download', '-q', name], folder);
    const file = readdirSync(folder).find((entry) => entry.startsWith(`${name}_`) && entry.endsWith('.deb'));
    if (file === undefined) throw new VmmError('APT_FAILED', `apt-get download ${name} left no package file`);
    mkdirSync(target, { recursive: true });
    await this.#run('dpkg-deb', ['-x', join(folder, file), target]);
    return version;
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
