import { VmmError } from './errors.ts';

const MIB = 1024 * 1024;
const UNITS: Readonly<Record<string, number>> = { '': MIB, K: 1024, M: MIB, G: 1024 * MIB };

/**
 * Reads a size as the command line gives it: a number of MiB, or a number with K, M or G (powers of 1024; an
 * `iB` or `B` may follow).
 *
 * @throws VmmError `INVALID_CONFIG`
 */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([KMG]?)(?:i?B)?$/i.exec(text.trim());
  const bytes = match === null ? Number.NaN : Number(match[1]) * UNITS[match[2]!.toUpperCase()]!;
  if (!Number.isSafeInteger(bytes)) {
    throw new VmmError('INVALID_CONFIG', `"${text}" is not a size: write 512, 512M or 2G`);
  }
  return bytes;
}

const DURATION_UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
/** The longest delay a timer of JavaScript takes. */
const MAXIMUM_DURATION = 2 ** 31 - 1;

/**
 * Reads a duration: seconds, or a number with ms, s, m or h.
 *
 * @returns milliseconds, 1 to 2^31-1
 * @throws VmmError `INVALID_CONFIG`
 */
export function parseDuration(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text.trim());
  const milliseconds = match === null ? Number.NaN : Number(match[1]) * DURATION_UNITS[match[2] ?? 's']!;
  if (!(milliseconds >= 1 && milliseconds <= MAXIMUM_DURATION)) {
    throw new VmmError('INVALID_CONFIG', `"${text}" is not a duration above 0: write 30, 30s, 500ms or 5m`);
  }
  return Math.round(milliseconds);
}

/** A size as text that {@link parseSize} reads: with M, or K where it is no whole number of MiB. */
export function formatSize(bytes: number): string {
  return bytes % MIB === 0 ? `${bytes / MIB}M` : `${bytes / 1024}K`;
}

/**
 * Reads a number of bytes: alone, or with K, M or G (powers of 1024).
 *
 * @throws VmmError `INVALID_CONFIG`
 */
export function parseBytes(text: string): number {
  const match = /^(\d+)([KMG]?)$/i.exec(text);
  const unit = match?.[2]?.toUpperCase() ?? '';
  const bytes = match === null ? Number.NaN : Number(match[1]) * (unit === '' ? 1 : UNITS[unit]!);
  if (!(bytes >= 1 && Number.isSafeInteger(bytes)))
    throw new VmmError('INVALID_CONFIG', `"${text}" is not a number of bytes: write 500000, 64K, 10M or 1G`);
  return bytes;
}
