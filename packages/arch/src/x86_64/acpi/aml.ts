import { ArchError } from '../../errors.ts';

/** AML of a term, a data object or a name (ACPI 6.5 §20.2): bytes to be put one after the other. */
export type Aml = Uint8Array;

/** Opcodes of ACPI 6.5 §20.3; those of two bytes start with {@link EXT_OP_PREFIX}. */
const ZERO_OP = 0x00;
const ONE_OP = 0x01;
const NAME_OP = 0x08;
const BYTE_PREFIX = 0x0a;
const WORD_PREFIX = 0x0b;
const DWORD_PREFIX = 0x0c;
const STRING_PREFIX = 0x0d;
const QWORD_PREFIX = 0x0e;
const SCOPE_OP = 0x10;
const BUFFER_OP = 0x11;
const PACKAGE_OP = 0x12;
const METHOD_OP = 0x14;
const DUAL_NAME_PREFIX = 0x2e;
const MULTI_NAME_PREFIX = 0x2f;
const EXT_OP_PREFIX = 0x5b;
const ROOT_CHAR = 0x5c;
const LOCAL0_OP = 0x60;
const ARG0_OP = 0x68;
const STORE_OP = 0x70;
const AND_OP = 0x7b;
const OR_OP = 0x7d;
const DEVICE_OP = 0x82;
const NOTIFY_OP = 0x86;
const CREATE_DWORD_FIELD_OP = 0x8a;
const LNOT_OP = 0x92;
const LEQUAL_OP = 0x93;
const IF_OP = 0xa0;
const ELSE_OP = 0xa1;
const RETURN_OP = 0xa4;
const ONES_OP = 0xff;

/** Largest values that a PkgLength of 1, 2, 3 and 4 bytes holds (ACPI 6.5 §20.2.4). */
const PKG_LENGTH_MAX: readonly number[] = [63, 2 ** 12 - 1, 2 ** 20 - 1, 2 ** 28 - 1];

/** @throws ArchError `INVALID_ARGUMENT`; so do all functions here, for arguments that AML cannot express */
function invalid(message: string): never {
  throw new ArchError('INVALID_ARGUMENT', message);
}

/** Puts pieces of AML one after the other. */
export function concat(...parts: readonly (Uint8Array | readonly number[])[]): Uint8Array {
  const result = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    result.set(part, at);
    at += part.length;
  }
  return result;
}

/**
 * PkgLength of a package whose content behind it has `contentLength` bytes; it counts its own bytes too
 * (ACPI 6.5 §20.2.4).
 */
export function pkgLength(contentLength: number): Aml {
  for (const [index, max] of PKG_LENGTH_MAX.entries()) {
    const total = contentLength + index + 1;
    if (total > max) continue;
    if (index === 0) return Uint8Array.of(total);
    const bytes = [(index << 6) | (total & 0xf)];
    for (let shift = 4; bytes.length <= index; shift += 8) bytes.push((total >>> shift) & 0xff);
    return Uint8Array.from(bytes);
  }
  return invalid(`an AML package of ${contentLength} bytes`);
}

function packaged(opcode: readonly number[], ...content: readonly Aml[]): Aml {
  const body = concat(...content);
  return concat(opcode, pkgLength(body.length), body);
}

/** NameSeg: up to four of A-Z, 0-9 and underscore, no digit first (ACPI 6.5 §20.2.2). */
function nameSegment(name: string): number[] {
  if (!/^[A-Z_][A-Z0-9_]{0,3}$/.test(name)) invalid(`"${name}" is no ACPI name`);
  return Array.from(name.padEnd(4, '_'), (char) => char.charCodeAt(0));
}

/**
 * NameString (ACPI 6.5 §20.2.2): segments with dots between them, behind `\` for the root or any number of `^`.
 * As a term it refers to the object of that name.
 */
export function path(name: string): Aml {
  const prefix = /^(?:\\|\^*)/.exec(name)?.[0] ?? '';
  const rest = name.slice(prefix.length);
  const segments = rest === '' ? [] : rest.split('.').map(nameSegment);
  if (prefix === '' && segments.length === 0) invalid('an empty ACPI name');
  if (segments.length > 255) invalid(`an ACPI name of ${segments.length} segments`);
  const prefixBytes = Array.from(prefix, (char) => (char === '^' ? 0x5e : ROOT_CHAR));
  const head =
    segments.length === 0
      ? [0]
      : segments.length === 1
        ? []
        : segments.length === 2
          ? [DUAL_NAME_PREFIX]
          : [MULTI_NAME_PREFIX, segments.length];
  return concat(prefixBytes, head, segments.flat());
}

/** An integer of up to 64 bits without sign, in the shortest form (ACPI 6.5 §20.2.3). */
export function integer(value: number | bigint): Aml {
  if (typeof value === 'number' && !Number.isSafeInteger(value)) invalid(`${value} is no integer`);
  const wide = BigInt(value);
  if (wide < 0n || wide >= 2n ** 64n) invalid(`${wide} does not fit 64 bits`);
  if (wide === 0n) return Uint8Array.of(ZERO_OP);
  if (wide === 1n) return Uint8Array.of(ONE_OP);
  // OnesOp is all bits of an integer: 64 in a DSDT of revision 2 and later.
  if (wide === 2n ** 64n - 1n) return Uint8Array.of(ONES_OP);
  if (wide <= 0xffn) return Uint8Array.of(BYTE_PREFIX, Number(wide));
  if (wide <= 0xffffn) return concat([WORD_PREFIX], littleEndian(wide, 2));
  if (wide <= 0xffff_ffffn) return concat([DWORD_PREFIX], littleEndian(wide, 4));
  return concat([QWORD_PREFIX], littleEndian(wide, 8));
}

/** The low `bytes` bytes of a value. */
export function littleEndian(value: number | bigint, bytes: number): Uint8Array {
  const wide = BigInt(value);
  return Uint8Array.from({ length: bytes }, (_, index) => Number((wide >> BigInt(8 * index)) & 0xffn));
}

/** A string of ASCII characters 0x01…0x7F (ACPI 6.5 §20.2.3). */
export function string(text: string): Aml {
  const codes = Array.from(text, (char) => char.codePointAt(0) ?? 0);
  if (codes.some((code) => code < 1 || code > 0x7f)) invalid(`"${text}" is no ASCII string`);
  return concat([STRING_PREFIX], codes, [0]);
}

/** An EISA identifier as a 32-bit integer: three letters, four hexadecimal digits (ACPI 6.5 §19.6.36). */
export function eisaId(id: string): Aml {
  if (!/^[A-Z]{3}[0-9A-F]{4}$/.test(id)) invalid(`"${id}" is no EISA identifier`);
  const [a = 0, b = 0, c = 0] = Array.from(id, (char) => char.charCodeAt(0) - 0x40);
  const vendor = (a << 10) | (b << 5) | c;
  const product = Number.parseInt(id.slice(3), 16);
  // Always a DWordConst: the bytes are the identifier's own order, most significant first.
  return Uint8Array.of(DWORD_PREFIX, vendor >> 8, vendor & 0xff, product >> 8, product & 0xff);
}

/** Scope: opens an existing object for more of them (ACPI 6.5 §20.2.5.1). */
export function scope(name: string, ...terms: readonly Aml[]): Aml {
  return packaged([SCOPE_OP], path(name), ...terms);
}

/** Device (ACPI 6.5 §20.2.5.2). */
export function device(name: string, ...terms: readonly Aml[]): Aml {
  return packaged([EXT_OP_PREFIX, DEVICE_OP], path(name), ...terms);
}

/** Name: a named data object (ACPI 6.5 §20.2.5.1). */
export function name(objectName: string, value: Aml): Aml {
  return concat([NAME_OP], path(objectName), value);
}

/**
 * Method (ACPI 6.5 §20.2.5.2), of sync level 0 where it is serialized.
 *
 * @param args number of arguments, 0…7
 */
export function method(
  methodName: string,
  { args, serialized }: { readonly args: number; readonly serialized: boolean },
  ...terms: readonly Aml[]
): Aml {
  if (!Number.isInteger(args) || args < 0 || args > 7) invalid(`a method with ${args} arguments`);
  return packaged([METHOD_OP], path(methodName), Uint8Array.of(args | (serialized ? 8 : 0)), ...terms);
}

/** Package of up to 255 data objects (ACPI 6.5 §20.2.5.4). */
export function packageOf(...elements: readonly Aml[]): Aml {
  if (elements.length > 255) invalid(`a package of ${elements.length} elements`);
  return packaged([PACKAGE_OP], Uint8Array.of(elements.length), ...elements);
}

/** Buffer (ACPI 6.5 §20.2.5.4). */
export function buffer(bytes: Uint8Array): Aml {
  return packaged([BUFFER_OP], integer(bytes.length), bytes);
}

/** ArgObj, 0…6 (ACPI 6.5 §20.2.6.1). */
export function arg(index: number): Aml {
  if (!Number.isInteger(index) || index < 0 || index > 6) invalid(`method argument ${index}`);
  return Uint8Array.of(ARG0_OP + index);
}

/** LocalObj, 0…7 (ACPI 6.5 §20.2.6.2). */
export function local(index: number): Aml {
  if (!Number.isInteger(index) || index < 0 || index > 7) invalid(`local variable ${index}`);
  return Uint8Array.of(LOCAL0_OP + index);
}

/** Store (ACPI 6.5 §20.2.5.4). */
export function store(value: Aml, target: Aml): Aml {
  return concat([STORE_OP], value, target);
}

/** Whether two operands are equal (ACPI 6.5 §20.2.5.4). */
export function equal(a: Aml, b: Aml): Aml {
  return concat([LEQUAL_OP], a, b);
}

/** Whether a condition does not hold (ACPI 6.5 §20.2.5.4). */
export function not(condition: Aml): Aml {
  return concat([LNOT_OP], condition);
}

/** The bits that both operands have, stored (ACPI 6.5 §20.2.5.4). */
export function and(a: Aml, b: Aml, target: Aml): Aml {
  return concat([AND_OP], a, b, target);
}

/** The bits that one of the operands has, stored (ACPI 6.5 §20.2.5.4). */
export function or(a: Aml, b: Aml, target: Aml): Aml {
  return concat([OR_OP], a, b, target);
}

/** CreateDWordField: a name for four bytes of a buffer (ACPI 6.5 §20.2.5.2). */
export function createDwordField(source: Aml, offset: number, fieldName: string): Aml {
  return concat([CREATE_DWORD_FIELD_OP], source, integer(offset), path(fieldName));
}

/** If; an {@link otherwise} may follow (ACPI 6.5 §20.2.5.3). */
export function when(predicate: Aml, ...terms: readonly Aml[]): Aml {
  return packaged([IF_OP], predicate, ...terms);
}

/** Else (ACPI 6.5 §20.2.5.3). */
export function otherwise(...terms: readonly Aml[]): Aml {
  return packaged([ELSE_OP], ...terms);
}

/** Return (ACPI 6.5 §20.2.5.3). */
export function returns(value: Aml): Aml {
  return concat([RETURN_OP], value);
}

/** Notify: tells the driver of an object (ACPI 6.5 §20.2.5.3). */
export function notify(object: Aml, value: number): Aml {
  return concat([NOTIFY_OP], object, integer(value));
}
