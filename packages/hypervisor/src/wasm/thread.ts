import { instantiateEngine } from './engine.ts';
import type { Engine } from './engine.ts';
import type { EngineLayout } from './layout.ts';
import type { VcpuWords } from './shared.ts';
import {
  COMMAND_STOP,
  FIRST_PAUSE,
  SharedState,
  SLOT_ANSWERED,
  SLOT_EXIT,
  SLOT_RUNNING,
  vcpuWords,
} from './shared.ts';
import { AdaptiveSpin } from './spin.ts';
import { countUndefined } from './undefined-instructions.ts';
import type { WasmMemory, WasmModule } from './webassembly.ts';

/** Everything a vCPU thread needs; structured-cloneable. */
export interface VcpuThreadConfig {
  readonly module: WasmModule;
  readonly memory: WasmMemory;
  readonly index: number;
  /** The VM's zero of time, in milliseconds of the clock that all threads share. */
  readonly clockOrigin: number;
  /** Whether time is counted in instructions, so that waiting means to advance it. */
  readonly instructionClock: boolean;
  /** Whether to poll shortly for the answer to an exit before sleeping. */
  readonly spin: boolean;
}

/** `EXIT_DETAIL` for an exit that the thread makes of an engine that failed; its message lies in the shared memory. */
export const ERROR_ENGINE_FAILED = 0xffff_ffff;

/** Longest wait with the instruction clock while another vCPU runs and so moves that clock, in milliseconds. */
const SHARED_CLOCK_WAIT = 1;

/**
 * Runs a vCPU until it is told to stop or the guest ends itself. This is the body of a vCPU thread.
 *
 * @param now milliseconds of the clock that all threads share
 */
export function runVcpuThread(config: VcpuThreadConfig, now: () => number): void {
  // The engine calls nothing before run(), and the layout comes from its instance.
  const state: { current?: { shared: SharedState; vcpu: VcpuWords } } = {};
  const { engine, layout } = instantiateEngine(config.module, config.memory, {
    hostNanoseconds: () => (now() - config.clockOrigin) * 1e6,
    undefinedInstruction: (_index, instruction, pcLow, pcHigh) => {
      if (state.current === undefined) return;
      countUndefined(state.current.shared, state.current.vcpu, instruction, pcLow, pcHigh);
    },
  });
  const shared = new SharedState(config.memory, layout);
  state.current = { shared, vcpu: vcpuWords(layout, config.index) };
  new VcpuLoop(config, engine, shared, now).run();
}

class VcpuLoop {
  readonly #config: VcpuThreadConfig;
  readonly #engine: Engine;
  readonly #shared: SharedState;
  readonly #layout: EngineLayout;
  readonly #vcpu: VcpuWords;
  readonly #spin: AdaptiveSpin;

  constructor(config: VcpuThreadConfig, engine: Engine, shared: SharedState, now: () => number) {
    this.#config = config;
    this.#engine = engine;
    this.#shared = shared;
    this.#layout = shared.layout;
    this.#vcpu = vcpuWords(shared.layout, config.index);
    this.#spin = new AdaptiveSpin(shared.words, now, config.spin);
  }

  run(): void {
    while (this.#obey()) {
      const reason = this.#enter();
      switch (reason) {
        case this.#layout.EXIT_INTERRUPTED:
          break;
        case this.#layout.EXIT_HALT:
          this.#waitForEvent();
          break;
        case this.#layout.EXIT_POWERED_OFF:
          this.#waitForPower();
          break;
        case this.#layout.EXIT_MMIO:
          this.#exchange();
          break;
        default:
          this.#exchange();
          return;
      }
    }
  }

  /** Carries out the owner's command; false to end. */
  #obey(): boolean {
    const { words } = this.#shared;
    const { command, paused } = this.#vcpu;
    for (;;) {
      const wanted = Atomics.load(words, command);
      if (wanted < FIRST_PAUSE) return wanted !== COMMAND_STOP;
      if (Atomics.exchange(words, paused, wanted) !== wanted) this.#shared.wakeOwner();
      Atomics.wait(words, command, wanted);
    }
  }

  #enter(): number {
    try {
      return this.#engine.run(this.#config.index, 0);
    } catch (error) {
      const { words } = this.#shared;
      this.#shared.writeMessage(this.#vcpu, String(error));
      words[this.#vcpu.exitReason] = this.#layout.EXIT_ERROR;
      words[this.#vcpu.exitDetail] = ERROR_ENGINE_FAILED;
      return this.#layout.EXIT_ERROR;
    }
  }

  /** Hands the exit to the owner and waits for the answer. */
  #exchange(): void {
    const { words } = this.#shared;
    const { slotState } = this.#vcpu;
    Atomics.store(words, slotState, SLOT_EXIT);
    this.#shared.wakeOwner();
    if (!this.#spin.whileEqual(slotState, SLOT_EXIT)) {
      while (Atomics.load(words, slotState) !== SLOT_ANSWERED) Atomics.wait(words, slotState, SLOT_EXIT);
    }
    Atomics.store(words, slotState, SLOT_RUNNING);
  }

  /** Until somebody sets `attention`: for the command or the power state, which are looked at before the next wait. */
  #waitForPower(): void {
    const { words } = this.#shared;
    const { attention, power } = this.#vcpu;
    Atomics.wait(words, attention, 0);
    // The engine takes it back for a vCPU that is on only.
    Atomics.store(words, attention, 0);
    if (Atomics.load(words, power) === 0) Atomics.store(words, attention, 1);
  }

  /** WFI: until the next timer, or until somebody sets `attention`. */
  #waitForEvent(): void {
    const { words } = this.#shared;
    const delay = this.#engine.timerDelay(this.#config.index);
    if (!this.#config.instructionClock) {
      if (delay > 0) Atomics.wait(words, this.#vcpu.attention, 0, delay / 1e6);
    } else if (delay === Infinity) {
      Atomics.wait(words, this.#vcpu.attention, 0);
    } else if (othersRun(this.#shared, this.#config.index)) {
      Atomics.wait(words, this.#vcpu.attention, 0, SHARED_CLOCK_WAIT);
    } else if (Atomics.load(words, this.#vcpu.attention) === 0) {
      this.#engine.advanceClock(delay);
    }
  }
}

/** Whether a vCPU other than `index` executes instructions. */
export function othersRun(shared: SharedState, index: number): boolean {
  const { words, layout } = shared;
  const count = words[(layout.HEADER + layout.HEADER_VCPU_COUNT) / 4]!;
  for (let other = 0; other < count; other++) {
    const running = (layout.VCPU_BASE + other * layout.VCPU_STRIDE + layout.CPU_RUNNING) / 4;
    if (other !== index && Atomics.load(words, running) !== 0) return true;
  }
  return false;
}
