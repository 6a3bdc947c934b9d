import { HypervisorUnavailableError } from '../errors.ts';
import type { Hypervisor, ProbeResult } from '../hypervisor.ts';
import type { VmConfig } from '../vm.ts';
import { checkVmConfig } from '../vm-config.ts';
import { compileEngine } from './engine.ts';
import type { EngineHost } from './host.ts';
import type { UndefinedInstructionListener } from './vm.ts';
import { WasmVm } from './vm.ts';
import type { WasmVcpu } from './vcpu.ts';
import { WASM_MAX_PAGES, WASM_PAGE, webAssembly } from './webassembly.ts';

/** vCPUs that a VM may have. Several pass the compliance suite; Linux has run long with one only. */
const MAX_VCPUS = 8;

/** The engine's own part of the 4 GiB, rounded up, and room for the alignment of regions. */
const RESERVED = 96 * 2 ** 20;

/** Choices of {@link createWasmHypervisor}. */
export interface WasmHypervisorOptions {
  /** Where the engine and threads come from. Default: Node.js, with the engine of this package. */
  readonly host?: EngineHost;
  /** For a debug log: called once for each class of encodings that a guest executes and the engine does not have. */
  readonly onUndefined?: UndefinedInstructionListener;
}

/** The software hypervisor: AArch64 (EL0 and EL1) in WebAssembly. */
export class WasmHypervisor implements Hypervisor<WasmVcpu, WasmVm> {
  readonly name = 'wasm';
  readonly arch = 'aarch64';
  readonly maxVcpus: number = MAX_VCPUS;
  readonly maxMemory: number = WASM_MAX_PAGES * WASM_PAGE - RESERVED;
  readonly #options: WasmHypervisorOptions;
  #host: Promise<EngineHost> | undefined;

  constructor(options: WasmHypervisorOptions) {
    this.#options = options;
  }

  async probe(): Promise<ProbeResult> {
    try {
      checkThreads();
    } catch (error) {
      return {
        available: false,
        reason: message(error),
        remedy:
          'use Node.js 20.19 or later, or a browser with a cross-origin isolated page (COOP and COEP headers)',
      };
    }
    try {
      const host = await this.#getHost();
      await compileEngine(host);
      return {
        available: true,
        details: { execution: 'interpreter', parallelism: String(host.parallelism) },
      };
    } catch (error) {
      return {
        available: false,
        reason: message(error),
        remedy: 'build or reinstall the package: dist/wasm/engine.wasm',
      };
    }
  }

  async createVm(config: VmConfig): Promise<WasmVm> {
    checkVmConfig(config, this);
    checkThreads();
    const host = await this.#getHost();
    return new WasmVm({ ...config }, host, await compileEngine(host), this.#options.onUndefined);
  }

  async #getHost(): Promise<EngineHost> {
    this.#host ??= this.#options.host === undefined ? nodeHost() : Promise.resolve(this.#options.host);
    return this.#host;
  }
}

/** The backend that runs wherever WebAssembly threads exist. Nothing is loaded before it is used. */
export function createWasmHypervisor(options: WasmHypervisorOptions = {}): WasmHypervisor {
  return new WasmHypervisor(options);
}

async function nodeHost(): Promise<EngineHost> {
  const { createNodeHost } = await import('./node/host.ts');
  return createNodeHost();
}

/** @throws HypervisorUnavailableError without shared memory or what waits on it. */
function checkThreads(): void {
  const { Memory } = webAssembly();
  try {
    new Memory({ initial: 1, maximum: 1, shared: true });
  } catch (cause) {
    throw new HypervisorUnavailableError('there is no shared WebAssembly memory here', { cause });
  }
  if (typeof Reflect.get(Atomics, 'waitAsync') !== 'function') {
    throw new HypervisorUnavailableError('this JavaScript engine has no Atomics.waitAsync');
  }
}

function message(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
}
