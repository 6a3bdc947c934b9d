import { StateReader } from '../state.ts';
import type { TransportCoreState } from './types.ts';
import type { QueueSlotState } from './queue-slot.ts';

/** @throws VirtioDeviceError `INVALID_STATE` */
export function parseCoreState(state: unknown): TransportCoreState {
  const reader = new StateReader('transport state', state);
  return {
    deviceType: reader.uint32('deviceType'),
    status: reader.integer('status', 0, 0xff),
    offeredLow: reader.uint32('offeredLow'),
    offeredHigh: reader.uint32('offeredHigh'),
    driverLow: reader.uint32('driverLow'),
    driverHigh: reader.uint32('driverHigh'),
    driverBeyond: reader.boolean('driverBeyond'),
    negotiated: reader.boolean('negotiated'),
    configGeneration: reader.uint32('configGeneration'),
    queues: reader.array('queues').map(parseSlot),
    device: reader.unknown('device') ?? null,
  };
}

function parseSlot(state: unknown, index: number): QueueSlotState {
  const reader = new StateReader(`state of queue ${index}`, state);
  return {
    size: reader.uint32('size'),
    ready: reader.boolean('ready'),
    descriptorLow: reader.uint32('descriptorLow'),
    descriptorHigh: reader.uint32('descriptorHigh'),
    driverLow: reader.uint32('driverLow'),
    driverHigh: reader.uint32('driverHigh'),
    deviceLow: reader.uint32('deviceLow'),
    deviceHigh: reader.uint32('deviceHigh'),
    ring: reader.unknown('ring') ?? null,
  };
}
