import { formatAddress, type GuestMemory } from '@vmm/vm-memory';
import {
  DESCRIPTOR_AREA_ALIGNMENT,
  DEVICE_AREA_ALIGNMENT,
  DRIVER_AREA_ALIGNMENT,
  MAX_QUEUE_SIZE,
  descriptorAreaSize,
  deviceAreaSize,
  driverAreaSize,
} from './constants.ts';
import { VirtioQueueError } from './errors.ts';
import type { QueueConfig, QueueState } from './queue.ts';

/**
 * Checks what the driver configured.
 *
 * @throws VirtioQueueError `INVALID_SIZE`, `AREA_MISALIGNED`, `AREA_OUT_OF_RANGE`, `AREA_READ_ONLY`
 */
export function validateSplitConfig(memory: GuestMemory, config: QueueConfig): void {
  const { size } = config;
  if (!Number.isInteger(size) || size < 1 || size > MAX_QUEUE_SIZE || (size & (size - 1)) !== 0) {
    throw new VirtioQueueError(
      'INVALID_SIZE',
      `queue size ${size} is no power of 2 from 1 to ${MAX_QUEUE_SIZE}`,
    );
  }
  checkArea(
    memory,
    'descriptor area',
    config.descriptorArea,
    descriptorAreaSize(size),
    DESCRIPTOR_AREA_ALIGNMENT,
  );
  checkArea(memory, 'driver area', config.driverArea, driverAreaSize(size), DRIVER_AREA_ALIGNMENT);
  checkArea(memory, 'device area', config.deviceArea, deviceAreaSize(size), DEVICE_AREA_ALIGNMENT);
  if (memory.findRegion(config.deviceArea)?.readOnly === true) {
    throw new VirtioQueueError(
      'AREA_READ_ONLY',
      `the device area at ${formatAddress(config.deviceArea)} is read-only`,
    );
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
 * Checks that `state` has the shape and the ranges of what a split queue's `save()` gives; the memory is
 * not looked at.
 *
 * @throws VirtioQueueError `INVALID_STATE`
 */
export function parseSplitState(state: unknown): QueueState {
  const { version, format, config, nextAvail, nextUsed } = record(state, 'state');
  if (version !== 1) throw invalid(`version ${String(version)} is not 1`);
  if (format !== 'split') throw invalid(`format ${String(format)} is not split`);
  const area = record(config, 'config');
  const parsed: QueueState = {
    version,
    format,
    config: {
      size: integer(area['size'], 'size', MAX_QUEUE_SIZE),
      descriptorArea: integer(area['descriptorArea'], 'descriptorArea', Number.MAX_SAFE_INTEGER),
      driverArea: integer(area['driverArea'], 'driverArea', Number.MAX_SAFE_INTEGER),
      deviceArea: integer(area['deviceArea'], 'deviceArea', Number.MAX_SAFE_INTEGER),
      eventIdx: boolean(area['eventIdx'], 'eventIdx'),
      indirect: boolean(area['indirect'], 'indirect'),
    },
    nextAvail: integer(nextAvail, 'nextAvail', 0xffff),
    nextUsed: integer(nextUsed, 'nextUsed', 0xffff),
  };
  // Every chain popped has been put on the used ring when no chain is out.
  if (parsed.nextAvail !== parsed.nextUsed) throw invalid('nextAvail and nextUsed differ');
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

function invalid(what: string): VirtioQueueError {
  return new VirtioQueueError('INVALID_STATE', `saved queue: ${what}`);
}
