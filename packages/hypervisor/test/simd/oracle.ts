import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { webAssembly } from '../../src/wasm/webassembly.ts';
import { RESULT_SIZE, STATE_SIZE } from './cases.ts';

const FOLDER = fileURLToPath(new URL('.', import.meta.url));
const COMPILER = 'aarch64-linux-gnu-gcc';
const EMULATOR = 'qemu-aarch64-static';
const COMPILER_FLAGS = [
  '-O1',
  '-static',
  '-nostdlib',
  '-ffreestanding',
  '-fno-builtin',
  '-mgeneral-regs-only',
];

type EngineExports = {
  readonly memory: { readonly buffer: ArrayBuffer };
  readonly runGroup: (group: number, results: number) => void;
};

function isEngine(exports: Partial<Record<keyof EngineExports, unknown>>): exports is EngineExports {
  return typeof exports.runGroup === 'function' && typeof exports.memory === 'object';
}

// Clear of the vCPU block and the guest memory of the test build.
const GROUP_OFFSET = 0x300000;
const RESULTS_OFFSET = 0x400000;

function required(tool: string): void {
  const { error } = spawnSync(tool, ['--version']);
  if (error) throw new Error(`${tool} is needed to compare with, and cannot be started: ${error.message}`);
}

/** The engine's Advanced SIMD part in a test build, beside the same instructions under QEMU. */
export class Comparison {
  readonly #folder: string;
  readonly #engine: EngineExports;

  private constructor(folder: string, engine: EngineExports) {
    this.#folder = folder;
    this.#engine = engine;
  }

  /** Compiles both sides. */
  static async create(): Promise<Comparison> {
    required(COMPILER);
    required(EMULATOR);
    const folder = mkdtempSync(join(tmpdir(), 'simd-'));
    const engine = join(folder, 'simd.wasm');
    execFileSync(process.execPath, [join(FOLDER, 'build.mjs'), engine], { stdio: 'inherit' });
    execFileSync(COMPILER, [...COMPILER_FLAGS, join(FOLDER, 'runner.c'), '-o', join(folder, 'runner')]);
    const { compile, Instance } = webAssembly();
    const { exports } = new Instance(await compile(readFileSync(engine)), {});
    if (!isEngine(exports)) throw new Error('the test build does not export what the comparison needs');
    return new Comparison(folder, exports);
  }

  close(): void {
    rmSync(this.#folder, { recursive: true });
  }

  /** Results of the oracle, those of all batches one after the other. */
  expected(batches: readonly Uint8Array[]): Uint8Array {
    const { stdout, status, error, signal } = spawnSync(
      EMULATOR,
      ['-cpu', 'cortex-a57', join(this.#folder, 'runner')],
      {
        input: Buffer.concat(batches),
        maxBuffer: 2 ** 30,
        stdio: ['pipe', 'pipe', 'inherit'],
      },
    );
    if (error) throw error;
    if (status !== 0)
      throw new Error(`the oracle ended with status ${String(status)}, signal ${String(signal)}`);
    return stdout;
  }

  /** Results of the engine, in the same form. */
  actual(batches: readonly Uint8Array[]): Uint8Array {
    const counts = batches.map((batch) => (batch.length - STATE_SIZE) / 4);
    const results = new Uint8Array(counts.reduce((sum, count) => sum + count, 0) * RESULT_SIZE);
    const memory = new Uint8Array(this.#engine.memory.buffer);
    let at = 0;
    batches.forEach((batch, i) => {
      memory.set(batch, GROUP_OFFSET);
      this.#engine.runGroup(GROUP_OFFSET, RESULTS_OFFSET);
      const length = counts[i]! * RESULT_SIZE;
      results.set(memory.subarray(RESULTS_OFFSET, RESULTS_OFFSET + length), at);
      at += length;
    });
    return results;
  }
}

function hex(view: DataView, at: number): string {
  return view.getBigUint64(at, true).toString(16).padStart(16, '0');
}

/** One line that says what an instruction read and what came of it. */
export function describeCase(
  batch: Uint8Array,
  index: number,
  expected: Uint8Array,
  actual: Uint8Array,
): string {
  const view = new DataView(batch.buffer, batch.byteOffset);
  const insn = view.getUint32(STATE_SIZE + 4 * index, true);
  const v = (n: number): string => `v${n}=${hex(view, 16 * n + 8)}:${hex(view, 16 * n)}`;
  const result = (bytes: Uint8Array): string => {
    const r = new DataView(bytes.buffer, bytes.byteOffset);
    if (r.getUint32(32, true) !== 0) return r.getUint32(32, true) === 1 ? 'unallocated' : 'faulted';
    return (
      `Vd=${hex(r, 8)}:${hex(r, 0)} Xd=${hex(r, 16)} nzcv=${(r.getUint32(24, true) >>> 28).toString(16)} ` +
      `fpsr=${r.getUint32(28, true).toString(16)} hash=${hex(r, 40)}`
    );
  };
  const rd = insn & 31;
  const rn = (insn >>> 5) & 31;
  const rm = (insn >>> 16) & 31;
  const ra = (insn >>> 10) & 31;
  return [
    `insn=${insn.toString(16).padStart(8, '0')} fpcr=${view.getUint32(764, true).toString(16)} ` +
      `fpsr=${view.getUint32(768, true).toString(16)} nzcv=${(view.getUint32(760, true) >>> 28).toString(16)}`,
    `  d:${v(rd)} n:${v(rn)} m:${v(rm)} a:${v(ra)} xn=${rn < 16 ? hex(view, 512 + 8 * rn) : '-'}`,
    `  expected ${result(expected)}`,
    `  actual   ${result(actual)}`,
  ].join('\n');
}

/** Whether two results are the same; what an unallocated instruction left behind does not matter. */
export function sameResult(expected: Uint8Array, actual: Uint8Array): boolean {
  if (expected[32] !== 0 && expected[32] === actual[32]) return true;
  return Buffer.compare(expected, actual) === 0;
}
