import {
  enterRunning, leaveRunning, multiprocessor, pauseIfStopped, resumeOthers, serveRequests, stopAll,
} from './barrier';
import { advanceInstructions, instructionClock } from './clock';
import { clearAllLines } from './decode-cache';
import { execute } from './execute';
import { resolve } from './fetch';
import { gicSample } from './gic';
import { takeInterrupt } from './interrupts';
import { runSlice } from './interpreter';
import {
  CPU_ATTENTION, CPU_FAULTED, CPU_INSTRUCTIONS, CPU_KICK, CPU_LEFT, CPU_PC, CPU_POWER, CPU_SLICE,
  CPU_SLOW_MODE, EXIT_INTERRUPTED, EXIT_POWERED_OFF, EXIT_REASON, HEADER, HEADER_VCPU_COUNT, SLOT_PAGE,
} from './layout';
import { completeMmio, mmioReplayPending } from './mmio';
import { resetVcpu } from './reset';
import { EXIT, NEXT } from './status';
import { vcpuBlock } from './state';
import { instructionsUntilTimer, timerUpdate } from './timer';
import { flushAll } from './tlb';

/** Most instructions between two looks at interrupts, attention and time. */
const SLICE: u32 = 4096;
/** The same where another vCPU may be waiting at a barrier for this one to look. */
const SLICE_MULTIPROCESSOR: u32 = 1024;

function leave(cpu: usize, reason: u32): u32 {
  store<u32>(cpu, reason, EXIT_REASON);
  return reason;
}

/** Takes what the owner and other vCPUs left for this one; a reason to return to the host, or 0. */
function attend(cpu: usize): u32 {
  if (atomic.load<i32>(cpu + CPU_ATTENTION) == 0) return 0;
  atomic.store<i32>(cpu + CPU_ATTENTION, 0);
  serveRequests(cpu);
  pauseIfStopped(cpu);
  gicSample();
  if (atomic.load<i32>(cpu + CPU_KICK) != 0) {
    atomic.store<i32>(cpu + CPU_KICK, 0);
    return leave(cpu, EXIT_INTERRUPTED);
  }
  return atomic.load<u32>(cpu + CPU_POWER) ? leave(cpu, EXIT_POWERED_OFF) : 0;
}

/** Executes instructions from their words, for as long as records cannot be used. */
function runWords(cpu: usize): u32 {
  while (<i32>load<u32>(cpu, CPU_LEFT) > 0) {
    const record = resolve(cpu);
    let status: u32 = NEXT;
    if (record != 0) {
      const pc = load<u64>(cpu, CPU_PC);
      const offset = <u32>pc & 0xfff;
      status = execute(cpu, load<u32>(load<u32>(record - (offset << 1), SLOT_PAGE) + offset));
      if (status == NEXT) store<u64>(cpu, pc + 4, CPU_PC);
    }
    if (status == EXIT && load<u32>(cpu, CPU_FAULTED) != 0) return EXIT;
    store<u32>(cpu, load<u32>(cpu, CPU_LEFT) - 1, CPU_LEFT);
    if (status != NEXT) return status;
    if (load<u32>(cpu, CPU_SLOW_MODE) == 0) return NEXT;
  }
  return NEXT;
}

function execution(cpu: usize, budget: i32): u32 {
  let remaining = budget;
  while (true) {
    // An instruction that was interrupted by its MMIO accesses is finished before anything else.
    const replay = mmioReplayPending(cpu);
    if (!replay) {
      const reason = attend(cpu);
      if (reason != 0) return reason;
    }
    timerUpdate(cpu);
    if (!replay) takeInterrupt(cpu);
    let slice = multiprocessor() ? SLICE_MULTIPROCESSOR : SLICE;
    if (budget > 0 && <u32>remaining < slice) slice = <u32>remaining;
    if (instructionClock()) slice = instructionsUntilTimer(cpu, slice);
    store<u32>(cpu, slice, CPU_SLICE);
    store<u32>(cpu, slice, CPU_LEFT);
    const status = load<u32>(cpu, CPU_SLOW_MODE) ? runWords(cpu) : runSlice(cpu);
    const executed = slice - load<u32>(cpu, CPU_LEFT);
    store<u32>(cpu, 0, CPU_SLICE);
    store<u32>(cpu, 0, CPU_LEFT);
    store<u64>(cpu, load<u64>(cpu, CPU_INSTRUCTIONS) + executed, CPU_INSTRUCTIONS);
    advanceInstructions(executed);
    if (status == EXIT) return load<u32>(cpu, EXIT_REASON);
    if (budget > 0) {
      remaining -= <i32>executed;
      if (remaining <= 0) return leave(cpu, EXIT_INTERRUPTED);
    }
  }
}

/** Runs a vCPU for at most about `budget` instructions (0: until there is a reason to return). */
export function run(index: u32, budget: i32): u32 {
  const cpu = vcpuBlock(index);
  if (atomic.load<u32>(cpu + CPU_POWER)) return leave(cpu, EXIT_POWERED_OFF);
  completeMmio(cpu);
  enterRunning(cpu);
  const reason = execution(cpu, budget);
  leaveRunning(cpu);
  return reason;
}

/** Architectural reset state. Also clears decoded pages: the host may have loaded other code. Other vCPUs may run. */
export function vcpuReset(index: u32): void {
  const cpu = vcpuBlock(index);
  stopAll();
  clearAllLines();
  resumeOthers();
  resetVcpu(cpu);
}

/** The host has mapped or unmapped memory, or replaced its contents; no vCPU runs. */
export function memoryChanged(): void {
  clearAllLines();
  const count = load<u32>(HEADER, HEADER_VCPU_COUNT);
  for (let i: u32 = 0; i < count; i++) flushAll(vcpuBlock(i));
}
