import { readConfigSpace } from '../config-space.ts';
import { checkOption } from '../errors.ts';
import {
  VIRTIO_NET_CONFIG_DUPLEX,
  VIRTIO_NET_CONFIG_MAC,
  VIRTIO_NET_CONFIG_MAX_VIRTQUEUE_PAIRS,
  VIRTIO_NET_CONFIG_MTU,
  VIRTIO_NET_CONFIG_SIZE,
  VIRTIO_NET_CONFIG_SPEED,
  VIRTIO_NET_CONFIG_STATUS,
  VIRTIO_NET_S_ANNOUNCE,
  VIRTIO_NET_S_LINK_UP,
} from './constants.ts';

/** Full, §5.1.4. */
const DUPLEX_FULL = 1;
const UNKNOWN_SPEED = 0xffff_ffff;
const UNKNOWN_DUPLEX = 0xff;

/** The device's configuration space, `struct virtio_net_config` of VIRTIO 1.3 §5.1.4. */
export class NetConfig {
  readonly #bytes = new Uint8Array(VIRTIO_NET_CONFIG_SIZE);
  #generation = 0;

  /**
   * @param mtu bytes; absent: the field is not read
   * @param speed in Mbit/s; absent: unknown
   * @throws VirtioDeviceError `INVALID_OPTION`
   */
  constructor(maximumPairs: number, mtu: number | undefined, speed: number | undefined) {
    const view = new DataView(this.#bytes.buffer);
    view.setUint16(VIRTIO_NET_CONFIG_MAX_VIRTQUEUE_PAIRS, maximumPairs, true);
    if (mtu !== undefined) view.setUint16(VIRTIO_NET_CONFIG_MTU, checkOption('mtu', mtu, 68, 65535), true);
    const mbits = speed === undefined ? UNKNOWN_SPEED : checkOption('speed', speed, 0, 0x7fff_ffff);
    view.setUint32(VIRTIO_NET_CONFIG_SPEED, mbits, true);
    view.setUint8(VIRTIO_NET_CONFIG_DUPLEX, speed === undefined ? UNKNOWN_DUPLEX : DUPLEX_FULL);
  }

  /** Counts changes: the address is wider than what is read at once (§2.5.1). */
  get generation(): number {
    return this.#generation;
  }

  read(offset: number, length: 1 | 2 | 4): number {
    return readConfigSpace(this.#bytes, offset, length);
  }

  /** @param mac 6 bytes */
  setMac(mac: Uint8Array): void {
    this.#bytes.set(mac, VIRTIO_NET_CONFIG_MAC);
    this.#generation++;
  }

  /** @returns whether that is a change */
  setLinkUp(up: boolean): boolean {
    return this.#setStatus(VIRTIO_NET_S_LINK_UP, up);
  }

  /** Whether the driver is to announce the guest. @returns whether that is a change */
  setAnnounce(due: boolean): boolean {
    return this.#setStatus(VIRTIO_NET_S_ANNOUNCE, due);
  }

  #setStatus(bit: number, on: boolean): boolean {
    const before = this.#bytes[VIRTIO_NET_CONFIG_STATUS]!;
    const after = on ? before | bit : before & ~bit;
    if (after === before) return false;
    this.#bytes[VIRTIO_NET_CONFIG_STATUS] = after;
    this.#generation++;
    return true;
  }
}
