import {
  type ConsolePort,
  PACKED_RING_FEATURES,
  VirtioConsole,
  type VirtioDevice,
  type VirtioTransport,
  VirtioVsock,
} from '@vmm/virtio-devices';
import { type VsockForwarder, VsockHost } from '@vmm/virtio-devices/node';
import { AgentSocket } from './agent/agent-socket.ts';
import type { RingKind, VmmConfig } from './config.ts';
import { closeDevices } from './devices/prepare.ts';
import type { PreparedDevice } from './devices/prepared.ts';
import { VmmError } from './errors.ts';
import { CONSOLE_READY } from './guest/console.ts';
import { AGENT_PORT, COMMAND_PORTS } from './guest/init.ts';
import { restoring } from './machine/machine-state.ts';
import type { Machine } from './machine/machine.ts';
import type { DeviceStates } from './snapshot/manifest.ts';
import { ConsoleStream, GuestInput, GuestOutput, type OutputSink, PanicDetector } from './streams.ts';

/** Standard streams of the command that the built-in guest runs. */
export interface CommandStreams {
  readonly stdin: GuestInput;
  readonly stdout: GuestOutput;
  readonly stderr: GuestOutput;
}

/** A virtio device of a VM. */
export interface AttachedDevice {
  /** Of this device among the VM's, e.g. `disk0`. */
  readonly name: string;
  readonly device: VirtioDevice;
  /** Its registers, with counters of notifications, interrupts and resets. */
  readonly transport: VirtioTransport;
}

/** Milliseconds from the guest's console on, after which what was typed goes to it whatever it said. */
const READY_LIMIT = 10_000;
const ACKNOWLEDGED = new TextEncoder().encode('done\n');

/** Longest answer of the guest's init on the control port, in bytes. */
const CONTROL_LIMIT = 64;

/**
 * What the guest and the host say to each other by console, before there are devices for it: machines have a serial port
 * from the start.
 */
export class GuestConsole {
  readonly stream: ConsoleStream;
  /** Called once when the guest's kernel says that it panicked. */
  onPanic: (message: string) => void = () => undefined;
  /** Takes what the host types. */
  onInput: (bytes: Uint8Array) => Promise<void> = () => Promise.resolve();
  #panic = new PanicDetector((message) => this.onPanic(message));

  constructor() {
    this.stream = new ConsoleStream((bytes) => this.onInput(bytes));
  }

  /** Another kernel begins to write. */
  restart(): void {
    this.#panic = new PanicDetector((message) => this.onPanic(message));
  }

  readonly serialOutput = (bytes: Uint8Array): void => {
    this.#panic.push(bytes);
    this.stream.serialSink(bytes);
  };

  /** For a virtio console that the kernel's messages go to. */
  readonly virtioOutput: OutputSink = (bytes) => {
    this.#panic.push(bytes);
    return this.stream.virtioSink(bytes);
  };
}

/** The virtio devices: made in a fixed order, so that the guest finds each where it was last time. */
export class DeviceManager implements AsyncDisposable {
  /** Present when the built-in guest runs a command. */
  readonly streams: CommandStreams | undefined;

  /** Present when there is a vsock device. */
  readonly vsock: VsockHost | undefined;

  /** Present when there is a vsock device: for agents of guests without the console port. */
  readonly agentSocket: AgentSocket | undefined;

  readonly #machine: Machine;
  readonly #console: GuestConsole;
  readonly #debug: (message: string) => void;
  readonly #virtioConsole: VirtioConsole;
  readonly #prepared: readonly PreparedDevice[];
  readonly #ring: RingKind;
  readonly #attached: AttachedDevice[] = [];
  #control = '';
  /** When the guest's driver opened the console. */
  #consoleOpened: number | undefined;
  /** It says when what is typed is read. */
  readonly #builtIn: boolean;
  readonly #typing: (() => void)[] = [];
  #consoleReady = false;
  #fallback: NodeJS.Timeout | undefined;
  #closed: Promise<void> | undefined;
  #forwarder: VsockForwarder | undefined;

  /** @param prepared is closed with the manager once this has not thrown */
  constructor(
    machine: Machine,
    console: GuestConsole,
    config: VmmConfig,
    cmdline: string,
    prepared: readonly PreparedDevice[],
    debug: (message: string) => void,
  ) {
    this.#machine = machine;
    this.#console = console;
    this.#debug = debug;
    this.#prepared = prepared;
    this.#ring = config.ring ?? 'split';
    this.#builtIn = config.kernel === undefined;
    console.onInput = (bytes) => this.#consoleInput(bytes);
    this.#virtioConsole = new VirtioConsole({
      console: {
        // What programs print is not searched for panics; what the kernel prints is.
        onOutput: /\bconsole=hvc/.test(cmdline) ? console.virtioOutput : console.stream.virtioSink,
      },
      ports: [...Object.values(COMMAND_PORTS), AGENT_PORT].map(({ name }) => ({ name })),
    });
    this.#virtioConsole.console.onGuestOpen = (open) => {
      this.#consoleOpened = open ? performance.now() : undefined;
      // With files of somebody else the guest may not say that it reads.
      if (open && (config.guestFiles ?? config.guestArchive) !== undefined)
        this.#fallback = setTimeout(() => this.#readsConsole(), READY_LIMIT).unref();
    };
    this.streams =
      config.command === undefined || config.terminal === true ? undefined : this.#commandStreams();
    this.#port('control').onOutput = (bytes) => {
      this.#control = (this.#control + new TextDecoder().decode(bytes)).slice(0, CONTROL_LIMIT);
      while (this.#control.startsWith(CONSOLE_READY)) {
        this.#control = this.#control.slice(CONSOLE_READY.length);
        this.#readsConsole();
      }
      // The guest's init waits for this before it powers off: a kernel may reset devices, and with them
      // output that their reader has not taken, on the way down.
      if (this.exitCode !== undefined)
        void this.#outputTaken().then(() => this.#port('control').write(ACKNOWLEDGED));
    };
    this.#attach('console', this.#virtioConsole);
    const { vm, memory } = machine;
    for (const each of prepared) this.#attach(each.name, each.create({ vm, memory, debug }));
    const vsock = this.#attached.map(({ device }) => device).find((device) => device instanceof VirtioVsock);
    this.vsock = vsock === undefined ? undefined : new VsockHost(vsock);
    this.agentSocket = this.vsock === undefined ? undefined : new AgentSocket(this.vsock);
  }

  /** The console port of the guest's agent. */
  get agentPort(): ConsolePort {
    return this.#virtioConsole.ports[AGENT_PORT.id]!;
  }

  /** Milliseconds without pauses since the guest's driver opened the console; undefined before. */
  sinceConsole(): number | undefined {
    return this.#consoleOpened === undefined ? undefined : performance.now() - this.#consoleOpened;
  }

  /** In the order in which the guest finds them. */
  get attached(): readonly AttachedDevice[] {
    return this.#attached;
  }

  /** Lets other programs reach the guest's sockets through Unix sockets. @throws VirtioDeviceError */
  async forwardVsock(path: string): Promise<void> {
    this.#forwarder = await this.vsock?.forward(path, { debug: this.#debug });
  }

  /** The code with which the built-in guest's command or shell ended, once it has. */
  get exitCode(): number | undefined {
    const match = /^exit (\d{1,3})\n/.exec(this.#control);
    return match === null ? undefined : Number(match[1]);
  }

  /** Tells the guest the size of its console; out of range is brought into it. */
  resizeConsole(columns: number, rows: number): void {
    const bound = (value: number): number => Math.min(Math.max(Math.trunc(value), 1), 0xffff);
    this.#virtioConsole.resize({ columns: bound(columns), rows: bound(rows) });
  }

  /** Hands over what the guest wrote before it ended, waiting for readers, and ends the output streams. */
  async finish(): Promise<void> {
    await this.#outputTaken();
    this.#machine.serial.flush();
    this.#console.stream.finish();
    this.streams?.stdout.finish();
    this.streams?.stderr.finish();
  }

  /** Devices take no new work; resolves when nothing is in flight. The vCPUs must stand still. */
  async pause(): Promise<void> {
    await Promise.all(this.#attached.map(({ transport }) => transport.pause()));
  }

  /**
   * Undoes {@link pause}.
   *
   * @param slept milliseconds that the guest stood still
   */
  resume(slept: number): void {
    if (this.#consoleOpened !== undefined) this.#consoleOpened += slept;
    for (const { transport } of this.#attached) transport.resume();
  }

  /** Only while paused. */
  save(): DeviceStates {
    return {
      control: this.#control,
      devices: this.#attached.map(({ name, transport }) => ({ name, state: transport.save() })),
    };
  }

  /**
   * Puts the devices, which no driver has touched yet, into the state in which those of another process were; they are
   * paused then. Connections that these had are over for the guest.
   *
   * @param states need not be trusted
   * @throws VmmError `INVALID_SNAPSHOT`
   */
  restore({ control, devices }: DeviceStates): void {
    const names = (each: readonly { readonly name: string }[]): string =>
      each.map(({ name }) => name).join(', ');
    if (names(devices) !== names(this.#attached))
      throw new VmmError(
        'INVALID_SNAPSHOT',
        `the guest has the devices ${names(devices)}, and this VM ${names(this.#attached)}`,
      );
    for (const [index, { name, transport }] of this.#attached.entries())
      restoring(name, () => transport.restore(devices[index]!.state));
    if (this.#virtioConsole.console.guestOpen) this.#consoleOpened = performance.now();
    this.#control = control;
    this.#readsConsole();
  }

  /** Ends what devices have in flight, connections among it; the vCPUs must have stopped. */
  reset(): void {
    for (const { transport } of this.#attached) transport.reset();
  }

  /** Forgets the guest that was, for one that starts anew. The vCPUs must stand still. */
  restart(): void {
    this.reset();
    this.#control = '';
    this.#consoleReady = false;
    this.#console.restart();
  }

  /** Closes files, sockets and interfaces; more than one call is harmless. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close();
    await this.#closed;
  }

  async #close(): Promise<void> {
    await this.#forwarder?.[Symbol.asyncDispose]();
    await closeDevices(this.#prepared, this.#debug);
  }

  #attach(name: string, device: VirtioDevice): void {
    const transport = this.#machine.attach(device, {
      name,
      ...(this.#ring === 'packed' ? { ringFeatures: PACKED_RING_FEATURES } : {}),
      onError: (error) => this.#debug(error.message),
    });
    this.#attached.push({ name, device, transport });
  }

  #commandStreams(): CommandStreams {
    const stdout = new GuestOutput();
    const stderr = new GuestOutput();
    this.#port('stdout').onOutput = stdout.sink;
    this.#port('stderr').onOutput = stderr.sink;
    const input = this.#port('stdin');
    const stdin = new GuestInput(
      (bytes) => {
        input.write(bytes);
        return input.drained();
      },
      () => void input.close(),
    );
    return { stdin, stdout, stderr };
  }

  /** Resolves when the guest's output queues are empty, at the pace of the streams' readers. */
  async #outputTaken(): Promise<void> {
    const outputs = [
      this.#console.stream,
      ...(this.streams === undefined ? [] : [this.streams.stdout, this.streams.stderr]),
    ];
    const total = (): number =>
      this.#virtioConsole.ports.reduce((sum, { statistics }) => sum + statistics.outputBytes, 0);
    const { core } = this.#attached.find(({ device }) => device === this.#virtioConsole)!.transport;
    for (let before = -1; before !== total() || core.pending;) {
      before = total();
      for (const output of outputs) await output.waiting;
      // Doorbells that rang are heard in the next turn.
      await nextTurn();
      await nextTurn();
    }
  }

  #port(name: keyof typeof COMMAND_PORTS): ConsolePort {
    return this.#virtioConsole.ports[COMMAND_PORTS[name].id]!;
  }

  /** What was typed before goes to the guest now. */
  #readsConsole(): void {
    clearTimeout(this.#fallback);
    this.#consoleReady = true;
    for (const wake of this.#typing.splice(0)) wake();
  }

  /** The virtio console, when the guest has it open, or the built-in guest reads it; before, what may read the serial port. */
  async #consoleInput(bytes: Uint8Array): Promise<void> {
    const port = this.#virtioConsole.console;
    if (!this.#builtIn) {
      if (!port.guestOpen) return this.#machine.serial.write(bytes);
    } else if (!this.#consoleReady) {
      await new Promise<void>((resolve) => this.#typing.push(resolve));
    }
    port.write(bytes);
    await port.drained();
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
