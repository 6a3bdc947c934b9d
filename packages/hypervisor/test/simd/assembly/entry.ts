// Test entry: executes the same groups of cases as runner.c, with the same results.
import { execSimdFp, execSimdLoadStore } from '../../../assembly/simd';
import { CPU_FAULTED, CPU_FPCR, CPU_FPSR, CPU_V, VCPU_BASE } from '../../../assembly/layout';
import { getNZCV, setNZCV } from '../../../assembly/state';
import { MEMORY_OFFSET, MEMORY_SIZE } from '../../../assembly/mem';

const CPU: usize = VCPU_BASE;

function setUp(state: usize): void {
  memory.fill(CPU, 0, 0x1000);
  memory.copy(CPU + CPU_V, state, 512);
  memory.copy(CPU, state + 512, 128);
  setNZCV(CPU, load<u32>(state, 760));
  store<u32>(CPU, load<u32>(state, 764), CPU_FPCR);
  store<u32>(CPU, load<u32>(state, 768), CPU_FPSR);
  memory.copy(MEMORY_OFFSET, state + 784, MEMORY_SIZE);
}

function mix(hash: u64, words: usize, count: u32): u64 {
  for (let i: u32 = 0; i < count; i++) hash = (hash ^ load<u64>(words + (i << 3))) * 0x9e3779b97f4a7c15 + (hash >> 29);
  return hash;
}

/** Runs the instructions of the group at `group`; results of 48 bytes each go to `results`. */
export function runGroup(group: usize, results: usize): void {
  const count = load<u32>(group, 772);
  for (let i: u32 = 0; i < count; i++) {
    const insn = load<u32>(group + 1040 + (i << 2));
    setUp(group);
    const done = (insn & 0x0e000000) == 0x0e000000 ? execSimdFp(CPU, insn) : execSimdLoadStore(CPU, insn);
    const rd = insn & 31;
    const to = results + i * 48;
    v128.store(to, v128.load(CPU + (rd << 4), CPU_V));
    store<u64>(to, rd < 16 ? load<u64>(CPU + (rd << 3)) : 0, 16);
    store<u32>(to, getNZCV(CPU), 24);
    store<u32>(to, load<u32>(CPU, CPU_FPSR), 28);
    store<u32>(to, u32(!done) | (load<u32>(CPU, CPU_FAULTED) << 1), 32);
    store<u32>(to, 0, 36);
    store<u64>(to, mix(mix(mix(0, CPU + CPU_V, 64), CPU, 16), MEMORY_OFFSET, MEMORY_SIZE / 8), 40);
  }
}

/** Runs one instruction `times` times on the state as it is, for measurements. */
export function repeat(insn: u32, times: u32): void {
  for (let i: u32 = 0; i < times; i++) execSimdFp(CPU, insn);
}
