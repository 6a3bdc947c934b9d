import type { Readable, Writable } from 'node:stream';
import { VmmError } from '../errors.ts';
import type { CommandExit, TerminalSize } from './messages.ts';

/** Everything that a command printed. */
export interface CommandOutput {
  readonly exit: CommandExit;
  readonly stdout: string;
  readonly stderr: string;
}

/** A command in a guest, however it is reached: of a VM of this process or of another. */
export interface GuestCommand {
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
  readonly exit: Promise<CommandExit>;
  kill(signal?: NodeJS.Signals | number): void;
  resize(size: TerminalSize): void;
  output(): Promise<CommandOutput>;
}

/** Most bytes that are collected of each stream. */
const OUTPUT_LIMIT = 16 * 1024 * 1024;

/**
 * Reads all output, as UTF-8, and waits for the end.
 *
 * @param name of the command, for messages
 * @param cancel ends a command that prints more than can be kept
 * @throws what `exit` rejects with; VmmError `GUEST_ERROR` for more than 16 MiB of a stream
 */
export async function collectOutput(
  command: GuestCommand,
  name: string,
  cancel: (reason: Error) => void,
): Promise<CommandOutput> {
  const collect = async (stream: Readable): Promise<string> => {
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of stream as AsyncIterable<Uint8Array>) {
      size += chunk.length;
      if (size > OUTPUT_LIMIT) {
        const error = new VmmError('GUEST_ERROR', `${name}: more than ${OUTPUT_LIMIT} bytes of output`);
        cancel(error);
        throw error;
      }
      chunks.push(chunk);
    }
    return Buffer.concat(chunks).toString('utf8');
  };
  const texts = Promise.all([collect(command.stdout), collect(command.stderr)]);
  // `exit` is the better reason when both fail.
  texts.catch(() => undefined);
  const exit = await command.exit;
  const [stdout, stderr] = await texts;
  return { exit, stdout, stderr };
}
