import { decodeState, encodeState, invalid } from '../state-codec.ts';
import type { EngineLayout } from './layout.ts';
import type { SharedState, VcpuWords } from './shared.ts';
import { PHYSICAL_ADDRESS_LIMIT } from '../validate.ts';

const MAGIC = 0x5550_4356;
export const VCPU_STATE_VERSION = 1;
const WHAT = 'the state of the vCPU';

// Offsets in the payload.
const POWER = 0;
const OPEN = 4;
const COUNTER = 8;
const INSTRUCTIONS = 16;
const REASON = 24;
const LENGTH = 28;
const ADDRESS = 32;
const VALUE = 40;
const WRITE = 48;
const DETAIL = 52;
const COUNT = 56;
const CURSOR = 60;
const LOG = 64;

/** What {@link encodeVcpuState} keeps besides what lies in the vCPU block. */
export interface VcpuRemainder {
  /** Nanoseconds that the generic timer's counter has counted. */
  readonly counterNanoseconds: bigint;
}

/**
 * The part of a vCPU that no architectural register shows: power state, counters, and the MMIO accesses of an
 * unfinished instruction (ENGINE.md, "Exits").
 */
export function encodeVcpuState(
  shared: SharedState,
  vcpu: VcpuWords,
  block: number,
  remainder: VcpuRemainder,
): Uint8Array {
  const { words, layout, memory } = shared;
  const logSize = layout.MMIO_LOG_ENTRIES * layout.MMIO_LOG_STRIDE;
  const payload = new Uint8Array(LOG + logSize);
  const view = new DataView(payload.buffer);
  view.setInt32(POWER, words[vcpu.power]!, true);
  view.setInt32(OPEN, words[(block + layout.MMIO_OPEN) / 4]!, true);
  view.setBigUint64(COUNTER, BigInt.asUintN(64, remainder.counterNanoseconds), true);
  copyWords(words, (block + layout.CPU_INSTRUCTIONS) / 4, 2, view, INSTRUCTIONS);
  view.setInt32(REASON, words[vcpu.exitReason]!, true);
  view.setInt32(LENGTH, words[vcpu.exitLength]!, true);
  copyWords(words, vcpu.exitAddress, 2, view, ADDRESS);
  copyWords(words, vcpu.exitValue, 2, view, VALUE);
  view.setInt32(WRITE, words[vcpu.exitWrite]!, true);
  view.setInt32(DETAIL, words[vcpu.exitDetail]!, true);
  view.setInt32(COUNT, words[(block + layout.MMIO_COUNT) / 4]!, true);
  view.setInt32(CURSOR, words[(block + layout.MMIO_CURSOR) / 4]!, true);
  payload.set(new Uint8Array(memory.buffer, block + layout.MMIO_LOG, logSize), LOG);
  return encodeState(MAGIC, VCPU_STATE_VERSION, payload);
}

/**
 * Checks what {@link encodeVcpuState} made. The result puts it in place.
 *
 * @throws HypervisorError `INVALID_ARGUMENT`
 */
export function decodeVcpuState(
  shared: SharedState,
  vcpu: VcpuWords,
  block: number,
  opaque: unknown,
): { remainder: VcpuRemainder; apply: () => void } {
  const { words, layout, memory } = shared;
  const view = decodeState(WHAT, MAGIC, VCPU_STATE_VERSION, opaque);
  const logSize = layout.MMIO_LOG_ENTRIES * layout.MMIO_LOG_STRIDE;
  if (view.byteLength !== LOG + logSize) throw invalid(WHAT, 'its length does not fit');
  checkPayload(view, layout);
  return {
    remainder: { counterNanoseconds: view.getBigInt64(COUNTER, true) },
    apply: () => {
      Atomics.store(words, vcpu.power, view.getInt32(POWER, true));
      words[(block + layout.MMIO_OPEN) / 4] = view.getInt32(OPEN, true);
      storeWords(words, (block + layout.CPU_INSTRUCTIONS) / 4, 2, view, INSTRUCTIONS);
      words[vcpu.exitReason] = view.getInt32(REASON, true);
      words[vcpu.exitLength] = view.getInt32(LENGTH, true);
      storeWords(words, vcpu.exitAddress, 2, view, ADDRESS);
      storeWords(words, vcpu.exitValue, 2, view, VALUE);
      words[vcpu.exitWrite] = view.getInt32(WRITE, true);
      words[vcpu.exitDetail] = view.getInt32(DETAIL, true);
      words[(block + layout.MMIO_COUNT) / 4] = view.getInt32(COUNT, true);
      words[(block + layout.MMIO_CURSOR) / 4] = view.getInt32(CURSOR, true);
      const log = new Uint8Array(view.buffer, view.byteOffset + LOG, logSize);
      new Uint8Array(memory.buffer).set(log, block + layout.MMIO_LOG);
    },
  };
}

function checkPayload(view: DataView, layout: EngineLayout): void {
  const open = view.getUint32(OPEN, true);
  if (view.getUint32(POWER, true) > 1 || open > 1) throw invalid(WHAT, 'a flag is neither 0 nor 1');
  if (view.getBigInt64(COUNTER, true) < 0n) throw invalid(WHAT, 'its counter is negative');
  if (open === 1) {
    if (view.getUint32(REASON, true) !== layout.EXIT_MMIO)
      throw invalid(WHAT, 'its open exit is not one of MMIO');
    checkAccess(view, ADDRESS, LENGTH, WRITE);
  }
  const count = view.getUint32(COUNT, true);
  if (count > layout.MMIO_LOG_ENTRIES || view.getUint32(CURSOR, true) > count) {
    throw invalid(WHAT, 'its log of MMIO accesses is longer than the engine keeps');
  }
  // The answer to the open exit is going to be the next entry.
  if (open === 1 && count === layout.MMIO_LOG_ENTRIES)
    throw invalid(WHAT, 'its log of MMIO accesses is full');
  for (let index = 0; index < count; index++) {
    const entry = LOG + index * layout.MMIO_LOG_STRIDE;
    checkAccess(view, entry + layout.LOG_ADDRESS, entry + layout.LOG_LENGTH, entry + layout.LOG_WRITE);
  }
}

function checkAccess(view: DataView, address: number, length: number, write: number): void {
  const bytes = view.getUint32(length, true);
  const high = view.getUint32(address + 4, true);
  const ok = (bytes === 1 || bytes === 2 || bytes === 4 || bytes === 8) && view.getUint32(write, true) <= 1;
  if (!ok || high >= PHYSICAL_ADDRESS_LIMIT / 2 ** 32)
    throw invalid(WHAT, 'an MMIO access in it is impossible');
}

function copyWords(words: Int32Array, from: number, count: number, view: DataView, to: number): void {
  for (let index = 0; index < count; index++) view.setInt32(to + 4 * index, words[from + index]!, true);
}

function storeWords(words: Int32Array, to: number, count: number, view: DataView, from: number): void {
  for (let index = 0; index < count; index++) words[to + index] = view.getInt32(from + 4 * index, true);
}
