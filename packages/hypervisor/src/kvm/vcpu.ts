import { HypervisorError } from '../errors.ts';
import type { InterruptedExit, VcpuExit } from '../exit.ts';
import type { ExitHandler, Vcpu, VcpuState } from '../vcpu.ts';
import { KvmExits } from './exits.ts';
import type { IoctlArgument, NativeVcpu } from './native.ts';
import { ERRNO, systemError } from './system-error.ts';
import type { ThreadOwner } from './thread.ts';
import { KvmThread } from './thread.ts';

/** What a vCPU needs of its VM. */
export interface VcpuOwner extends ThreadOwner {
  /** Delivers doorbells and coalesced writes. */
  drain(): void;
  /** @throws HypervisorError `DISPOSED` */
  checkUsable(): void;
}

/**
 * The part of a KVM vCPU that no architecture changes: entering the guest on the calling thread or on one of its own,
 * and bringing its exits to the owner. An architecture adds registers, state and its own exits.
 */
export abstract class KvmVcpu implements Vcpu {
  readonly id: number;
  protected readonly native: NativeVcpu;
  protected readonly exits: KvmExits;
  readonly #owner: VcpuOwner;
  readonly #thread: KvmThread;
  readonly #interrupted: InterruptedExit = { reason: 'interrupted' };
  #inRun = false;
  #kicked = false;
  #disposed = false;

  constructor(owner: VcpuOwner, native: NativeVcpu, id: number) {
    this.id = id;
    this.native = native;
    this.#owner = owner;
    this.exits = new KvmExits(native.runPage, {
      decode: (reason, run) => this.decodeExit(reason, run),
      describe: () => this.describePlace(),
    });
    this.exits.clear();
    this.#thread = new KvmThread(owner, native, this.exits);
  }

  /**
   * Decodes an exit of this architecture. `undefined`: there is nothing to do, the guest goes on. `unknown`: it is none
   * of its exits.
   */
  protected abstract decodeExit(reason: number, run: DataView): VcpuExit | undefined | 'unknown';

  /** Where the vCPU is and what is there, for the message of an internal error. Must not throw. */
  protected abstract describePlace(): string;

  abstract save(): VcpuState;
  abstract restore(state: VcpuState): void;

  /** The source under which the VM's pump knows the thread. */
  get thread(): KvmThread {
    return this.#thread;
  }

  run(): VcpuExit {
    this.checkStill('run');
    if (this.#thread.exists) throw wrongState('run() needs a vCPU without a thread');
    this.#inRun = true;
    try {
      return this.#run();
    } finally {
      this.#inRun = false;
    }
  }

  #run(): VcpuExit {
    const { exits } = this;
    // A callback threw before the exit could be told, or it is one of several accesses.
    const pending = exits.waiting ? exits.take() : exits.next();
    if (pending !== undefined) return pending;
    for (;;) {
      if (this.#kicked) {
        this.#kicked = false;
        return this.#interrupted;
      }
      const errno = this.native.run();
      exits.completed();
      this.#owner.drain();
      switch (errno) {
        case 0: {
          const exit = exits.take();
          if (exit !== undefined) return exit;
          break;
        }
        case ERRNO.EINTR:
        case ERRNO.EAGAIN:
          break;
        case ERRNO.ECANCELED:
          throw new HypervisorError('DISPOSED', 'the environment of the VM is ending');
        default:
          return exits.failRun(errno);
      }
    }
  }

  kick(): void {
    this.checkUsable();
    // Nothing of the owner runs while its thread is in KVM_RUN, so run() looks at the flag only.
    if (this.#thread.exists) this.#thread.kick();
    else this.#kicked = true;
  }

  async start(handler: ExitHandler): Promise<void> {
    this.checkStill('start');
    if (this.#thread.exists) throw wrongState('the vCPU has a thread already');
    this.#kicked = false;
    await this.#thread.start(handler);
  }

  async pause(): Promise<void> {
    this.checkUsable();
    await this.#thread.pause();
  }

  resume(): void {
    this.checkUsable();
    this.#thread.resume();
  }

  async stop(): Promise<void> {
    await this.#thread.stop();
  }

  /** Whether the vCPU runs now, on this thread or on its own. */
  get running(): boolean {
    return this.#inRun || !this.#thread.still;
  }

  /**
   * Completes the access that the owner has answered, so that the vCPU's state is between two instructions.
   *
   * @throws HypervisorError `WRONG_STATE` when the instruction has more accesses
   */
  protected settle(): void {
    const { exits } = this;
    if (!exits.waiting && !exits.unfinished) {
      if (!exits.open) return;
      exits.next();
      this.native.kick();
      const errno = this.native.run();
      exits.completed();
      if (errno === ERRNO.EINTR) return;
      if (errno !== 0) throw wrongState(`the last access cannot be completed: errno ${errno}`);
    }
    throw wrongState(`an instruction of vCPU ${this.id} has more accesses: run() until it is done`);
  }

  /** A state that was restored replaces everything that the last exit left. */
  protected forgetExit(): void {
    this.exits.clear();
    this.#kicked = false;
  }

  /**
   * An ioctl of the vCPU.
   *
   * @param what what is attempted, for the message
   * @param codes error codes for some errno
   * @throws HypervisorError
   */
  protected ioctl(
    what: string,
    request: number,
    argument: IoctlArgument,
    codes?: Readonly<Partial<Record<string, HypervisorError['code']>>>,
  ): number {
    try {
      return this.native.ioctl(request, argument);
    } catch (error) {
      throw systemError(`vCPU ${this.id}: ${what}`, error, codes);
    }
  }

  protected checkUsable(): void {
    if (this.#disposed) throw new HypervisorError('DISPOSED', `vCPU ${this.id} has been disposed`);
    this.#owner.checkUsable();
  }

  /** As {@link checkStill}, but the handler of an exit may look as well. */
  protected checkReadable(what: string): void {
    if (this.#thread.serving) this.checkUsable();
    else this.checkStill(what);
  }

  /** @throws HypervisorError `WRONG_STATE` while the vCPU runs, `DISPOSED` */
  protected checkStill(what: string): void {
    this.checkUsable();
    if (this.#inRun) throw wrongState(`${what}: only after run() has returned`);
    if (!this.#thread.still) {
      throw wrongState(`${what}: only while the thread of vCPU ${this.id} stands still`);
    }
  }

  /** Stops the thread, if there is one, in the background; the VM's disposal waits for it. */
  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    void this.#thread.end();
  }

  /** Stops the thread and waits for that. */
  async end(): Promise<void> {
    this[Symbol.dispose]();
    await this.#thread.end();
  }

  /** Closes the file descriptor; the vCPU has been disposed. */
  close(): void {
    this.native.close();
  }

  /** Makes the thread's `start()` reject. */
  fail(error: unknown): void {
    this.#thread.fail(error);
  }
}

export function wrongState(message: string): HypervisorError {
  return new HypervisorError('WRONG_STATE', message);
}
