import type { Aarch64Hypervisor, Aarch64Vm } from '@vmm/hypervisor';
import { createWasmHypervisor } from '@vmm/hypervisor/wasm';
import type { GuestMemory } from '@vmm/vm-memory';
import { Boot, bootFiles } from './boot.ts';
import { MAX_CPUS, type VmmConfig, validateConfig } from './config.ts';
import { type CommandStreams, DeviceManager, virtioDeviceCount } from './device-manager.ts';
import { VmmError } from './errors.ts';
import { EventLoop, type VcpuEnd } from './event-loop.ts';
import { IrqChip } from './irq-chip.ts';
import { MemoryManager } from './memory-manager.ts';
import { RuntimeDirectory } from './runtime-directory.ts';
import type { ConsoleStream, GuestInput, GuestOutput } from './streams.ts';
import { VcpuManager } from './vcpu-manager.ts';

/** The host's side of a VM: where it runs and what is told while it does. */
export interface VmmHost {
  /** Default: the software hypervisor. */
  readonly hypervisor?: Aarch64Hypervisor;
  /** One line per step of long work, such as fetching the built-in guest. */
  readonly progress?: (message: string) => void;
  /** Undefined instructions, unclaimed accesses, broken drivers. */
  readonly debug?: (message: string) => void;
}

export type VmmState = 'created' | 'running' | 'stopping' | 'stopped' | 'failed';

/** How a VM ended. */
export type StopReason =
  /** The built-in guest's command or shell ended with this code. */
  | { readonly kind: 'exited'; readonly code: number }
  /** The guest powered itself off. */
  | { readonly kind: 'shutdown' }
  /** The guest asked for a reset. */
  | { readonly kind: 'reset' }
  /** The guest's kernel panicked with this message. */
  | { readonly kind: 'panic'; readonly message: string }
  /** {@link Vmm.stop} ended it. */
  | { readonly kind: 'stopped' }
  /** A vCPU could not go on. */
  | { readonly kind: 'failed'; readonly message: string };

/** Milliseconds a panicked kernel has for resetting by itself before the VM is ended. */
const PANIC_GRACE = 1000;

/** One virtual machine, from {@link VmBuilder.build} to its end. */
export class Vmm implements AsyncDisposable {
  readonly config: VmmConfig;
  readonly memory: GuestMemory;
  /** Serial port and virtio console; reading starts when somebody listens. */
  readonly console: ConsoleStream;
  /** Present when the VM runs a command. Guest output waits for its reader. */
  readonly streams: CommandStreams | undefined;
  /** Settles when the VM has ended and its output has been handed over. Never rejects. */
  readonly stopped: Promise<StopReason>;

  readonly #vm: Aarch64Vm;
  readonly #vcpus: VcpuManager;
  readonly #devices: DeviceManager;
  readonly #directory: RuntimeDirectory;
  #state: VmmState = 'created';
  #ended: VcpuEnd | undefined;
  /** Kept for when the vCPUs are gone. */
  #instructions: number | undefined;
  #panic: string | undefined;
  #panicTimer: NodeJS.Timeout | undefined;
  #settle: (reason: StopReason) => void = () => undefined;
  #disposed: Promise<void> | undefined;

  private constructor(
    config: VmmConfig,
    vm: Aarch64Vm,
    memory: MemoryManager,
    devices: DeviceManager,
    vcpus: VcpuManager,
    directory: RuntimeDirectory,
  ) {
    this.config = config;
    this.#vm = vm;
    this.memory = memory.memory;
    this.#devices = devices;
    this.#vcpus = vcpus;
    this.#directory = directory;
    this.console = devices.console;
    this.streams = devices.streams;
    this.stopped = new Promise((resolve) => {
      this.#settle = resolve;
    });
    devices.onPanic = (message) => this.#panicked(message);
  }

  /** Use {@link VmBuilder}. */
  static async create(config: VmmConfig, host: VmmHost): Promise<Vmm> {
    const debug = host.debug ?? (() => undefined);
    const hypervisor =
      host.hypervisor ??
      createWasmHypervisor({
        onUndefined: (vcpu, { instruction, firstPc }) =>
          debug(
            `vCPU ${vcpu}: undefined instruction 0x${instruction.toString(16).padStart(8, '0')} at 0x${firstPc.toString(16)}`,
          ),
      });
    validateConfig(config, {
      maxCpus: Math.min(hypervisor.maxVcpus, MAX_CPUS),
      maxMemory: hypervisor.maxMemory,
    });
    const probe = await hypervisor.probe();
    if (!probe.available) {
      throw new VmmError('HYPERVISOR_UNAVAILABLE', `${hypervisor.name}: ${probe.reason}. ${probe.remedy}`);
    }
    const directory = RuntimeDirectory.claim(config.name);
    let vm: Aarch64Vm | undefined;
    let devices: DeviceManager | undefined;
    try {
      const files = await bootFiles(config, host.progress ?? (() => undefined));
      vm = await hypervisor.createVm({ vcpus: config.cpus, maxMemory: config.memory });
      const memory = new MemoryManager(vm, config.memory);
      const boot = await Boot.load(memory.memory, files);
      const irqChip = new IrqChip(vm, config.cpus, virtioDeviceCount(config));
      devices = new DeviceManager(vm, memory.memory, irqChip, config, debug);
      const state = boot.finish({
        memory: memory.layout,
        vcpus: config.cpus,
        gic: irqChip.description,
        // No kaslr-seed: with it Linux isolates its page tables and flushes the TLB at every entry from user space.
        rngSeed: crypto.getRandomValues(new Uint8Array(64)),
        ...devices.description,
      });
      const vcpus = new VcpuManager(vm, config.cpus, state);
      return new Vmm(config, vm, memory, devices, vcpus, directory);
    } catch (error) {
      devices?.[Symbol.dispose]();
      await vm?.[Symbol.asyncDispose]();
      directory[Symbol.dispose]();
      throw error;
    }
  }

  get name(): string {
    return this.config.name;
  }

  get state(): VmmState {
    return this.#state;
  }

  /** Guest instructions executed so far, where the hypervisor counts them; else 0. */
  instructionCount(): number {
    return this.#instructions ?? this.#vcpus.instructionCount();
  }

  /**
   * Lets the guest run. {@link stopped} tells how it ends.
   *
   * @throws VmmError `WRONG_STATE` when it was started or stopped before
   */
  start(): void {
    if (this.#state !== 'created') {
      throw new VmmError('WRONG_STATE', `"${this.name}" is ${this.#state}: a VM starts once`);
    }
    this.#state = 'running';
    const loop = new EventLoop(this.#devices.bus, (end) => this.#end(end));
    this.#vcpus.run(loop.handle).then(
      () => this.#finish(),
      (error: unknown) => {
        this.#end({ kind: 'failed', message: error instanceof Error ? error.message : String(error) });
        return this.#finish();
      },
    );
  }

  /** Ends the VM at once, as pulling the plug does; acknowledged and flushed disk writes are on disk. */
  async stop(): Promise<void> {
    if (this.#state === 'created') {
      this.#state = 'stopped';
      await this.#devices.finish();
      await this.#release();
      this.#settle({ kind: 'stopped' });
      return;
    }
    if (this.#state === 'running') this.#state = 'stopping';
    await this.#vcpus.stop();
    await this.stopped;
  }

  /** Tells the guest the size of the terminal behind its console. */
  resizeConsole(columns: number, rows: number): void {
    this.#devices.resizeConsole(columns, rows);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ??= this.#dispose();
    await this.#disposed;
  }

  async #dispose(): Promise<void> {
    this.console.resume();
    this.streams?.stdout.resume();
    this.streams?.stderr.resume();
    await this.stop();
    this.console.destroy();
    for (const stream of Object.values<GuestInput | GuestOutput>({ ...this.streams })) stream.destroy();
  }

  #end(end: VcpuEnd): void {
    if (this.#ended !== undefined) return;
    this.#ended = end;
    // One vCPU ends the machine; the others are told to stop. A failure to stop surfaces in `run`.
    void this.#vcpus.stop();
  }

  #panicked(message: string): void {
    this.#panic = message;
    this.#panicTimer = setTimeout(() => this.#end({ kind: 'reset' }), PANIC_GRACE);
  }

  async #finish(): Promise<void> {
    clearTimeout(this.#panicTimer);
    const reason = this.#reason();
    await this.#devices.finish();
    await this.#release();
    this.#state = reason.kind === 'failed' ? 'failed' : 'stopped';
    this.#settle(reason);
  }

  #reason(): StopReason {
    if (this.#panic !== undefined) return { kind: 'panic', message: this.#panic };
    if (this.#ended === undefined) return { kind: 'stopped' };
    const code = this.#devices.exitCode;
    if (code !== undefined && this.#ended.kind === 'shutdown') return { kind: 'exited', code };
    return this.#ended;
  }

  async #release(): Promise<void> {
    this.#instructions = this.#vcpus.instructionCount();
    await this.#vm[Symbol.asyncDispose]();
    this.#devices[Symbol.dispose]();
    this.#directory[Symbol.dispose]();
  }
}
