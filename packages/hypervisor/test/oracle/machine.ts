import { readFile } from 'node:fs/promises';
import { webAssembly, type WasmModule } from '../../src/wasm/webassembly.ts';

const ENGINE: URL = new URL('../../dist/wasm/engine.wasm', import.meta.url);

/** 128 MiB: the engine's own state and the RAM region. */
const MEMORY_PAGES = 2048;
const ID_PC = 33;

/** Exports that are functions, as in ENGINE.md. */
export interface Functions {
  engineInit(): void;
  vcpuReset(index: number): void;
  run(index: number, budget: number): number;
  getRegister(index: number, id: number): bigint;
  setRegister(index: number, id: number, value: bigint): void;
  getSystemRegister(index: number, encoding: number): bigint;
  setSystemRegister(index: number, encoding: number, value: bigint): number;
}

const NAMES: readonly (keyof Functions)[] = [
  'engineInit',
  'vcpuReset',
  'run',
  'getRegister',
  'setRegister',
  'getSystemRegister',
  'setSystemRegister',
];

/** An engine with one vCPU and one RAM region, driven directly. */
export class EngineMachine {
  readonly functions: Functions;
  /** Value of a constant of assembly/layout.ts. */
  readonly layout: (name: string) => number;
  /** The engine's memory. */
  readonly view: DataView;
  readonly bytes: Uint8Array;
  /** Memory offset of the RAM region. */
  readonly ram: number;
  private readonly base: number;

  static async load(base: number, size: number): Promise<EngineMachine> {
    return new EngineMachine(await compileEngine(), base, size);
  }

  private constructor(module: WasmModule, base: number, size: number) {
    const { Instance, Memory } = webAssembly();
    const memory = new Memory({ initial: MEMORY_PAGES, maximum: 65536, shared: true });
    const { exports } = new Instance(module, {
      env: { memory, hostNanoseconds: () => 0, undefinedInstruction: () => undefined },
    });
    for (const name of NAMES)
      if (typeof exports[name] !== 'function') throw new Error(`the engine does not export ${name}`);
    this.functions = exports as unknown as Functions;
    this.layout = (name) => {
      const global = exports[name];
      if (typeof global !== 'object' || global === null || !('value' in global))
        throw new Error(`the engine does not export ${name}`);
      return Number(global.value) >>> 0;
    };
    this.base = base;
    this.ram = this.layout('RAM_BASE');
    if (this.ram + size > memory.buffer.byteLength)
      throw new Error('MEMORY_PAGES is too small for the engine');
    this.view = new DataView(memory.buffer);
    this.bytes = new Uint8Array(memory.buffer);
    this.functions.engineInit();
    const header = this.layout('HEADER');
    const region = header + this.layout('HEADER_REGIONS');
    this.view.setBigUint64(region + this.layout('REGION_BASE'), BigInt(base), true);
    this.view.setBigUint64(region + this.layout('REGION_SIZE'), BigInt(size), true);
    this.view.setUint32(region + this.layout('REGION_OFFSET'), this.ram, true);
    this.view.setUint32(region + this.layout('REGION_FLAGS'), 0, true);
    this.view.setUint32(header + this.layout('HEADER_CLOCK_MODE'), 1, true);
    this.view.setUint32(header + this.layout('HEADER_VCPU_COUNT'), 1, true);
    this.view.setUint32(header + this.layout('HEADER_REGION_COUNT'), 1, true);
    this.functions.vcpuReset(0);
  }

  /** Offset in the memory of a word of the vCPU block. */
  vcpu(name: string): number {
    return this.layout('VCPU_BASE') + this.layout(name);
  }

  system(encoding: number, value: bigint): void {
    if (this.functions.setSystemRegister(0, encoding, value) === 0)
      throw new Error(`the engine has no system register ${encoding.toString(16)}`);
  }

  write(address: number, bytes: Uint8Array): void {
    this.bytes.set(bytes, this.ram + address - this.base);
  }

  /** A copy of guest memory. */
  read(address: number, size: number): Uint8Array {
    return this.bytes.slice(this.ram + address - this.base, this.ram + address - this.base + size);
  }

  start(pc: number): void {
    this.functions.setRegister(0, ID_PC, BigInt(pc));
  }

  run(budget: number): number {
    return this.functions.run(0, budget);
  }
}

async function compileEngine(): Promise<WasmModule> {
  try {
    return await webAssembly().compile(await readFile(ENGINE));
  } catch (cause) {
    throw new Error('dist/wasm/engine.wasm is needed: build the package first', { cause });
  }
}
