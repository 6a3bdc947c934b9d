export type * from './device.ts';
export { Bus } from './bus.ts';
export type { AccessLength, BusOptions, BusRegistration, BusStatistics } from './bus.ts';
export { AddressAllocator, IdAllocator } from './allocator.ts';
export type { AddressRange, AllocateOptions } from './allocator.ts';
export { VmDeviceError } from './errors.ts';
export type { VmDeviceErrorCode } from './errors.ts';

export { PciRoot } from './pci/root.ts';
export type { PciAddress, PciRootOptions, PciRootState, PciStatistics } from './pci/root.ts';
export { PciFunction } from './pci/function.ts';
export type {
  PciFunctionHost,
  PciFunctionOptions,
  PciFunctionState,
  PciMsixOptions,
} from './pci/function.ts';
export type { PciCapability, PciCapabilityOptions } from './pci/capabilities.ts';
export { PciBar } from './pci/bar.ts';
export type { PciBarKind, PciBarOptions } from './pci/bar.ts';
export type { BarBus } from './pci/bar-map.ts';
export { PciMsix } from './pci/msix.ts';
export type { PciMsixState, PciMsixStatistics } from './pci/msix.ts';
export * from './pci/registers.ts';
