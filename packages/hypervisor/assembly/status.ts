// What executing one instruction by its word asks of the interpreter.

/** Go on with the next instruction. */
export const NEXT: u32 = 0;
/** PC and perhaps the state have changed: go on from there. */
export const RESYNC: u32 = 1;
/** As RESYNC, but look at interrupts and timers first. */
export const LEAVE: u32 = 2;
/** Return to the host with `EXIT_REASON`; PC is where to go on. */
export const EXIT: u32 = 3;
/** The encoding is unallocated or not implemented. */
export const UNALLOCATED: u32 = 4;
