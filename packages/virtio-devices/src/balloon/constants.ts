/** Feature bits of the memory balloon device, VIRTIO 1.3 §5.5.3. */
export const VIRTIO_BALLOON_F_MUST_TELL_HOST = 0;
export const VIRTIO_BALLOON_F_STATS_VQ = 1;
export const VIRTIO_BALLOON_F_DEFLATE_ON_OOM = 2;
export const VIRTIO_BALLOON_F_FREE_PAGE_HINT = 3;
export const VIRTIO_BALLOON_F_PAGE_POISON = 4;
export const VIRTIO_BALLOON_F_PAGE_REPORTING = 5;

/** Values of `free_page_hint_cmd_id` that are no commands, §5.5.6.4. */
export const VIRTIO_BALLOON_CMD_ID_STOP = 0;
export const VIRTIO_BALLOON_CMD_ID_DONE = 1;

/** Bytes of a page of the balloon, whatever a page of the guest is, §5.5.6. */
export const VIRTIO_BALLOON_PAGE_SIZE = 4096;

/** Tags of memory statistics, §5.5.6.3.2; from 10 on those that Linux has besides. */
export const BALLOON_STATISTICS_TAGS = {
  swapIn: 0,
  swapOut: 1,
  majorFaults: 2,
  minorFaults: 3,
  freeMemory: 4,
  totalMemory: 5,
  availableMemory: 6,
  diskCaches: 7,
  hugetlbAllocations: 8,
  hugetlbFailures: 9,
  oomKills: 10,
  allocationStalls: 11,
  asynchronousScans: 12,
  directScans: 13,
  asynchronousReclaims: 14,
  directReclaims: 15,
} as const;
