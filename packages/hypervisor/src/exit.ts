/** Access to a guest physical address that no memory backs. Reads are answered by storing into `value`. */
export interface MmioExit {
  readonly reason: 'mmio';
  /** Guest physical address. */
  readonly address: number;
  /** Width in bytes. */
  readonly length: 1 | 2 | 4 | 8;
  readonly write: boolean;
  /** Bits 31:0, unsigned: what the guest stored, or what the handler answers. */
  value: number;
  /** Bits 63:32, unsigned, of an 8-byte access. */
  valueHigh: number;
}

/** x86 port I/O. Reads (`write` false) are answered by storing into `value`. */
export interface IoExit {
  readonly reason: 'io';
  readonly port: number;
  readonly length: 1 | 2 | 4;
  readonly write: boolean;
  value: number;
}

/** What the guest asked of its platform through PSCI. */
export interface SystemEventExit {
  readonly reason: 'systemEvent';
  /** PSCI SYSTEM_OFF, SYSTEM_RESET or SYSTEM_RESET2. */
  readonly event: 'shutdown' | 'reset';
}

/**
 * The vCPU waits for an interrupt (WFI, HLT) and nothing that the backend knows of will bring one sooner than
 * `wakeAfterNs`. Seen from `run()` only: a vCPU thread waits by itself.
 */
export interface HaltExit {
  readonly reason: 'halt';
  /** Nanoseconds until the vCPU's own timer fires; Infinity when none is armed. */
  readonly wakeAfterNs: number;
}

/** `kick()` or the end of an instruction budget brought `run()` back. */
export interface InterruptedExit {
  readonly reason: 'interrupted';
}

/** The machine is to start anew: an x86 triple fault. */
export interface ShutdownExit {
  readonly reason: 'shutdown';
}

/**
 * The guest ended a level-triggered interrupt of a user-space IOAPIC (split irqchip). Nothing to answer.
 */
export interface EoiExit {
  readonly reason: 'eoi';
  /** Interrupt vector, 0…255. */
  readonly vector: number;
}

/**
 * The vCPU cannot go on: the engine met a state it does not implement, the hypervisor could not emulate an instruction
 * (KVM_EXIT_INTERNAL_ERROR), or the processor refused the state (KVM_EXIT_FAIL_ENTRY).
 */
export interface InternalErrorExit {
  readonly reason: 'internalError';
  readonly message: string;
}

/**
 * Why a vCPU came back. One object per vCPU and reason is reused: read what you need before the next
 * `run()`, and answer reads by storing into it.
 */
export type VcpuExit =
  | MmioExit
  | IoExit
  | SystemEventExit
  | HaltExit
  | InterruptedExit
  | ShutdownExit
  | EoiExit
  | InternalErrorExit;
