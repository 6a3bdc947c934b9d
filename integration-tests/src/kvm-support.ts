import { spawn } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import ts from 'typescript';
import { type Architecture, prepareGuest } from '@vmm/reference-vmm';
import { diagnoseKvm } from '@vmm/hypervisor/kvm';
import { RigError } from '../../scripts/rig/images.mjs';
import { openRig } from '../../scripts/rig/index.mjs';
import { CLI, ROOT } from './support.ts';

/** Longest time for one command, on a busy machine: only a hang reaches it. */
const COMMAND_LIMIT = 300_000;

/** Where the rig has what {@link KvmPlace} puts there. */
const RIG_FILES = '/kvm-test';
const RIG_REPOSITORY = '/work';
const RIG_CLI = '/work/reference-vmm/dist/cli/main.js';
/** What a VM that does not end is asked before it is killed. */
const LAST_WORDS = ['node', join(RIG_REPOSITORY, 'integration-tests/src/rig/last-words.mjs')];

export interface CommandResult {
  readonly code: number | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

export interface PlaceOptions {
  readonly cpus?: number;
  /** arm64 rig: version of its interrupt controller. */
  readonly gic?: 2 | 3;
}

type Rig = Awaited<ReturnType<typeof openRig>>;
type RigCommandResult = Awaited<ReturnType<Rig['run']>>;

/**
 * A place with KVM that runs stock guests of an architecture: this machine if its KVM does, else an emulated one. Files
 * are put in before it is opened.
 */
export class KvmPlace implements AsyncDisposable {
  readonly arch: Architecture;
  readonly #options: PlaceOptions;
  readonly #directory = mkdtempSync(join(tmpdir(), 'vmm-kvm-'));
  #rig: Rig | undefined;
  /** What made the place as it is, for another machine in its stead. */
  readonly #setUp: (readonly string[])[] = [];
  /** Within {@link inOne}. */
  #building = false;

  constructor(arch: Architecture, options: PlaceOptions = {}) {
    this.arch = arch;
    this.#options = options;
  }

  put(name: string, content: Uint8Array): void {
    writeFileSync(join(this.#directory, name), content);
  }

  async open(): Promise<void> {
    const host = await diagnoseKvm();
    if (host.arch === this.arch && host.hardwareBacked) return;
    process.stdout.write(`KVM for ${this.arch}: in the rig\n`);
    this.#rig = await this.#openRig();
  }

  #openRig(): Promise<Rig> {
    return openRig({
      arch: this.arch === 'x86_64' ? 'x86_64' : 'arm64',
      cpus: this.#options.cpus ?? 1,
      gic: this.#options.gic ?? 3,
      timeoutMs: COMMAND_LIMIT,
      files: [{ host: this.#directory, guest: RIG_FILES }],
    });
  }

  /** Path of a file of {@link put}, for commands. */
  path(name: string): string {
    return join(this.#rig === undefined ? this.#directory : RIG_FILES, name);
  }

  /** Runs `reference-vmm`. */
  vmm(args: readonly string[], stdin: string | Uint8Array = ''): Promise<CommandResult> {
    return this.#run([this.#rig === undefined ? CLI : RIG_CLI, ...args], stdin);
  }

  /** Runs a script of the repository, JavaScript or TypeScript without what would have to be compiled. */
  script(path: string, args: readonly string[]): Promise<CommandResult> {
    return this.#run([this.#rig === undefined ? stripped(path) : join(RIG_REPOSITORY, path), ...args], '');
  }

  /** Loads a module of the place's kernel with those that it needs, where it is not there. */
  async loadModule(name: string): Promise<void> {
    if (this.#rig === undefined) return;
    const directory = '/rig/modules.d';
    const load = `for each in $(cat ${directory}/${name}.needs) ${name}; do insmod ${directory}/$each.ko; done`;
    await this.#prepare(['sh', '-c', load], `load ${name}`);
  }

  /** Copies a file of {@link put} to where commands may write it; answers its path. */
  async copy(name: string): Promise<string> {
    if (this.#rig === undefined) {
      const target = join(this.#directory, `copy-${name}`);
      copyFileSync(this.path(name), target);
      return target;
    }
    const target = join('/tmp', name);
    await this.#prepare(['cp', this.path(name), target], `copy ${name}`);
    return target;
  }

  /** Commands that build on what others left in the same machine: where that fails, all of them run once more. */
  async inOne<T>(steps: () => Promise<T>): Promise<T> {
    this.#building = true;
    try {
      return await steps();
    } catch (error) {
      if (!(error instanceof RigError)) throw error;
      await this.#another(error, 'all steps');
      return await steps();
    } finally {
      this.#building = false;
    }
  }

  /** A file's content as it is there now. */
  async read(path: string): Promise<Buffer> {
    const script = 'process.stdout.write(require("fs").readFileSync(process.argv[1]))';
    return (await this.#run(['-e', script, path], '')).stdout;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#rig?.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  async #run(args: readonly string[], stdin: string | Uint8Array): Promise<CommandResult> {
    if (this.#rig === undefined) return here(args, stdin);
    const { code, stdout, stderr } = await this.#inRig(['node', ...args], stdin);
    return { code, stdout, stderr: stderr.toString() };
  }

  async #prepare(command: readonly string[], what: string): Promise<void> {
    const { code, stderr } = await this.#inRig(command);
    if (code !== 0) throw new Error(`cannot ${what}: ${stderr.toString()}`);
    this.#setUp.push(command);
  }

  /**
   * The emulated machine itself fails at times, its kernel with it, or programs in it stand still: then the command runs
   * once more, in another one, and what can be known of the first is printed. What fails in a command is told as it is.
   */
  async #inRig(command: readonly string[], stdin: string | Uint8Array = ''): Promise<RigCommandResult> {
    try {
      return await toEnd(this.#rig!, command, stdin);
    } catch (error) {
      if (!(error instanceof RigError) || this.#building) throw error;
      return await toEnd(await this.#another(error, command.join(' ')), command, stdin);
    }
  }

  async #another({ message }: RigError, what: string): Promise<Rig> {
    process.stdout.write(`KVM for ${this.arch}: ${message}\nOnce more, in another machine: ${what}\n`);
    await this.#rig!.close();
    this.#rig = await this.#openRig();
    for (const each of this.#setUp) await this.#rig.run(each);
    return this.#rig;
  }
}

/** @throws RigError when the machine fails, or the command does not end */
async function toEnd(
  rig: Rig,
  command: readonly string[],
  stdin: string | Uint8Array,
): Promise<RigCommandResult> {
  const result = await rig.run(command, { stdin, onTimeout: LAST_WORDS });
  if (!result.timedOut) return result;
  const said = [result.stdout, result.stderr, result.lastWords].map((text) => text?.toString() ?? '');
  throw new RigError([`no end of ${command.join(' ')}:`, ...said].join('\n'));
}

/** A script of the repository without types, for a Node that knows none: packages are found from its place too. */
function stripped(path: string): string {
  const { outputText } = ts.transpileModule(readFileSync(join(ROOT, path), 'utf8'), {
    compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 },
  });
  const directory = join(ROOT, 'integration-tests/node_modules/.cache');
  mkdirSync(directory, { recursive: true });
  const target = join(directory, basename(path).replace(/ts$/, 'mjs'));
  const fresh = `${target}.${process.pid}`;
  writeFileSync(fresh, outputText);
  renameSync(fresh, target);
  return target;
}

function here(args: readonly string[], stdin: string | Uint8Array): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd: ROOT, timeout: COMMAND_LIMIT, killSignal: 'SIGKILL' });
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    child.stdout.on('data', (bytes: Buffer) => stdout.push(bytes));
    child.stderr.on('data', (bytes: Buffer) => stderr.push(bytes));
    child.on('error', reject);
    child.on('close', (code) =>
      resolve({ code, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString() }),
    );
    child.stdin.on('error', () => undefined);
    child.stdin.end(stdin);
  });
}

/** Fields of a bzImage's header (Linux Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header"). */
const SETUP_SECTS = 0x1f1;
const PAYLOAD_OFFSET = 0x248;
const PAYLOAD_LENGTH = 0x24c;

/** Debian's kernel as it comes, and the ELF file in it, which is compressed with LZ4. */
export async function stockKernels(): Promise<{
  readonly bzImage: Uint8Array;
  readonly vmlinux: Uint8Array;
}> {
  const { kernel } = await prepareGuest((message) => process.stderr.write(`${message}\n`), 'x86_64');
  const bzImage = readFileSync(kernel);
  const start = (bzImage.readUInt8(SETUP_SECTS) + 1) * 512 + bzImage.readUInt32LE(PAYLOAD_OFFSET);
  const payload = bzImage.subarray(start, start + bzImage.readUInt32LE(PAYLOAD_LENGTH));
  // The last four bytes are the uncompressed size.
  const size = payload.readUInt32LE(payload.length - 4);
  return { bzImage, vmlinux: unlz4(payload.subarray(0, -4), size) };
}

const LZ4_LEGACY_MAGIC = 0x184c2102;

/** Blocks of LZ4 in the legacy frame (lz4_Frame_format.md, "Legacy frame"; lz4_Block_format.md). */
function unlz4(frame: Buffer, size: number): Uint8Array {
  if (frame.readUInt32LE(0) !== LZ4_LEGACY_MAGIC) throw new Error('the kernel is not compressed with LZ4');
  const output = new Uint8Array(size);
  let at = 0;
  for (let block = 4; block < frame.length;) {
    const end = block + 4 + frame.readUInt32LE(block);
    for (let input = block + 4; input < end;) {
      const token = frame[input++]!;
      const length = (short: number): number => {
        let sum = short;
        if (short === 15) {
          let more;
          do sum += more = frame[input++]!;
          while (more === 255);
        }
        return sum;
      };
      const literals = length(token >> 4);
      output.set(frame.subarray(input, input + literals), at);
      input += literals;
      at += literals;
      if (input >= end) break;
      const distance = frame.readUInt16LE(input);
      input += 2;
      const copied = length(token & 15) + 4;
      // The two may overlap, byte by byte.
      for (let count = 0; count < copied; count++, at++) output[at] = output[at - distance]!;
    }
    block = end;
  }
  return output;
}
