import { FeatureSet } from '../features.ts';
import * as net from './constants.ts';

const GUEST_OFFLOADS = FeatureSet.of(
  net.VIRTIO_NET_F_GUEST_CSUM,
  net.VIRTIO_NET_F_GUEST_TSO4,
  net.VIRTIO_NET_F_GUEST_TSO6,
  net.VIRTIO_NET_F_GUEST_ECN,
  net.VIRTIO_NET_F_GUEST_USO4,
  net.VIRTIO_NET_F_GUEST_USO6,
);
const HOST_OFFLOADS = FeatureSet.of(
  net.VIRTIO_NET_F_HOST_TSO4,
  net.VIRTIO_NET_F_HOST_TSO6,
  net.VIRTIO_NET_F_HOST_ECN,
  net.VIRTIO_NET_F_HOST_USO,
);

/** What the driver is offered of a backend's offloads. */
export function offeredOffloads(backend: FeatureSet): FeatureSet {
  const guest = usableOffloads(backend);
  const all = backend.intersection(HOST_OFFLOADS).union(guest);
  const always = FeatureSet.of(net.VIRTIO_NET_F_CSUM);
  const control = FeatureSet.of(net.VIRTIO_NET_F_CTRL_GUEST_OFFLOADS);
  return all.union(always).union(guest.equals(FeatureSet.EMPTY) ? FeatureSet.EMPTY : control);
}

/** GUEST_… features; without GUEST_CSUM none of them means anything (§5.1.3.1). */
export function usableOffloads(features: FeatureSet): FeatureSet {
  const guest = features.intersection(GUEST_OFFLOADS);
  return guest.has(net.VIRTIO_NET_F_GUEST_CSUM) ? guest : FeatureSet.EMPTY;
}

/** Whether there is nothing else among them. */
export function isGuestOffloads(features: FeatureSet): boolean {
  return features.isSubsetOf(GUEST_OFFLOADS);
}
