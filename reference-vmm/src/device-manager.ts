import { aarch64 } from '@vmm/arch';
import type { Vm } from '@vmm/hypervisor';
import {
  type ConsolePort,
  VirtioBlock,
  VirtioConsole,
  type VirtioDevice,
  VirtioEntropy,
  VIRTIO_MMIO_INTERRUPT_STATUS,
  VIRTIO_MMIO_SIZE,
  VirtioMmioTransport,
} from '@vmm/virtio-devices';
import { FileBlockBackend } from '@vmm/virtio-devices/node';
import { Bus } from '@vmm/vm-device';
import type { GuestMemory } from '@vmm/vm-memory';
import { Pl031 } from '@vmm/vm-superio';
import type { VmmConfig } from './config.ts';
import { COMMAND_PORTS } from './guest/init.ts';
import type { IrqChip } from './irq-chip.ts';
import { SerialPort } from './serial-port.ts';
import { ConsoleStream, GuestInput, GuestOutput, PanicDetector } from './streams.ts';

/** Standard streams of the command that the built-in guest runs. */
export interface CommandStreams {
  readonly stdin: GuestInput;
  readonly stdout: GuestOutput;
  readonly stderr: GuestOutput;
}

/** How many virtio devices a VM of this configuration has: console, entropy, disks. */
export function virtioDeviceCount(config: VmmConfig): number {
  return 2 + config.disks.length;
}

const ACKNOWLEDGED = new TextEncoder().encode('done\n');

/** Longest answer of the guest's init on the control port, in bytes. */
const CONTROL_LIMIT = 64;

/** The machine's devices: made in a fixed order, so that the guest finds each where it was last time. */
export class DeviceManager implements Disposable {
  readonly bus: Bus;
  readonly console: ConsoleStream;
  /** Present when the built-in guest runs a command. */
  readonly streams: CommandStreams | undefined;
  /** Called once when the guest's kernel says that it panicked. */
  onPanic: (message: string) => void = () => undefined;

  readonly #vm: Vm;
  readonly #memory: GuestMemory;
  readonly #irqChip: IrqChip;
  readonly #debug: (message: string) => void;
  readonly #serial: SerialPort;
  readonly #virtioConsole: VirtioConsole;
  readonly #virtio: aarch64.MmioDeviceSlot[] = [];
  readonly #closing: (() => void)[] = [];
  #control = '';

  /** @throws VirtioDeviceError when a disk cannot be used; nothing stays open then */
  constructor(
    vm: Vm,
    memory: GuestMemory,
    irqChip: IrqChip,
    config: VmmConfig,
    debug: (message: string) => void,
  ) {
    this.#vm = vm;
    this.#memory = memory;
    this.#irqChip = irqChip;
    this.#debug = debug;
    this.bus = new Bus({
      name: 'MMIO',
      onUnclaimed: (address, length, write) =>
        debug(`${write ? 'store' : 'load'} of ${length} bytes at 0x${address.toString(16)} met no device`),
      onDeviceError: (error) => debug(error.message),
    });

    const panic = new PanicDetector((message) => this.onPanic(message));
    this.console = new ConsoleStream((bytes) => this.#consoleInput(bytes));
    this.#serial = new SerialPort(vm, this.bus, irqChip, (bytes) => {
      panic.push(bytes);
      this.console.serialSink(bytes);
    });
    const rtc = new Pl031({
      interrupt: irqChip.line(aarch64.PL031_INTID, 'level'),
      clock: () => Date.now() / 1000,
      setTimer: (seconds, callback) => {
        const timer = setTimeout(callback, seconds * 1000);
        this.#closing.push(() => clearTimeout(timer));
        return { [Symbol.dispose]: () => clearTimeout(timer) };
      },
    });
    this.bus.register(aarch64.PL031.guestAddress, aarch64.PL031.size, rtc, 'PL031');

    this.#virtioConsole = new VirtioConsole({
      console: { onOutput: this.console.virtioSink },
      ports: Object.values(COMMAND_PORTS).map(({ name }) => ({ name })),
    });
    this.streams = config.command === undefined ? undefined : this.#commandStreams();
    this.#port('control').onOutput = (bytes) => {
      this.#control = (this.#control + new TextDecoder().decode(bytes)).slice(0, CONTROL_LIMIT);
      // The guest's init waits for this before it powers off: a kernel may reset devices, and with them
      // output that their reader has not taken, on the way down.
      if (this.exitCode !== undefined)
        void this.#outputTaken().then(() => this.#port('control').write(ACKNOWLEDGED));
    };
    this.#attach(this.#virtioConsole);
    this.#attach(new VirtioEntropy());
    try {
      for (const { path, readOnly } of config.disks) {
        const backend = new FileBlockBackend(path, { readOnly });
        this.#closing.push(() => backend[Symbol.dispose]());
        this.#attach(new VirtioBlock({ backend, onError: (error) => debug(error.message) }));
      }
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** What the device tree says of these devices. */
  get description(): Pick<aarch64.DeviceTreeConfig, 'uart' | 'rtc' | 'virtioMmio'> {
    return {
      uart: { address: aarch64.PL011.guestAddress, intid: aarch64.PL011_INTID },
      rtc: { address: aarch64.PL031.guestAddress, intid: aarch64.PL031_INTID },
      virtioMmio: this.#virtio,
    };
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
    this.#serial.flush();
    this.console.finish();
    this.streams?.stdout.finish();
    this.streams?.stderr.finish();
  }

  /** Closes files; more than one call is harmless. */
  [Symbol.dispose](): void {
    for (const close of this.#closing.splice(0)) close();
  }

  #attach(device: VirtioDevice): void {
    const slot = aarch64.virtioMmioSlot(this.#virtio.length);
    const shadow = this.#vm.shadowRead(slot.address + VIRTIO_MMIO_INTERRUPT_STATUS, 0);
    const transport = new VirtioMmioTransport({
      device,
      memory: this.#memory,
      interrupt: this.#irqChip.line(slot.intid, 'edge'),
      address: slot.address,
      doorbells: this.#vm,
      interruptStatus: shadow,
      onError: (error) => this.#debug(error.message),
    });
    this.bus.register(slot.address, VIRTIO_MMIO_SIZE, transport, `virtio ${device.name}`);
    this.#virtio.push(slot);
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
      this.console,
      ...(this.streams === undefined ? [] : [this.streams.stdout, this.streams.stderr]),
    ];
    const total = (): number =>
      this.#virtioConsole.ports.reduce((sum, { statistics }) => sum + statistics.outputBytes, 0);
    for (let before = -1; before !== total();) {
      before = total();
      for (const output of outputs) await output.waiting;
      // A queue that had more than its share of a turn goes on in the next.
      await nextTurn();
      await nextTurn();
    }
  }

  #port(name: keyof typeof COMMAND_PORTS): ConsolePort {
    return this.#virtioConsole.ports[COMMAND_PORTS[name].id]!;
  }

  /** The virtio console once the guest has it open, and the serial port before. */
  async #consoleInput(bytes: Uint8Array): Promise<void> {
    const port = this.#virtioConsole.console;
    if (!port.guestOpen) return this.#serial.write(bytes);
    port.write(bytes);
    await port.drained();
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
