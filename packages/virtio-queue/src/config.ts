import { formatAddress, type GuestMemory } from '@vmm/vm-memory';
import {
  DESCRIPTOR_AREA_ALIGNMENT,
  DEVICE_AREA_ALIGNMENT,
  DRIVER_AREA_ALIGNMENT,
  EVENT_SUPPRESSION_ALIGNMENT,
  EVENT_SUPPRESSION_SIZE,
  MAX_QUEUE_SIZE,
  RING_WRAP_COUNTER,
  descriptorAreaSize,
  deviceAreaSize,
  driverAreaSize,
} from './constants.ts';
import { VirtioQueueError } from './errors.ts';
import type { QueueConfig, QueueState } from './queue.ts';

/** A configuration with nothing left to default. */
export type FullConfig = Required<QueueConfig>;

/**
 * Checks what the driver configured, and copies it.
 *
 * @throws VirtioQueueError `INVALID_SIZE`, `AREA_MISALIGNED`, `AREA_OUT_OF_RANGE`, `AREA_READ_ONLY`
 */
export function checkConfig(memory: GuestMemory, config: QueueConfig): FullConfig {
  const { size, descriptorArea, driverArea, deviceArea, packed = false, inOrder = false } = config;
  if (!Number.isInteger(size) || size < 1 || size > MAX_QUEUE_SIZE) {
    throw new VirtioQueueError('INVALID_SIZE', `queue size ${size} is not from 1 to ${MAX_QUEUE_SIZE}`);
  }
  checkArea(memory, 'descriptor area', descriptorArea, descriptorAreaSize(size), DESCRIPTOR_AREA_ALIGNMENT);
  if (packed) {
    checkArea(memory, 'driver area', driverArea, EVENT_SUPPRESSION_SIZE, EVENT_SUPPRESSION_ALIGNMENT);
    checkArea(memory, 'device area', deviceArea, EVENT_SUPPRESSION_SIZE, EVENT_SUPPRESSION_ALIGNMENT);
    checkWritable(memory, 'descriptor area', descriptorArea);
  } else {
    if ((size & (size - 1)) !== 0) {
      throw new VirtioQueueError('INVALID_SIZE', `queue size ${size} is no power of 2`);
    }
    checkArea(memory, 'driver area', driverArea, driverAreaSize(size), DRIVER_AREA_ALIGNMENT);
    checkArea(memory, 'device area', deviceArea, deviceAreaSize(size), DEVICE_AREA_ALIGNMENT);
  }
  checkWritable(memory, 'device area', deviceArea);
  return { ...config, packed, inOrder };
}

function checkWritable(memory: GuestMemory, name: string, address: number): void {
  if (memory.findRegion(address)?.readOnly === true) {
    throw new VirtioQueueError('AREA_READ_ONLY', `the ${name} at ${formatAddress(address)} is read-only`);
  }
}

function checkArea(
  memory: GuestMemory,
  name: string,
  address: number,
  size: number,
  alignment: number,
): void {
  const region = Number.isSafeInteger(address) ? memory.findRegion(address) : undefined;
  if (region === undefined || address + size > region.end) {
    throw new VirtioQueueError(
      'AREA_OUT_OF_RANGE',
      `the ${name}, ${size} bytes at ${formatAddress(address)}, is not inside one region of guest memory`,
    );
  }
  if (address % alignment !== 0) {
    throw new VirtioQueueError(
      'AREA_MISALIGNED',
      `the ${name} at ${formatAddress(address)} is not aligned to ${alignment} bytes`,
    );
  }
}

/**
 * Checks that `state` has the shape and the ranges of what `save()` gives; the memory is not looked at.
 *
 * @throws VirtioQueueError `INVALID_STATE`
 */
export function parseState(state: unknown): QueueState {
  const { version, format, config, nextAvail, nextUsed } = record(state, 'state');
  if (version !== 1) throw invalid(`version ${String(version)} is not 1`);
  const area = record(config, 'config');
  const packed = optionalBoolean(area['packed'], 'packed');
  if (format !== (packed ? 'packed' : 'split')) throw invalid(`format ${String(format)} is another ring's`);
  const parsed: QueueState = {
    version,
    format: packed ? 'packed' : 'split',
    config: {
      size: integer(area['size'], 'size', MAX_QUEUE_SIZE),
      descriptorArea: integer(area['descriptorArea'], 'descriptorArea', Number.MAX_SAFE_INTEGER),
      driverArea: integer(area['driverArea'], 'driverArea', Number.MAX_SAFE_INTEGER),
      deviceArea: integer(area['deviceArea'], 'deviceArea', Number.MAX_SAFE_INTEGER),
      eventIdx: boolean(area['eventIdx'], 'eventIdx'),
      indirect: boolean(area['indirect'], 'indirect'),
      packed,
      inOrder: optionalBoolean(area['inOrder'], 'inOrder'),
    },
    nextAvail: integer(nextAvail, 'nextAvail', 0xffff),
    nextUsed: integer(nextUsed, 'nextUsed', 0xffff),
  };
  // Every chain popped has been used when no chain is out.
  if (parsed.nextAvail !== parsed.nextUsed) throw invalid('nextAvail and nextUsed differ');
  if (packed && (parsed.nextAvail & ~RING_WRAP_COUNTER) >= parsed.config.size) {
    throw invalid(`nextAvail is beyond a ring of ${parsed.config.size}`);
  }
  return parsed;
}

function record(value: unknown, name: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null) throw invalid(`${name} is no object`);
  return { ...value };
}

function integer(value: unknown, name: string, max: number): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0 || value > max) {
    throw invalid(`${name} is no integer from 0 to ${max}`);
  }
  return value;
}

function boolean(value: unknown, name: string): boolean {
  if (typeof value !== 'boolean') throw invalid(`${name} is no boolean`);
  return value;
}

function optionalBoolean(value: unknown, name: string): boolean {
  return value === undefined ? false : boolean(value, name);
}

function invalid(what: string): VirtioQueueError {
  return new VirtioQueueError('INVALID_STATE', `saved queue: ${what}`);
}
