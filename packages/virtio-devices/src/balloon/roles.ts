import type { FeatureSet } from '../features.ts';
import {
  VIRTIO_BALLOON_F_FREE_PAGE_HINT,
  VIRTIO_BALLOON_F_PAGE_REPORTING,
  VIRTIO_BALLOON_F_STATS_VQ,
} from './constants.ts';

/** What a queue is for. */
export type QueueRole = 'inflate' | 'deflate' | 'statistics' | 'hinting' | 'reporting';

/** Queue numbers of VIRTIO 1.3 §5.5.2, and the feature that a queue belongs to. */
const ROLES: readonly { readonly role: QueueRole; readonly feature: number | undefined }[] = [
  { role: 'inflate', feature: undefined },
  { role: 'deflate', feature: undefined },
  { role: 'statistics', feature: VIRTIO_BALLOON_F_STATS_VQ },
  { role: 'hinting', feature: VIRTIO_BALLOON_F_FREE_PAGE_HINT },
  { role: 'reporting', feature: VIRTIO_BALLOON_F_PAGE_REPORTING },
];

export const BALLOON_QUEUES: number = ROLES.length;

/**
 * Which queue is which. The standard numbers them whether or not the features before were negotiated; Linux (and QEMU)
 * numbers those that are used. The queues that the driver enabled tell which it is.
 *
 * @param isEnabled whether the driver enabled a queue
 */
export function queueRoles(
  features: FeatureSet,
  isEnabled: (index: number) => boolean,
): readonly (QueueRole | undefined)[] {
  const used = ROLES.map(({ role, feature }) =>
    feature === undefined || features.has(feature) ? role : undefined,
  );
  const standard = used.every((role, index) => role === undefined || isEnabled(index));
  return standard ? used : used.filter((role) => role !== undefined);
}
