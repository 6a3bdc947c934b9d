import { VirtioBalloon, VirtioNet } from '@vmm/virtio-devices';
import type { VsockHost } from '@vmm/virtio-devices/node';
import type { GuestMemory } from '@vmm/vm-memory';
import { bootFiles } from './boot-files.ts';
import { type VmmConfig, validateConfig } from './config.ts';
import { type AttachedDevice, type CommandStreams, DeviceManager, GuestConsole } from './device-manager.ts';
import { closeDevices, prepareDevices, virtioDeviceCount } from './devices/prepare.ts';
import type { PreparedDevice } from './devices/prepared.ts';
import { EventLoop, type VcpuEnd } from './event-loop.ts';
import type { ExitStatistics } from './exit-statistics.ts';
import { type AnyHypervisor, hostHypervisors, selectHypervisor, selected } from './hypervisors.ts';
import { Lifecycle, type VmmState } from './lifecycle.ts';
import type { Architecture, Machine } from './machine/machine.ts';
import { createMachine } from './machine/platform.ts';
import { RuntimeDirectory } from './runtime-directory.ts';
import type { ConsoleStream, GuestInput, GuestOutput } from './streams.ts';
import { VcpuManager } from './vcpu-manager.ts';

/** The host's side of a VM: where it runs and what is told while it does. */
export interface VmmHost {
  /** Default: what the configuration's `hypervisor` and `arch` lead to. */
  readonly hypervisor?: AnyHypervisor;
  /** One line per step of long work, such as fetching the built-in guest, and one for the choice of a hypervisor. */
  readonly progress?: (message: string) => void;
  /** Undefined instructions, unclaimed accesses, broken drivers. */
  readonly debug?: (message: string) => void;
}

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

  /** Which kind of hypervisor runs the VM, and for which guests. */
  readonly hypervisor: 'wasm' | 'kvm';
  readonly arch: Architecture;

  readonly #machine: Machine;
  readonly #vcpus: VcpuManager;
  readonly #devices: DeviceManager;
  readonly #directory: RuntimeDirectory;
  readonly #loop: EventLoop;
  readonly #lifecycle: Lifecycle;
  #ended: VcpuEnd | undefined;
  /** Kept for when the vCPUs are gone. */
  #instructions: number | undefined;
  #panic: string | undefined;
  #panicTimer: NodeJS.Timeout | undefined;
  #settle: (reason: StopReason) => void = () => undefined;
  #disposed: Promise<void> | undefined;

  private constructor(
    config: VmmConfig,
    hypervisor: AnyHypervisor,
    machine: Machine,
    console: GuestConsole,
    devices: DeviceManager,
    directory: RuntimeDirectory,
  ) {
    this.config = config;
    this.#lifecycle = new Lifecycle(config.name);
    this.hypervisor = hypervisor.name;
    this.arch = hypervisor.arch;
    this.#machine = machine;
    this.memory = machine.memory;
    this.#devices = devices;
    this.#vcpus = new VcpuManager(machine.createVcpus());
    this.#directory = directory;
    this.#loop = new EventLoop(machine, (end) => this.#end(end));
    this.console = console.stream;
    this.streams = devices.streams;
    this.stopped = new Promise((resolve) => {
      this.#settle = resolve;
    });
    console.onPanic = (message) => this.#panicked(message);
  }

  /** Use {@link VmBuilder}. */
  static async create(config: VmmConfig, host: VmmHost): Promise<Vmm> {
    const debug = host.debug ?? (() => undefined);
    const progress = host.progress ?? (() => undefined);
    const { hypervisor, limits, notice } = await (host.hypervisor === undefined
      ? selectHypervisor(config, hostHypervisors(debug))
      : selected(host.hypervisor));
    validateConfig(config, limits);
    const directory = RuntimeDirectory.claim(config.name);
    let machine: Machine | undefined;
    let prepared: readonly PreparedDevice[] = [];
    let devices: DeviceManager | undefined;
    try {
      // What may be missing comes before what may have to be fetched.
      const console = new GuestConsole();
      machine = await createMachine(
        hypervisor,
        { ...config, virtioDevices: virtioDeviceCount(config) },
        { serialOutput: console.serialOutput, debug },
      );
      prepared = await prepareDevices(config);
      const files = await bootFiles(config, hypervisor.arch, prepared, progress);
      await machine.loadKernel(files);
      devices = new DeviceManager(machine, console, config, files.cmdline, prepared, debug);
      if (config.vsock?.path !== undefined) await devices.forwardVsock(config.vsock.path);
      const vmm = new Vmm(config, hypervisor, machine, console, devices, directory);
      if (notice !== undefined) progress(notice);
      return vmm;
    } catch (error) {
      machine?.[Symbol.dispose]();
      await machine?.vm[Symbol.asyncDispose]();
      await (devices === undefined ? closeDevices(prepared, debug) : devices[Symbol.asyncDispose]());
      directory[Symbol.dispose]();
      throw error;
    }
  }

  get name(): string {
    return this.config.name;
  }

  get state(): VmmState {
    return this.#lifecycle.state;
  }

  /** Guest instructions executed so far, where the hypervisor counts them; else 0. */
  instructionCount(): number {
    return this.#instructions ?? this.#vcpus.instructionCount();
  }

  /** The virtio devices in the order in which the guest finds them, with their counters so far. */
  get devices(): readonly AttachedDevice[] {
    return this.#devices.attached;
  }

  /** Sockets between host and guest; present when the VM has a vsock device. */
  get vsock(): VsockHost | undefined {
    return this.#devices.vsock;
  }

  /** Present when the VM has a balloon. */
  get balloon(): VirtioBalloon | undefined {
    return this.devices.map(({ device }) => device).find((device) => device instanceof VirtioBalloon);
  }

  /** `eth0`, `eth1` … */
  get networkDevices(): readonly VirtioNet[] {
    return this.devices.map(({ device }) => device).filter((device) => device instanceof VirtioNet);
  }

  /** Exits that came to this process so far; what hypervisor and kernel handle by themselves is not among them. */
  exitStatistics(): ExitStatistics {
    return this.#loop.exits.statistics;
  }

  /**
   * Lets the guest run. {@link stopped} tells how it ends.
   *
   * @throws VmmError `WRONG_STATE` when it was started or stopped before
   */
  start(): void {
    this.#lifecycle.take('start');
    this.#vcpus.run(this.#loop.handle).then(
      () => this.#finish(),
      (error: unknown) => {
        this.#end({ kind: 'failed', message: error instanceof Error ? error.message : String(error) });
        return this.#finish();
      },
    );
  }

  /**
   * Makes the guest stand still: its vCPUs, its clock and its devices, when requests in flight are done. Operations on a
   * VM wait for each other.
   *
   * @throws VmmError `WRONG_STATE` unless it runs
   */
  async pause(): Promise<void> {
    await this.#lifecycle.inTurn(async () => {
      this.#lifecycle.check('pause');
      await this.#vcpus.pause();
      // The guest may have ended meanwhile.
      this.#lifecycle.take('pause');
      this.#machine.stopClock();
      await this.#devices.pause();
    });
  }

  /**
   * Lets a paused guest go on as if no time had passed; its time of day is late by the length of the pause.
   *
   * @throws VmmError `WRONG_STATE` unless it is paused
   */
  async resume(): Promise<void> {
    await this.#lifecycle.inTurn(() => {
      this.#lifecycle.take('resume');
      this.#devices.resume();
      this.#machine.startClock();
      this.#vcpus.resume();
      return Promise.resolve();
    });
  }

  /** Ends the VM at once, as pulling the plug does; acknowledged and flushed disk writes are on disk. */
  async stop(): Promise<void> {
    if (this.state === 'created') {
      this.#lifecycle.take('finish');
      await this.#devices.finish();
      await this.#release();
      this.#settle({ kind: 'stopped' });
      return;
    }
    if (this.#lifecycle.allows('stop')) this.#lifecycle.take('stop');
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
    if (this.#lifecycle.allows('stop')) this.#lifecycle.take('stop');
    // One vCPU ends the machine; the others are told to stop. A failure to stop surfaces in `run`.
    void this.#vcpus.stop();
  }

  #panicked(message: string): void {
    this.#panic = message;
    this.#panicTimer = setTimeout(() => this.#end({ kind: 'reset' }), PANIC_GRACE);
  }

  async #finish(): Promise<void> {
    // A kernel that resets right after its panic may have said so in what the serial port still holds.
    this.#machine.serial.flush();
    clearTimeout(this.#panicTimer);
    // What a guest that ends while it is paused had written is served too.
    this.#devices.resume();
    const reason = this.#reason();
    await this.#devices.finish();
    await this.#release();
    this.#lifecycle.take(reason.kind === 'failed' ? 'fail' : 'finish');
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
    this.#devices.reset();
    await this.#machine.vm[Symbol.asyncDispose]();
    this.#machine[Symbol.dispose]();
    await this.#devices[Symbol.asyncDispose]();
    this.#directory[Symbol.dispose]();
  }
}
