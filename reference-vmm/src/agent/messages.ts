import { constants } from 'node:os';
import { VmmError } from '../errors.ts';
import { MAX_PAYLOAD, PROTOCOL_VERSION, violation } from './frames.ts';

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** What the agent says of itself. */
export interface AgentInfo {
  readonly version: number;
  /** As `uname -m` says: `x86_64`, `aarch64`. */
  readonly arch: string;
}

/** Rows and columns of a terminal, 0 to 65535. */
export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

/** How a command ended. */
export type CommandExit = { readonly code: number } | { readonly signal: NodeJS.Signals };

/** A file, directory or symbolic link of a tree. */
export interface TreeEntry {
  readonly type: 'file' | 'directory' | 'symlink';
  /** No empty, `.` or `..` component, no leading slash. */
  readonly path: string;
  /** Permission bits, 0 to 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Milliseconds since the epoch. */
  readonly mtime: number;
  /** Bytes of a file; else 0. */
  readonly size: number;
  /** Of a symbolic link. */
  readonly target?: string;
}

export interface ExecRequest {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly ownEnvironment: boolean;
  readonly cwd: string;
  readonly user: string;
  readonly tty: TerminalSize | undefined;
}

/** Reads a payload; what is not there is a violation of the protocol. */
class PayloadReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #what: string;
  #offset = 0;

  constructor(what: string, bytes: Uint8Array) {
    this.#what = what;
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  #take(size: number): number {
    const offset = this.#offset;
    if (offset + size > this.#bytes.length) throw violation(`${this.#what} is too short`);
    this.#offset = offset + size;
    return offset;
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1));
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2), true);
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  /** A signed number of 64 bits that is exact in JavaScript. */
  i53(): number {
    const offset = this.#take(8);
    const value = this.#view.getInt32(offset + 4, true) * 2 ** 32 + this.#view.getUint32(offset, true);
    if (!Number.isSafeInteger(value)) throw violation(`${this.#what} has a number out of range`);
    return value;
  }

  string(): string {
    const end = this.#bytes.indexOf(0, this.#offset);
    if (end < 0) throw violation(`${this.#what} is too short`);
    const text = decoder.decode(this.#bytes.subarray(this.#offset, end));
    this.#offset = end + 1;
    return text;
  }

  rest(): Uint8Array {
    const rest = this.#bytes.subarray(this.#offset);
    this.#offset = this.#bytes.length;
    return rest;
  }

  end(): void {
    if (this.#offset !== this.#bytes.length) throw violation(`${this.#what} is too long`);
  }
}

function invalid(message: string): VmmError {
  return new VmmError('INVALID_REQUEST', message);
}

/** @throws VmmError `INVALID_REQUEST` for text with a NUL */
function text(...texts: readonly string[]): Uint8Array {
  for (const each of texts)
    if (each.includes('\0')) throw invalid(`${JSON.stringify(each)} has a NUL character`);
  return encoder.encode(texts.map((each) => `${each}\0`).join(''));
}

function numbers(size: number, fill: (view: DataView) => void): Uint8Array {
  const bytes = new Uint8Array(size);
  fill(new DataView(bytes.buffer));
  return bytes;
}

function setI53(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, value % 2 ** 32, true);
  view.setInt32(offset + 4, Math.floor(value / 2 ** 32), true);
}

/** @throws VmmError `INVALID_REQUEST` for what is no terminal's size */
export function encodeSize({ columns, rows }: TerminalSize): Uint8Array {
  for (const value of [columns, rows])
    if (!Number.isInteger(value) || value < 0 || value > 0xffff)
      throw invalid(`a terminal of ${columns} columns and ${rows} rows: 0 to 65535 are possible`);
  return numbers(4, (view) => {
    view.setUint16(0, rows, true);
    view.setUint16(2, columns, true);
  });
}

/** @throws VmmError `INVALID_REQUEST` for what no process can be started with */
export function encodeExec(request: ExecRequest): Uint8Array {
  const variables = Object.entries(request.env).map(([name, value]) => {
    if (name === '' || name.includes('=')) throw invalid(`${JSON.stringify(name)} is no name of a variable`);
    return `${name}=${value}`;
  });
  if (request.argv.length === 0) throw invalid('a command needs at least its name');
  const size = encodeSize(request.tty ?? { columns: 0, rows: 0 });
  const strings = text(request.cwd, request.user, ...request.argv, ...variables);
  if (strings.length + 16 > MAX_PAYLOAD)
    throw invalid(`arguments and environment of ${strings.length} bytes: ${MAX_PAYLOAD - 16} are possible`);
  const head = numbers(9, (view) => {
    view.setUint8(0, (request.tty === undefined ? 0 : 1) | (request.ownEnvironment ? 2 : 0));
    new Uint8Array(view.buffer).set(size, 1);
    view.setUint16(5, request.argv.length, true);
    view.setUint16(7, variables.length, true);
  });
  return new Uint8Array([...head, ...strings]);
}

/** @throws VmmError `INVALID_REQUEST` */
export function encodePath(path: string): Uint8Array {
  if (!path.startsWith('/')) throw invalid(`${JSON.stringify(path)}: paths of the guest begin with a slash`);
  return text(path);
}

export function encodeCredit(channel: number, bytes: number): Uint8Array {
  return numbers(5, (view) => {
    view.setUint8(0, channel);
    view.setUint32(1, bytes, true);
  });
}

/** @param time milliseconds since the epoch */
export function encodeClock(time: number): Uint8Array {
  const seconds = Math.floor(time / 1000);
  if (!Number.isSafeInteger(seconds)) throw invalid(`${time} is no time`);
  return numbers(12, (view) => {
    setI53(view, 0, seconds);
    view.setUint32(8, Math.floor((time - seconds * 1000) * 1e6), true);
  });
}

/** @throws VmmError `INVALID_REQUEST` */
export function encodeNetwork(device: string, address: string, prefix: number, gateway?: string): Uint8Array {
  if (!Number.isInteger(prefix) || prefix < 0 || prefix > 32) throw invalid(`a prefix of ${prefix} bits`);
  return new Uint8Array([...ipv4(address), prefix, ...ipv4(gateway ?? '0.0.0.0'), ...text(device)]);
}

function ipv4(address: string): number[] {
  const parts = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(address)?.slice(1).map(Number);
  if (parts?.every((part) => part <= 255) !== true) throw invalid(`"${address}" is no IPv4 address`);
  return parts;
}

const ENTRY_TYPES = ['file', 'directory', 'symlink'] as const;
const MAX_PATH = 4095;
/** What a Date can hold. */
const MAX_SECONDS = 8.64e12;

/** Whether a path of a tree is one: below where it is put, whatever links there are. */
export function isTreePath(path: string): boolean {
  if (path.length === 0 || encoder.encode(path).length > MAX_PATH) return false;
  return path.split('/').every((part) => part !== '' && part !== '.' && part !== '..');
}

/** @throws VmmError `INVALID_REQUEST` */
export function encodeEntry(entry: TreeEntry): Uint8Array {
  const bounds: readonly [string, number, number][] = [
    ['mode', entry.mode, 0o7777],
    ['uid', entry.uid, 0xffff_fffe],
    ['gid', entry.gid, 0xffff_fffe],
    ['size', entry.size, Number.MAX_SAFE_INTEGER],
  ];
  for (const [name, value, most] of bounds)
    if (!Number.isSafeInteger(value) || value < 0 || value > most)
      throw invalid(`${entry.path}: ${name} is ${value}`);
  if (!isTreePath(entry.path)) throw invalid(`${JSON.stringify(entry.path)} is no path below a directory`);
  const target = entry.target ?? '';
  if (encoder.encode(target).length > MAX_PATH) throw invalid(`${entry.path}: its target is too long`);
  const seconds = Math.floor(entry.mtime / 1000);
  if (!Number.isSafeInteger(seconds)) throw invalid(`${entry.path}: mtime is ${entry.mtime}`);
  const head = numbers(33, (view) => {
    view.setUint8(0, 1 + ENTRY_TYPES.indexOf(entry.type));
    view.setUint32(1, entry.mode, true);
    view.setUint32(5, entry.uid, true);
    view.setUint32(9, entry.gid, true);
    setI53(view, 13, seconds);
    view.setUint32(21, Math.floor((entry.mtime - seconds * 1000) * 1e6), true);
    setI53(view, 25, entry.type === 'file' ? entry.size : 0);
  });
  return new Uint8Array([...head, ...text(entry.path, target)]);
}

/** @throws VmmError `AGENT_LOST` */
export function decodeEntry(payload: Uint8Array): TreeEntry {
  const reader = new PayloadReader('ENTRY', payload);
  const type = ENTRY_TYPES[reader.u8() - 1];
  if (type === undefined) throw violation('ENTRY of an unknown type');
  const [mode, uid, gid] = [reader.u32(), reader.u32(), reader.u32()];
  const [seconds, nanoseconds, size] = [reader.i53(), reader.u32(), reader.i53()];
  const [path, target] = [reader.string(), reader.string()];
  reader.end();
  if (Math.abs(seconds) > MAX_SECONDS) throw violation('ENTRY with a time that is none');
  if (mode > 0o7777 || nanoseconds >= 1e9 || size < 0 || !isTreePath(path))
    throw violation(`ENTRY with a value out of range, of ${JSON.stringify(path.slice(0, 80))}`);
  if (type !== 'file' && size > 0) throw violation('ENTRY with a size that is of no file');
  const mtime = seconds * 1000 + nanoseconds / 1e6;
  return { type, path, mode, uid, gid, mtime, size, ...(type === 'symlink' ? { target } : {}) };
}

/** @throws VmmError `AGENT_LOST` */
export function decodeHello(payload: Uint8Array): AgentInfo {
  const reader = new PayloadReader('HELLO', payload);
  const version = reader.u16();
  if (version !== PROTOCOL_VERSION)
    throw new VmmError(
      'AGENT_LOST',
      `the guest's agent speaks version ${version} of the protocol, this program ${PROTOCOL_VERSION}`,
    );
  const arch = reader.string();
  reader.end();
  if (!/^[\w-]{1,64}$/.test(arch)) throw violation('HELLO without an architecture');
  return { version, arch };
}

/** Names by number; of two names for one number the first. */
const SIGNALS: ReadonlyMap<number, NodeJS.Signals> = new Map(
  (Object.entries(constants.signals) as [NodeJS.Signals, number][])
    .toReversed()
    .map(([name, number]) => [number, name]),
);
/** As in `Object.entries` by the compiler: real-time signals have no names in Node. */
const MAX_SIGNAL = 64;

/** @throws VmmError `INVALID_REQUEST` */
export function encodeSignal(signal: NodeJS.Signals | number): Uint8Array {
  const number = typeof signal === 'number' ? signal : constants.signals[signal];
  if (!Number.isInteger(number) || number < 1 || number > MAX_SIGNAL) throw invalid(`${signal} is no signal`);
  return Uint8Array.of(number);
}

/** @throws VmmError `AGENT_LOST` */
export function decodeExit(payload: Uint8Array): CommandExit {
  const reader = new PayloadReader('EXIT', payload);
  const [kind, value] = [reader.u8(), reader.u8()];
  reader.end();
  if (kind === 0) return { code: value };
  if (kind !== 1 || value < 1 || value > MAX_SIGNAL) throw violation('EXIT of an unknown kind');
  return { signal: SIGNALS.get(value) ?? (`SIG${value}` as NodeJS.Signals) };
}

const ERRNO_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(constants.errno).map(([name, number]) => [number, name]),
);
const MAX_ERROR_TEXT = 512;

/**
 * What the agent could not do, as VmmError `GUEST_ERROR` whose cause has `errno` and `code`, e.g. `ENOENT`.
 *
 * @throws VmmError `AGENT_LOST`
 */
export function decodeError(what: string, payload: Uint8Array): VmmError {
  const reader = new PayloadReader('ERROR', payload);
  const errno = reader.u32();
  const rest = reader.rest();
  if (rest.length > MAX_ERROR_TEXT) throw violation('ERROR is too long');
  // What a terminal would take for more than text is the guest's.
  const reason = decoder.decode(rest).replaceAll(/[\p{Cc}\p{Cf}]/gu, '?');
  const code = ERRNO_NAMES.get(errno) ?? `errno ${errno}`;
  const cause = Object.assign(new Error(reason), { errno, code });
  return new VmmError('GUEST_ERROR', `${what}: ${reason === '' ? code : reason}`, { cause });
}

/** The channel of an EOF, and of nothing else. @throws VmmError `AGENT_LOST` */
export function decodeEof(payload: Uint8Array): number {
  const reader = new PayloadReader('EOF', payload);
  const channel = reader.u8();
  reader.end();
  return channel;
}

/** @throws VmmError `AGENT_LOST` */
export function decodeCredit(payload: Uint8Array): { readonly channel: number; readonly bytes: number } {
  const reader = new PayloadReader('CREDIT', payload);
  const credit = { channel: reader.u8(), bytes: reader.u32() };
  reader.end();
  return credit;
}

/** @throws VmmError `AGENT_LOST` */
export function decodeData(payload: Uint8Array): { readonly channel: number; readonly bytes: Uint8Array } {
  const reader = new PayloadReader('DATA', payload);
  return { channel: reader.u8(), bytes: reader.rest() };
}
