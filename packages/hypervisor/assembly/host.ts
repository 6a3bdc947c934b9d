/** Monotonic time in nanoseconds, the same clock on every thread. */
@external("env", "hostNanoseconds")
export declare function hostNanoseconds(): f64;

/** An unallocated or unimplemented encoding raised the architectural Undefined exception. */
@external("env", "undefinedInstruction")
export declare function undefinedInstruction(index: u32, insn: u32, pcLow: u32, pcHigh: u32): void;
