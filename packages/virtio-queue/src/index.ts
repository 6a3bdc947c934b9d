export { DescriptorChain } from './chain.ts';
export * from './constants.ts';
export { createQueue, restoreQueue } from './create.ts';
export { ChainCursor, ChainReader, ChainWriter } from './cursor.ts';
export { VirtioQueueError, type VirtioQueueErrorCode } from './errors.ts';
export { needEvent } from './event-index.ts';
export type { Queue, QueueConfig, QueueState } from './queue.ts';
