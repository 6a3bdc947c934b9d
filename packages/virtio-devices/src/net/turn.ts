/** Frames of one queue in one turn of the event loop. */
export const FRAMES_PER_TURN = 256;
/** Bytes of one queue after which the rest waits for the next turn. */
export const BYTES_PER_TURN: number = 4 * 1024 * 1024;
/** Frames in one call of a backend. */
export const FRAMES_PER_CALL = 64;
