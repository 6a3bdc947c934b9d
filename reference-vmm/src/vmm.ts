import { VirtioBalloon, VirtioNet } from '@vmm/virtio-devices';
import type { VsockHost } from '@vmm/virtio-devices/node';
import type { GuestMemory } from '@vmm/vm-memory';
import { unlessAborted, unlessLeft } from './abort.ts';
import type { Agent } from './agent/agent.ts';
import type { ExecOptions, GuestProcess } from './agent/guest-process.ts';
import type { Subscription } from './broadcast.ts';
import type { VmmConfig } from './config.ts';
import type { AttachedDevice, CommandStreams, DeviceManager } from './device-manager.ts';
import { VmmError } from './errors.ts';
import type { SubscribeOptions, VmmEvent } from './events.ts';
import type { ExitStatistics } from './exit-statistics.ts';
import type { ConsoleMatch, ExpectOptions } from './expect.ts';
import { type GuestFetchInit, guestFetch } from './fetch.ts';
import { bootOrigin } from './guest-origin.ts';
import { type VmmState, wrongState } from './lifecycle.ts';
import type { Architecture } from './machine/machine.ts';
import { type ShutdownOptions, powerOff } from './power.ts';
import { type RestoreOptions, type SnapshotOptions, openGuest, watchGuest } from './snapshot/restore.ts';
import type { SnapshotInfo } from './snapshot/save.ts';
import { takeSnapshot } from './snapshot/take.ts';
import type { StopReason } from './stop-reason.ts';
import type { ConsoleStream, GuestInput, GuestOutput } from './streams.ts';
import { type VmParts, type VmmHost, makeParts } from './vm-parts.ts';
import { VmRun } from './vm-run.ts';

/** What long operations on a VM take. */
export interface OperationOptions {
  /** Gives up waiting; each operation says what becomes of the VM. */
  readonly signal?: AbortSignal | undefined;
}

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

  readonly #run: VmRun;
  readonly #devices: DeviceManager;
  #disposed: Promise<void> | undefined;

  private constructor(parts: VmParts) {
    const { config, hypervisor, machine, console, devices } = parts;
    this.config = config;
    this.hypervisor = hypervisor.name;
    this.arch = hypervisor.arch;
    this.memory = machine.memory;
    this.console = console.stream;
    this.streams = devices.streams;
    this.#devices = devices;
    this.#run = new VmRun(parts);
    this.stopped = this.#run.stopped;
  }

  /** Use {@link VmBuilder}. */
  static async create(config: VmmConfig, host: VmmHost): Promise<Vmm> {
    return new Vmm(await makeParts(config, host, bootOrigin(config, host.progress ?? (() => undefined))));
  }

  /**
   * Goes on with a guest where {@link snapshot} found it, in this process. A snapshot can be restored any number of
   * times, and while the VM that it is of lives, under another name; each gets a copy of the memory, and all get the same
   * disks unless others are given.
   *
   * @param directory with the snapshot; what it says is checked as what a guest says
   * @throws VmmError `SNAPSHOT_MISMATCH` when it does not fit this hypervisor, release or host, `INVALID_SNAPSHOT` when it
   *   is cut, altered or no snapshot, `FILE_NOT_FOUND`, and what {@link create} throws; the signal's reason
   */
  static async restore(directory: string, options: RestoreOptions = {}): Promise<Vmm> {
    return await unlessAborted(options.signal, () => Vmm.#restore(directory, options));
  }

  static async #restore(directory: string, options: RestoreOptions): Promise<Vmm> {
    const guest = await openGuest(directory, options);
    let vmm: Vmm;
    try {
      vmm = new Vmm(await makeParts(guest.config, options, guest.origin));
    } catch (error) {
      await guest.close();
      throw guest.refusal(error);
    }
    vmm.#run.lifecycle.take('restore');
    watchGuest(guest, vmm.#run);
    if (options.paused !== true) await vmm.resume();
    return vmm;
  }

  get name(): string {
    return this.config.name;
  }

  get state(): VmmState {
    return this.#run.lifecycle.state;
  }

  /** Guest instructions executed so far, where the hypervisor counts them; else 0. */
  instructionCount(): number {
    return this.#run.instructionCount;
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
    return this.#run.exitStatistics;
  }

  /**
   * Lets the guest run. {@link stopped} tells how it ends.
   *
   * @throws VmmError `WRONG_STATE` when it was started or stopped before
   */
  start(): void {
    this.#run.start();
  }

  /**
   * Makes the guest stand still: its vCPUs, its clock and its devices, when requests in flight are done. Operations on a
   * VM wait for each other.
   *
   * @throws VmmError `WRONG_STATE` unless it runs; the signal's reason, and the VM goes on
   */
  async pause({ signal }: OperationOptions = {}): Promise<void> {
    await this.#run.lifecycle.inTurn(() => this.#run.pause(signal), signal);
  }

  /**
   * Lets a paused guest go on as if no time had passed. Its time of day, which is late by the length of the pause, is set by
   * its agent, where it has one.
   *
   * @throws VmmError `WRONG_STATE` unless it is paused; the signal's reason, and it stays so
   */
  async resume({ signal }: OperationOptions = {}): Promise<void> {
    await this.#run.lifecycle.inTurn(() => {
      this.#run.resume();
      return Promise.resolve();
    }, signal);
  }

  /**
   * Writes everything of the guest's into a directory, for {@link restore}. The guest stands still while its memory is
   * written, and goes on afterwards if it ran before. A snapshot that is there already is replaced when the new one is
   * complete and on disk. Disks are not part of it: a copy of them is to be made while the VM is paused. With `base` only the
   * memory that changed since another snapshot is written, which has to stay.
   *
   * @throws VmmError `WRONG_STATE` unless it runs or is paused, `SNAPSHOT_FAILED` when it cannot be written, `NOT_SUPPORTED`
   *   for a disk whose overlay is in memory; `SNAPSHOT_MISMATCH` for a base that is none of this VM, and what opening it for
   *   {@link restore} throws; the signal's reason
   */
  async snapshot(directory: string, options: SnapshotOptions = {}): Promise<SnapshotInfo> {
    return await takeSnapshot(this.#run, directory, options);
  }

  /**
   * Asks the guest to power off, by its power button, and ends the VM hard when it has not done so in time. A VM that was
   * not started is ended at once.
   *
   * @throws VmmError `WRONG_STATE` while it is paused, `INVALID_REQUEST` for a time out of range; the signal's reason, and
   *   the VM goes on
   */
  async shutdown(options: ShutdownOptions = {}): Promise<StopReason> {
    if (this.state === 'paused') throw wrongState(this.name, 'shutdown', this.state, 'resume or stop it');
    if (this.state !== 'running' && this.state !== 'starting') {
      await this.stop({ signal: options.signal });
      return await this.stopped;
    }
    this.#run.events.tell({ kind: 'powerButton' });
    const press = (pressed: boolean): void => this.#run.setPowerButton(pressed);
    return await powerOff({ press, stop: () => this.stop(), stopped: this.stopped }, options);
  }

  /**
   * Starts the guest again from its kernel, whose files are read once more, with fresh memory and devices; connections of
   * the guest end. This object, its console and its streams stay; what the guest had read of them is gone. A paused VM
   * runs afterwards.
   *
   * @throws VmmError `WRONG_STATE` unless it runs or is paused, `NOT_SUPPORTED` when it was restored from a snapshot without
   *   its files (more than 8 MiB of them), `FILE_NOT_FOUND`, `FILE_UNREADABLE`; the signal's reason. When files cannot be
   *   loaded any more the VM has failed
   */
  async reset({ signal }: OperationOptions = {}): Promise<void> {
    const { lifecycle, readers } = this.#run;
    await lifecycle.inTurn(() => readers.run(signal, (either) => this.#run.reset(either)), signal);
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
    if (this.state !== 'running' && this.state !== 'starting')
      throw wrongState(this.name, 'exec', this.state);
    return this.#run.agent.agent;
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
    return this.#run.events.events(options);
  }

  /** {@link state}, and each state that it comes to; ends when it has ended. */
  states(options: SubscribeOptions = {}): Subscription<VmmState> {
    return this.#run.events.states(options);
  }

  /**
   * Ends the VM at once, as pulling the plug does; acknowledged and flushed disk writes are on disk. Resolves when its
   * output has been handed over, and everything given back. Does not wait for other operations, which fail.
   *
   * @throws the signal's reason; the VM ends all the same
   */
  async stop({ signal }: OperationOptions = {}): Promise<void> {
    const ended = this.#run.stop();
    await (signal === undefined ? ended : unlessLeft(signal, ended));
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
}
