import { HypervisorUnavailableError } from '../errors.ts';
import type { EngineHost } from './host.ts';
import type { EngineLayout } from './layout.ts';
import { readLayout } from './layout.ts';
import type { WasmMemory, WasmModule } from './webassembly.ts';
import { WASM_MAX_PAGES, webAssembly } from './webassembly.ts';

/** Functions of an engine instance (ENGINE.md, "Exports"). */
export interface Engine {
  engineInit(): void;
  vcpuReset(index: number): void;
  run(index: number, budget: number): number;
  getRegister(index: number, id: number): bigint;
  setRegister(index: number, id: number, value: bigint): void;
  hasSystemRegister(encoding: number): number;
  getSystemRegister(index: number, encoding: number): bigint;
  setSystemRegister(index: number, encoding: number, value: bigint): number;
  timerDelay(index: number): number;
  instructionCount(index: number): number;
  advanceClock(nanoseconds: number): void;
  /** Drops TLBs and decoded pages of all vCPUs, which must stand still. */
  memoryChanged(): void;
  /** Asks every vCPU to drop its writable TLB entries, without waiting. */
  revokeWrites(): void;
  /** 1 when no vCPU executes with an entry from before the last {@link revokeWrites}. */
  writesRevoked(): number;
  gicReset(): void;
  /** Makes a valid state of whatever bytes were copied to the GIC's state. */
  gicRestored(): void;
}

/** Host functions that the engine calls. */
export interface EngineImports {
  readonly hostNanoseconds: () => number;
  readonly undefinedInstruction: (index: number, instruction: number, pcLow: number, pcHigh: number) => void;
}

const FUNCTIONS: readonly (keyof Engine)[] = [
  'engineInit',
  'vcpuReset',
  'run',
  'getRegister',
  'setRegister',
  'hasSystemRegister',
  'getSystemRegister',
  'setSystemRegister',
  'timerDelay',
  'instructionCount',
  'advanceClock',
  'memoryChanged',
  'revokeWrites',
  'writesRevoked',
  'gicReset',
  'gicRestored',
];

/** An instance over `memory`, for the calling thread. */
export function instantiateEngine(
  module: WasmModule,
  memory: WasmMemory,
  imports: EngineImports,
): { engine: Engine; layout: EngineLayout } {
  const { Instance } = webAssembly();
  const { exports } = new Instance(module, {
    env: {
      memory,
      hostNanoseconds: imports.hostNanoseconds,
      undefinedInstruction: imports.undefinedInstruction,
      abort: abort,
    },
  });
  for (const name of FUNCTIONS) {
    if (typeof exports[name] !== 'function') {
      throw new HypervisorUnavailableError(
        `the engine does not export ${name}(): engine.wasm and this package are of different versions`,
      );
    }
  }
  // Checked above; signatures are the contract of ENGINE.md.
  return { engine: exports as unknown as Engine, layout: readLayout(exports) };
}

/** AssemblyScript's `abort`, should the engine have been built with assertions. */
function abort(): never {
  throw new Error('engine assertion failed');
}

/** A compiled engine with its layout. */
export interface CompiledEngine {
  readonly module: WasmModule;
  readonly layout: EngineLayout;
}

const compiled = new WeakMap<EngineHost, Promise<CompiledEngine>>();

/** Loads and compiles the engine once for each host object. */
export async function compileEngine(host: EngineHost): Promise<CompiledEngine> {
  let engine = compiled.get(host);
  if (engine === undefined) {
    engine = compile(host);
    compiled.set(host, engine);
    // A failure, e.g. of a download, is not remembered.
    engine.catch(() => compiled.delete(host));
  }
  return engine;
}

async function compile(host: EngineHost): Promise<CompiledEngine> {
  const wasm = webAssembly();
  let module: WasmModule;
  try {
    module = await wasm.compile(await host.loadEngine());
  } catch (cause) {
    throw new HypervisorUnavailableError('the engine could not be loaded and compiled', { cause });
  }
  // The layout decides how large a memory must be, and is known from an instance only: this one is thrown away.
  const memory = new wasm.Memory({ initial: 1, maximum: WASM_MAX_PAGES, shared: true });
  const { layout } = instantiateEngine(module, memory, {
    hostNanoseconds: () => 0,
    undefinedInstruction: () => undefined,
  });
  return { module, layout };
}
