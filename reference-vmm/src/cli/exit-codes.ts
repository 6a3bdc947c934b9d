/** Exit codes of `run` besides the guest's own (126 and 127 come from the guest, as with podman), and of the others. */
export const EXIT_FAILURE = 1;
export const EXIT_USAGE = 2;
/** `--timeout` ran out, as with timeout(1). */
export const EXIT_TIMEOUT = 124;
/** The VMM failed, or the guest's kernel did. */
export const EXIT_VMM = 125;
/** Plus the signal's number. */
export const EXIT_SIGNAL = 128;
