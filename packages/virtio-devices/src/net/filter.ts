import { VirtioDeviceError } from '../errors.ts';
import type { StateReader } from '../state.ts';

/** Bits of the first byte of {@link ReceiveFilter.bytes}. */
export const FILTER_PROMISC = 1;
export const FILTER_ALLMULTI = 2;
export const FILTER_ALLUNI = 4;
export const FILTER_NOMULTI = 8;
export const FILTER_NOUNI = 16;
export const FILTER_NOBCAST = 32;
/** Frames with a VLAN tag pass when their VLAN is in the table. */
export const FILTER_VLAN = 64;

/** Addresses in the table, of both kinds together; more are replaced by "all" of the kind. */
export const FILTER_MAX_ADDRESSES = 128;

const OVERFLOW_AT = 1;
const COUNT_AT = 2;
const OWN_AT = 4;
const VLANS_AT = 10;
const VLANS_BYTES = 512;
const TABLE_AT = VLANS_AT + VLANS_BYTES;
const ETHERTYPE_VLAN = 0x8100;

/**
 * Which frames a driver wants (VIRTIO 1.3 §5.1.6.5.1 to .3). It is one array of bytes, so that native code
 * filters by the same: mode bits; more of them, for a table that was too large; number of addresses; nothing;
 * own address (6); VLAN bitmap (512); addresses (6 each).
 */
export class ReceiveFilter {
  readonly bytes: Uint8Array = new Uint8Array(TABLE_AT + 6 * FILTER_MAX_ADDRESSES);
  #initialMac: Uint8Array;

  /** @param mac the address after a reset */
  constructor(mac: Uint8Array) {
    this.#initialMac = mac;
    this.reset();
  }

  /** The address after a reset. */
  get initialMac(): Uint8Array {
    return this.#initialMac;
  }

  /** Back to what holds before a driver says anything: everything passes. */
  reset(): void {
    this.bytes.fill(0);
    this.bytes[0] = FILTER_PROMISC;
    this.bytes.set(this.#initialMac, OWN_AT);
  }

  get mac(): Uint8Array {
    return this.bytes.subarray(OWN_AT, OWN_AT + 6);
  }

  setMac(mac: Uint8Array): void {
    this.bytes.set(mac, OWN_AT);
  }

  /** @param bit one of FILTER_… */
  setMode(bit: number, on: boolean): void {
    this.bytes[0] = on ? this.bytes[0]! | bit : this.bytes[0]! & ~bit;
  }

  setVlan(vlan: number, on: boolean): void {
    const at = VLANS_AT + (vlan >> 3);
    const bit = 1 << (vlan & 7);
    this.bytes[at] = on ? this.bytes[at]! | bit : this.bytes[at]! & ~bit;
  }

  /**
   * Replaces the table. With more addresses than it can take, a device passes all of their kind (§5.1.6.5.2).
   *
   * @param unicast addresses of 6 bytes each; undefined: too many to be given here
   * @param multicast the same
   */
  setTable(unicast: Uint8Array | undefined, multicast: Uint8Array | undefined): void {
    let overflow = 0;
    let at = TABLE_AT;
    for (const [addresses, all] of [
      [unicast, FILTER_ALLUNI],
      [multicast, FILTER_ALLMULTI],
    ] as const) {
      if (addresses === undefined || at + addresses.length > this.bytes.length) {
        overflow |= all;
      } else {
        this.bytes.set(addresses, at);
        at += addresses.length;
      }
    }
    this.bytes[COUNT_AT] = (at - TABLE_AT) / 6;
    this.bytes[OVERFLOW_AT] = overflow;
  }

  /** Whether the driver wants a frame whose first bytes, 16 if it has them, are at `offset`. */
  accepts(frame: Uint8Array, offset: number): boolean {
    const { bytes } = this;
    const mode = bytes[0]! | bytes[OVERFLOW_AT]!;
    if ((mode & FILTER_VLAN) !== 0 && frame.length >= offset + 16) {
      const type = (frame[offset + 12]! << 8) | frame[offset + 13]!;
      if (type === ETHERTYPE_VLAN) {
        const vlan = ((frame[offset + 14]! & 0xf) << 8) | frame[offset + 15]!;
        if ((bytes[VLANS_AT + (vlan >> 3)]! & (1 << (vlan & 7))) === 0) return false;
      }
    }
    if ((mode & FILTER_PROMISC) !== 0) return true;
    if ((frame[offset]! & 1) !== 0) {
      if (isBroadcast(frame, offset)) return (mode & FILTER_NOBCAST) === 0;
      if ((mode & FILTER_NOMULTI) !== 0) return false;
      if ((mode & FILTER_ALLMULTI) !== 0) return true;
    } else {
      if ((mode & FILTER_NOUNI) !== 0) return false;
      if ((mode & FILTER_ALLUNI) !== 0 || equal(bytes, OWN_AT, frame, offset)) return true;
    }
    for (let i = 0; i < bytes[COUNT_AT]!; i++) {
      if (equal(bytes, TABLE_AT + 6 * i, frame, offset)) return true;
    }
    return false;
  }

  /** @param bytes what {@link read} answered */
  restore(initialMac: Uint8Array, bytes: Uint8Array): void {
    this.#initialMac = initialMac;
    this.bytes.set(bytes);
  }

  /** @throws VirtioDeviceError `INVALID_STATE` */
  static read(reader: StateReader, name: string): Uint8Array {
    const bytes = reader.bytes(name);
    if (bytes.length !== TABLE_AT + 6 * FILTER_MAX_ADDRESSES || bytes[COUNT_AT]! > FILTER_MAX_ADDRESSES) {
      throw new VirtioDeviceError('INVALID_STATE', `network device state: ${name} is no receive filter`);
    }
    return bytes;
  }
}

function isBroadcast(frame: Uint8Array, offset: number): boolean {
  for (let i = 0; i < 6; i++) if (frame[offset + i] !== 0xff) return false;
  return true;
}

function equal(a: Uint8Array, at: number, b: Uint8Array, offset: number): boolean {
  for (let i = 0; i < 6; i++) if (a[at + i] !== b[offset + i]) return false;
  return true;
}
