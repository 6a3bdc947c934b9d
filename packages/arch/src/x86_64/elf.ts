import { ArchError } from '../errors.ts';
import { u64 } from '../magic.ts';
import { readFully } from '../source.ts';
import type { BlobSource } from '../source.ts';

// Tool Interface Standard ELF 1.2 and System V ABI, AMD64 supplement §4.
const ELFCLASS64 = 2;
const ELFDATA2LSB = 1;
const ET_EXEC = 2;
const ET_DYN = 3;
const EHDR_SIZE = 64;
const PHDR_SIZE = 56;
const PT_LOAD = 1;
const PT_NOTE = 4;

/** More program headers than any kernel has. */
const MAX_PROGRAM_HEADERS = 256;
/** More bytes of notes than any kernel has. */
const MAX_NOTES_SIZE = 256 * 1024;

/** Type and owner of the note that holds the PVH entry (Xen public/elfnote.h). */
const XEN_ELFNOTE_PHYS32_ENTRY = 18;
const XEN_OWNER = [0x58, 0x65, 0x6e, 0x00];

/** A part of an ELF file that goes to guest memory. */
export interface ElfSegment {
  /** First byte in the file. */
  readonly offset: number;
  /** Bytes in the file. */
  readonly fileSize: number;
  /** Guest physical address (`p_paddr`). */
  readonly guestAddress: number;
  /** Bytes in memory, zeros behind those of the file. */
  readonly size: number;
}

/** What is needed to load an x86-64 ELF kernel. */
export interface ElfKernel {
  /** `e_entry`. */
  readonly entry: number;
  /** 32-bit entry of the PVH note, when there is one. */
  readonly pvhEntry: number | undefined;
  /** In order of address, not empty, not overlapping. */
  readonly segments: readonly ElfSegment[];
}

/**
 * Reads the headers of an ELF file for x86-64.
 *
 * @param size bytes of the file
 * @throws ArchError `UNSUPPORTED_KERNEL` (32-bit, no executable), `BAD_KERNEL` for headers that cannot be true,
 *   `TRUNCATED` when they reach beyond the file; whatever the source throws
 */
export async function readElf(source: BlobSource, size: number): Promise<ElfKernel> {
  const header = new DataView((await readPart(source, size, 0, EHDR_SIZE, 'the ELF header')).buffer);
  if (header.getUint8(4) !== ELFCLASS64 || header.getUint8(5) !== ELFDATA2LSB) {
    throw new ArchError('UNSUPPORTED_KERNEL', 'the ELF file is no little-endian 64-bit one');
  }
  const type = header.getUint16(16, true);
  if (type !== ET_EXEC && type !== ET_DYN) {
    throw new ArchError('UNSUPPORTED_KERNEL', `the ELF file is no executable: e_type is ${type}`);
  }
  const entry = u64(header, 24);
  const phoff = u64(header, 32);
  const phentsize = header.getUint16(54, true);
  const phnum = header.getUint16(56, true);
  if (phnum === 0 || phnum > MAX_PROGRAM_HEADERS || phentsize !== PHDR_SIZE) {
    throw bad(`${phnum} program headers of ${phentsize} bytes`);
  }
  const table = await readPart(source, size, phoff, phnum * PHDR_SIZE, 'the program headers');
  const view = new DataView(table.buffer);
  const segments: ElfSegment[] = [];
  let pvhEntry: number | undefined;
  for (let at = 0; at < table.length; at += PHDR_SIZE) {
    const kind = view.getUint32(at, true);
    const offset = u64(view, at + 8);
    const guestAddress = u64(view, at + 24);
    const fileSize = u64(view, at + 32);
    const memorySize = u64(view, at + 40);
    if (kind === PT_LOAD && memorySize > 0) {
      requireInFile(size, offset, fileSize, 'a segment');
      if (memorySize < fileSize) {
        throw bad(`a segment has ${fileSize} bytes in the file and ${memorySize} in memory`);
      }
      segments.push({ offset, fileSize, guestAddress, size: memorySize });
    } else if (kind === PT_NOTE && pvhEntry === undefined) {
      if (fileSize > MAX_NOTES_SIZE) throw bad(`${fileSize} bytes of notes`);
      pvhEntry = findPvhEntry(await readPart(source, size, offset, fileSize, 'the notes'));
    }
  }
  segments.sort((a, b) => a.guestAddress - b.guestAddress);
  if (segments.length === 0) throw bad('nothing to load');
  segments.reduce((before, segment) => {
    if (segment.guestAddress < before.guestAddress + before.size) {
      throw bad(
        `the segments at 0x${before.guestAddress.toString(16)} and 0x${segment.guestAddress.toString(16)} overlap`,
      );
    }
    return segment;
  });
  return { entry, pvhEntry, segments };
}

/** Looks through notes: name and descriptor, each padded to 4 bytes, behind their sizes and the type. */
function findPvhEntry(notes: Uint8Array): number | undefined {
  const view = new DataView(notes.buffer);
  for (let at = 0; at + 12 <= notes.length;) {
    const nameSize = view.getUint32(at, true);
    const descriptorSize = view.getUint32(at + 4, true);
    const type = view.getUint32(at + 8, true);
    const name = at + 12;
    const descriptor = name + Math.ceil(nameSize / 4) * 4;
    const end = descriptor + descriptorSize;
    if (end > notes.length) throw bad('a note is longer than its segment');
    const isXen = nameSize === XEN_OWNER.length && XEN_OWNER.every((byte, i) => notes[name + i] === byte);
    if (isXen && type === XEN_ELFNOTE_PHYS32_ENTRY) {
      if (descriptorSize !== 4 && descriptorSize !== 8) {
        throw bad(`a PVH entry of ${descriptorSize} bytes`);
      }
      return descriptorSize === 4 ? view.getUint32(descriptor, true) : u64(view, descriptor);
    }
    at = descriptor + Math.ceil(descriptorSize / 4) * 4;
  }
  return undefined;
}

async function readPart(
  source: BlobSource,
  size: number,
  offset: number,
  length: number,
  what: string,
): Promise<Uint8Array<ArrayBuffer>> {
  requireInFile(size, offset, length, what);
  const bytes = new Uint8Array(length);
  await readFully(source, offset, bytes);
  return bytes;
}

function requireInFile(size: number, offset: number, length: number, what: string): void {
  if (offset + length <= size) return;
  throw new ArchError(
    'TRUNCATED',
    `the ELF file has ${what} in bytes ${offset} to ${offset + length}, the file ${size}`,
  );
}

function bad(what: string): ArchError {
  return new ArchError('BAD_KERNEL', `the ELF headers cannot be true: ${what}`);
}
