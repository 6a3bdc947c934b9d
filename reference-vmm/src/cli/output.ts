import { setTimeout as delay } from 'node:timers/promises';
import { Option } from 'commander';
import { VmmError } from '../errors.ts';

/** What `--format` says. */
export type Format = 'text' | 'json';

export interface FormatOption {
  readonly format: Format;
}

/** `--format`, which every command has: `json` is one object on standard output, whatever happens. */
export function formatOption(): Option {
  return new Option('--format <format>', 'text for people, or one JSON object')
    .choices(['text', 'json'])
    .default('text')
    .env(FORMAT_VARIABLE);
}

const FORMAT_VARIABLE = 'REFERENCE_VMM_FORMAT';

/** Whether a command line asks for JSON, also when the rest of it is wrong. */
export function asksForJson(args: readonly string[], environment: NodeJS.ProcessEnv = process.env): boolean {
  const end = args.indexOf('--');
  const own = end < 0 ? args : args.slice(0, end);
  const formats = own.flatMap((arg, index) => {
    if (arg === '--format') return [own[index + 1]];
    return arg.startsWith('--format=') ? [arg.slice('--format='.length)] : [];
  });
  return (formats.length > 0 ? formats.at(-1) : environment[FORMAT_VARIABLE]) === 'json';
}

let printed = false;

/** The one JSON object of this process; what comes after it is not printed. */
export function printJson(value: object): void {
  if (printed) return;
  printed = true;
  process.stdout.write(`${JSON.stringify(value, undefined, 2)}\n`);
}

/** An error as the JSON object of this process. */
export function printJsonError(error: unknown): void {
  printJson({ error: errorObject(error) });
}

/** Code and message of anything thrown. */
export function errorObject(error: unknown): { readonly code: string; readonly message: string } {
  if (!(error instanceof Error)) return { code: 'INTERNAL', message: String(error) };
  return {
    code: 'code' in error && typeof error.code === 'string' ? error.code : 'INTERNAL',
    message: error.message,
  };
}

/**
 * Resolves when standard output and standard error have been handed to whoever reads them, which for a pipe takes as long as
 * its reader does.
 *
 * @param limit milliseconds after which what is left is given up
 */
export async function outputTaken(limit?: number): Promise<void> {
  const taken = Promise.all(
    [process.stdout, process.stderr].map(
      (stream) =>
        new Promise<void>((resolve) => {
          if (stream.writableLength === 0 || stream.destroyed) resolve();
          else stream.write('', () => resolve());
        }),
    ),
  );
  if (limit === undefined) await taken;
  else await Promise.race([taken, delay(limit)]);
}

/** Text for people, or the object for programs. */
export function print({ format }: FormatOption, value: object, text: string): void {
  if (format === 'json') printJson(value);
  else process.stdout.write(text);
}

/** Text in columns, two blanks apart; the last is not padded. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [index, cell] of row.entries()) widths[index] = Math.max(widths[index] ?? 0, cell.length);
  }
  return rows
    .map(
      (row) =>
        `${row.map((cell, index) => (index === row.length - 1 ? cell : cell.padEnd(widths[index]!))).join('  ')}\n`,
    )
    .join('');
}

/** Select Graphic Rendition (ECMA-48 §8.3.117): what turns a style on, and what turns it off. */
const STYLES = { bold: [1, 22], yellow: [33, 39], red: [31, 39] } as const;
type Style = keyof typeof STYLES;

/**
 * Whether standard output is a terminal whose user wants colours (https://no-color.org), or the user wants them anywhere
 * (https://force-color.org). Of both wishes the one for none holds.
 */
export function coloured(
  environment: NodeJS.ProcessEnv = process.env,
  terminal: boolean = process.stdout.isTTY,
): boolean {
  const { NO_COLOR = '', FORCE_COLOR = '', TERM } = environment;
  if (NO_COLOR !== '' || FORCE_COLOR === '0' || FORCE_COLOR === 'false') return false;
  return FORCE_COLOR !== '' || (terminal && TERM !== 'dumb');
}

/** Whether a line on this stream can be written over, as a progress display does. */
export function rewritable(stream: NodeJS.WriteStream): boolean {
  return stream.isTTY && process.env['TERM'] !== 'dumb';
}

/** Marks a line or a word, for terminals. */
export function styled(style: Style, text: string): string {
  const [on, off] = STYLES[style];
  // A line's end stays outside.
  return coloured() ? text.replace(/[^\n]+/g, `\x1b[${on}m$&\x1b[${off}m`) : text;
}

/** Bytes with a binary unit, e.g. `256 MiB`. */
export function bytes(count: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  let value = count;
  for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024;
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[unit]!}`;
}

/** Seconds in their two largest units, e.g. `2m 5s`. */
export function duration(seconds: number): string {
  const whole = Math.floor(seconds);
  const parts: [number, string][] = [
    [Math.floor(whole / 86_400), 'd'],
    [Math.floor(whole / 3_600) % 24, 'h'],
    [Math.floor(whole / 60) % 60, 'm'],
    [whole % 60, 's'],
  ];
  const first = parts.findIndex(([value], index) => value > 0 || index === parts.length - 1);
  return parts
    .slice(first, first + 2)
    .map(([value, unit]) => `${value}${unit}`)
    .join(' ');
}

/** A wrong command line that commander could not know of. */
export function usageError(message: string): VmmError {
  return new VmmError('INVALID_CONFIG', message);
}
