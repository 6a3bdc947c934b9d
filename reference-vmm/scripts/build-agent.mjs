// Builds agent/src into agent/dist/<arch>/vmm-agent, for every architecture that a compiler is here for.
//
//   --optional  a missing compiler or C library is said, and is no failure
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const AGENT = fileURLToPath(new URL('../agent', import.meta.url));
const FLAGS = [
  '-static',
  '-O2',
  '-std=gnu11',
  '-D_GNU_SOURCE',
  '-Wall',
  '-Wextra',
  '-Werror',
  '-ffunction-sections',
  '-Wl,--gc-sections',
  '-s',
];
const TARGETS = [
  {
    arch: 'x86_64',
    node: 'x64',
    compiler: 'x86_64-linux-gnu-gcc',
    packages: 'gcc-x86-64-linux-gnu libc6-dev-amd64-cross',
  },
  {
    arch: 'aarch64',
    node: 'arm64',
    compiler: 'aarch64-linux-gnu-gcc',
    packages: 'gcc-aarch64-linux-gnu libc6-dev-arm64-cross',
  },
];

const sources = readdirSync(join(AGENT, 'src')).sort();
const files = sources.filter((name) => name.endsWith('.c')).map((name) => join(AGENT, 'src', name));

function inputs(arch) {
  const hash = createHash('sha256').update([arch, ...FLAGS].join('\0'));
  for (const name of sources) hash.update(`\0${name}\0`).update(readFileSync(join(AGENT, 'src', name)));
  return hash.digest('hex');
}

/** The first compiler that makes static programs: `gcc` where that is for this architecture, else by its own name. */
function compilerFor(target) {
  const candidates = target.node === process.arch ? ['gcc', target.compiler] : [target.compiler];
  const input = '#include <stdio.h>\nint main(void) { return puts(""); }\n';
  const args = ['-static', '-x', 'c', '-o', '/dev/null', '-'];
  return candidates.find((name) => spawnSync(name, args, { input }).status === 0);
}

/** @returns whether there is a current program for this architecture */
function build(target) {
  const directory = join(AGENT, 'dist', target.arch);
  const stamp = join(directory, '.inputs');
  const program = join(directory, 'vmm-agent');
  const key = inputs(target.arch);
  if (existsSync(program) && existsSync(stamp) && readFileSync(stamp, 'utf8') === key) return true;
  const compiler = compilerFor(target);
  if (compiler === undefined) {
    process.stderr.write(
      `vmm-agent for ${target.arch} was not built: there is no ${target.compiler} with a static C library ` +
        `(Debian: ${target.node === process.arch ? 'gcc libc6-dev' : target.packages}). Without it, guests of that ` +
        'architecture have no agent: no exec, no cp, and stop waits for its --grace.\n',
    );
    return false;
  }
  mkdirSync(directory, { recursive: true });
  const fresh = `${program}.${process.pid}`;
  const result = spawnSync(compiler, [...FLAGS, '-o', fresh, ...files], { stdio: ['ignore', 2, 2] });
  if (result.status !== 0) {
    process.stderr.write(`vmm-agent for ${target.arch}: ${compiler} failed\n`);
    process.exit(1);
  }
  renameSync(fresh, program);
  writeFileSync(`${fresh}.inputs`, key);
  renameSync(`${fresh}.inputs`, stamp);
  return true;
}

const built = TARGETS.map(build);
if (!process.argv.includes('--optional') && built.includes(false)) process.exitCode = 1;
