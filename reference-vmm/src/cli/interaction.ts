import { pipeline } from 'node:stream/promises';
import type { Duplex } from 'node:stream';
import { say } from './messages.ts';
import { EscapeFilter, RawTerminal } from './terminal.ts';

/** A console that somebody sits at. */
export interface Console {
  readonly stream: Duplex;
  resize(columns: number, rows: number): void;
}

/** Shows a console on an output that may be slower than the guest, which waits for it. */
export function show(stream: Duplex, output: NodeJS.WriteStream): void {
  stream.on('data', (bytes: Uint8Array) => {
    if (output.write(bytes)) return;
    stream.pause();
    output.once('drain', () => stream.resume());
  });
}

/**
 * Brings what is typed to a console: from a terminal, in raw mode and until Ctrl-] twice, or from whatever standard input is.
 *
 * @param leave called at Ctrl-] twice
 * @returns what ends it and restores the terminal
 */
export function typeInto(console: Console, leave: () => void): () => void {
  if (process.stdin.isTTY) return attachTerminal(console, leave);
  pipeline(process.stdin, console.stream, { end: false }).catch(() => undefined);
  return () => undefined;
}

function attachTerminal(console: Console, leave: () => void): () => void {
  say('press Ctrl-] twice to leave');
  const terminal = new RawTerminal(process.stdin);
  const filter = new EscapeFilter((bytes) => console.stream.write(bytes), leave);
  process.stdin.on('data', (bytes: Buffer) => filter.push(bytes));
  // A terminal that is gone sends SIGHUP as well.
  process.stdin.on('error', () => undefined);
  const resize = (): void => {
    const { columns, rows } = process.stdout;
    // Terminals without a window have no size.
    if (columns > 0 && rows > 0) console.resize(columns, rows);
  };
  if (process.stdout.isTTY) {
    resize();
    process.stdout.on('resize', resize);
  }
  return () => {
    process.stdout.off('resize', resize);
    filter.dispose();
    terminal[Symbol.dispose]();
  };
}
