import type { VcpuExit } from './exit.ts';

/** `resume` lets a vCPU thread go on; `stop` ends it. */
export type ExitAction = 'resume' | 'stop';

/** Called on the thread that owns the VM, once per exit of a vCPU thread. */
export type ExitHandler = (exit: VcpuExit) => ExitAction;

/** Architecture-neutral part of a virtual CPU. */
export interface Vcpu extends Disposable {
  /** Index in the VM, from 0. */
  readonly id: number;

  /**
   * Runs the guest on the calling thread until something has to be done for it, as KVM_RUN does. The
   * previous exit, if it was a read, is completed with the value stored into it.
   *
   * @throws HypervisorError `WRONG_STATE` while a vCPU thread runs.
   */
  run(): VcpuExit;

  /** Brings a running `run()` or vCPU thread back with `interrupted`. Callable from any place of the owner. */
  kick(): void;

  /**
   * Runs the vCPU on a thread of its own. Every exit but `halt` and `interrupted` reaches `handler` on the
   * owner's event loop while the vCPU waits; `systemEvent`, `shutdown` and `internalError` end the thread whatever the
   * handler answers. The promise settles when the thread has ended.
   */
  start(handler: ExitHandler): Promise<void>;

  /** Stops a vCPU thread between two instructions; resolves when it stands still. */
  pause(): Promise<void>;

  /** Lets a paused vCPU thread go on. */
  resume(): void;

  /** Ends a vCPU thread; resolves when it has ended. Harmless when there is none. */
  stop(): Promise<void>;

  /** Everything needed to go on elsewhere: plain, versioned data. Only while the vCPU stands still. */
  save(): VcpuState;

  /** @throws HypervisorError `INVALID_ARGUMENT` when the state is not one that `save()` made. */
  restore(state: VcpuState): void;
}

/** Plain data: structured-cloneable, versioned. */
export interface VcpuState {
  readonly version: number;
  readonly arch: 'aarch64' | 'x86_64';
  /** Register names to values; names are those of the architecture manual, lower case. */
  readonly registers: Readonly<Record<string, bigint>>;
  /** Backend-private remainder (pending exceptions, timers). */
  readonly opaque: Uint8Array;
}
