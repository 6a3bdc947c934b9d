import { Duplex } from 'node:stream';
import type { ControlledVmm } from '../src/control/controlled-vmm.ts';
import { Lifecycle, type VmmState } from '../src/lifecycle.ts';
import type { StopReason } from '../src/stop-reason.ts';

/** A console whose guest echoes nothing: what is typed is kept, what is printed is given. */
export class FakeConsole extends Duplex {
  typed = '';
  /** While it is set, the guest takes no input. */
  blocked = false;
  #blocked: (() => void) | undefined;

  constructor() {
    super({ writableHighWaterMark: 16 });
  }

  print(text: string | Uint8Array): void {
    this.push(text);
  }

  unblock(): void {
    this.blocked = false;
    this.#blocked?.();
  }

  override _read(): void {}

  override _write(chunk: Uint8Array, _: BufferEncoding, callback: () => void): void {
    this.typed += new TextDecoder().decode(chunk);
    if (this.blocked) this.#blocked = callback;
    else callback();
  }
}

/** What the control protocol sees of a VM, without one. */
export class FakeVmm implements ControlledVmm {
  readonly hypervisor = 'wasm';
  readonly arch = 'aarch64';
  readonly config: ControlledVmm['config'] = { cpus: 2, memory: 256 * 1024 * 1024, command: ['sleep', '1'] };
  readonly devices = [
    {
      name: 'disk0',
      device: { type: 2, name: 'block', statistics: { reads: 3, what: 'text', odd: Number.NaN } },
      transport: { statistics: { notifications: 7 } },
    },
  ];
  readonly console = new FakeConsole();
  readonly stopped: Promise<StopReason>;
  readonly sizes: (readonly [number, number])[] = [];
  readonly graces: number[] = [];
  readonly name: string;
  /** Operations wait for it. */
  gate: Promise<void> = Promise.resolve();
  readonly #lifecycle: Lifecycle;
  #end: (reason: StopReason) => void = () => {};

  constructor(name = 'fake') {
    this.name = name;
    this.#lifecycle = new Lifecycle(name);
    this.#lifecycle.take('start');
    this.#lifecycle.take('started');
    this.stopped = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  get state(): VmmState {
    return this.#lifecycle.state;
  }

  exitStatistics(): ReturnType<ControlledVmm['exitStatistics']> {
    const byReason = {
      mmio: 5,
      io: 0,
      systemEvent: 0,
      halt: 0,
      interrupted: 0,
      shutdown: 0,
      eoi: 0,
      internalError: 0,
    };
    return { total: 5, byReason, sites: [] };
  }

  instructionCount(): number {
    return 11;
  }

  async pause(): Promise<void> {
    await this.#turn('pause');
  }

  async resume(): Promise<void> {
    await this.#turn('resume');
  }

  stop(): Promise<void> {
    this.end({ kind: 'stopped' });
    return Promise.resolve();
  }

  shutdown({ grace }: { readonly grace: number }): Promise<void> {
    this.graces.push(grace);
    this.end({ kind: 'shutdown' });
    return Promise.resolve();
  }

  resizeConsole(columns: number, rows: number): void {
    this.sizes.push([columns, rows]);
  }

  end(reason: StopReason): void {
    if (this.#lifecycle.allows('stop')) this.#lifecycle.take('stop');
    if (this.#lifecycle.allows('finish')) this.#lifecycle.take('finish');
    this.#end(reason);
  }

  async #turn(transition: 'pause' | 'resume'): Promise<void> {
    await this.#lifecycle.inTurn(async () => {
      this.#lifecycle.check(transition);
      await this.gate;
      this.#lifecycle.take(transition);
    });
  }
}
