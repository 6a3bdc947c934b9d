/** The pseudo-terminal's part of the addon (native/pty.cc). */
export interface NativePty {
  /**
   * Opens a pseudo-terminal in raw mode.
   *
   * @param onReady called with {@link PTY_READABLE} and {@link PTY_WRITABLE} bits, once after `read()` or `write()` answered
   *   0, and after opening. Does not keep the event loop alive
   * @throws Error with `syscall` posix_openpt, grantpt, unlockpt, ptsname_r, tcsetattr or TIOCGPTPEER
   */
  readonly PtyMaster: new (onReady: (events: number) => void) => NativePtyMaster;
}

export const PTY_READABLE = 1;
export const PTY_WRITABLE = 2;

/** `read()` and `write()`: no program has the terminal open. */
export const PTY_HUNG_UP = -1;

export interface NativePtyMaster {
  /** Of the terminal, `/dev/pts/…`. */
  readonly path: string;
  /** No program has the terminal open. What one wrote before may still be there to read. */
  readonly hungUp: boolean;
  /** Bytes that the kernel holds for the program that reads the terminal; opens the terminal for a moment. */
  readonly unread: number;
  /** @returns bytes read; 0: none now, `onReady` follows; {@link PTY_HUNG_UP} only when everything was read */
  read(buffer: Uint8Array): number;
  /** @returns bytes written; 0: no room, `onReady` follows; {@link PTY_HUNG_UP} */
  write(bytes: Uint8Array): number;
  /** Window size, columns * 65536 + rows. */
  size(): number;
  /** Tells a new size to the programs of the terminal, which get SIGWINCH. */
  setSize(columns: number, rows: number): void;
  setRaw(): void;
  close(): void;
}
