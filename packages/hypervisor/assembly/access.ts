import { instructionClock } from './clock';
import { getBankedSp, getPstate, legalMode, setBankedSp, setPstate } from './exceptions';
import { CPU_INSTRUCTIONS, CPU_PC, HEADER, HEADER_CLOCK } from './layout';
import {
  getFpcr, getFpsr, getX, setFpcr, setFpsr, setVHigh, setVLow, setX, vHigh, vLow, vcpuBlock,
} from './state';
import { readSystemRegister, setSystemRegisterByHost, systemValue } from './sysregs';
import { timerNanoseconds } from './timer';

// What the host reads and sets while a vCPU stands still.

const SP_EL0: u32 = 31;
const SP_EL1: u32 = 32;
const PC: u32 = 33;
const PSTATE: u32 = 34;
const FPCR: u32 = 35;
const FPSR: u32 = 36;
const V: u32 = 64;

export function getRegister(index: u32, id: u32): u64 {
  const cpu = vcpuBlock(index);
  if (id < 31) return getX(cpu, id);
  if (id >= V && id < V + 64) return id & 1 ? vHigh(cpu, (id - V) >> 1) : vLow(cpu, (id - V) >> 1);
  switch (id) {
    case SP_EL0: return getBankedSp(cpu, 0);
    case SP_EL1: return getBankedSp(cpu, 1);
    case PC: return load<u64>(cpu, CPU_PC);
    case PSTATE: return <u64>getPstate(cpu);
    case FPCR: return <u64>getFpcr(cpu);
    case FPSR: return <u64>getFpsr(cpu);
    default: return 0;
  }
}

/** A PSTATE of a mode that the vCPU does not have is ignored. */
export function setRegister(index: u32, id: u32, value: u64): void {
  const cpu = vcpuBlock(index);
  if (id < 31) {
    setX(cpu, id, value);
    return;
  }
  if (id >= V && id < V + 64) {
    if (id & 1) setVHigh(cpu, (id - V) >> 1, value);
    else setVLow(cpu, (id - V) >> 1, value);
    return;
  }
  switch (id) {
    case SP_EL0: { setBankedSp(cpu, 0, value); break; }
    case SP_EL1: { setBankedSp(cpu, 1, value); break; }
    case PC: { store<u64>(cpu, value, CPU_PC); break; }
    case PSTATE: {
      if (legalMode(<u32>value)) setPstate(cpu, <u32>value);
      break;
    }
    case FPCR: { setFpcr(cpu, <u32>value); break; }
    case FPSR: { setFpsr(cpu, <u32>value); break; }
    default:
  }
}

export function hasSystemRegister(encoding: u32): bool {
  return readSystemRegister(vcpuBlock(0), encoding);
}

export function getSystemRegister(index: u32, encoding: u32): u64 {
  return readSystemRegister(vcpuBlock(index), encoding) ? systemValue : 0;
}

/** False when there is no such register, or it does not take the value. */
export function setSystemRegister(index: u32, encoding: u32, value: u64): bool {
  return setSystemRegisterByHost(vcpuBlock(index), encoding, value);
}

/** Nanoseconds until the next enabled, unmasked timer of the vCPU fires; Infinity if none. */
export function timerDelay(index: u32): f64 {
  const delay = timerNanoseconds(vcpuBlock(index));
  return delay == ~<u64>0 ? Infinity : <f64>delay;
}

/** Instructions retired. */
export function instructionCount(index: u32): f64 {
  return <f64>load<u64>(vcpuBlock(index), CPU_INSTRUCTIONS);
}

/** Instruction clock: lets virtual time jump ahead, as when all vCPUs wait. */
export function advanceClock(nanoseconds: f64): void {
  if (instructionClock()) atomic.add<u64>(HEADER + HEADER_CLOCK, <u64>nanoseconds);
}
