import { serveRequests } from './barrier';
import { resetVcpu } from './reset';
import {
  CPU_ATTENTION, CPU_PC, CPU_POWER, CPU_RUNNING, EXIT_POWERED_OFF, EXIT_REASON, EXIT_RESET, EXIT_SHUTDOWN, HEADER,
  HEADER_POWER_LOCK, HEADER_VCPU_COUNT, SYS_MPIDR,
} from './layout';
import { acquire, release } from './lock';
import { EXIT, NEXT } from './status';
import { getX, setX, vcpuBlock } from './state';

// PSCI 1.1 (Arm DEN 0022) by HVC. Function identifiers are SMCCC's: bit 30 chooses the 64-bit calling convention.

const SMC64: u32 = 0x40000000;
const PSCI_VERSION: u32 = 0x84000000;
const CPU_OFF: u32 = 0x84000002;
const CPU_ON: u32 = 0x84000003;
const AFFINITY_INFO: u32 = 0x84000004;
const MIGRATE_INFO_TYPE: u32 = 0x84000006;
const SYSTEM_OFF: u32 = 0x84000008;
const SYSTEM_RESET: u32 = 0x84000009;
const PSCI_FEATURES: u32 = 0x8400000a;
const SYSTEM_RESET2: u32 = 0x84000012;

const VERSION_1_1: u64 = 0x10001;
const SUCCESS: i64 = 0;
const NOT_SUPPORTED: i64 = -1;
const INVALID_PARAMETERS: i64 = -2;
const ALREADY_ON: i64 = -4;
const AFFINITY_ON: i64 = 0;
const AFFINITY_OFF: i64 = 1;
/** There is no trusted OS to migrate. */
const TOS_NOT_PRESENT: i64 = 2;

const AFFINITY_MASK: u64 = 0xff00ffffff;

/** vCPU block of an MPIDR affinity, or 0. */
function vcpuOf(affinity: u64): usize {
  const count = load<u32>(HEADER, HEADER_VCPU_COUNT);
  for (let i: u32 = 0; i < count; i++) {
    const cpu = vcpuBlock(i);
    if ((load<u64>(cpu, SYS_MPIDR) & AFFINITY_MASK) == affinity) return cpu;
  }
  return 0;
}

function cpuOn(cpu: usize, affinity: u64, entry: u64, context: u64): i64 {
  const target = vcpuOf(affinity);
  if (target == 0) return INVALID_PARAMETERS;
  acquire(HEADER + HEADER_POWER_LOCK);
  const off = load<u32>(target, CPU_POWER) != 0;
  if (off) {
    // Its CPU_OFF may not be over.
    while (atomic.load<u32>(target + CPU_RUNNING) != 0) serveRequests(cpu);
    resetVcpu(target);
    store<u64>(target, entry, CPU_PC);
    setX(target, 0, context);
    atomic.store<u32>(target + CPU_POWER, 0);
  }
  release(HEADER + HEADER_POWER_LOCK);
  if (!off) return ALREADY_ON;
  atomic.store<i32>(target + CPU_ATTENTION, 1);
  atomic.notify(target + CPU_ATTENTION);
  return SUCCESS;
}

function affinityInfo(affinity: u64, level: u64): i64 {
  const target = level == 0 ? vcpuOf(affinity) : 0;
  if (target == 0) return INVALID_PARAMETERS;
  return atomic.load<u32>(target + CPU_POWER) ? AFFINITY_OFF : AFFINITY_ON;
}

function features(id: u32): i64 {
  switch (id) {
    case PSCI_VERSION:
    case CPU_OFF:
    case CPU_ON:
    case CPU_ON | SMC64:
    case AFFINITY_INFO:
    case AFFINITY_INFO | SMC64:
    case MIGRATE_INFO_TYPE:
    case SYSTEM_OFF:
    case SYSTEM_RESET:
    case PSCI_FEATURES:
    case SYSTEM_RESET2:
    case SYSTEM_RESET2 | SMC64: return SUCCESS;
    default: return NOT_SUPPORTED;
  }
}

function leave(cpu: usize, reason: u32): u32 {
  store<u32>(cpu, reason, EXIT_REASON);
  return EXIT;
}

/** HVC from EL1: the call in X0…X3, the result in X0. PC stands behind the instruction. */
export function hypervisorCall(cpu: usize): u32 {
  const id = <u32>getX(cpu, 0);
  const mask: u64 = id & SMC64 ? ~<u64>0 : 0xffffffff;
  const first = getX(cpu, 1) & mask;
  const second = getX(cpu, 2) & mask;
  let result: i64;
  switch (id) {
    case PSCI_VERSION: { result = VERSION_1_1; break; }
    case PSCI_FEATURES: { result = features(<u32>first); break; }
    case CPU_ON:
    case CPU_ON | SMC64: { result = cpuOn(cpu, first, second, getX(cpu, 3) & mask); break; }
    case AFFINITY_INFO:
    case AFFINITY_INFO | SMC64: { result = affinityInfo(first, second); break; }
    case MIGRATE_INFO_TYPE: { result = TOS_NOT_PRESENT; break; }
    case CPU_OFF: {
      atomic.store<u32>(cpu + CPU_POWER, 1);
      return leave(cpu, EXIT_POWERED_OFF);
    }
    case SYSTEM_OFF: return leave(cpu, EXIT_SHUTDOWN);
    case SYSTEM_RESET:
    case SYSTEM_RESET2:
    case SYSTEM_RESET2 | SMC64: return leave(cpu, EXIT_RESET);
    default: result = NOT_SUPPORTED;
  }
  setX(cpu, 0, <u64>result);
  return NEXT;
}
