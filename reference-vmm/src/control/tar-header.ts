import type { TreeEntry } from '../agent/messages.ts';

/** Everything in a tar stream comes in blocks of so many bytes. */
export const BLOCK = 512;

const encoder = new TextEncoder();
const TYPE_FLAGS: Readonly<Record<TreeEntry['type'] | 'pax', string>> = {
  file: '0',
  symlink: '2',
  directory: '5',
  pax: 'x',
};
/** Octal digits of a header's fields (POSIX.1-2017 pax, ustar). */
const DIGITS = { mode: 7, owner: 7, size: 11, time: 11 } as const;
const NAME = 100;
/** Where the fields are. */
const AT = {
  name: 0,
  mode: 100,
  uid: 108,
  gid: 116,
  size: 124,
  mtime: 136,
  checksum: 148,
  type: 156,
} as const;
const LINK_NAME = 157;
const MAGIC = 257;

interface Header {
  readonly flag: string;
  readonly name: string;
  readonly link: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  /** Seconds. */
  readonly mtime: number;
}

/**
 * The headers of an entry (POSIX.1-2017 pax): what a plain one cannot hold is in an extended one before it.
 */
export function tarHeader(entry: TreeEntry): Uint8Array {
  const name = entry.type === 'directory' ? `${entry.path}/` : entry.path;
  const seconds = Math.floor(entry.mtime / 1000);
  const header: Header = {
    flag: TYPE_FLAGS[entry.type],
    name,
    link: entry.target ?? '',
    mode: entry.mode,
    uid: fits(entry.uid, DIGITS.owner) ? entry.uid : 0,
    gid: fits(entry.gid, DIGITS.owner) ? entry.gid : 0,
    size: fits(entry.size, DIGITS.size) ? entry.size : 0,
    mtime: fits(seconds, DIGITS.time) ? seconds : 0,
  };
  const records = [
    ...(plain(name) ? [] : [record('path', name)]),
    ...(plain(header.link) ? [] : [record('linkpath', header.link)]),
    ...(header.uid === entry.uid ? [] : [record('uid', String(entry.uid))]),
    ...(header.gid === entry.gid ? [] : [record('gid', String(entry.gid))]),
    ...(header.size === entry.size ? [] : [record('size', String(entry.size))]),
    ...(header.mtime * 1000 === entry.mtime ? [] : [record('mtime', decimal(entry.mtime))]),
  ];
  if (records.length === 0) return block(header);
  const extended = encoder.encode(records.join(''));
  const size = extended.length;
  const parts = [
    block({ ...header, flag: TYPE_FLAGS.pax, name: 'PaxHeader', link: '', size }),
    extended,
    new Uint8Array(padding(size)),
    block(header),
  ];
  return concat(parts);
}

/** Bytes behind a content of this size, up to the next block. */
export function padding(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK;
}

function fits(value: number, digits: number): boolean {
  return value >= 0 && value < 8 ** digits;
}

function plain(text: string): boolean {
  return text.length <= NAME && /^[\x20-\x7e]*$/.test(text);
}

/** Milliseconds as seconds with a fraction. */
function decimal(milliseconds: number): string {
  const nanoseconds = Math.round((milliseconds - Math.floor(milliseconds)) * 1e6);
  const whole = BigInt(Math.floor(milliseconds)) * 1_000_000n + BigInt(nanoseconds);
  const sign = whole < 0n ? '-' : '';
  const digits = String(whole < 0n ? -whole : whole).padStart(10, '0');
  return `${sign}${digits.slice(0, -9)}.${digits.slice(-9)}`;
}

/** "length key=value\n", whose length counts itself. */
function record(key: string, value: string): string {
  const rest = encoder.encode(` ${key}=${value}\n`).length;
  let length = rest + String(rest).length;
  if (rest + String(length).length > length) length = rest + String(length).length;
  return `${length} ${key}=${value}\n`;
}

function block(header: Header): Uint8Array {
  const bytes = new Uint8Array(BLOCK);
  const put = (at: number, text: string, most: number): void =>
    bytes.set(encoder.encode(text).subarray(0, most), at);
  const octal = (at: number, value: number, digits: number): void =>
    put(at, value.toString(8).padStart(digits, '0'), digits);
  put(AT.name, header.name, NAME);
  octal(AT.mode, header.mode, DIGITS.mode);
  octal(AT.uid, header.uid, DIGITS.owner);
  octal(AT.gid, header.gid, DIGITS.owner);
  octal(AT.size, header.size, DIGITS.size);
  octal(AT.mtime, header.mtime, DIGITS.time);
  bytes.fill(0x20, AT.checksum, AT.type);
  put(AT.type, header.flag, 1);
  put(LINK_NAME, header.link, NAME);
  put(MAGIC, 'ustar\x0000', 8);
  const sum = bytes.reduce((total, byte) => total + byte, 0);
  put(AT.checksum, `${sum.toString(8).padStart(6, '0')}\0 `, 8);
  return bytes;
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
