// GICv3 (IHI 0069): the entry points. Each takes the lock, except those that only look. Register accesses take over
// the SPI inputs first: a line that a device lowered before the guest ends the interrupt must not pend it again.
import { GIC, HEADER, HEADER_GIC_DISTRIBUTOR, HEADER_GIC_ENABLED, HEADER_GIC_REDISTRIBUTOR } from './layout';
import {
  GC_SIGNAL, GIC_LOCK, GIC_STATE_SIZE, RECORD_EDGE, RECORD_LATCH, RECORD_LINE, SIGNAL_FIQ, SIGNAL_IRQ, gicCpu,
  gicRecord,
} from './gic-layout';
import { interfaceRead, interfaceWrite } from './gic-cpu';
import { evaluateAll, evaluate } from './gic-delivery';
import { GICD_SIZE, distributorRead, distributorWrite } from './gic-distributor';
import { sampleInputs } from './gic-inputs';
import { gicLock, gicUnlock } from './gic-lock';
import { GICR_STRIDE, redistributorRead, redistributorWrite } from './gic-redistributor';
import { gicCpuCount, gicResetInterface, gicResetState, gicSanitizeState } from './gic-state';
import { vcpuIndex } from './state';

export { gicSystemAccess } from './gic-cpu';
export { GIC_STATE_SIZE } from './gic-layout';

// @ts-ignore: decorator
@inline
function distributorOffset(address: u64): u64 {
  return address - load<u64>(HEADER, HEADER_GIC_DISTRIBUTOR);
}

// @ts-ignore: decorator
@inline
function redistributorOffset(address: u64): u64 {
  return address - load<u64>(HEADER, HEADER_GIC_REDISTRIBUTOR);
}

/** Whether a guest physical address belongs to the distributor or a redistributor. */
export function gicContains(address: u64): bool {
  if (load<u32>(HEADER, HEADER_GIC_ENABLED) == 0) return false;
  return distributorOffset(address) < GICD_SIZE
    || redistributorOffset(address) < GICR_STRIDE * <u64>gicCpuCount();
}

/**
 * A load from a frame for which `gicContains` holds; registers that do not exist and accesses of a wrong width or
 * alignment read as zero.
 *
 * @param cpu block of the vCPU that makes the access
 * @param length 1, 2, 4 or 8
 */
export function gicMmioRead(cpu: usize, address: u64, length: u32): u64 {
  const inDistributor = distributorOffset(address);
  const inRedistributor = redistributorOffset(address);
  let r: u64 = 0;
  gicLock();
  sampleInputs();
  if (inDistributor < GICD_SIZE) r = distributorRead(vcpuIndex(cpu), <u32>inDistributor, length);
  else if (inRedistributor < GICR_STRIDE * <u64>gicCpuCount()) {
    r = redistributorRead(<u32>(inRedistributor / GICR_STRIDE), <u32>(inRedistributor % GICR_STRIDE), length);
  }
  gicUnlock();
  return r;
}

/** A store to a frame for which `gicContains` holds; see `gicMmioRead`. */
export function gicMmioWrite(cpu: usize, address: u64, length: u32, value: u64): void {
  const inDistributor = distributorOffset(address);
  const inRedistributor = redistributorOffset(address);
  gicLock();
  sampleInputs();
  if (inDistributor < GICD_SIZE) distributorWrite(vcpuIndex(cpu), <u32>inDistributor, length, value);
  else if (inRedistributor < GICR_STRIDE * <u64>gicCpuCount()) {
    redistributorWrite(
      <u32>(inRedistributor / GICR_STRIDE), <u32>(inRedistributor % GICR_STRIDE), length, <u32>value,
    );
  }
  gicUnlock();
}

/** MRS of an ICC_*_EL1 register, by its encoding op0:op1:CRn:CRm:op2. 0 when there is none that can be read. */
export function gicSystemRead(cpu: usize, encoding: u32): u64 {
  gicLock();
  sampleInputs();
  const r = interfaceRead(vcpuIndex(cpu), encoding);
  gicUnlock();
  return r;
}

/** MSR of an ICC_*_EL1 register. Does nothing when there is none that can be written. */
export function gicSystemWrite(cpu: usize, encoding: u32, value: u64): void {
  gicLock();
  sampleInputs();
  interfaceWrite(vcpuIndex(cpu), encoding, value);
  gicUnlock();
}

/** Takes over changes of the SPI inputs in the VM header. */
export function gicSample(): void {
  if (load<u32>(HEADER, HEADER_GIC_ENABLED) == 0) return;
  gicLock();
  sampleInputs();
  gicUnlock();
}

/** Level of a private peripheral interrupt (16 … 31) of this vCPU. Only the vCPU's own thread calls it. */
export function gicSetPpi(cpu: usize, intid: u32, level: bool): void {
  if (intid < 16 || intid > 31) return;
  const index = vcpuIndex(cpu);
  const record = gicRecord(index, 0);
  const bit: u32 = <u32>1 << intid;
  const line = load<u32>(record, RECORD_LINE);
  const now = level ? line | bit : line & ~bit;
  if (now == line) return;
  gicLock();
  store<u32>(record, now, RECORD_LINE);
  if (level) {
    store<u32>(record, load<u32>(record, RECORD_LATCH) | (bit & load<u32>(record, RECORD_EDGE)), RECORD_LATCH);
  }
  evaluate(index);
  gicUnlock();
}

/** Level of a private peripheral interrupt, as it was last set. */
export function gicPpi(cpu: usize, intid: u32): bool {
  return ((load<u32>(gicRecord(vcpuIndex(cpu), 0), RECORD_LINE) >> intid) & 1) != 0;
}

/** Whether IRQ is signalled to this vCPU. */
// @ts-ignore: decorator
@inline
export function gicIrqPending(cpu: usize): bool {
  return atomic.load<u32>(gicCpu(vcpuIndex(cpu)), GC_SIGNAL) == SIGNAL_IRQ;
}

/** Whether FIQ is signalled to this vCPU. */
// @ts-ignore: decorator
@inline
export function gicFiqPending(cpu: usize): bool {
  return atomic.load<u32>(gicCpu(vcpuIndex(cpu)), GC_SIGNAL) == SIGNAL_FIQ;
}

/** Reset of distributor, redistributors and CPU interfaces. Lines that are asserted count again from the next sample. */
export function gicReset(): void {
  gicResetState();
}

/** Reset of one vCPU's ICC_*_EL1 registers, as a PSCI CPU_ON needs it. */
export function gicCpuReset(cpu: usize): void {
  const index = vcpuIndex(cpu);
  gicLock();
  gicResetInterface(index);
  evaluateAll();
  gicUnlock();
}

/**
 * To be called after `GIC_STATE_SIZE` bytes at `GIC` have been replaced by saved ones, while no vCPU runs: makes any
 * bytes a valid state and signals what is pending in it.
 */
export function gicRestored(): void {
  atomic.store<i32>(GIC, 0, GIC_LOCK);
  gicSanitizeState();
  evaluateAll();
}
