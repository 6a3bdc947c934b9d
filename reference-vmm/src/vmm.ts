import { randomBytes } from 'node:crypto';
import type { Vcpu } from '@vmm/hypervisor';
import { VirtioBalloon, VirtioNet } from '@vmm/virtio-devices';
import type { VsockHost } from '@vmm/virtio-devices/node';
import type { GuestMemory } from '@vmm/vm-memory';
import type { Agent } from './agent/agent.ts';
import { AgentLink } from './agent/agent-link.ts';
import type { ExecOptions, GuestProcess } from './agent/guest-process.ts';
import { agentProgram } from './agent/program.ts';
import { type BootFiles, withBootFiles } from './boot-files.ts';
import { type VmmConfig, validateConfig } from './config.ts';
import { type AttachedDevice, type CommandStreams, DeviceManager, GuestConsole } from './device-manager.ts';
import { closeDevices, prepareDevices, virtioDeviceCount } from './devices/prepare.ts';
import type { PreparedDevice } from './devices/prepared.ts';
import type { Subscription } from './broadcast.ts';
import { VmmError } from './errors.ts';
import { EventLoop, type VcpuEnd } from './event-loop.ts';
import { type SubscribeOptions, type VmmEvent, VmmEvents } from './events.ts';
import type { ExitStatistics } from './exit-statistics.ts';
import type { ConsoleMatch, ExpectOptions } from './expect.ts';
import { type GuestFetchInit, guestFetch } from './fetch.ts';
import { type GuestOrigin, bootOrigin } from './guest-origin.ts';
import { type AnyHypervisor, hostHypervisors, selectHypervisor, selected } from './hypervisors.ts';
import { Lifecycle, type VmmState } from './lifecycle.ts';
import type { Architecture, Machine } from './machine/machine.ts';
import { createMachine } from './machine/platform.ts';
import { type ShutdownOptions, powerOff } from './power.ts';
import { Readers } from './readers.ts';
import { resetMachine } from './reset.ts';
import { RuntimeDirectory } from './runtime-directory.ts';
import type { ConsoleStream, GuestInput, GuestOutput } from './streams.ts';
import {
  type RestoreOptions,
  type RestoredGuest,
  type SnapshotOptions,
  openGuest,
} from './snapshot/restore.ts';
import { writeSnapshot } from './snapshot/save.ts';
import { saveConfig } from './snapshot/saved-config.ts';
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

/** Bytes of randomness for a guest that goes on: what Linux's generator has for a key (BLAKE2s). */
const SEED_BYTES = 32;
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
  readonly #events = new VmmEvents();
  readonly #cmdline: string;
  readonly #agent: AgentLink;
  /** The vCPUs have been let go once. */
  #begun = false;
  /** What reads guest memory, which has to stay until it has ended. */
  readonly #readers = new Readers();
  /** Finds what to boot once more, where it was booted. */
  #bootFiles: (() => Promise<BootFiles>) | undefined;
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
    vcpus: readonly Vcpu[],
    cmdline: string,
  ) {
    this.config = config;
    this.#cmdline = cmdline;
    this.#lifecycle = new Lifecycle(config.name, (state) => this.#events.stateChanged(state));
    this.hypervisor = hypervisor.name;
    this.arch = hypervisor.arch;
    this.#machine = machine;
    this.memory = machine.memory;
    this.#devices = devices;
    this.#vcpus = new VcpuManager(vcpus);
    this.#directory = directory;
    this.#loop = new EventLoop(machine, (end) => this.#end(end));
    this.console = console.stream;
    this.streams = devices.streams;
    this.stopped = new Promise((resolve) => {
      this.#settle = (reason) => {
        this.#events.stopped(reason);
        resolve(reason);
      };
    });
    console.onPanic = (message) => this.#panicked(message);
    this.#agent = new AgentLink({
      port: devices.agentPort,
      sockets: devices.agentSocket,
      sinceConsole: () => devices.sinceConsole(),
      running: () => this.state === 'running',
      absent:
        config.kernel === undefined && agentProgram(this.arch) === undefined
          ? `this installation has no agent for guests of ${this.arch}: build it with scripts/build-agent.mjs`
          : undefined,
    });
    void this.stopped.then(() => this.#agent.end(new VmmError('ENDED', `"${config.name}" has ended`)));
  }

  /** Use {@link VmBuilder}. */
  static async create(config: VmmConfig, host: VmmHost): Promise<Vmm> {
    return await Vmm.#create(config, host, bootOrigin(config, host.progress ?? (() => undefined)));
  }

  /**
   * Goes on with a guest where {@link snapshot} found it, in this process. A snapshot can be restored any number of
   * times, and while the VM that it is of lives, under another name; each gets a copy of the memory, and all get the same
   * disks unless others are given.
   *
   * @param directory with the snapshot; what it says is checked as what a guest says
   * @throws VmmError `SNAPSHOT_MISMATCH` when it does not fit this hypervisor, release or host, `INVALID_SNAPSHOT` when it
   *   is cut, altered or no snapshot, `FILE_NOT_FOUND`, and what {@link create} throws
   */
  static async restore(directory: string, options: RestoreOptions = {}): Promise<Vmm> {
    const guest = await openGuest(directory, options);
    let vmm: Vmm;
    try {
      vmm = await Vmm.#create(guest.config, options, guest.origin);
    } catch (error) {
      await guest.close();
      throw error;
    }
    vmm.#lifecycle.take('restore');
    vmm.#watch(guest);
    if (options.paused !== true) await vmm.resume();
    return vmm;
  }

  static async #create(config: VmmConfig, host: VmmHost, origin: GuestOrigin): Promise<Vmm> {
    const debug = host.debug ?? (() => undefined);
    const progress = host.progress ?? (() => undefined);
    const { hypervisor, limits, notice } = await (host.hypervisor === undefined
      ? selectHypervisor(config, hostHypervisors(debug))
      : selected(host.hypervisor));
    origin.check?.(hypervisor);
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
        { serialOutput: console.serialOutput, debug, memoryFile: origin.memoryFile },
      );
      prepared = await prepareDevices(config);
      const cmdline = await origin.load(machine, hypervisor.arch, prepared);
      devices = new DeviceManager(machine, console, config, cmdline, prepared, debug);
      if (config.vsock?.path !== undefined) await devices.forwardVsock(config.vsock.path);
      const vcpus = origin.createVcpus(machine, devices);
      const vmm = new Vmm(config, hypervisor, machine, console, devices, directory, vcpus, cmdline);
      const { files } = origin;
      if (files !== undefined) vmm.#bootFiles = () => files(hypervisor.arch, prepared);
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
    this.#run();
  }

  /**
   * Makes the guest stand still: its vCPUs, its clock and its devices, when requests in flight are done. Operations on a
   * VM wait for each other.
   *
   * @throws VmmError `WRONG_STATE` unless it runs
   */
  async pause(): Promise<void> {
    await this.#lifecycle.inTurn(() => this.#pause());
  }

  /**
   * Lets a paused guest go on as if no time had passed. Its time of day, which is late by the length of the pause, is set by
   * its agent, where it has one.
   *
   * @throws VmmError `WRONG_STATE` unless it is paused
   */
  async resume(): Promise<void> {
    await this.#lifecycle.inTurn(() => {
      this.#resume();
      return Promise.resolve();
    });
  }

  /**
   * Writes everything of the guest's into a directory, for {@link restore}. The guest stands still while its memory is
   * written, and goes on afterwards if it ran before. A snapshot that is there already is replaced when the new one is
   * complete and on disk. Disks are not part of it: a copy of them is to be made while the VM is paused.
   *
   * @throws VmmError `WRONG_STATE` unless it runs or is paused, `SNAPSHOT_FAILED` when it cannot be written, `NOT_SUPPORTED`
   *   for a disk whose overlay is in memory; the signal's reason
   */
  async snapshot(directory: string, options: SnapshotOptions = {}): Promise<void> {
    await this.#lifecycle.inTurn(() =>
      this.#readers.run(options.signal, async (signal) => {
        this.#lifecycle.check('snapshot');
        const config = saveConfig(this.config);
        const running = this.state === 'running';
        const subject = {
          memory: this.memory,
          freeze: async (): Promise<void> => {
            if (running) await this.#pause();
          },
          save: () => ({
            hypervisor: this.hypervisor,
            arch: this.arch,
            config,
            cmdline: this.#cmdline,
            machine: this.#machine.save(),
            devices: this.#devices.save(),
          }),
          thaw: (): void => {
            // Not when it was stopped meanwhile.
            if (running && this.#lifecycle.allows('resume')) this.#resume();
          },
        };
        await writeSnapshot(directory, subject, signal);
      }),
    );
  }

  /**
   * Asks the guest to power off, by its power button, and ends the VM hard when it has not done so in time. A VM that was
   * not started is ended at once.
   *
   * @throws VmmError `WRONG_STATE` while it is paused, `INVALID_REQUEST` for a time out of range; the signal's reason, and
   *   the VM goes on
   */
  async shutdown(options: ShutdownOptions = {}): Promise<StopReason> {
    if (this.state === 'paused')
      throw new VmmError('WRONG_STATE', `cannot shut down "${this.name}": it is paused; resume or stop it`);
    if (this.state !== 'running') {
      await this.stop();
      return await this.stopped;
    }
    this.#events.tell({ kind: 'powerButton' });
    const press = (pressed: boolean): void => {
      if (this.state !== 'running' && this.state !== 'paused') return;
      this.#machine.setPowerButton(pressed);
    };
    return await powerOff({ press, stop: () => this.stop(), stopped: this.stopped }, options);
  }

  /**
   * Starts the guest again from its kernel, whose files are read once more, with fresh memory and devices; connections of
   * the guest end. This object, its console and its streams stay; what the guest had read of them is gone. A paused VM
   * runs afterwards.
   *
   * @throws VmmError `WRONG_STATE` unless it runs or is paused, `NOT_SUPPORTED` when it was restored from a snapshot,
   *   `FILE_NOT_FOUND`, `FILE_UNREADABLE`; the signal's reason. When files cannot be loaded any more the VM has failed
   */
  async reset(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    await this.#lifecycle.inTurn(() => this.#readers.run(options.signal, (signal) => this.#reset(signal)));
  }

  /**
   * Waits until the console shows `pattern`, in what it shows from the last match on; a reader of {@link console} reads
   * all the same.
   *
   * @throws VmmError `TIMED_OUT`, `ENDED` when the VM ended before, `INVALID_REQUEST`; the signal's reason
   */
  async expect(pattern: string | RegExp, options: ExpectOptions = {}): Promise<ConsoleMatch> {
    return await this.console.expect(pattern, options);
  }

  /**
   * Asks an HTTP server in the guest that listens on the vsock port of the URL, e.g. `http://guest:8080/`. Redirects are
   * not followed.
   *
   * @throws VmmError `NO_VSOCK` without a vsock device, `INVALID_REQUEST`, `BAD_RESPONSE`; VirtioDeviceError
   *   `CONNECTION_REFUSED`, `TIMED_OUT` …; the signal's reason
   */
  async fetch(url: string | URL, init: GuestFetchInit = {}): Promise<Response> {
    const { vsock } = this;
    if (vsock === undefined)
      throw new VmmError('NO_VSOCK', `"${this.name}" has no vsock device: give it one with vsock()`);
    return await guestFetch((port, signal) => vsock.connect(port, { signal }), url, init);
  }

  /**
   * The agent in the guest, which is attached to when this is first read. What is asked of it fails with VmmError `NO_AGENT` when
   * there is none: within 5 seconds of the guest's user space, at once afterwards.
   *
   * @throws VmmError `WRONG_STATE` unless the VM runs
   */
  get agent(): Agent {
    if (this.state !== 'running')
      throw new VmmError('WRONG_STATE', `cannot speak to the guest of "${this.name}": it is ${this.state}`);
    return this.#agent.agent;
  }

  /**
   * Runs a command in the guest, without a shell, by its agent; `exit` of the answer tells how it ended.
   *
   * @throws VmmError `WRONG_STATE` unless the VM runs, `INVALID_REQUEST` for what cannot be sent
   */
  exec(argv: readonly string[], options: ExecOptions = {}): GuestProcess {
    return this.agent.exec(argv, options);
  }

  /** What happens to the VM from now on, first its state; ends when it has ended. */
  events(options: SubscribeOptions = {}): Subscription<VmmEvent> {
    return this.#events.events(options);
  }

  /** {@link state}, and each state that it comes to; ends when it has ended. */
  states(options: SubscribeOptions = {}): Subscription<VmmState> {
    return this.#events.states(options);
  }

  /** Ends the VM at once, as pulling the plug does; acknowledged and flushed disk writes are on disk. */
  async stop(): Promise<void> {
    if (!this.#begun && this.#lifecycle.allows('finish')) {
      this.#lifecycle.take('finish');
      await this.#devices.finish();
      await this.#release();
      this.#settle(this.#reason());
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

  #run(): void {
    this.#begun = true;
    this.#agent.started();
    this.#vcpus.run(this.#loop.handle).then(
      () => this.#finish(),
      (error: unknown) => {
        this.#end({ kind: 'failed', message: error instanceof Error ? error.message : String(error) });
        return this.#finish();
      },
    );
  }

  async #pause(): Promise<void> {
    this.#lifecycle.check('pause');
    await this.#vcpus.pause();
    // The guest may have ended meanwhile.
    this.#lifecycle.take('pause');
    this.#machine.stopClock();
    await this.#devices.pause();
  }

  #resume(): void {
    this.#lifecycle.take('resume');
    this.#devices.resume();
    this.#machine.startClock();
    if (this.#begun) this.#vcpus.resume();
    else this.#run();
    this.#tellTime();
  }

  /**
   * The agent, where there is one, sets the guest's clock, and gives it randomness of its own: others may go on from the
   * same snapshot.
   */
  #tellTime(): void {
    if (!this.#devices.agentPort.guestOpen) return;
    const { agent } = this.#agent;
    // A guest that ends, or is paused again, has no use for it.
    Promise.all([agent.setClock(), agent.addEntropy(randomBytes(SEED_BYTES))]).catch(() => undefined);
  }

  async #reset(signal: AbortSignal): Promise<void> {
    this.#lifecycle.check('reset');
    if (this.#bootFiles === undefined)
      throw new VmmError(
        'NOT_SUPPORTED',
        `"${this.name}" was restored: it has no kernel to start again from`,
      );
    const files = await this.#bootFiles();
    // A file that is gone is found before there is nothing to go on with.
    await withBootFiles(files, () => Promise.resolve());
    signal.throwIfAborted();
    this.#lifecycle.check('reset');
    if (this.state === 'running') await this.#pause();
    try {
      await resetMachine(this.#machine, this.#devices, files);
    } catch (error) {
      this.#end({ kind: 'failed', message: error instanceof Error ? error.message : String(error) });
      throw error;
    }
    clearTimeout(this.#panicTimer);
    this.#panic = undefined;
    this.#events.tell({ kind: 'reset' });
    this.#agent.started();
    this.#resume();
  }

  /** Ends a restored guest whose memory turns out to be altered. */
  #watch(guest: RestoredGuest): void {
    const watched = this.#readers.run(undefined, (signal) => guest.verify(signal));
    watched
      .catch((error: unknown) => {
        if (!this.#lifecycle.allows('stop')) return;
        this.#end({ kind: 'failed', message: error instanceof Error ? error.message : String(error) });
        if (!this.#begun) void this.stop();
      })
      .finally(() => guest.close())
      .catch(() => undefined);
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
    this.#events.tell({ kind: 'panic', message });
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
    await this.#readers.end();
    this.#instructions = this.#vcpus.instructionCount();
    this.#devices.reset();
    await this.#machine.vm[Symbol.asyncDispose]();
    this.#machine[Symbol.dispose]();
    await this.#devices[Symbol.asyncDispose]();
    this.#directory[Symbol.dispose]();
  }
}
