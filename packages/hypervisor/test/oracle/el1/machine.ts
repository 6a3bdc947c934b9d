import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { EngineMachine } from '../machine.ts';

const FOLDER = fileURLToPath(new URL('.', import.meta.url));
const SOURCES = ['start.S', 'program.c', 'program.ld'];
const COMPILER = 'aarch64-linux-gnu-gcc';
const OBJCOPY = 'aarch64-linux-gnu-objcopy';
const EMULATOR = 'qemu-system-aarch64';

/** Where program.ld puts the program, and where program.c writes its lines. */
const RAM = 0x4000_0000;
const RAM_SIZE = 0x100_0000;
const ENTRY = 0x4008_0000;
const LOG = 0x4080_0000;
/** The program ends long before. */
const BUDGET = 100_000_000;

function command(program: string, debianPackage: string, args: readonly string[]): Uint8Array {
  const { error, status, stderr, stdout } = spawnSync(program, args, { cwd: FOLDER, maxBuffer: 2 ** 28 });
  if (error)
    throw new Error(`${program} is needed: install Debian package ${debianPackage}`, { cause: error });
  if (status !== 0) throw new Error(`${program} failed: ${stderr.toString()}`);
  return stdout;
}

/** Builds the program once per version of its sources; the ELF file and the plain image of it. */
function build(): { elf: string; image: string } {
  const hash = createHash('sha256');
  for (const source of SOURCES) hash.update(readFileSync(join(FOLDER, source)));
  const folder = join(tmpdir(), `vmm-oracle-el1-${hash.digest('hex').slice(0, 16)}`);
  const elf = join(folder, 'program.elf');
  const image = join(folder, 'program.bin');
  if (existsSync(image)) return { elf, image };
  mkdirSync(folder, { recursive: true });
  const options = ['-O2', '-static', '-nostdlib', '-ffreestanding', '-mgeneral-regs-only', '-mstrict-align']
    .concat(['-march=armv8-a', '-fno-stack-protector', '-fno-pic', '-Wall', '-Wextra', '-Werror'])
    .concat(['-Wl,--build-id=none', '-T', 'program.ld']);
  const building = `${elf}.${process.pid}`;
  command(COMPILER, 'gcc-aarch64-linux-gnu', [...options, '-o', building, 'start.S', 'program.c']);
  renameSync(building, elf);
  command(OBJCOPY, 'binutils-aarch64-linux-gnu', ['-O', 'binary', elf, `${image}.${process.pid}`]);
  renameSync(`${image}.${process.pid}`, image);
  return { elf, image };
}

/** The lines of the program on an emulated Cortex-A57 machine, through its UART. */
export function emulatedLines(): string[] {
  const options = [
    '-M',
    'virt,gic-version=3',
    '-cpu',
    'cortex-a57',
    '-m',
    '64',
    '-display',
    'none',
    '-nic',
    'none',
  ];
  const output = command(EMULATOR, 'qemu-system-arm', [
    ...options,
    ...['-monitor', 'none', '-serial', 'stdio', '-kernel', build().elf],
  ]);
  return linesOf(output);
}

/** The lines of the program on the engine, from its RAM at the first store to the UART. */
export async function engineLines(): Promise<string[]> {
  const machine = await EngineMachine.load(RAM, RAM_SIZE);
  machine.write(ENTRY, readFileSync(build().image));
  machine.start(ENTRY);
  const reason = machine.run(BUDGET);
  if (reason !== machine.layout('EXIT_MMIO')) throw new Error(`the engine left with ${reason}`);
  const log = machine.read(LOG, RAM + RAM_SIZE - LOG);
  return linesOf(log.subarray(0, log.indexOf(0)));
}

function linesOf(bytes: Uint8Array): string[] {
  const lines = new TextDecoder().decode(bytes).trimEnd().split('\n');
  if (lines.at(-1) !== 'end') throw new Error(`the program stopped after: ${lines.at(-1) ?? 'nothing'}`);
  return lines;
}
