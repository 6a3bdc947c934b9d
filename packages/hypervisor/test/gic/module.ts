import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync, renameSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** What assembly/gic-standalone.ts exports, apart from constants. Guest physical addresses and registers are i64. */
export interface GicExports {
  vcpuBlock(index: number): number;
  gicContains(address: bigint): number;
  gicMmioRead(cpu: number, address: bigint, length: number): bigint;
  gicMmioWrite(cpu: number, address: bigint, length: number, value: bigint): void;
  gicSystemAccess(encoding: number): number;
  gicSystemRead(cpu: number, encoding: number): bigint;
  gicSystemWrite(cpu: number, encoding: number, value: bigint): void;
  gicSample(): void;
  gicSetPpi(cpu: number, intid: number, level: number): void;
  gicIrqPending(cpu: number): number;
  gicFiqPending(cpu: number): number;
  gicReset(): void;
  gicCpuReset(cpu: number): void;
  gicRestored(): void;
}

/** Compiles assembly/gic-standalone.ts, unless the same sources have been compiled before. */
export function compileGic(): Uint8Array<ArrayBuffer> {
  const assembly = join(root, 'assembly');
  const hash = createHash('sha256');
  for (const name of readdirSync(assembly).sort()) {
    if (/^(gic.*|layout|state)\.ts$/.test(name)) hash.update(name).update(readFileSync(join(assembly, name)));
  }
  const cache = join(root, 'node_modules/.cache/gic');
  const output = join(cache, `${hash.digest('hex').slice(0, 16)}.wasm`);
  try {
    return new Uint8Array(readFileSync(output));
  } catch {
    mkdirSync(cache, { recursive: true });
  }
  const asc = join(dirname(fileURLToPath(import.meta.resolve('assemblyscript/package.json'))), 'bin/asc.js');
  const fresh = `${output}.${process.pid}`;
  const flags =
    '--runtime stub --importMemory --sharedMemory --initialMemory 1 --maximumMemory 65536 --memoryBase 4096 ' +
    '--enable threads --enable bulk-memory --enable sign-extension --noAssert --use abort= -O2';
  execFileSync(
    process.execPath,
    [asc, 'assembly/gic-standalone.ts', '--outFile', fresh, ...flags.split(' ')],
    { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] },
  );
  renameSync(fresh, output);
  return new Uint8Array(readFileSync(output));
}
