/** Whether a guest physical address belongs to the distributor or a redistributor. */
export function gicContains(address: u64): bool {
  return false;
}

export function gicMmioRead(cpu: usize, address: u64, length: u32): u64 {
  return 0;
}

export function gicMmioWrite(cpu: usize, address: u64, length: u32, value: u64): void {
}

/** MRS of an ICC_*_EL1 register, by its encoding op0:op1:CRn:CRm:op2. */
export function gicSystemRead(cpu: usize, encoding: u32): u64 {
  return 0;
}

export function gicSystemWrite(cpu: usize, encoding: u32, value: u64): void {
}

/** Takes over changes of the SPI inputs in the VM header. */
export function gicSample(): void {
}

/** Level of a private peripheral interrupt of this vCPU. */
export function gicSetPpi(cpu: usize, intid: u32, level: bool): void {
}

/** Whether IRQ is signalled to this vCPU. */
export function gicIrqPending(cpu: usize): bool {
  return false;
}
