import { HypervisorError } from '../errors.ts';
import type { ExitAction } from '../vcpu.ts';
import type { VcpuThread } from './host.ts';
import type { SharedState, VcpuWords } from './shared.ts';
import { COMMAND_RUN, COMMAND_STOP, FIRST_PAUSE, SLOT_ANSWERED, SLOT_EXIT, SLOT_RUNNING } from './shared.ts';
import type { VcpuOwner } from './vm.ts';

/**
 * How long a thread may take to obey before it is terminated, in milliseconds. It looks at its command every few
 * microseconds, so only an engine at fault or a machine without any processor time left takes so long.
 */
const STOP_GRACE = 10_000;
/** The same when the VM's state is no longer wanted. */
const DISPOSE_GRACE = 1_000;

/**
 * What came of a few instructions that the owner's thread executed: more can be, the vCPU waits, an exit waits for its
 * answer, or for that and the vCPU ends.
 */
export type StepResult = 'more' | 'idle' | 'exit' | 'end';

/** What a vCPU does for its thread. */
export interface ThreadWork {
  /** Handles the exit that the vCPU made. */
  serve(): ExitAction;
  /** Executes a few instructions on the calling thread. */
  step(): StepResult;
}

/**
 * The owner's side of a vCPU thread. A thread takes tens of milliseconds to start, so the owner executes the vCPU in
 * short steps until it is there.
 */
export class ThreadControl {
  readonly #vm: VcpuOwner;
  readonly #shared: SharedState;
  readonly #vcpu: VcpuWords;
  readonly #index: number;
  #thread: VcpuThread | undefined;
  #ended: Promise<void> = Promise.resolve();
  #work: ThreadWork | undefined;
  /** The request to pause that the thread finds when it is there; present as long as the owner executes the vCPU. */
  #starting: number | undefined;
  /** The owner has been asked to pause meanwhile. */
  #startPaused = false;
  /** An exit of the owner's steps that is not handled yet. */
  #stepExit: 'exit' | 'end' | undefined;
  #serving = false;
  #nextPause = FIRST_PAUSE;
  #pauseWaiters: (() => void)[] = [];
  #terminated = false;
  #disposing = false;
  /** Why the VM's threads were stopped, when it was not asked for. */
  #failure: { readonly error: unknown } | undefined;

  constructor(vm: VcpuOwner, vcpu: VcpuWords, index: number) {
    this.#vm = vm;
    this.#shared = vm.shared;
    this.#vcpu = vcpu;
    this.#index = index;
  }

  get exists(): boolean {
    return this.#thread !== undefined;
  }

  /** Whether an exit of the thread is being handled. */
  get serving(): boolean {
    return this.#serving;
  }

  /** Whether the vCPU's state does not change now. */
  get still(): boolean {
    if (this.#thread === undefined) return true;
    if (this.#starting !== undefined) return this.#startPaused && !this.#serving;
    const { words } = this.#shared;
    const command = Atomics.load(words, this.#vcpu.command);
    return command >= FIRST_PAUSE && Atomics.load(words, this.#vcpu.paused) === command;
  }

  /** Runs a thread; resolves when it has ended. */
  async start(work: ThreadWork): Promise<void> {
    if (this.#terminated) {
      throw new HypervisorError('ENGINE_FAULT', `vCPU ${this.#index} did not obey and had to be terminated`);
    }
    const { words } = this.#shared;
    // Steps of the owner would move the instruction clock in other steps than a thread does.
    this.#starting = this.#vm.instructionClock ? undefined : this.#nextPause++;
    this.#startPaused = false;
    Atomics.store(words, this.#vcpu.command, this.#starting ?? COMMAND_RUN);
    Atomics.store(words, this.#vcpu.slotState, SLOT_RUNNING);
    Atomics.store(words, this.#vcpu.paused, 0);
    const thread = this.#vm.startThread(this.#index);
    this.#work = work;
    this.#thread = thread;
    this.#ended = this.#finish(thread);
    await this.#ended;
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) throw failure.error;
  }

  /** Ends the thread and makes its `start()` reject. */
  fail(error: unknown): void {
    if (this.#thread === undefined) return;
    this.#failure ??= { error };
    this.requestStop();
  }

  async #finish(thread: VcpuThread): Promise<void> {
    try {
      await thread.ended;
    } catch (cause) {
      this.#terminated = true;
      this.#vm.fail(
        new HypervisorError('ENGINE_FAULT', `the thread of vCPU ${this.#index} failed: ${String(cause)}`, {
          cause,
        }),
      );
    }
    this.#starting = undefined;
    this.#vm.flush();
    this.#thread = undefined;
    this.#releasePauses();
    this.#vm.threadEnded();
  }

  kick(): void {
    Atomics.store(this.#shared.words, this.#vcpu.kick, 1);
    this.#shared.wakeVcpu(this.#vcpu);
  }

  /** Asks the thread to pause; resolves when it stands still or has ended. */
  async pause(): Promise<void> {
    if (this.#thread === undefined || this.still) return;
    if (this.#starting !== undefined) {
      this.#startPaused = true;
      return;
    }
    const { words } = this.#shared;
    const request = this.#nextPause++;
    if (Atomics.compareExchange(words, this.#vcpu.command, COMMAND_RUN, request) === COMMAND_RUN) this.kick();
    await new Promise<void>((resolve) => this.#pauseWaiters.push(resolve));
  }

  resume(): void {
    if (this.#starting !== undefined) {
      this.#startPaused = false;
      this.#shared.wakeOwner();
      return;
    }
    const { words } = this.#shared;
    const command = Atomics.load(words, this.#vcpu.command);
    if (this.#thread === undefined || command < FIRST_PAUSE) return;
    // Only the owner writes the command.
    Atomics.store(words, this.#vcpu.command, COMMAND_RUN);
    Atomics.notify(words, this.#vcpu.command);
    // A pause that has not come about by now never will.
    this.#releasePauses();
  }

  /** Tells the thread to end, without waiting. */
  requestStop(): void {
    if (this.#thread === undefined) return;
    this.#starting = undefined;
    const { words } = this.#shared;
    Atomics.store(words, this.#vcpu.command, COMMAND_STOP);
    Atomics.notify(words, this.#vcpu.command);
    this.kick();
  }

  async stop(): Promise<void> {
    await this.#end(STOP_GRACE);
  }

  /** Ends the thread; nothing is called back any more. */
  async dispose(): Promise<void> {
    this.#disposing = true;
    await this.#end(DISPOSE_GRACE);
  }

  async #end(grace: number): Promise<void> {
    const thread = this.#thread;
    if (thread === undefined) return;
    this.requestStop();
    const timer = setTimeout(() => {
      this.#terminated = true;
      thread.terminate();
    }, grace);
    await this.#ended;
    clearTimeout(timer);
  }

  /** Handles what the thread waits for; true if that was an exit. */
  serve(): boolean {
    const { words } = this.#shared;
    if (this.#pauseWaiters.length > 0 && this.still) {
      // What it stored before it stood still comes first: whoever paused it may save what devices know.
      if (!this.#disposing) this.#vm.drain();
      this.#releasePauses();
    }
    if (this.#serving || this.#work === undefined) return false;
    if (this.#stepExit !== undefined) this.#answerStep(this.#work, this.#stepExit);
    if (this.#starting !== undefined) this.#step(this.#work, this.#starting);
    if (Atomics.load(words, this.#vcpu.slotState) !== SLOT_EXIT) return false;
    // Writes made before this exit come first. Should one of their callbacks throw, the exit is handled later.
    if (!this.#disposing) this.#vm.drain();
    try {
      this.#answer(this.#work);
    } finally {
      Atomics.store(words, this.#vcpu.slotState, SLOT_ANSWERED);
      Atomics.notify(words, this.#vcpu.slotState);
    }
    return true;
  }

  #answer(work: ThreadWork): void {
    let action: ExitAction = 'stop';
    this.#serving = true;
    try {
      if (!this.#disposing) action = work.serve();
    } finally {
      this.#serving = false;
      if (action === 'stop') this.#storeStop();
    }
  }

  /** Executes a little in the thread's stead, or lets it go on when it is there. */
  #step(work: ThreadWork, starting: number): void {
    if (this.#startPaused || this.#disposing) return;
    const { words } = this.#shared;
    if (Atomics.load(words, this.#vcpu.paused) === starting) {
      this.#starting = undefined;
      Atomics.store(words, this.#vcpu.command, COMMAND_RUN);
      Atomics.notify(words, this.#vcpu.command);
      return;
    }
    const result = work.step();
    // A vCPU that waits has its thread before long.
    if (result === 'idle') return;
    this.#shared.wakeOwner();
    if (result === 'more') {
      this.#vm.drain();
      return;
    }
    this.#stepExit = result;
    this.#answerStep(work, result);
  }

  #answerStep(work: ThreadWork, exit: 'exit' | 'end'): void {
    // As for a thread's.
    if (!this.#disposing) this.#vm.drain();
    this.#stepExit = undefined;
    try {
      this.#answer(work);
    } finally {
      if (exit === 'end') this.#storeStop();
    }
  }

  #storeStop(): void {
    this.#starting = undefined;
    Atomics.store(this.#shared.words, this.#vcpu.command, COMMAND_STOP);
    Atomics.notify(this.#shared.words, this.#vcpu.command);
  }

  #releasePauses(): void {
    const waiters = this.#pauseWaiters;
    this.#pauseWaiters = [];
    for (const resolve of waiters) resolve();
  }
}
