import type { EngineLayout } from './layout.ts';
import type { WasmMemory } from './webassembly.ts';

/**
 * What a vCPU thread is to do; `command` in {@link VcpuWords}. A request to pause is a number that was not used
 * before, so that a thread which is late for one cannot take the next for the same.
 */
export const COMMAND_RUN = 0;
export const COMMAND_STOP = 1;
export const FIRST_PAUSE = 2;

/** States of the exit slot; `slotState` in {@link VcpuWords}. */
export const SLOT_RUNNING = 0;
export const SLOT_EXIT = 1;
export const SLOT_ANSWERED = 2;

/** The backend's own part of the header page: a block for each vCPU, then tables of undefined instructions. */
const BACKEND_STRIDE = 0x100;
const BACKEND_COMMAND = 0x00;
const BACKEND_PAUSED = 0x04;
/** Bytes of the message of a failed engine, then its text in UTF-16. */
const BACKEND_MESSAGE_LENGTH = 0x08;
const BACKEND_MESSAGE = 0x0c;
export const MESSAGE_MAX_LENGTH: number = (BACKEND_STRIDE - BACKEND_MESSAGE) / 2;

const UNDEFINED_TABLES = 0x1000;
/** Bytes of one vCPU's table. */
export const UNDEFINED_TABLE_SIZE = 0x700;

/** Indices of 32-bit words of a vCPU. */
export interface VcpuWords {
  readonly attention: number;
  readonly kick: number;
  readonly slotState: number;
  readonly power: number;
  readonly exitReason: number;
  readonly exitLength: number;
  readonly exitAddress: number;
  readonly exitValue: number;
  readonly exitWrite: number;
  readonly exitDetail: number;
  readonly command: number;
  /** The request to pause that the thread obeys or obeyed last. */
  readonly paused: number;
  readonly messageLength: number;
  /** Index of the first half-word of the message. */
  readonly message: number;
  readonly undefinedTable: number;
}

export function vcpuWords(layout: EngineLayout, index: number): VcpuWords {
  const block = layout.VCPU_BASE + index * layout.VCPU_STRIDE;
  const backend = layout.HEADER + layout.HEADER_BACKEND;
  const own = backend + index * BACKEND_STRIDE;
  return {
    attention: (block + layout.CPU_ATTENTION) / 4,
    kick: (block + layout.CPU_KICK) / 4,
    slotState: (block + layout.CPU_SLOT_STATE) / 4,
    power: (block + layout.CPU_POWER) / 4,
    exitReason: (block + layout.EXIT_REASON) / 4,
    exitLength: (block + layout.EXIT_LENGTH) / 4,
    exitAddress: (block + layout.EXIT_ADDRESS) / 4,
    exitValue: (block + layout.EXIT_VALUE) / 4,
    exitWrite: (block + layout.EXIT_WRITE) / 4,
    exitDetail: (block + layout.EXIT_DETAIL) / 4,
    command: (own + BACKEND_COMMAND) / 4,
    paused: (own + BACKEND_PAUSED) / 4,
    messageLength: (own + BACKEND_MESSAGE_LENGTH) / 4,
    message: (own + BACKEND_MESSAGE) / 2,
    undefinedTable: (backend + UNDEFINED_TABLES + index * UNDEFINED_TABLE_SIZE) / 4,
  };
}

/** The shared memory of a VM as words, with what both sides of a vCPU thread do with it. */
export class SharedState {
  readonly layout: EngineLayout;
  readonly memory: WasmMemory;
  readonly words: Int32Array<SharedArrayBuffer>;
  readonly ownerWake: number;

  constructor(memory: WasmMemory, layout: EngineLayout) {
    this.memory = memory;
    this.layout = layout;
    // The memory never grows, so the buffer is the whole memory for good.
    this.words = new Int32Array(memory.buffer);
    this.ownerWake = (layout.HEADER + layout.HEADER_OWNER_WAKE) / 4;
  }

  /** Unsigned 64-bit number at a word index; exact below 2^53. */
  readNumber(word: number): number {
    return (this.words[word]! >>> 0) + (this.words[word + 1]! >>> 0) * 2 ** 32;
  }

  /** Stores an unsigned number below 2^53 at a word index. */
  writeNumber(word: number, value: number): void {
    this.words[word] = (value % 2 ** 32) | 0;
    this.words[word + 1] = Math.floor(value / 2 ** 32);
  }

  wakeOwner(): void {
    Atomics.add(this.words, this.ownerWake, 1);
    Atomics.notify(this.words, this.ownerWake);
  }

  /** Makes a vCPU look at its interrupt inputs, power state and command. */
  wakeVcpu(vcpu: VcpuWords): void {
    Atomics.store(this.words, vcpu.attention, 1);
    Atomics.notify(this.words, vcpu.attention);
  }

  /** Leaves the message of an engine that failed for {@link readMessage}. */
  writeMessage(vcpu: VcpuWords, message: string): void {
    const text = message.slice(0, MESSAGE_MAX_LENGTH);
    const halves = new Uint16Array(this.memory.buffer);
    for (let index = 0; index < text.length; index++) halves[vcpu.message + index] = text.charCodeAt(index);
    Atomics.store(this.words, vcpu.messageLength, text.length);
  }

  readMessage(vcpu: VcpuWords): string {
    const length = Math.min(Atomics.load(this.words, vcpu.messageLength), MESSAGE_MAX_LENGTH);
    const halves = new Uint16Array(this.memory.buffer);
    let text = '';
    for (let index = 0; index < length; index++) text += String.fromCharCode(halves[vcpu.message + index]!);
    return text;
  }
}
