export type * from './device.ts';
export { Bus } from './bus.ts';
export type { AccessLength, BusOptions, BusRegistration, BusStatistics } from './bus.ts';
export { AddressAllocator, IdAllocator } from './allocator.ts';
export type { AddressRange, AllocateOptions } from './allocator.ts';
export { VmDeviceError } from './errors.ts';
export type { VmDeviceErrorCode } from './errors.ts';
