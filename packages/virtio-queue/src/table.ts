import { formatAddress, type GuestRegion } from '@vmm/vm-memory';
import type { DescriptorChain } from './chain.ts';
import {
  DESCRIPTOR_SIZE,
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
} from './constants.ts';
import { VirtioQueueError } from './errors.ts';

// The optimiser folds constants of this module, and loads and checks imported ones at every use.
const ENTRY = DESCRIPTOR_SIZE;
const F_NEXT = VIRTQ_DESC_F_NEXT;
const F_WRITE = VIRTQ_DESC_F_WRITE;
const F_INDIRECT = VIRTQ_DESC_F_INDIRECT;
const TWO_32 = 2 ** 32;

/**
 * Appends what a split ring's indirect table holds, following `next` (VIRTIO 1.3 §2.7.5.3). Each word is read once.
 *
 * @param before number of descriptors of the chain before the table
 * @param limit most descriptors that the chain may have
 */
export function appendLinkedTable(
  chain: DescriptorChain,
  before: number,
  limit: number,
  address: number,
  length: number,
): void {
  const region = tableRegion(chain, address, length);
  const { view } = region;
  const base = address - region.guestAddress;
  const entries = length / ENTRY;
  let index = 0;
  for (let count = before + 1; ; count++) {
    if (count > limit) throw tooLong(chain, limit);
    const at = base + index * ENTRY;
    const buffer = view.getUint32(at, true) + view.getUint32(at + 4, true) * TWO_32;
    const size = view.getUint32(at + 8, true);
    const control = view.getUint32(at + 12, true);
    if ((control & F_INDIRECT) !== 0) {
      throw new VirtioQueueError('INDIRECT_NESTED', `chain ${chain.head} has a table inside a table`);
    }
    chain.append(buffer, size, (control & F_WRITE) !== 0);
    if ((control & F_NEXT) === 0) return;
    index = control >>> 16;
    if (index >= entries) throw nextOutOfRange(chain, index, entries);
  }
}

/**
 * Appends what a packed ring's indirect table holds: every entry in turn, of whose flags WRITE alone means
 * something (§2.8.7). Each word is read once.
 */
export function appendWholeTable(
  chain: DescriptorChain,
  limit: number,
  address: number,
  length: number,
): void {
  const region = tableRegion(chain, address, length);
  if (length / ENTRY > limit) throw tooLong(chain, limit);
  const { view } = region;
  const base = address - region.guestAddress;
  for (let at = base; at < base + length; at += ENTRY) {
    const buffer = view.getUint32(at, true) + view.getUint32(at + 4, true) * TWO_32;
    chain.append(buffer, view.getUint32(at + 8, true), (view.getUint16(at + 14, true) & F_WRITE) !== 0);
  }
}

/** The region that holds all of a table. */
function tableRegion(chain: DescriptorChain, address: number, length: number): GuestRegion {
  const region = chain.memory.findRegion(address);
  if (region === undefined || length === 0 || length % ENTRY !== 0 || address + length > region.end) {
    throw new VirtioQueueError(
      'INDIRECT_TABLE_INVALID',
      `chain ${chain.head}: an indirect table of ${length} bytes at ${formatAddress(address)}`,
    );
  }
  return region;
}

export function notNegotiated(chain: DescriptorChain): VirtioQueueError {
  return new VirtioQueueError('INDIRECT_NOT_NEGOTIATED', `chain ${chain.head} has an indirect descriptor`);
}

export function withNext(chain: DescriptorChain): VirtioQueueError {
  return new VirtioQueueError('INDIRECT_WITH_NEXT', `chain ${chain.head}: INDIRECT and NEXT together`);
}

export function tooLong(chain: DescriptorChain, limit: number): VirtioQueueError {
  return new VirtioQueueError(
    'CHAIN_TOO_LONG',
    `chain ${chain.head} has more than ${limit} descriptors, or a loop`,
  );
}

export function nextOutOfRange(chain: DescriptorChain, next: number, entries: number): VirtioQueueError {
  return new VirtioQueueError(
    'NEXT_OUT_OF_RANGE',
    `chain ${chain.head}: next is ${next} in a table of ${entries}`,
  );
}
