import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import type { GuestMemory } from '@vmm/vm-memory';
import { VmmError } from '../errors.ts';
import { PAGE_BYTES, type Page, type PageSets, countPages, eachPage, hasPage } from './pages.ts';

/** Memory is written, read and digested in pieces of this many bytes; the last one of a region may be shorter. */
export const PIECE_BYTES: number = 2 * 1024 * 1024;

const PAGE = PAGE_BYTES;
/** Pages are first looked at in groups. */
const GROUP = 16 * PAGE;
/** Holes that are smaller are written as zeros: a system call costs more. */
const SMALLEST_HOLE = GROUP;
/** Reads, writes and digests at a time, as the thread pool of Node has threads. */
const CONCURRENT = 4;
/** At a time where something else is more urgent. */
const IN_BACKGROUND = 1;

const ZEROS = Buffer.alloc(GROUP);

/** Where a region of guest memory is. */
export interface ImageRegion {
  readonly guestAddress: number;
  /** Bytes. */
  readonly size: number;
}

/** What is known of a file with memory of a guest: its parts one behind the other, with holes for zeros. */
export interface MemoryImage {
  /** Bytes of each part: of a region, or of all pages that changed. */
  readonly parts: readonly number[];
  /** SHA-256 of each piece, as hexadecimal digits; null: all zeros. */
  readonly digests: readonly (string | null)[];
}

/** Tells whether a file is still the one that was written: the time of its last change is the kernel's to set. */
export interface FileIdentity {
  readonly device: string;
  readonly inode: string;
  /** Nanoseconds since 1970 of `st_ctime`. */
  readonly changed: string;
}

export async function identityOf(file: FileHandle): Promise<FileIdentity> {
  const { dev, ino, ctimeNs } = await file.stat({ bigint: true });
  return { device: dev.toString(), inode: ino.toString(), changed: ctimeNs.toString() };
}

/** How work on an image goes. */
export interface ImageWork {
  readonly signal: AbortSignal;
  /** Is told of bytes that are done, by how many. */
  readonly onBytes?: ((bytes: number) => void) | undefined;
}

interface Piece {
  readonly index: number;
  readonly offset: number;
  readonly length: number;
}

/** Bytes of the file. */
export function imageSize(parts: readonly number[]): number {
  return parts.reduce((sum, size) => sum + size, 0);
}

/** Parts of a file that has regions whole. */
export function wholeParts(regions: readonly ImageRegion[]): number[] {
  return regions.map(({ size }) => size);
}

/** Parts of a file that has some pages. */
export function pageParts(pages: PageSets): number[] {
  return [countPages(pages) * PAGE];
}

export function regionsOf(memory: GuestMemory): ImageRegion[] {
  return memory.regions.map(({ guestAddress, size }) => ({ guestAddress, size }));
}

/** How many digests an image has. */
export function pieceCount(parts: readonly number[]): number {
  return parts.reduce((sum, size) => sum + Math.ceil(size / PIECE_BYTES), 0);
}

/**
 * Writes guest memory straight into an empty file. The vCPUs and the devices must stand still.
 *
 * @returns for each piece whether it has anything but zeros
 * @throws what the file throws; the signal's reason
 */
export async function writeMemory(
  file: FileHandle,
  memory: GuestMemory,
  work: ImageWork,
): Promise<boolean[]> {
  const parts = wholeParts(regionsOf(memory));
  return await writePieces(file, parts, work, (piece) => bytesOf(memory, piece));
}

/** Writes some pages of guest memory, by address, one behind the other. As {@link writeMemory}. */
export async function writePages(
  file: FileHandle,
  memory: GuestMemory,
  pages: PageSets,
  work: ImageWork,
): Promise<boolean[]> {
  const next = eachPage(pages);
  // Pieces are asked for in order.
  return await writePieces(file, pageParts(pages), work, ({ length }) => {
    const bytes = Buffer.allocUnsafeSlow(length);
    for (const [index, page] of take(next, length / PAGE).entries())
      bytes.set(pageOf(memory, page), index * PAGE);
    return bytes;
  });
}

async function writePieces(
  file: FileHandle,
  parts: readonly number[],
  { signal, onBytes }: ImageWork,
  bytesOfPiece: (piece: Piece) => Buffer,
): Promise<boolean[]> {
  const present = new Array<boolean>(pieceCount(parts)).fill(false);
  await file.truncate(imageSize(parts));
  await each(pieces(parts), signal, async (piece) => {
    const bytes = bytesOfPiece(piece);
    for (const [from, to] of runs(bytes)) {
      present[piece.index] = true;
      await writeAll(file, bytes.subarray(from, to), piece.offset + from);
    }
    onBytes?.(piece.length);
  });
  return present;
}

/**
 * Lays pages over guest memory, from a file that {@link writePages} has written.
 *
 * @param covered pages that something newer has laid there, and that stay
 * @param digests are checked where they are given: a file that is altered is of no use, whatever was taken from it
 * @throws VmmError `INVALID_SNAPSHOT`
 */
export async function layPages(
  file: FileHandle,
  memory: GuestMemory,
  pages: PageSets,
  covered: PageSets,
  digests: MemoryImage['digests'] | undefined,
  signal: AbortSignal,
): Promise<void> {
  const next = eachPage(pages);
  function* work(): Generator<readonly [Piece, readonly Page[]]> {
    for (const piece of pieces(pageParts(pages))) yield [piece, take(next, piece.length / PAGE)];
  }
  await each(work(), signal, async ([piece, inPiece]) => {
    if (digests === undefined && inPiece.every((page) => hasPage(covered, page))) return;
    const bytes = Buffer.allocUnsafeSlow(piece.length);
    await readAll(file, bytes, piece.offset);
    if (digests !== undefined) await checkPiece(bytes, piece, digests);
    for (const [index, page] of inPiece.entries()) {
      if (!hasPage(covered, page)) pageOf(memory, page).set(bytes.subarray(index * PAGE, (index + 1) * PAGE));
    }
  });
}

/**
 * Digests of a file that {@link writeMemory} or {@link writePages} has written.
 *
 * @param present what they returned
 */
export async function digestMemory(
  file: FileHandle,
  parts: readonly number[],
  present: readonly boolean[],
  signal: AbortSignal,
): Promise<(string | null)[]> {
  const digests = new Array<string | null>(present.length).fill(null);
  await each(pieces(parts), signal, async ({ index, offset, length }) => {
    if (present[index] !== true) return;
    const bytes = Buffer.allocUnsafeSlow(length);
    await readAll(file, bytes, offset);
    digests[index] = await digest(bytes);
  });
  return digests;
}

/**
 * Checks a file that a guest gets a copy of.
 *
 * @param pace `background` leaves processor time to a guest that runs
 * @throws VmmError `INVALID_SNAPSHOT`
 */
export async function verifyMemory(
  file: FileHandle,
  image: MemoryImage,
  signal: AbortSignal,
  pace: 'fast' | 'background' = 'fast',
): Promise<void> {
  const check = async (piece: Piece): Promise<void> => {
    const bytes = Buffer.allocUnsafeSlow(piece.length);
    await readAll(file, bytes, piece.offset);
    await checkPiece(bytes, piece, image.digests);
  };
  await each(pieces(image.parts), signal, check, pace === 'background' ? IN_BACKGROUND : CONCURRENT);
}

async function checkPiece(
  bytes: Buffer<ArrayBuffer>,
  { index, offset }: Piece,
  digests: MemoryImage['digests'],
): Promise<void> {
  const expected = digests[index];
  const intact = expected === null ? isZero(bytes) : (await digest(bytes)) === expected;
  if (!intact)
    throw new VmmError(
      'INVALID_SNAPSHOT',
      `the memory of the snapshot was altered, from byte ${offset} of its file on`,
    );
}

function* pieces(parts: readonly number[]): Generator<Piece> {
  let index = 0;
  let start = 0;
  for (const size of parts) {
    for (let at = 0; at < size; at += PIECE_BYTES) {
      yield { index, offset: start + at, length: Math.min(PIECE_BYTES, size - at) };
      index += 1;
    }
    start += size;
  }
}

/** A view of guest memory. */
function bytesOf(memory: GuestMemory, { offset, length }: Piece): Buffer {
  let start = 0;
  for (const region of memory.regions) {
    if (offset < start + region.size) {
      const { buffer, byteOffset } = region.bytes;
      return Buffer.from(buffer, byteOffset + offset - start, length);
    }
    start += region.size;
  }
  throw new RangeError(`the image goes beyond guest memory, at byte ${offset}`);
}

/** A view of a page of guest memory. */
function pageOf(memory: GuestMemory, { region, offset }: Page): Uint8Array {
  return memory.regions[region]!.bytes.subarray(offset, offset + PAGE);
}

function take(from: Iterator<Page>, count: number): Page[] {
  const taken: Page[] = [];
  for (let index = 0; index < count; index++) {
    const next = from.next();
    if (next.done !== true) taken.push(next.value);
  }
  return taken;
}

/** Ranges of whole pages with all that is not zero. */
export function* runs(bytes: Buffer): Generator<readonly [from: number, to: number]> {
  let from = -1;
  let to = 0;
  for (let group = 0; group < bytes.length; group += GROUP) {
    const end = Math.min(group + GROUP, bytes.length);
    if (isZeroGroup(bytes, group, end)) continue;
    for (let page = group; page < end; page += PAGE) {
      const next = Math.min(page + PAGE, end);
      if (isZeroGroup(bytes, page, next)) continue;
      if (from >= 0 && page - to >= SMALLEST_HOLE) {
        yield [from, to];
        from = page;
      } else if (from < 0) from = page;
      to = next;
    }
  }
  if (from >= 0) yield [from, to];
}

function isZeroGroup(bytes: Buffer, from: number, to: number): boolean {
  return bytes.compare(ZEROS, 0, to - from, from, to) === 0;
}

function isZero(bytes: Buffer): boolean {
  for (let at = 0; at < bytes.length; at += GROUP)
    if (!isZeroGroup(bytes, at, Math.min(at + GROUP, bytes.length))) return false;
  return true;
}

/** Some at a time, until one fails. */
async function each<T>(
  items: Iterable<T>,
  signal: AbortSignal,
  work: (item: T) => Promise<void>,
  concurrent: number = CONCURRENT,
): Promise<void> {
  const iterator = items[Symbol.iterator]();
  let failed = false;
  const worker = async (): Promise<void> => {
    try {
      for (let next = iterator.next(); next.done !== true && !failed; next = iterator.next()) {
        signal.throwIfAborted();
        await work(next.value);
      }
    } catch (error) {
      failed = true;
      throw error;
    }
  };
  // All have ended when this does: none writes into memory that is given back.
  const results = await Promise.allSettled(Array.from({ length: concurrent }, worker));
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

async function writeAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
}

async function readAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesRead } = await file.read(bytes, done, bytes.length - done, position + done);
    if (bytesRead === 0)
      throw new VmmError('INVALID_SNAPSHOT', 'the memory of the snapshot was cut while it was read');
    done += bytesRead;
  }
}

/** Outside of this thread, where the event loop of a running VM is. */
async function digest(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return Buffer.from(await crypto.subtle.digest('SHA-256', bytes)).toString('hex');
}

/** SHA-256 of text, as hexadecimal digits. */
export function textDigest(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
