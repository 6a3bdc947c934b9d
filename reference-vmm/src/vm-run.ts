import { randomBytes } from 'node:crypto';
import { reasonOf } from './abort.ts';
import { AgentLink } from './agent/agent-link.ts';
import { agentProgram } from './agent/program.ts';
import { type BootFiles, withBootFiles } from './boot-files.ts';
import type { DeviceManager } from './device-manager.ts';
import { VmmError, messageOf } from './errors.ts';
import { EventLoop, type VcpuEnd } from './event-loop.ts';
import { VmmEvents } from './events.ts';
import type { ExitStatistics } from './exit-statistics.ts';
import { Lifecycle } from './lifecycle.ts';
import type { Machine } from './machine/machine.ts';
import { Readers } from './readers.ts';
import { resetMachine } from './reset.ts';
import { StatusFile, type VmIdentity } from './status-file.ts';
import type { StopReason } from './stop-reason.ts';
import { VcpuManager } from './vcpu-manager.ts';
import type { VmParts } from './vm-parts.ts';

/** Bytes of randomness for a guest that goes on: what Linux's generator has for a key (BLAKE2s). */
const SEED_BYTES = 32;
/** Milliseconds a panicked kernel has for resetting by itself before the VM is ended. */
const PANIC_GRACE = 1000;

/**
 * The run of a VM: the steps by which its vCPUs, devices and clock begin, stand still, go on and end together. Callers see to
 * it that one step is taken after the other ({@link Lifecycle.inTurn}); only the end comes at any time.
 */
export class VmRun {
  readonly parts: VmParts;
  readonly lifecycle: Lifecycle;
  readonly events: VmmEvents = new VmmEvents();
  readonly agent: AgentLink;
  /** What reads guest memory, which has to stay until it has ended. */
  readonly readers: Readers = new Readers();
  /** Settles when the VM has ended and its output has been handed over. Never rejects. */
  readonly stopped: Promise<StopReason>;

  readonly #machine: Machine;
  readonly #devices: DeviceManager;
  readonly #vcpus: VcpuManager;
  readonly #loop: EventLoop;
  /** When the guest was last seen to stand still, in milliseconds of performance.now(). */
  #stoodStill: number = performance.now();
  /** The vCPUs have been let go once. */
  #begun = false;
  #ended: VcpuEnd | undefined;
  /** Kept for when the vCPUs are gone. */
  #instructions: number | undefined;
  #panic: string | undefined;
  #panicTimer: NodeJS.Timeout | undefined;
  #settle: (reason: StopReason) => void = () => undefined;

  constructor(parts: VmParts) {
    const { config, hypervisor, machine, console, devices } = parts;
    this.parts = parts;
    const status = new StatusFile(parts.directory, () => describe(parts));
    this.lifecycle = new Lifecycle(config.name, (state) => {
      status.update(state);
      this.events.stateChanged(state);
    });
    this.#machine = machine;
    this.#devices = devices;
    this.#vcpus = new VcpuManager(parts.vcpus);
    this.#loop = new EventLoop(machine, (end) => this.#end(end));
    this.stopped = new Promise((resolve) => {
      this.#settle = (reason) => {
        this.events.stopped(reason);
        resolve(reason);
      };
    });
    console.onPanic = (message) => this.#panicked(message);
    this.agent = new AgentLink({
      port: devices.agentPort,
      sockets: devices.agentSocket,
      sinceConsole: () => devices.sinceConsole(),
      running: () => this.#runs,
      absent:
        config.kernel === undefined && agentProgram(hypervisor.arch) === undefined
          ? `this installation has no agent for guests of ${hypervisor.arch}: build it with scripts/build-agent.mjs`
          : undefined,
    });
    void this.stopped.then(() => this.agent.end(new VmmError('ENDED', `"${config.name}" has ended`)));
  }

  get exitStatistics(): ExitStatistics {
    return this.#loop.exits.statistics;
  }

  /** Guest instructions executed so far, where the hypervisor counts them; else 0. */
  get instructionCount(): number {
    return this.#instructions ?? this.#vcpus.instructionCount();
  }

  /**
   * Operations that come meanwhile wait until it runs.
   *
   * @throws VmmError `WRONG_STATE`
   */
  start(): void {
    this.lifecycle.take('start');
    this.#begin();
    void this.lifecycle.inTurn(async () => {
      // A thread that cannot be made has said so by then.
      await nextTurn();
      if (this.lifecycle.allows('started')) this.lifecycle.take('started');
    });
  }

  /** @throws VmmError `WRONG_STATE`, also when the guest ends meanwhile; the signal's reason, and the guest goes on */
  async pause(signal?: AbortSignal): Promise<void> {
    this.lifecycle.check('pause');
    await this.#vcpus.pause();
    this.#stoodStill = performance.now();
    // The guest may have ended meanwhile.
    this.lifecycle.take('pause');
    this.#machine.stopClock();
    // What ends the VM does not leave those waiting that wait for its devices.
    await Promise.race([this.#devices.pause(), this.stopped]);
    if (this.lifecycle.state !== 'paused') this.lifecycle.check('pause');
    if (signal?.aborted !== true) return;
    this.resume();
    throw reasonOf(signal);
  }

  /** @throws VmmError `WRONG_STATE` */
  resume(): void {
    this.lifecycle.take('resume');
    const slept = performance.now() - this.#stoodStill;
    this.agent.slept(slept);
    this.#devices.resume(slept);
    this.#machine.startClock();
    if (this.#begun) this.#vcpus.resume();
    else this.#begin();
    this.#tellTime();
  }

  /**
   * @throws VmmError `WRONG_STATE`, `NOT_SUPPORTED` when there is no kernel to start again from; the signal's reason. When
   *   the files of a kernel that could be opened cannot be loaded, the VM has failed
   */
  async reset(signal: AbortSignal): Promise<void> {
    this.lifecycle.check('reset');
    const files = await this.#bootFiles();
    signal.throwIfAborted();
    this.lifecycle.check('reset');
    if (this.lifecycle.state === 'running') await this.pause();
    try {
      this.parts.pageLog.forget();
      await resetMachine(this.#machine, this.#devices, files);
    } catch (error) {
      this.fail(error);
      throw error;
    }
    // Not when it was stopped meanwhile.
    this.lifecycle.check('reset');
    clearTimeout(this.#panicTimer);
    this.#panic = undefined;
    this.events.tell({ kind: 'reset' });
    this.agent.started();
    this.resume();
  }

  /** Ends the VM at once. */
  async stop(): Promise<void> {
    this.#leave();
    await this.#vcpus.stop();
    await this.stopped;
  }

  /** Ends the VM because it cannot go on. */
  fail(error: unknown): void {
    if (this.lifecycle.allows('stop')) this.#end({ kind: 'failed', message: messageOf(error) });
  }

  setPowerButton(pressed: boolean): void {
    if (this.#runs || this.lifecycle.state === 'paused') this.#machine.setPowerButton(pressed);
  }

  get #runs(): boolean {
    const { state } = this.lifecycle;
    return state === 'starting' || state === 'running';
  }

  #begin(): void {
    this.#begun = true;
    this.agent.started();
    this.#vcpus.run(this.#loop.handle).then(
      () => this.#finish(),
      (error: unknown) => {
        this.#end({ kind: 'failed', message: messageOf(error) });
        return this.#finish();
      },
    );
  }

  /**
   * The agent, as soon as it is there, sets the guest's clock, and gives it randomness of its own: others may go on from the
   * same snapshot.
   */
  #tellTime(): void {
    const { agent } = this.agent;
    agent
      .ready()
      .then(() => Promise.all([agent.setClock(), agent.addEntropy(randomBytes(SEED_BYTES))]))
      // A guest without an agent, or that ends, or is paused again, has no use for it.
      .catch(() => undefined);
  }

  async #bootFiles(): Promise<BootFiles> {
    const { bootFiles, config } = this.parts;
    if (bootFiles === undefined)
      throw new VmmError(
        'NOT_SUPPORTED',
        `"${config.name}" was restored from a snapshot that does not say what it was booted from: its files are too large`,
      );
    const files = await bootFiles();
    // A file that is gone is found before there is nothing to go on with.
    await withBootFiles(files, () => Promise.resolve());
    return files;
  }

  #end(end: VcpuEnd): void {
    if (this.#ended !== undefined) return;
    this.#ended = end;
    this.#leave();
    // One vCPU ends the machine; the others are told to stop. A failure to stop surfaces in `run`.
    void this.#vcpus.stop();
  }

  #panicked(message: string): void {
    this.#panic = message;
    this.events.tell({ kind: 'panic', message });
    this.#panicTimer = setTimeout(() => this.#end({ kind: 'reset' }), PANIC_GRACE);
  }

  #leave(): void {
    if (!this.lifecycle.allows('stop')) return;
    this.lifecycle.take('stop');
    if (!this.#begun) void this.#finish();
  }

  /** After the vCPUs' end, or in its place where they never ran. Never rejects. */
  async #finish(): Promise<void> {
    this.#leave();
    clearTimeout(this.#panicTimer);
    let reason: StopReason;
    try {
      // A kernel that resets right after its panic may have said so in what the serial port still holds.
      this.#machine.serial.flush();
      // What a guest that ends while it is paused had written is served too; one that never ran has not written it here.
      if (this.#begun) this.#devices.resume(0);
      reason = this.#reason();
      await this.#devices.finish();
    } catch (error) {
      reason = { kind: 'failed', message: messageOf(error) };
    }
    const failure = await this.#release();
    reason = failure ?? reason;
    this.lifecycle.take(reason.kind === 'failed' ? 'fail' : 'finish');
    this.#settle(reason);
  }

  #reason(): StopReason {
    if (this.#panic !== undefined) return { kind: 'panic', message: this.#panic };
    if (this.#ended === undefined) return { kind: 'stopped' };
    const code = this.#devices.exitCode;
    if (code !== undefined && this.#ended.kind === 'shutdown') return { kind: 'exited', code };
    return this.#ended;
  }

  /** Gives everything back; what cannot be is no reason to keep the rest, but the VM has failed then. */
  async #release(): Promise<StopReason | undefined> {
    const machine = this.#machine;
    const steps: readonly (() => Promise<void> | void)[] = [
      () => this.readers.end(),
      () => void (this.#instructions = this.#vcpus.instructionCount()),
      () => this.#devices.reset(),
      () => machine.vm[Symbol.asyncDispose](),
      () => machine[Symbol.dispose](),
      () => this.#devices[Symbol.asyncDispose](),
      () => this.parts.directory[Symbol.dispose](),
    ];
    let failure: StopReason | undefined;
    for (const step of steps) {
      try {
        await step();
      } catch (error) {
        failure ??= { kind: 'failed', message: messageOf(error) };
      }
    }
    return failure;
  }
}

function describe({ config, hypervisor, devices }: VmParts): VmIdentity {
  return {
    name: config.name,
    hypervisor: hypervisor.name,
    arch: hypervisor.arch,
    cpus: config.cpus,
    memory: config.memory,
    kernel: config.kernel ?? null,
    command: config.command ?? null,
    devices: devices.attached.map(({ name, device }) => ({ name, type: device.type, model: device.name })),
  };
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
