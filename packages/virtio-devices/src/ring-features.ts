import { FeatureSet } from './features.ts';
import {
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_IN_ORDER,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_RING_PACKED,
} from './virtio.ts';

/** Ring features to offer for split rings. */
export const SPLIT_RING_FEATURES: FeatureSet = FeatureSet.of(VIRTIO_F_INDIRECT_DESC, VIRTIO_F_EVENT_IDX);
/** Ring features to offer for packed rings; a driver that does not know them takes split ones. */
export const PACKED_RING_FEATURES: FeatureSet = SPLIT_RING_FEATURES.union(
  FeatureSet.of(VIRTIO_F_RING_PACKED),
);
/** All that a transport may offer; VIRTIO_F_RING_RESET depends on the device. */
export const RING_FEATURES: FeatureSet = PACKED_RING_FEATURES.union(FeatureSet.of(VIRTIO_F_IN_ORDER));
