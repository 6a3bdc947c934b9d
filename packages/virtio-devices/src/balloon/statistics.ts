import type { ChainReader } from '@vmm/virtio-queue';
import { BALLOON_STATISTICS_TAGS } from './constants.ts';

/**
 * What the guest says of its memory (VIRTIO 1.3 §5.5.6.3.2): bytes for memory, counts for events. A value that the guest
 * does not tell is absent; values beyond 2^53 lose their last bits.
 */
export type BalloonGuestStatistics = Readonly<Partial<Record<keyof typeof BALLOON_STATISTICS_TAGS, number>>>;

/** Bytes of `struct virtio_balloon_stat`. */
const ENTRY = 10;
/** More entries than there are tags are not looked at. */
const MAX_ENTRIES = 64;

const NAMES = new Map<number, keyof typeof BALLOON_STATISTICS_TAGS>();
for (const name of Object.keys(BALLOON_STATISTICS_TAGS) as (keyof typeof BALLOON_STATISTICS_TAGS)[]) {
  NAMES.set(BALLOON_STATISTICS_TAGS[name], name);
}

export function readStatistics(reader: ChainReader): BalloonGuestStatistics {
  const values: Partial<Record<keyof typeof BALLOON_STATISTICS_TAGS, number>> = {};
  for (let entries = 0; entries < MAX_ENTRIES && reader.remaining >= ENTRY; entries++) {
    const name = NAMES.get(reader.readUint16());
    const low = reader.readUint32();
    const high = reader.readUint32();
    if (name !== undefined) values[name] = low + high * 2 ** 32;
  }
  return values;
}
