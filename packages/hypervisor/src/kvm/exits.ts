import { constants } from 'node:os';
import type { InternalErrorExit, IoExit, MmioExit, SystemEventExit, VcpuExit } from '../exit.ts';
import {
  KVM_EXIT,
  KVM_EXIT_IO_OUT,
  KVM_INTERNAL_ERROR,
  KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES,
  KVM_SYSTEM_EVENT_CRASH,
  KVM_SYSTEM_EVENT_RESET,
  KVM_SYSTEM_EVENT_SHUTDOWN,
  RUN_EMULATION_FLAGS,
  RUN_EMULATION_INSN_BYTES,
  RUN_EMULATION_INSN_SIZE,
  RUN_EXIT_REASON,
  RUN_FAIL_ENTRY_CPU,
  RUN_HARDWARE_REASON,
  RUN_INTERNAL_DATA,
  RUN_INTERNAL_NDATA,
  RUN_INTERNAL_SUBERROR,
  RUN_IO_COUNT,
  RUN_IO_DATA_OFFSET,
  RUN_IO_DIRECTION,
  RUN_IO_PORT,
  RUN_IO_SIZE,
  RUN_MMIO_DATA,
  RUN_MMIO_IS_WRITE,
  RUN_MMIO_LEN,
  RUN_MMIO_PHYS_ADDR,
  RUN_SYSTEM_EVENT_TYPE,
} from './uapi.ts';

export type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** What an architecture adds to {@link KvmExits}. */
export interface ExitExtension {
  /**
   * Decodes an exit that only this architecture has. `undefined`: there is nothing to do, the guest goes on.
   * `unknown`: not one of its exits either.
   */
  decode(reason: number, run: DataView): VcpuExit | undefined | 'unknown';
  /** What helps to understand why the vCPU cannot go on: where it is and what is there. */
  describe(): string;
}

/** `exit` is in `kvm_run` and not yet in an exit object. */
const NONE = 0;
const MMIO = 1;
const IO = 2;

/** In place of bits 63:32 of an MMIO exit's address, which KVM only writes: the exit has been taken. */
const TAKEN = 0xffff_ffff;

/**
 * Turns `kvm_run` into exits, in objects that are used again. One exit of KVM may be several accesses: string I/O
 * (`count`), and MMIO whose width is no power of two because the instruction's operand crosses a page. They are told one
 * after the other, and only then the guest goes on.
 */
export class KvmExits {
  readonly run: DataView;
  readonly #extension: ExitExtension;
  readonly #mmio: Mutable<MmioExit> = {
    reason: 'mmio',
    address: 0,
    length: 4,
    write: false,
    value: 0,
    valueHigh: 0,
  };
  readonly #io: Mutable<IoExit> = { reason: 'io', port: 0, length: 1, write: false, value: 0 };
  readonly #systemEvent: Mutable<SystemEventExit> = { reason: 'systemEvent', event: 'shutdown' };
  readonly #internalError: Mutable<InternalErrorExit> = { reason: 'internalError', message: '' };
  /** Kind of the access that was told last. */
  #access: typeof NONE | typeof MMIO | typeof IO = NONE;
  /** Where its data is in `run`. */
  #data = 0;
  /** Bytes (MMIO) or elements (I/O) of the exit that come after it. */
  #left = 0;
  #open = false;

  constructor(page: ArrayBuffer, extension: ExitExtension) {
    this.run = new DataView(page);
    this.#extension = extension;
  }

  /** Whether KVM has an access that it completes when the guest is entered the next time. */
  get open(): boolean {
    return this.#open;
  }

  /** KVM_RUN has been called, and has completed the access that was open. */
  completed(): void {
    this.#open = false;
  }

  /** Whether KVM_RUN came back with an exit that {@link take} has not taken yet. */
  get waiting(): boolean {
    const reason = this.run.getUint32(RUN_EXIT_REASON, true);
    if (reason === KVM_EXIT.MMIO) return this.run.getUint32(RUN_MMIO_PHYS_ADDR + 4, true) !== TAKEN;
    return reason !== KVM_EXIT.INTR && reason !== KVM_EXIT.UNKNOWN;
  }

  /** The exit with which KVM_RUN came back; `undefined` when there is nothing for the owner to do. */
  take(): VcpuExit | undefined {
    const { run } = this;
    const reason = run.getUint32(RUN_EXIT_REASON, true);
    const exit = this.#decode(reason);
    // KVM of arm64 completes an MMIO access only while the reason says that there is one.
    if (reason === KVM_EXIT.MMIO) run.setUint32(RUN_MMIO_PHYS_ADDR + 4, TAKEN, true);
    else run.setUint32(RUN_EXIT_REASON, KVM_EXIT.INTR, true);
    this.#open = this.#access !== NONE;
    return exit;
  }

  #decode(reason: number): VcpuExit | undefined {
    const { run } = this;
    this.#access = NONE;
    switch (reason) {
      case KVM_EXIT.IO:
        return this.#beginIo();
      case KVM_EXIT.MMIO:
        return this.#beginMmio();
      case KVM_EXIT.INTR:
        return undefined;
      case KVM_EXIT.SYSTEM_EVENT:
        return this.#makeSystemEvent();
      case KVM_EXIT.INTERNAL_ERROR:
        return this.fail(this.#internalErrorMessage());
      case KVM_EXIT.FAIL_ENTRY:
        return this.fail(
          `the processor refused the vCPU's state (KVM_EXIT_FAIL_ENTRY, hardware reason 0x${hex64(run, RUN_HARDWARE_REASON)} ` +
            `on CPU ${run.getUint32(RUN_FAIL_ENTRY_CPU, true)})`,
        );
      case KVM_EXIT.UNKNOWN:
        return this.fail(
          `KVM does not know the processor's exit (KVM_EXIT_UNKNOWN, hardware reason 0x${hex64(run, RUN_HARDWARE_REASON)})`,
        );
      default: {
        const exit = this.#extension.decode(reason, run);
        return exit === 'unknown' ? this.fail(`exit ${reason} of KVM is not one this backend handles`) : exit;
      }
    }
  }

  /**
   * Stores the answer to the access that was told last, if it was a read.
   *
   * @returns the next access of the same exit, or `undefined` when the guest can go on
   */
  next(): VcpuExit | undefined {
    switch (this.#access) {
      case NONE:
        return undefined;
      case MMIO:
        this.#answerMmio();
        if (this.#left === 0) break;
        this.#data += this.#mmio.length;
        this.#mmio.address += this.#mmio.length;
        return this.#nextMmio();
      case IO:
        this.#answerIo();
        if (this.#left === 0) break;
        this.#data += this.#io.length;
        return this.#nextIo();
    }
    this.#access = NONE;
    return undefined;
  }

  /** As {@link next}, but goes no further: the same access may be answered again. */
  answer(): void {
    if (this.#access === MMIO) this.#answerMmio();
    if (this.#access === IO) this.#answerIo();
  }

  /** Whether accesses of the exit have not been told. */
  get unfinished(): boolean {
    return this.#access !== NONE && this.#left > 0;
  }

  /** Forgets everything, for a vCPU that gets another state. */
  clear(): void {
    this.#access = NONE;
    this.#open = false;
    this.run.setUint32(RUN_EXIT_REASON, KVM_EXIT.INTR, true);
  }

  /** The exit for a vCPU that cannot go on. */
  fail(why: string): InternalErrorExit {
    this.#internalError.message = `${why}; ${this.#extension.describe()}`;
    return this.#internalError;
  }

  /** The exit for an errno of KVM_RUN. */
  failRun(errno: number): InternalErrorExit {
    const name = Object.entries(constants.errno).find(([, value]) => value === errno)?.[0] ?? 'unknown';
    return this.fail(`KVM_RUN failed: ${name} (errno ${errno})`);
  }

  #beginMmio(): VcpuExit {
    const { run } = this;
    const length = run.getUint32(RUN_MMIO_LEN, true);
    if (length === 0 || length > 8) return this.fail(`KVM tells of an MMIO access of ${length} bytes`);
    const exit = this.#mmio;
    exit.address =
      run.getUint32(RUN_MMIO_PHYS_ADDR, true) + run.getUint32(RUN_MMIO_PHYS_ADDR + 4, true) * 2 ** 32;
    exit.write = run.getUint8(RUN_MMIO_IS_WRITE) !== 0;
    this.#access = MMIO;
    this.#data = RUN_MMIO_DATA;
    this.#left = length;
    return this.#nextMmio();
  }

  #nextMmio(): MmioExit {
    const { run } = this;
    const exit = this.#mmio;
    const left = this.#left;
    const length = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
    exit.length = length;
    exit.value = exit.write ? load(run, this.#data, length) : 0;
    exit.valueHigh = exit.write && length === 8 ? run.getUint32(this.#data + 4, true) : 0;
    this.#left = left - length;
    return exit;
  }

  #answerMmio(): void {
    const { run } = this;
    const { write, length, value, valueHigh } = this.#mmio;
    if (write) return;
    store(run, this.#data, length, value);
    if (length === 8) run.setUint32(this.#data + 4, valueHigh, true);
  }

  #beginIo(): VcpuExit {
    const { run } = this;
    const size = run.getUint8(RUN_IO_SIZE);
    const count = run.getUint32(RUN_IO_COUNT, true);
    const data = run.getUint32(RUN_IO_DATA_OFFSET, true);
    if ((size !== 1 && size !== 2 && size !== 4) || count === 0 || data + size * count > run.byteLength) {
      return this.fail(`KVM tells of port I/O of ${count} times ${size} bytes at offset ${data}`);
    }
    const exit = this.#io;
    exit.port = run.getUint16(RUN_IO_PORT, true);
    exit.length = size;
    exit.write = run.getUint8(RUN_IO_DIRECTION) === KVM_EXIT_IO_OUT;
    this.#access = IO;
    this.#data = data;
    this.#left = count;
    return this.#nextIo();
  }

  #nextIo(): IoExit {
    const exit = this.#io;
    exit.value = exit.write ? load(this.run, this.#data, exit.length) : 0;
    this.#left--;
    return exit;
  }

  #answerIo(): void {
    const { write, length, value } = this.#io;
    if (!write) store(this.run, this.#data, length, value);
  }

  #makeSystemEvent(): VcpuExit {
    const type = this.run.getUint32(RUN_SYSTEM_EVENT_TYPE, true);
    switch (type) {
      case KVM_SYSTEM_EVENT_SHUTDOWN:
        this.#systemEvent.event = 'shutdown';
        return this.#systemEvent;
      case KVM_SYSTEM_EVENT_RESET:
        this.#systemEvent.event = 'reset';
        return this.#systemEvent;
      case KVM_SYSTEM_EVENT_CRASH:
        return this.fail('the guest says that it has crashed (KVM_SYSTEM_EVENT_CRASH)');
      default:
        return this.fail(`system event ${type} of KVM is not one this backend handles`);
    }
  }

  #internalErrorMessage(): string {
    const { run } = this;
    const suberror = run.getUint32(RUN_INTERNAL_SUBERROR, true);
    const name = KVM_INTERNAL_ERROR[suberror];
    const count = Math.min(run.getUint32(RUN_INTERNAL_NDATA, true), 16);
    const parts = [
      `KVM cannot go on (KVM_EXIT_INTERNAL_ERROR, ${name === undefined ? `suberror ${suberror}` : `${name}, suberror ${suberror}`})`,
    ];
    if (suberror === 1) {
      const flags = count > 0 ? run.getUint32(RUN_EMULATION_FLAGS, true) : 0;
      const size = run.getUint8(RUN_EMULATION_INSN_SIZE);
      if (
        (flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) !== 0 &&
        count >= 3 &&
        size > 0 &&
        size <= 15
      ) {
        parts.push(`instruction bytes ${hexBytes(run, RUN_EMULATION_INSN_BYTES, size)}`);
      }
    } else if (count > 0) {
      const words = Array.from(
        { length: count },
        (_, index) => `0x${hex64(run, RUN_INTERNAL_DATA + 8 * index)}`,
      );
      parts.push(`data ${words.join(' ')}`);
    }
    return parts.join(', ');
  }
}

function load(view: DataView, offset: number, length: number): number {
  if (length === 1) return view.getUint8(offset);
  if (length === 2) return view.getUint16(offset, true);
  return view.getUint32(offset, true);
}

function store(view: DataView, offset: number, length: number, value: number): void {
  if (length === 1) view.setUint8(offset, value);
  else if (length === 2) view.setUint16(offset, value, true);
  else view.setUint32(offset, value, true);
}

function hex64(view: DataView, offset: number): string {
  return view.getBigUint64(offset, true).toString(16);
}

/** Bytes as two digits each. */
export function hexBytes(view: DataView, offset: number, length: number): string {
  return Array.from({ length }, (_, index) =>
    view
      .getUint8(offset + index)
      .toString(16)
      .padStart(2, '0'),
  ).join(' ');
}
