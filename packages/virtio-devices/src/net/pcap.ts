/** Block types and options of pcapng (draft-ietf-opsawg-pcapng §4). */
const SECTION_HEADER = 0x0a0d0d0a;
const INTERFACE_DESCRIPTION = 1;
const ENHANCED_PACKET = 6;
const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
const LINKTYPE_ETHERNET = 1;
const OPT_END = 0;
const IF_NAME = 2;
const EPB_FLAGS = 2;
const TWO_32 = 2 ** 32;

/** Where a frame went, as epb_flags has it. */
export const PCAP_TO_GUEST = 1;
export const PCAP_FROM_GUEST = 2;

/** Bytes around the frame in a packet block: header, options, trailer; without padding. */
const PACKET_OVERHEAD = 28 + 8 + 4 + 4;

/** Encodes frames as a pcapng file of one Ethernet interface, with microseconds and directions. */
export class PcapEncoder {
  readonly #snapLength: number;
  #buffer = new Uint8Array(2048);

  /** @param snapLength bytes kept of each frame */
  constructor(snapLength: number) {
    this.#snapLength = snapLength;
  }

  /**
   * What the file begins with.
   *
   * @param name of the interface, ASCII
   */
  header(name: string): Uint8Array {
    const text = Uint8Array.from(name, (character) => character.charCodeAt(0) & 0x7f);
    const padded = Math.ceil(text.length / 4) * 4;
    const interfaceLength = 20 + 4 + padded + 4;
    const bytes = new Uint8Array(28 + interfaceLength);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, SECTION_HEADER, true);
    view.setUint32(4, 28, true);
    view.setUint32(8, BYTE_ORDER_MAGIC, true);
    view.setUint16(12, 1, true);
    // The section's length is not known.
    view.setInt32(16, -1, true);
    view.setInt32(20, -1, true);
    view.setUint32(24, 28, true);
    view.setUint32(28, INTERFACE_DESCRIPTION, true);
    view.setUint32(32, interfaceLength, true);
    view.setUint16(36, LINKTYPE_ETHERNET, true);
    view.setUint32(40, this.#snapLength, true);
    view.setUint16(44, IF_NAME, true);
    view.setUint16(46, text.length, true);
    bytes.set(text, 48);
    view.setUint32(28 + interfaceLength - 4, interfaceLength, true);
    return bytes;
  }

  /**
   * One frame. The result is used again by the next call.
   *
   * @param length bytes of the whole frame
   * @param direction PCAP_TO_GUEST or PCAP_FROM_GUEST
   * @param time microseconds since 1970
   * @param fill copies the start of the frame; it gets room for all that is kept
   */
  packet(length: number, direction: number, time: number, fill: (target: Uint8Array) => void): Uint8Array {
    const kept = Math.min(length, this.#snapLength);
    const padded = Math.ceil(kept / 4) * 4;
    const size = PACKET_OVERHEAD + padded;
    if (size > this.#buffer.length) this.#buffer = new Uint8Array(Math.max(size, 2 * this.#buffer.length));
    const bytes = this.#buffer.subarray(0, size);
    const view = new DataView(bytes.buffer, 0, size);
    view.setUint32(0, ENHANCED_PACKET, true);
    view.setUint32(4, size, true);
    view.setUint32(8, 0, true);
    view.setUint32(12, Math.floor(time / TWO_32), true);
    view.setUint32(16, time % TWO_32, true);
    view.setUint32(20, kept, true);
    view.setUint32(24, length, true);
    bytes.fill(0, 28, 28 + padded);
    fill(bytes.subarray(28, 28 + kept));
    let at = 28 + padded;
    view.setUint16(at, EPB_FLAGS, true);
    view.setUint16(at + 2, 4, true);
    view.setUint32(at + 4, direction, true);
    at += 8;
    view.setUint32(at, OPT_END, true);
    view.setUint32(at + 4, size, true);
    return bytes;
  }
}
