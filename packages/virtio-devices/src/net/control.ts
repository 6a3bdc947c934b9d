import type { ChainReader, DescriptorChain } from '@vmm/virtio-queue';
import type { FeatureSet } from '../features.ts';
import {
  VIRTIO_NET_CTRL_ANNOUNCE,
  VIRTIO_NET_CTRL_ANNOUNCE_ACK,
  VIRTIO_NET_CTRL_GUEST_OFFLOADS,
  VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET,
  VIRTIO_NET_CTRL_MAC,
  VIRTIO_NET_CTRL_MAC_ADDR_SET,
  VIRTIO_NET_CTRL_MAC_TABLE_SET,
  VIRTIO_NET_CTRL_MQ,
  VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET,
  VIRTIO_NET_CTRL_RX,
  VIRTIO_NET_CTRL_RX_ALLMULTI,
  VIRTIO_NET_CTRL_RX_NOBCAST,
  VIRTIO_NET_CTRL_RX_PROMISC,
  VIRTIO_NET_CTRL_VLAN,
  VIRTIO_NET_CTRL_VLAN_ADD,
  VIRTIO_NET_CTRL_VLAN_DEL,
  VIRTIO_NET_F_CTRL_GUEST_OFFLOADS,
  VIRTIO_NET_F_CTRL_MAC_ADDR,
  VIRTIO_NET_F_CTRL_RX,
  VIRTIO_NET_F_CTRL_RX_EXTRA,
  VIRTIO_NET_F_CTRL_VLAN,
  VIRTIO_NET_F_GUEST_ANNOUNCE,
  VIRTIO_NET_F_MQ,
} from './constants.ts';
import { FILTER_MAX_ADDRESSES, type ReceiveFilter } from './filter.ts';

/** What control commands act on. */
export interface ControlTarget {
  readonly filter: ReceiveFilter;
  /** VIRTIO_NET_CTRL_MAC_ADDR_SET was carried out on the filter. */
  macChanged(): void;
  /** @returns false when the number is not possible */
  setQueuePairs(pairs: number): boolean;
  /** @returns false for offloads that were not negotiated */
  setGuestOffloads(low: number, high: number): boolean;
  announceAcknowledged(): void;
}

/**
 * Carries out a command of the control virtqueue (VIRTIO 1.3 §5.1.6.5).
 *
 * @returns whether it was understood and done: VIRTIO_NET_OK or VIRTIO_NET_ERR
 */
export function runControl(chain: DescriptorChain, features: FeatureSet, target: ControlTarget): boolean {
  const { reader } = chain;
  if (reader.remaining < 2) return false;
  const group = reader.readUint8();
  const command = reader.readUint8();
  switch (group) {
    case VIRTIO_NET_CTRL_RX:
      return setReceiveMode(command, reader, features, target.filter);
    case VIRTIO_NET_CTRL_MAC:
      return setAddresses(command, reader, features, target);
    case VIRTIO_NET_CTRL_VLAN: {
      if (!features.has(VIRTIO_NET_F_CTRL_VLAN) || reader.remaining !== 2) return false;
      if (command !== VIRTIO_NET_CTRL_VLAN_ADD && command !== VIRTIO_NET_CTRL_VLAN_DEL) return false;
      const vlan = reader.readUint16();
      if (vlan > 4095) return false;
      target.filter.setVlan(vlan, command === VIRTIO_NET_CTRL_VLAN_ADD);
      return true;
    }
    case VIRTIO_NET_CTRL_ANNOUNCE:
      if (!features.has(VIRTIO_NET_F_GUEST_ANNOUNCE) || command !== VIRTIO_NET_CTRL_ANNOUNCE_ACK)
        return false;
      target.announceAcknowledged();
      return true;
    case VIRTIO_NET_CTRL_MQ:
      if (!features.has(VIRTIO_NET_F_MQ) || command !== VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET) return false;
      return reader.remaining === 2 && target.setQueuePairs(reader.readUint16());
    case VIRTIO_NET_CTRL_GUEST_OFFLOADS: {
      if (!features.has(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS)) return false;
      if (command !== VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET || reader.remaining !== 8) return false;
      const low = reader.readUint32();
      return target.setGuestOffloads(low, reader.readUint32());
    }
    default:
      return false;
  }
}

/** §5.1.6.5.1; the commands are the numbers of the filter's bits. */
function setReceiveMode(
  command: number,
  reader: ChainReader,
  features: FeatureSet,
  filter: ReceiveFilter,
): boolean {
  const basic = command === VIRTIO_NET_CTRL_RX_PROMISC || command === VIRTIO_NET_CTRL_RX_ALLMULTI;
  if (command > VIRTIO_NET_CTRL_RX_NOBCAST || reader.remaining !== 1) return false;
  if (!features.has(basic ? VIRTIO_NET_F_CTRL_RX : VIRTIO_NET_F_CTRL_RX_EXTRA)) return false;
  const value = reader.readUint8();
  if (value > 1) return false;
  filter.setMode(1 << command, value === 1);
  return true;
}

/** §5.1.6.5.2. */
function setAddresses(
  command: number,
  reader: ChainReader,
  features: FeatureSet,
  target: ControlTarget,
): boolean {
  if (command === VIRTIO_NET_CTRL_MAC_ADDR_SET) {
    if (!features.has(VIRTIO_NET_F_CTRL_MAC_ADDR) || reader.remaining !== 6) return false;
    const mac = new Uint8Array(6);
    reader.read(mac);
    target.filter.setMac(mac);
    target.macChanged();
    return true;
  }
  if (command !== VIRTIO_NET_CTRL_MAC_TABLE_SET || !features.has(VIRTIO_NET_F_CTRL_RX)) return false;
  const unicast = readTable(reader);
  const multicast = unicast === null ? null : readTable(reader);
  if (unicast === null || multicast === null || reader.remaining > 0) return false;
  target.filter.setTable(unicast, multicast);
  return true;
}

/** @returns the addresses; undefined when there are too many; null when the table is cut off */
function readTable(reader: ChainReader): Uint8Array | undefined | null {
  if (reader.remaining < 4) return null;
  const bytes = reader.readUint32() * 6;
  if (bytes > reader.remaining) return null;
  if (bytes > 6 * FILTER_MAX_ADDRESSES) {
    reader.skip(bytes);
    return undefined;
  }
  const table = new Uint8Array(bytes);
  reader.read(table);
  return table;
}
