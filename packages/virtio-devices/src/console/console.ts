import type { DescriptorChain } from '@vmm/virtio-queue';
import { readConfigSpace } from '../config-space.ts';
import type { ActivateContext, VirtioDevice } from '../device.ts';
import { drainQueue, MAX_QUEUE_SIZE } from '../drain.ts';
import { checkOption, VirtioDeviceError } from '../errors.ts';
import { FeatureSet } from '../features.ts';
import { VIRTIO_ID_CONSOLE } from '../virtio.ts';
import {
  CONTROL_RECEIVEQ,
  CONTROL_TRANSMITQ,
  portOfQueue,
  receiveQueue,
  VIRTIO_CONSOLE_F_EMERG_WRITE,
  VIRTIO_CONSOLE_F_MULTIPORT,
  VIRTIO_CONSOLE_F_SIZE,
} from './constants.ts';
import { ControlChannel } from './control.ts';
import type { ConsoleSize } from './control.ts';
import { deliverInput, drainOutput, emitEmergency, returnChains } from './port-io.ts';
import { Port } from './port.ts';
import type { ConsolePort, ConsolePortOptions } from './port.ts';
import { parseConsoleState, saveConsole } from './state.ts';
import type { VirtioConsoleState } from './state.ts';

/** Offset of `emerg_wr` in the configuration space, VIRTIO 1.3 §5.3.4. */
const EMERGENCY_WRITE = 8;
/** Ports besides the console. */
const MAX_PORTS = 31;

export interface VirtioConsoleOptions {
  /** Default 80 columns, 24 rows. */
  readonly size?: ConsoleSize;
  /** The console, port 0. */
  readonly console?: ConsolePortOptions;
  /**
   * Further ports, numbered from 1, at most 31; F_MULTIPORT is offered when there is one (or an empty list
   * is given).
   */
  readonly ports?: readonly ConsolePortOptions[];
  /** Bytes of input that may wait in a port before `write()` answers false. Default 65536. */
  readonly inputLimit?: number;
  /** Queue Size of every queue, a power of two up to 1024. Default 128. */
  readonly queueSize?: number;
  /**
   * Order of the two numbers in a RESIZE message. The standard has columns first; Linux took rows first
   * before 6.15 and its stable releases of that time. Default `columns-rows`.
   */
  readonly resizeOrder?: 'columns-rows' | 'rows-columns';
}

/** Console device, VIRTIO 1.3 §5.3: a console, and generic ports beside it. */
export class VirtioConsole implements VirtioDevice {
  readonly type: number = VIRTIO_ID_CONSOLE;
  readonly name: string = 'console';
  readonly features: FeatureSet;
  readonly queueSizes: readonly number[];
  /** By number; 0 is the console. */
  readonly ports: readonly ConsolePort[];
  readonly #ports: readonly Port[];
  readonly #control: ControlChannel;
  readonly #config = new Uint8Array(12);
  #size: ConsoleSize;
  #generation = 0;
  #context: ActivateContext | undefined;
  #multiport = false;
  #paused = false;

  /** @throws VirtioDeviceError `INVALID_OPTION` */
  constructor(options: VirtioConsoleOptions = {}) {
    const { ports = [] } = options;
    const queueSize = checkOption('queueSize', options.queueSize ?? 128, 1, MAX_QUEUE_SIZE);
    const inputLimit = checkOption('inputLimit', options.inputLimit ?? 65536, 1, 2 ** 30);
    checkOption('the number of ports', ports.length, 0, MAX_PORTS);
    this.#size = checkSize(options.size ?? { columns: 80, rows: 24 });
    this.#ports = [options.console ?? {}, ...ports].map((port, id) => {
      checkName(port.name);
      return new Port(id, port, inputLimit, {
        inputChanged: (changed) => this.#deliver(changed),
        outputResumed: (changed) => this.#drain(changed),
        openChanged: (changed) => this.#openChanged(changed),
      });
    });
    this.ports = this.#ports;
    this.#control = new ControlChannel(this.#ports, () => this.#size, options.resizeOrder === 'rows-columns');
    const multiport = options.ports !== undefined;
    this.features = FeatureSet.of(
      VIRTIO_CONSOLE_F_SIZE,
      VIRTIO_CONSOLE_F_EMERG_WRITE,
      ...(multiport ? [VIRTIO_CONSOLE_F_MULTIPORT] : []),
    );
    const queues = multiport ? receiveQueue(this.#ports.length) : 2;
    this.queueSizes = new Array<number>(Math.max(queues, multiport ? 4 : 2)).fill(queueSize);
    this.#writeConfig();
  }

  /** Port 0. */
  get console(): ConsolePort {
    return this.#ports[0]!;
  }

  get size(): ConsoleSize {
    return this.#size;
  }

  get configGeneration(): number {
    return this.#generation;
  }

  /**
   * Tells the guest a new size of the console.
   *
   * @throws VirtioDeviceError `INVALID_OPTION`
   */
  resize(size: ConsoleSize): void {
    this.#size = checkSize(size);
    this.#generation++;
    this.#writeConfig();
    const context = this.#context;
    if (context === undefined) return;
    if (context.features.has(VIRTIO_CONSOLE_F_SIZE)) context.interrupt.config();
    if (this.#multiport && this.#ports[0]!.ready) this.#ports[0]!.due.size = true;
    this.#flushControl();
  }

  configRead(offset: number, length: 1 | 2 | 4): number {
    return readConfigSpace(this.#config, offset, length);
  }

  /** A byte for the console from a driver that has no queues: an early or a dying kernel (§5.3.4). */
  configWrite(offset: number, _length: 1 | 2 | 4, value: number): void {
    if (offset === EMERGENCY_WRITE) emitEmergency(this.#ports[0]!, value & 0xff);
  }

  activate(context: ActivateContext): void {
    this.#context = context;
    this.#multiport = context.features.has(VIRTIO_CONSOLE_F_MULTIPORT);
    // Without a control channel nobody says so: the driver's queues are the open port.
    if (!this.#multiport) this.#ports[0]!.setGuestOpen(true);
  }

  notify(queueIndex: number): void {
    const context = this.#context;
    if (context === undefined) return;
    if (this.#multiport && queueIndex === CONTROL_RECEIVEQ) this.#flushControl();
    else if (this.#multiport && queueIndex === CONTROL_TRANSMITQ) {
      drainQueue(context, CONTROL_TRANSMITQ, this.#receiveControl);
      this.#flushControl();
    } else {
      const port = this.#ports[portOfQueue(queueIndex) ?? -1];
      if (port === undefined) return;
      if (queueIndex === receiveQueue(port.id)) this.#deliver(port);
      else this.#drain(port);
    }
  }

  reset(): void {
    const wasActive = this.#context !== undefined;
    this.#context = undefined;
    this.#multiport = false;
    for (const port of this.#ports) {
      port.forgetDriver();
      // What waited was for the guest that is gone; before the first driver it is kept.
      if (!wasActive) continue;
      port.dropInput();
      port.finishClose();
    }
  }

  queueReset(queueIndex: number): void {
    const port = this.#ports[portOfQueue(queueIndex) ?? -1];
    if (port === undefined) return;
    if (queueIndex === receiveQueue(port.id)) port.forgetReceiveQueue();
    else port.forgetTransmitQueue();
  }

  pause(): void {
    this.#paused = true;
    if (this.#context !== undefined) for (const port of this.#ports) returnChains(this.#context, port);
  }

  resume(): void {
    this.#paused = false;
    for (const port of this.#ports) {
      this.#deliver(port);
      this.#drain(port);
    }
  }

  save(): VirtioConsoleState {
    return saveConsole(this.#ports, this.#size, this.#generation);
  }

  restore(state: unknown): void {
    const { size, generation, apply } = parseConsoleState(state, this.#ports);
    this.#size = checkSize(size);
    this.#generation = generation;
    this.#writeConfig();
    apply();
  }

  readonly #receiveControl = (chain: DescriptorChain): number => {
    const port = this.#control.receive(chain);
    if (port !== undefined) this.#deliver(port);
    return 0;
  };

  #deliver(port: Port): void {
    const context = this.#context;
    if (context === undefined || this.#paused) return;
    deliverInput(context, port);
    if (port.closing) this.#openChanged(port);
  }

  #drain(port: Port): void {
    if (this.#context !== undefined && !this.#paused) drainOutput(this.#context, port);
  }

  #openChanged(port: Port): void {
    if (this.#paused) return;
    if (port.closing) {
      // Asks the driver to say when it gives buffers back.
      if (this.#context !== undefined && !port.readToEnd) deliverInput(this.#context, port);
      // Nobody was told that it is open: nobody has to be told of the end.
      if (port.readToEnd && !port.announcedOpen) port.finishClose();
    }
    this.#flushControl();
  }

  #flushControl(): void {
    if (this.#context !== undefined && this.#multiport && !this.#paused) this.#control.flush(this.#context);
  }

  /** `struct virtio_console_config`, VIRTIO 1.3 §5.3.4. */
  #writeConfig(): void {
    const view = new DataView(this.#config.buffer);
    view.setUint16(0, this.#size.columns, true);
    view.setUint16(2, this.#size.rows, true);
    view.setUint32(4, this.#ports.length, true);
  }
}

function checkSize(size: ConsoleSize): ConsoleSize {
  return {
    columns: checkOption('columns', size.columns, 0, 65535),
    rows: checkOption('rows', size.rows, 0, 65535),
  };
}

function checkName(name: string | undefined): void {
  if (name === undefined || /^[\x21-\x2e\x30-\x7e]{1,64}$/.test(name)) return;
  throw new VirtioDeviceError(
    'INVALID_OPTION',
    `port name ${JSON.stringify(name)}: 1 to 64 printable ASCII characters without space and "/"`,
  );
}
