import { ArchError } from '../../errors.ts';
import { buffer, concat, littleEndian } from './aml.ts';
import type { Aml } from './aml.ts';

/** One resource descriptor (ACPI 6.5 §6.4), an element of {@link resourceTemplate}. */
export type ResourceDescriptor = Uint8Array;

/** Small descriptors: type, length in bits 2:0 (ACPI 6.5 §6.4.2). */
const IO_PORT = 0x47;
const END_TAG = 0x79;
/** Large descriptors (ACPI 6.5 §6.4.3). */
const MEMORY32_FIXED = 0x86;
const DWORD_ADDRESS_SPACE = 0x87;
const WORD_ADDRESS_SPACE = 0x88;
const EXTENDED_INTERRUPT = 0x89;
const QWORD_ADDRESS_SPACE = 0x8a;

/** Resource types of address space descriptors (ACPI 6.5 §6.4.3.5). */
const ADDRESS_MEMORY = 0;
const ADDRESS_IO = 1;
const ADDRESS_BUS = 2;
/** General flags: fixed minimum and maximum, positive decode, produced by this device (ACPI 6.5 §6.4.3.5). */
const MIN_FIXED = 1 << 2;
const MAX_FIXED = 1 << 3;
/** Type-specific flags of memory: writable (ACPI 6.5 table 6.53). */
const MEMORY_READ_WRITE = 1;
/** Type-specific flags of memory: cacheable and prefetchable, in bits 2:1. */
const MEMORY_PREFETCHABLE = 3 << 1;
/** Type-specific flags of I/O: all addresses, not the ISA aliases only (ACPI 6.5 table 6.54). */
const IO_ENTIRE_RANGE = 3;

/** A Buffer of descriptors with the end tag, for `_CRS` (ACPI 6.5 §6.4). */
export function resourceTemplate(...descriptors: readonly ResourceDescriptor[]): Aml {
  // A checksum of 0 means that there is none to check (§6.4.2.9).
  return buffer(concat(...descriptors, [END_TAG, 0]));
}

function large(type: number, ...content: readonly (Uint8Array | readonly number[])[]): ResourceDescriptor {
  const body = concat(...content);
  return concat([type], littleEndian(body.length, 2), body);
}

function unsigned(what: string, value: number, bits: number): number {
  if (!Number.isSafeInteger(value) || value < 0 || value >= 2 ** bits) {
    throw new ArchError('INVALID_ARGUMENT', `${what} ${value} is no number of ${bits} bits`);
  }
  return value;
}

/** Memory that a device has at a fixed address below 4 GiB (ACPI 6.5 §6.4.3.4). */
export function memory32Fixed(
  address: number,
  size: number,
  access: 'read-write' | 'read-only',
): ResourceDescriptor {
  return large(
    MEMORY32_FIXED,
    [access === 'read-write' ? 1 : 0],
    littleEndian(unsigned('memory address', address, 32), 4),
    littleEndian(unsigned('memory size', size, 32), 4),
  );
}

/** I/O ports at a fixed address, all 16 address lines decoded (ACPI 6.5 §6.4.2.5). */
export function io(port: number, size: number): ResourceDescriptor {
  const base = littleEndian(unsigned('port', port, 16), 2);
  return concat([IO_PORT, 1], base, base, [1, unsigned('number of ports', size, 8)]);
}

/** How an interrupt is signalled and whether devices share it. */
export interface InterruptMode {
  readonly trigger: 'edge' | 'level';
  readonly polarity: 'high' | 'low';
  readonly shared: boolean;
}

/** Global system interrupts that the device takes (ACPI 6.5 §6.4.3.6). */
export function interrupt(mode: InterruptMode, ...gsis: readonly number[]): ResourceDescriptor {
  if (gsis.length < 1 || gsis.length > 255) {
    throw new ArchError('INVALID_ARGUMENT', `a descriptor of ${gsis.length} interrupts`);
  }
  const flags =
    1 | (mode.trigger === 'edge' ? 2 : 0) | (mode.polarity === 'low' ? 4 : 0) | (mode.shared ? 8 : 0);
  return large(
    EXTENDED_INTERRUPT,
    [flags, gsis.length],
    ...gsis.map((gsi) => littleEndian(unsigned('interrupt', gsi, 32), 4)),
  );
}

/** A range, both ends included, that a bridge passes on to what is behind it. */
function addressSpace(
  type: number,
  bytes: number,
  resource: number,
  specific: number,
  range: { readonly min: number; readonly max: number },
): ResourceDescriptor {
  const min = BigInt(unsigned('start', range.min, Math.min(8 * bytes, 53)));
  const max = BigInt(unsigned('end', range.max, Math.min(8 * bytes, 53)));
  if (max < min) throw new ArchError('INVALID_ARGUMENT', `a range from ${min} to ${max}`);
  // Granularity, minimum, maximum, translation offset, length.
  const fields = [0n, min, max, 0n, max - min + 1n];
  if ((max - min + 1n) >> BigInt(8 * bytes) !== 0n) {
    throw new ArchError('INVALID_ARGUMENT', `a range of ${max - min + 1n} in a ${8 * bytes}-bit descriptor`);
  }
  return large(
    type,
    [resource, MIN_FIXED | MAX_FIXED, specific],
    ...fields.map((field) => littleEndian(field, bytes)),
  );
}

/** Bus numbers behind a host bridge (ACPI 6.5 §6.4.3.5.3). */
export function wordBusNumber(min: number, max: number): ResourceDescriptor {
  return addressSpace(WORD_ADDRESS_SPACE, 2, ADDRESS_BUS, 0, { min, max });
}

/** I/O ports behind a host bridge (ACPI 6.5 §6.4.3.5.3). */
export function wordIo(min: number, max: number): ResourceDescriptor {
  return addressSpace(WORD_ADDRESS_SPACE, 2, ADDRESS_IO, IO_ENTIRE_RANGE, { min, max });
}

/** Uncached, writable memory behind a host bridge, below 4 GiB (ACPI 6.5 §6.4.3.5.2). */
export function dwordMemory(min: number, max: number): ResourceDescriptor {
  return addressSpace(DWORD_ADDRESS_SPACE, 4, ADDRESS_MEMORY, MEMORY_READ_WRITE, { min, max });
}

/** Prefetchable, writable memory behind a host bridge (ACPI 6.5 §6.4.3.5.1). */
export function qwordPrefetchableMemory(min: number, max: number): ResourceDescriptor {
  const flags = MEMORY_READ_WRITE | MEMORY_PREFETCHABLE;
  return addressSpace(QWORD_ADDRESS_SPACE, 8, ADDRESS_MEMORY, flags, { min, max });
}
