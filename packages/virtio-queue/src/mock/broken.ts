import {
  VIRTQ_DESC_F_AVAIL,
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
} from '../constants.ts';
import type { VirtioQueueErrorCode } from '../errors.ts';
import type { MockBuffer, MockDescriptor, MockDriver, MockLayout } from './driver.ts';
import { MockSplitDriver } from './split-driver.ts';

/** A chain that no device may accept. */
export interface BrokenChain {
  readonly name: string;
  /** What `pop()` throws. */
  readonly code: VirtioQueueErrorCode;
  /** Adds the chain to a ring on which no chain is out; the device sees it after `publish()`. */
  add(driver: MockDriver): void;
}

const REQUEST: readonly MockBuffer[] = [{ readable: 'request' }, { writable: 16 }];

/** Every way in which a chain can break the rules of its ring, for tests of devices against hostile drivers. */
export function brokenChains(ring: {
  readonly packed?: boolean;
  readonly indirect?: boolean;
}): BrokenChain[] {
  const { packed = false, indirect = false } = ring;
  return [
    ...BUFFERS,
    ...(packed ? PACKED : SPLIT),
    ...(indirect ? TABLES : [NOT_NEGOTIATED]),
    ...(indirect ? (packed ? MIXED_LISTS : LINKED_TABLES) : []),
  ];
}

/** A request of which one descriptor is overwritten. */
function corrupted(
  name: string,
  code: VirtioQueueErrorCode,
  i: number,
  fields: Partial<MockDescriptor> | ((driver: MockDriver, head: number) => Partial<MockDescriptor>),
  layout: MockLayout = 'direct',
): BrokenChain {
  return {
    name,
    code,
    add: (driver) => {
      const head = driver.add(REQUEST, layout);
      driver.corruptChain(head, i, typeof fields === 'function' ? fields(driver, head) : fields);
    },
  };
}

const BUFFERS: readonly BrokenChain[] = [
  corrupted('a readable buffer outside guest memory', 'BUFFER_OUT_OF_RANGE', 0, { address: 8 }),
  corrupted('a writable buffer outside guest memory', 'BUFFER_OUT_OF_RANGE', 1, { address: 8 }),
  corrupted('a readable buffer that leaves guest memory', 'BUFFER_OUT_OF_RANGE', 0, { length: 0x8000_0000 }),
  corrupted('a writable buffer that leaves guest memory', 'BUFFER_OUT_OF_RANGE', 1, { length: 0x8000_0000 }),
  corrupted('an address beyond 2^53', 'BUFFER_OUT_OF_RANGE', 0, { address: 2n ** 63n }),
  corrupted('an address and a length that overflow 64 bits', 'BUFFER_OUT_OF_RANGE', 1, {
    address: 2n ** 64n - 8n,
  }),
  corrupted('an address and a length that pass 2^53', 'BUFFER_OUT_OF_RANGE', 1, {
    address: 2n ** 53n - 8n,
  }),
  corrupted('more than 2^32 bytes', 'CHAIN_TOO_LARGE', 1, { length: 0xffff_ffff }),
  corrupted('the largest address and length', 'BUFFER_OUT_OF_RANGE', 0, {
    address: 2n ** 64n - 1n,
    length: 0xffff_ffff,
  }),
  {
    name: 'a readable buffer after a writable one',
    code: 'READABLE_AFTER_WRITABLE',
    add: (driver) => driver.add([...REQUEST].reverse()),
  },
];

const NOT_NEGOTIATED: BrokenChain = corrupted(
  'an indirect table that was not negotiated',
  'INDIRECT_NOT_NEGOTIATED',
  0,
  { flags: VIRTQ_DESC_F_INDIRECT },
);

const TABLES: readonly BrokenChain[] = [
  corrupted('an empty indirect table', 'INDIRECT_TABLE_INVALID', 0, { length: 0 }, 'indirect'),
  corrupted('a part of a descriptor in a table', 'INDIRECT_TABLE_INVALID', 0, { length: 31 }, 'indirect'),
  corrupted(
    'an indirect table outside guest memory',
    'INDIRECT_TABLE_INVALID',
    0,
    { address: 8 },
    'indirect',
  ),
  corrupted(
    'an indirect table that leaves guest memory',
    'INDIRECT_TABLE_INVALID',
    0,
    { length: 0xffff_fff0 },
    'indirect',
  ),
  corrupted('an indirect table with a successor', 'INDIRECT_WITH_NEXT', 0, {
    flags: VIRTQ_DESC_F_INDIRECT | VIRTQ_DESC_F_NEXT,
  }),
  {
    name: 'more buffers in a table than the queue has descriptors',
    code: 'CHAIN_TOO_LONG',
    add: (driver) =>
      driver.add(
        Array.from({ length: driver.config.size + 1 }, () => ({ readable: 'x' })),
        'indirect',
      ),
  },
];

/** Overwrites 16 bits of the first entry of an indirect table. */
function inTable(
  name: string,
  code: VirtioQueueErrorCode,
  fields: readonly [flags: number, next: number],
): BrokenChain {
  return {
    name,
    code,
    add: (driver) => {
      const head = driver.add(REQUEST, 'indirect');
      const table = Number(driver.readDescriptor(driver.descriptorIndex(head, 0)).address);
      driver.memory.writeUint16(table + 12, fields[0]);
      driver.memory.writeUint16(table + 14, fields[1]);
    },
  };
}

/** What cannot be written in a packed ring's tables, whose flags mean nothing but WRITE (§2.8.7). */
const LINKED_TABLES: readonly BrokenChain[] = [
  inTable('an indirect table in an indirect table', 'INDIRECT_NESTED', [VIRTQ_DESC_F_INDIRECT, 0]),
  inTable('an indirect table that loops', 'CHAIN_TOO_LONG', [VIRTQ_DESC_F_NEXT, 0]),
  inTable('an indirect table that goes on behind its end', 'NEXT_OUT_OF_RANGE', [VIRTQ_DESC_F_NEXT, 2]),
];

const MIXED_LISTS: readonly BrokenChain[] = [
  corrupted('a list that ends in a table', 'INDIRECT_WITH_NEXT', 1, { flags: VIRTQ_DESC_F_INDIRECT }),
];

const SPLIT: readonly BrokenChain[] = [
  corrupted('a chain that loops', 'CHAIN_TOO_LONG', 0, (driver, head) => ({
    next: driver.descriptorIndex(head, 0),
  })),
  corrupted('a chain that goes on behind the table', 'NEXT_OUT_OF_RANGE', 0, { next: 0xffff }),
  {
    name: 'a head behind the table',
    code: 'HEAD_OUT_OF_RANGE',
    add: (driver) => {
      if (!(driver instanceof MockSplitDriver)) throw new RangeError('this is for a split ring');
      // The entry of the first chain that is not published.
      const { availIdx } = driver;
      driver.add(REQUEST);
      driver.writeAvailEntry(availIdx, driver.config.size);
    },
  },
];

const PACKED: readonly BrokenChain[] = [
  {
    name: 'a list of the whole ring that goes on',
    code: 'CHAIN_TOO_LONG',
    add: (driver) => {
      const last = driver.config.size - 1;
      const head = driver.add(Array.from({ length: last + 1 }, () => ({ writable: 1 })));
      driver.corruptChain(head, last, { flags: VIRTQ_DESC_F_NEXT | VIRTQ_DESC_F_WRITE });
    },
  },
  corrupted('a Buffer ID behind the ring', 'BUFFER_ID_OUT_OF_RANGE', 1, ({ config }) => ({
    id: config.size,
  })),
  {
    name: 'a list that goes on where nothing is available',
    code: 'CHAIN_TAIL_UNAVAILABLE',
    add: (driver) => {
      const index = driver.descriptorIndex(driver.add(REQUEST), 1);
      driver.corruptDescriptor(index, { flags: driver.readDescriptor(index).flags ^ VIRTQ_DESC_F_AVAIL });
    },
  },
];
