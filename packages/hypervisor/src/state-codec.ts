import { HypervisorError } from './errors.ts';

const HEADER_SIZE = 16;

/**
 * Wraps backend-private state: magic, version and checksum, so that bytes of another kind, of another version or
 * damaged ones are refused. It does not make them trustworthy: what is inside is checked where it is used.
 */
export function encodeState(magic: number, version: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADER_SIZE + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, magic, true);
  view.setUint32(4, version, true);
  view.setUint32(8, payload.length, true);
  view.setUint32(12, crc32(payload), true);
  bytes.set(payload, HEADER_SIZE);
  return bytes;
}

/**
 * The payload of {@link encodeState}.
 *
 * @throws HypervisorError `INVALID_ARGUMENT`
 */
export function decodeState(what: string, magic: number, version: number, bytes: unknown): DataView {
  if (!(bytes instanceof Uint8Array) || bytes.length < HEADER_SIZE) throw invalid(what, 'it is too short');
  // A private copy, so that nobody changes it between the checks and their use.
  const copy = new Uint8Array(bytes);
  const view = new DataView(copy.buffer);
  if (view.getUint32(0, true) !== magic) throw invalid(what, 'it is state of something else');
  const found = view.getUint32(4, true);
  if (found !== version) throw invalid(what, `it has version ${found}, and this backend knows ${version}`);
  const payload = copy.subarray(HEADER_SIZE);
  if (view.getUint32(8, true) !== payload.length) throw invalid(what, 'its length does not fit');
  if (view.getUint32(12, true) !== crc32(payload)) throw invalid(what, 'its checksum does not fit');
  return new DataView(copy.buffer, HEADER_SIZE);
}

/** The error for state that is refused. */
export function invalid(what: string, why: string): HypervisorError {
  return new HypervisorError('INVALID_ARGUMENT', `${what} cannot be restored: ${why}`);
}

/**
 * The object that some state should be.
 *
 * @throws HypervisorError `INVALID_ARGUMENT`
 */
export function stateObject(what: string, value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null) throw invalid(what, 'it is not an object');
  return value as Readonly<Record<string, unknown>>;
}

/** The checksum of each byte by itself. State is checked in code that has not run often: eight steps for a byte take long there. */
const CRC_TABLE: Int32Array = Int32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb8_8320 : 0);
  return crc;
});

/** CRC-32 of ISO 3309. */
export function crc32(bytes: Uint8Array): number {
  let crc = -1;
  for (let i = 0; i < bytes.length; i++) crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ bytes[i]!) & 0xff]!;
  return ~crc >>> 0;
}
