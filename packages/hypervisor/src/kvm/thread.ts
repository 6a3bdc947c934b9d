import type { VcpuExit } from '../exit.ts';
import type { ExitAction, ExitHandler } from '../vcpu.ts';
import type { KvmExits } from './exits.ts';
import type { NativeVcpu } from './native.ts';
import { VCPU_THREAD } from './native.ts';
import type { ThreadSource } from './pump.ts';
import { ERRNO, system } from './system-error.ts';

/** What a thread needs of its VM. */
export interface ThreadOwner {
  /** Polls for the owner's answer for so long before it sleeps. */
  readonly threadSpinMicroseconds: number;
  /** Keeps the event loop alive until {@link threadEnded}. */
  threadStarted(): void;
  threadEnded(): void;
  /** Has {@link KvmThread.serve} called soon. */
  markDue(thread: ThreadSource): void;
}

/** The owner's side of a vCPU thread. */
export class KvmThread implements ThreadSource {
  due = false;
  readonly #owner: ThreadOwner;
  readonly #native: NativeVcpu;
  readonly #exits: KvmExits;
  #handler: ExitHandler | undefined;
  #ended: Promise<void> = Promise.resolve();
  #resolveEnded: () => void = () => undefined;
  /** The addon's thread does not run yet: accesses of an exit that run() told have to be handled first. */
  #starting = false;
  #serving = false;
  /**
   * `gently`: the exit that it comes back with is handled, and completed; `silently`: the handler wants no more exits, the
   * last one is completed; `now`: it ends wherever it is.
   */
  #stopping: 'gently' | 'silently' | 'now' | undefined;
  #pauseWanted = false;
  /** It waits for {@link resume}, between two instructions. */
  #parked = false;
  /** It waits in a HLT that no interrupt controller will end. */
  #halted = false;
  #pauseWaiters: (() => void)[] = [];
  /** Why the thread was ended, when nobody asked for it. */
  #failure: { readonly error: unknown } | undefined;

  constructor(owner: ThreadOwner, native: NativeVcpu, exits: KvmExits) {
    this.#owner = owner;
    this.#native = native;
    this.#exits = exits;
  }

  get exists(): boolean {
    return this.#handler !== undefined;
  }

  /** Whether an exit of the thread is being handled. */
  get serving(): boolean {
    return this.#serving;
  }

  /** Whether the vCPU's state does not change now. */
  get still(): boolean {
    return !this.exists || this.#parked;
  }

  /** Runs a thread; resolves when it has ended. */
  async start(handler: ExitHandler): Promise<void> {
    this.#handler = handler;
    this.#stopping = undefined;
    this.#pauseWanted = false;
    this.#parked = false;
    this.#halted = false;
    this.#failure = undefined;
    this.#ended = new Promise((resolve) => (this.#resolveEnded = resolve));
    this.#owner.threadStarted();
    this.#starting = true;
    if (this.#exits.waiting || this.#exits.unfinished) this.#owner.markDue(this);
    else this.#launch();
    await this.#ended;
    const failure = this.#takeFailure();
    if (failure !== undefined) throw failure.error;
  }

  #takeFailure(): { readonly error: unknown } | undefined {
    const failure = this.#failure;
    this.#failure = undefined;
    return failure;
  }

  #launch(): void {
    this.#starting = false;
    this.#exits.next();
    try {
      system('the thread of a vCPU', () => this.#native.start(this.#owner.threadSpinMicroseconds));
    } catch (error) {
      this.#failure ??= { error };
      this.#finish();
      return;
    }
    if (this.#pauseWanted || this.#stopping !== undefined) this.#native.kick();
  }

  kick(): void {
    if (this.#halted && !this.#pauseWanted) this.#wake();
    else if (!this.#starting) this.#native.kick();
  }

  #wake(): void {
    this.#halted = false;
    this.#native.resume();
  }

  /** Asks the thread to pause; resolves when it stands still or has ended. */
  async pause(): Promise<void> {
    if (this.still) return;
    this.#pauseWanted = true;
    if (this.#halted) {
      this.#parked = true;
      return;
    }
    if (!this.#starting) this.#native.kick();
    await new Promise<void>((resolve) => this.#pauseWaiters.push(resolve));
  }

  resume(): void {
    if (!this.exists || !this.#pauseWanted) return;
    this.#pauseWanted = false;
    // A pause that has not come about by now never will.
    this.#releasePauses();
    if (!this.#parked) return;
    this.#parked = false;
    if (this.#halted) this.#wake();
    else this.#native.resume();
  }

  async stop(): Promise<void> {
    if (!this.exists) return;
    this.#stopGently();
    await this.#ended;
  }

  #stopGently(): void {
    if (this.#stopping !== undefined) return;
    this.#stopping = 'gently';
    if (this.#starting) this.#owner.markDue(this);
    else if (this.#parked || this.#halted) this.#stopNow();
    else this.#native.kick();
  }

  #stopNow(): void {
    if (this.#stopping === 'now') return;
    this.#stopping = 'now';
    if (this.#starting) this.#owner.markDue(this);
    else this.#native.stop();
  }

  /** Ends the thread at once and makes its `start()` reject. */
  fail(error: unknown): void {
    if (!this.exists) return;
    this.#failure ??= { error };
    this.#stopNow();
  }

  /** Ends the thread at once, without handling its last exit. */
  async end(): Promise<void> {
    if (!this.exists) return;
    this.#stopNow();
    await this.#ended;
  }

  /** Handles what the thread waits for; true if that was an exit. */
  serve(): boolean {
    if (!this.exists) return false;
    if (this.#starting) return this.#serveFirst();
    switch (this.#native.state()) {
      case VCPU_THREAD.EXIT:
        return this.#serveExit();
      case VCPU_THREAD.INTERRUPTED:
        this.#interrupted();
        return false;
      case VCPU_THREAD.FAILED:
        return this.#failed();
      case VCPU_THREAD.ENDED:
        this.#native.join();
        this.#finish();
        return false;
      default:
        return false;
    }
  }

  #serveFirst(): boolean {
    const exit = this.#stopping === undefined ? this.#pending() : undefined;
    if (exit !== undefined && exit.reason !== 'halt') {
      this.#handle(exit);
      return true;
    }
    this.#goOn();
    return false;
  }

  #pending(): VcpuExit | undefined {
    return this.#exits.waiting ? this.#exits.take() : this.#exits.next();
  }

  #serveExit(): boolean {
    // The exit is told by run(), should there be one.
    if (this.#stopping === 'now') return false;
    if (this.#stopping === 'silently') {
      this.#stopNow();
      return false;
    }
    const exit = this.#exits.take();
    if (exit === undefined) {
      this.#goOn();
      return false;
    }
    if (exit.reason === 'halt') {
      this.#halt();
      return false;
    }
    this.#handle(exit);
    return true;
  }

  #halt(): void {
    this.#halted = true;
    if (this.#stopping !== undefined) {
      this.#stopNow();
    } else if (this.#pauseWanted) {
      this.#parked = true;
      this.#releasePauses();
    }
  }

  #failed(): boolean {
    if (this.#stopping === 'now') return false;
    const errno = this.#native.errno();
    if (errno === ERRNO.ECANCELED) {
      this.#stopNow();
      return false;
    }
    if (errno === ERRNO.EINTR || errno === ERRNO.EAGAIN) {
      this.#interrupted();
      return false;
    }
    this.#handle(this.#exits.failRun(errno));
    return true;
  }

  #interrupted(): void {
    this.#exits.completed();
    if (this.#stopping !== undefined) {
      this.#stopNow();
    } else if (this.#pauseWanted) {
      this.#parked = true;
      this.#releasePauses();
    } else {
      this.#native.resume();
    }
  }

  /** Tells the handler of an exit, access by access. */
  #handle(first: VcpuExit): void {
    let exit: VcpuExit | undefined = first;
    let action: ExitAction = 'stop';
    this.#serving = true;
    try {
      while (exit !== undefined) {
        action = 'stop';
        action = this.#handler!(exit);
        if (endsThread(exit)) action = 'stop';
        if (action === 'stop' || this.#stopping === 'now') break;
        exit = this.#exits.next();
      }
    } finally {
      this.#serving = false;
      this.#exits.answer();
      if (exit !== undefined && (action === 'stop' || endsThread(exit))) this.#endAfter(exit);
      else this.#goOn();
    }
  }

  /** Ends the thread after an exit whose handler wants that, with its access completed where that is possible. */
  #endAfter(exit: VcpuExit): void {
    const completes = (exit.reason === 'mmio' || exit.reason === 'io') && !this.#exits.unfinished;
    if (!completes || this.#starting) {
      this.#stopNow();
      return;
    }
    this.#exits.next();
    if (this.#stopping !== 'now') this.#stopping = 'silently';
    this.#goOn();
  }

  /** Lets the guest go on, or only complete its access when something else is wanted. */
  #goOn(): void {
    if (this.#stopping === 'now') {
      if (this.#starting) this.#finish();
      return;
    }
    if (this.#starting) {
      if (this.#stopping === undefined) this.#launch();
      else this.#finish();
      return;
    }
    if (this.#pauseWanted || this.#stopping !== undefined) this.#native.kick();
    this.#native.resume();
  }

  #finish(): void {
    this.#starting = false;
    this.#handler = undefined;
    this.#parked = false;
    this.#halted = false;
    this.#releasePauses();
    this.#owner.threadEnded();
    this.#resolveEnded();
  }

  #releasePauses(): void {
    const waiters = this.#pauseWaiters;
    this.#pauseWaiters = [];
    for (const resolve of waiters) resolve();
  }
}

function endsThread(exit: VcpuExit): boolean {
  return exit.reason === 'systemEvent' || exit.reason === 'shutdown' || exit.reason === 'internalError';
}
