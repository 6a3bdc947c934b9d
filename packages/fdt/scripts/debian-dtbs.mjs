// Fetches device trees of real boards for the tests, once: those in Debian's u-boot-sunxi (1.3 MB, arm64).
// apt gets a state directory of its own in the cache, so the machine's own packages are left alone.
// Prints the folder with the *.dtb files.
import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { basename, join } from 'node:path';

const PACKAGE = 'u-boot-sunxi';
const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'vmm', 'fdt');
const result = join(cache, PACKAGE);

function run(command, args, options) {
  try {
    return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], ...options });
  } catch (error) {
    const why =
      error.code === 'ENOENT' ? 'not found; it comes with Debian and its derivatives' : error.stderr;
    throw new Error(`${command} ${args[0]}: ${why}`, { cause: error });
  }
}

function fetchTrees() {
  mkdirSync(cache, { recursive: true });
  const work = mkdtempSync(join(cache, 'fetch-'));
  try {
    for (const folder of ['state/lists/partial', 'cache/archives/partial', 'tree', 'trees']) {
      mkdirSync(join(work, folder), { recursive: true });
    }
    writeFileSync(join(work, 'state/status'), '');
    writeFileSync(
      join(work, 'apt.conf'),
      [
        'APT::Architecture "arm64";',
        'APT::Architectures { "arm64"; };',
        'APT::Sandbox::User "";',
        'Acquire::Languages "none";',
        'Acquire::Retries "3";',
        `Dir::State "${work}/state";`,
        `Dir::State::status "${work}/state/status";`,
        `Dir::Cache "${work}/cache";`,
      ].join('\n'),
    );
    const options = { cwd: work, env: { ...process.env, APT_CONFIG: join(work, 'apt.conf') } };
    run('apt-get', ['update', '-q'], options);
    run('apt-get', ['download', '-q', PACKAGE], options);
    const archive = readdirSync(work).find((name) => name.endsWith('.deb'));
    if (archive === undefined) throw new Error(`apt-get download ${PACKAGE} left no package`);
    run('dpkg-deb', ['-x', archive, 'tree'], options);
    for (const name of readdirSync(join(work, 'tree'), { recursive: true })) {
      if (name.endsWith('.dtb')) cpSync(join(work, 'tree', name), join(work, 'trees', basename(name)));
    }
    if (readdirSync(join(work, 'trees')).length === 0) throw new Error(`${PACKAGE} has no device trees`);
    try {
      renameSync(join(work, 'trees'), result);
    } catch (error) {
      // Another run was faster.
      if (!existsSync(result)) throw error;
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

try {
  if (!existsSync(result)) fetchTrees();
  console.log(result);
} catch (error) {
  console.error(`no device trees from Debian's ${PACKAGE}: ${error.message}`);
  process.exitCode = 1;
}
