/** Takes one message, without a line feed. */
export type MessageSink = (message: string) => void;

let sink: MessageSink = (message) => {
  // In raw mode a bare line feed does not return to the first column.
  const end = process.stdin.isTTY && process.stdin.isRaw ? '\r\n' : '\n';
  process.stderr.write(`reference-vmm: ${message}${end}`);
};

/** Messages of the VMM go to standard error; standard output is the guest's. */
export function say(message: string): void {
  sink(message);
}

/** Lets messages go elsewhere, in a process without a terminal. */
export function redirectMessages(to: MessageSink): void {
  sink = to;
}

/** The message of anything thrown, with its stable code where it has one. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = 'code' in error && typeof error.code === 'string' ? ` [${error.code}]` : '';
  return `${error.message}${code}`;
}
