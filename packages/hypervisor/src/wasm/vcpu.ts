import { HypervisorError } from '../errors.ts';
import type {
  HaltExit,
  InternalErrorExit,
  InterruptedExit,
  MmioExit,
  SystemEventExit,
  VcpuExit,
} from '../exit.ts';
import type { Aarch64CoreRegister, Aarch64Vcpu } from '../aarch64.ts';
import { checkPstate, CORE_REGISTERS, STATE_SYSTEM_REGISTERS } from '../aarch64-registers.ts';
import type { ExitHandler, VcpuState } from '../vcpu.ts';
import { invalid, stateObject } from '../state-codec.ts';
import type { Engine } from './engine.ts';
import { coreRegister, PSTATE_ID } from './registers.ts';
import type { SharedState, VcpuWords } from './shared.ts';
import { vcpuWords } from './shared.ts';
import { ERROR_ENGINE_FAILED, othersRun } from './thread.ts';
import { type StepResult, ThreadControl } from './thread-control.ts';
import type { UndefinedInstruction } from './undefined-instructions.ts';
import { readUndefined, undefinedClasses } from './undefined-instructions.ts';
import { checkRegisterValue } from '../validate.ts';
import { decodeVcpuState, encodeVcpuState, VCPU_STATE_VERSION } from './vcpu-state.ts';
import type { VcpuOwner } from './vm.ts';

/** Instructions that `run()` executes before it looks at doorbells and coalesced writes again. */
const RUN_SLICE = 16384;

/** Instructions that the owner executes at a time while the vCPU's thread starts: a fraction of a millisecond. */
const STEP = 4096;

const NONE: readonly UndefinedInstruction[] = [];

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** A vCPU of the software hypervisor. */
export class WasmVcpu implements Aarch64Vcpu {
  readonly id: number;
  readonly #vm: VcpuOwner;
  readonly #engine: Engine;
  readonly #shared: SharedState;
  readonly #words: VcpuWords;
  readonly #block: number;
  readonly #thread: ThreadControl;

  readonly #mmio: Mutable<MmioExit> = {
    reason: 'mmio',
    address: 0,
    length: 4,
    write: false,
    value: 0,
    valueHigh: 0,
  };
  readonly #halt: Mutable<HaltExit> = { reason: 'halt', wakeAfterNs: Infinity };
  readonly #systemEvent: Mutable<SystemEventExit> = { reason: 'systemEvent', event: 'shutdown' };
  readonly #interrupted: InterruptedExit = { reason: 'interrupted' };
  readonly #internalError: Mutable<InternalErrorExit> = { reason: 'internalError', message: '' };

  #inRun = false;
  #kicked = false;
  /** The last exit was a read whose answer is still in {@link #mmio}. */
  #readOpen = false;
  /** A callback threw before `run` could return this exit. */
  #undelivered = false;
  #undefinedSeen = 0;
  #disposed = false;

  constructor(vm: VcpuOwner, id: number) {
    this.id = id;
    this.#vm = vm;
    this.#engine = vm.engine;
    this.#shared = vm.shared;
    this.#words = vcpuWords(vm.shared.layout, id);
    this.#block = vm.shared.layout.VCPU_BASE + id * vm.shared.layout.VCPU_STRIDE;
    this.#thread = new ThreadControl(vm, this.#words, id);
    this.#engine.vcpuReset(id);
  }

  /**
   * @param budget about how many instructions to execute at most; the call then returns `interrupted`. 0 means
   *   no limit.
   */
  run(budget = 0): VcpuExit {
    this.#checkStill('run');
    if (this.#thread.exists) throw wrongState('run() needs a vCPU without a thread');
    if (!Number.isInteger(budget) || budget < 0) {
      throw new HypervisorError('INVALID_ARGUMENT', `budget ${budget} is not a number of instructions`);
    }
    this.#inRun = true;
    try {
      return this.#run(budget === 0 ? Infinity : budget);
    } finally {
      this.#inRun = false;
    }
  }

  #run(budget: number): VcpuExit {
    const { layout } = this.#shared;
    if (this.#undelivered) {
      this.#undelivered = false;
      return this.#makeExit();
    }
    this.#answerRead();
    let remaining = budget;
    for (;;) {
      if (this.#kicked || remaining <= 0) {
        this.#kicked = false;
        return this.#interrupted;
      }
      const before = this.#engine.instructionCount(this.id);
      const reason = this.#enter(Math.min(remaining, RUN_SLICE));
      remaining -= this.#engine.instructionCount(this.id) - before;
      const resumable =
        reason === layout.EXIT_INTERRUPTED ||
        reason === layout.EXIT_HALT ||
        reason === layout.EXIT_POWERED_OFF;
      this.#undelivered = !resumable;
      const any = this.#vm.drain();
      this.#undelivered = false;
      if (!resumable) return this.#makeExit();
      if (any || reason === layout.EXIT_INTERRUPTED) continue;
      const delay = reason === layout.EXIT_HALT ? this.#engine.timerDelay(this.id) : Infinity;
      if (delay <= 0) continue;
      if (this.#vm.instructionClock && delay !== Infinity && !othersRun(this.#shared, this.id)) {
        this.#engine.advanceClock(delay);
        continue;
      }
      this.#halt.wakeAfterNs = delay;
      return this.#halt;
    }
  }

  #enter(budget: number): number {
    try {
      return this.#engine.run(this.id, budget);
    } catch (error) {
      const { words, layout } = this.#shared;
      this.#shared.writeMessage(this.#words, String(error));
      words[this.#words.exitReason] = layout.EXIT_ERROR;
      words[this.#words.exitDetail] = ERROR_ENGINE_FAILED;
      return layout.EXIT_ERROR;
    }
  }

  kick(): void {
    this.#checkUsable();
    // A thread has no use for it after it has come back; run() returns because of it even if it comes too early.
    if (!this.#thread.exists) this.#kicked = true;
    this.#thread.kick();
  }

  async start(handler: ExitHandler): Promise<void> {
    this.#checkStill('start');
    if (this.#thread.exists) throw wrongState('the vCPU has a thread already');
    this.#answerRead();
    this.#kicked = false;
    this.#undelivered = false;
    await this.#thread.start({
      serve: () => {
        const exit = this.#makeExit();
        try {
          return handler(exit);
        } finally {
          this.#answerRead();
        }
      },
      step: () => this.#step(),
    });
  }

  #step(): StepResult {
    const { layout } = this.#shared;
    switch (this.#enter(STEP)) {
      case layout.EXIT_INTERRUPTED:
        return 'more';
      case layout.EXIT_HALT:
        return this.#engine.timerDelay(this.id) > 0 ? 'idle' : 'more';
      case layout.EXIT_POWERED_OFF:
        return 'idle';
      case layout.EXIT_MMIO:
        return 'exit';
      default:
        return 'end';
    }
  }

  async pause(): Promise<void> {
    this.#checkUsable();
    await this.#thread.pause();
  }

  resume(): void {
    this.#checkUsable();
    this.#thread.resume();
  }

  async stop(): Promise<void> {
    await this.#thread.stop();
  }

  /** Ends the thread, if there is one, and makes its `start()` reject. */
  fail(error: unknown): void {
    this.#thread.fail(error);
  }

  /** Encodings seen since the last call for the first time. */
  newUndefinedInstructions(): readonly UndefinedInstruction[] {
    const classes = undefinedClasses(this.#shared, this.#words);
    if (classes === this.#undefinedSeen) return NONE;
    const first = this.#undefinedSeen;
    this.#undefinedSeen = classes;
    return readUndefined(this.#shared, this.#words, first);
  }

  /** Handles what the thread waits for; true if that was an exit. */
  serve(): boolean {
    return this.#thread.serve();
  }

  /** Exit of the engine as an object. */
  #makeExit(): VcpuExit {
    const { words, layout } = this.#shared;
    const reason = words[this.#words.exitReason];
    switch (reason) {
      case layout.EXIT_MMIO: {
        const exit = this.#mmio;
        exit.address = this.#shared.readNumber(this.#words.exitAddress);
        exit.length = words[this.#words.exitLength] as MmioExit['length'];
        exit.write = words[this.#words.exitWrite] !== 0;
        exit.value = exit.write ? words[this.#words.exitValue]! >>> 0 : 0;
        exit.valueHigh = exit.write && exit.length === 8 ? words[this.#words.exitValue + 1]! >>> 0 : 0;
        this.#readOpen = !exit.write;
        return exit;
      }
      case layout.EXIT_SHUTDOWN:
      case layout.EXIT_RESET:
        this.#systemEvent.event = reason === layout.EXIT_SHUTDOWN ? 'shutdown' : 'reset';
        return this.#systemEvent;
      default:
        this.#internalError.message = this.#errorMessage();
        return this.#internalError;
    }
  }

  #errorMessage(): string {
    const { words, layout } = this.#shared;
    const detail = words[this.#words.exitDetail]! >>> 0;
    switch (detail) {
      case ERROR_ENGINE_FAILED:
        return `the engine failed: ${this.#shared.readMessage(this.#words)}`;
      case layout.ERROR_MMIO_LOG_FULL:
        return `an instruction makes more than ${layout.MMIO_LOG_ENTRIES} MMIO accesses`;
      default:
        return `the engine cannot go on: detail ${detail}`;
    }
  }

  /** Hands the answer to a read to the engine. */
  #answerRead(): void {
    if (!this.#readOpen) return;
    this.#readOpen = false;
    const { words } = this.#shared;
    const { value, valueHigh, length } = this.#mmio;
    words[this.#words.exitValue] =
      length === 8 ? value : value & (0xffff_ffff >>> (32 - 8 * Math.min(length, 4)));
    words[this.#words.exitValue + 1] = length === 8 ? valueHigh : 0;
  }

  getRegister(name: Aarch64CoreRegister): bigint {
    this.#checkReadable('registers can be read');
    const { id, bits } = coreRegister(name);
    const low = BigInt.asUintN(64, this.#engine.getRegister(this.id, id));
    if (bits === 64) return low;
    return low | (BigInt.asUintN(64, this.#engine.getRegister(this.id, id + 1)) << 64n);
  }

  setRegister(name: Aarch64CoreRegister, value: bigint): void {
    this.#checkStill('registers can be written');
    const { id, bits } = coreRegister(name);
    checkRegisterValue(name, value, bits);
    if (id === PSTATE_ID) checkPstate(value);
    this.#engine.setRegister(this.id, id, BigInt.asIntN(64, value));
    if (bits === 128) this.#engine.setRegister(this.id, id + 1, BigInt.asIntN(64, value >> 64n));
  }

  getSystemRegister(encoding: number): bigint {
    this.#checkReadable('system registers can be read');
    this.#checkSystemRegister(encoding);
    return BigInt.asUintN(64, this.#engine.getSystemRegister(this.id, encoding));
  }

  setSystemRegister(encoding: number, value: bigint): void {
    this.#checkStill('system registers can be written');
    this.#checkSystemRegister(encoding);
    checkRegisterValue(`system register ${encoding}`, value, 64);
    if (this.#engine.setSystemRegister(this.id, encoding, BigInt.asIntN(64, value)) === 0) {
      throw new HypervisorError(
        'INVALID_ARGUMENT',
        `system register 0x${encoding.toString(16)} is read-only`,
      );
    }
  }

  #checkSystemRegister(encoding: number): void {
    const known =
      Number.isInteger(encoding) &&
      encoding >= 0 &&
      encoding <= 0xffff &&
      this.#engine.hasSystemRegister(encoding) !== 0;
    if (!known) {
      throw new HypervisorError(
        'INVALID_ARGUMENT',
        `the vCPU has no system register with encoding ${encoding}`,
      );
    }
  }

  get poweredOff(): boolean {
    this.#checkUsable();
    return Atomics.load(this.#shared.words, this.#words.power) !== 0;
  }

  set poweredOff(value: boolean) {
    this.#checkStill('the power state can be changed');
    Atomics.store(this.#shared.words, this.#words.power, value ? 1 : 0);
  }

  /** Instructions retired since the vCPU was created. */
  instructionCount(): number {
    this.#checkUsable();
    return this.#engine.instructionCount(this.id);
  }

  /** Encodings that the engine does not implement, or that are unallocated, and that the guest executed. */
  undefinedInstructions(): readonly UndefinedInstruction[] {
    this.#checkUsable();
    return readUndefined(this.#shared, this.#words);
  }

  save(): VcpuState {
    this.#checkStill('the state can be saved');
    const registers: Record<string, bigint> = {};
    for (const name of CORE_REGISTERS) registers[name] = this.getRegister(name);
    for (const [name, encoding] of this.#systemRegisters())
      registers[name] = this.getSystemRegister(encoding);
    if (this.#readOpen) {
      // As answered so far; it stays open here.
      this.#answerRead();
      this.#readOpen = true;
    }
    const remainder = { counterNanoseconds: this.#vm.counterNanoseconds() };
    const opaque = encodeVcpuState(this.#shared, this.#words, this.#block, remainder);
    return { version: VCPU_STATE_VERSION, arch: 'aarch64', registers, opaque };
  }

  restore(state: VcpuState): void {
    this.#checkStill('a state can be restored');
    const { values, remainder, apply } = this.#checkState(state);
    this.#engine.vcpuReset(this.id);
    for (const [name, value] of values) {
      const encoding = STATE_SYSTEM_REGISTERS.get(name);
      if (encoding === undefined) this.setRegister(name as Aarch64CoreRegister, value);
      else this.setSystemRegister(encoding, value);
    }
    apply();
    this.#readOpen = false;
    this.#undelivered = false;
    this.#kicked = false;
    this.#vm.setCounterNanoseconds(remainder.counterNanoseconds);
    this.#engine.memoryChanged();
    this.#shared.wakeVcpu(this.#words);
  }

  #checkState(state: VcpuState): ReturnType<typeof decodeVcpuState> & { values: [string, bigint][] } {
    const what = 'the state of the vCPU';
    const { version, arch, registers, opaque } = stateObject(what, state);
    if (version !== VCPU_STATE_VERSION || arch !== 'aarch64') {
      throw invalid(what, `it is version ${String(version)} for '${String(arch)}'`);
    }
    const widths = new Map<string, 64 | 128>(CORE_REGISTERS.map((name) => [name, coreRegister(name).bits]));
    for (const [name] of this.#systemRegisters()) widths.set(name, 64);
    const values = Object.entries(stateObject(`${what} (registers)`, registers));
    if (values.length !== widths.size) {
      throw invalid(what, `it has ${values.length} registers, and the vCPU has ${widths.size}`);
    }
    for (const [name, value] of values) {
      const bits = widths.get(name);
      if (bits === undefined) throw invalid(what, `the vCPU has no register '${name}'`);
      checkRegisterValue(name, value as bigint, bits);
      if (name === 'pstate') checkPstate(value as bigint);
    }
    return {
      values: values as [string, bigint][],
      ...decodeVcpuState(this.#shared, this.#words, this.#block, opaque),
    };
  }

  #systemRegisters(): [string, number][] {
    return [...STATE_SYSTEM_REGISTERS].filter(
      ([, encoding]) => this.#engine.hasSystemRegister(encoding) !== 0,
    );
  }

  /** Whether the vCPU runs now, on this thread or on its own. */
  get running(): boolean {
    return this.#inRun || !this.#thread.still;
  }

  #checkUsable(): void {
    if (this.#disposed) throw new HypervisorError('DISPOSED', `vCPU ${this.id} has been disposed`);
    this.#vm.checkUsable();
  }

  /** As {@link #checkStill}, but the handler of an exit may look as well. */
  #checkReadable(what: string): void {
    if (this.#thread.serving) this.#checkUsable();
    else this.#checkStill(what);
  }

  #checkStill(what: string): void {
    this.#checkUsable();
    if (this.#inRun) throw wrongState(`${what}: only after run() has returned`);
    if (!this.#thread.still)
      throw wrongState(`${what}: only while the thread of vCPU ${this.id} stands still`);
  }

  /** Stops the thread, if there is one, in the background; the VM's disposal waits for it. */
  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    void this.#thread.dispose();
  }

  /** Stops the thread and waits for that. */
  async end(): Promise<void> {
    this[Symbol.dispose]();
    await this.#thread.dispose();
  }
}

function wrongState(message: string): HypervisorError {
  return new HypervisorError('WRONG_STATE', message);
}
