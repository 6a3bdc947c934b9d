// The interrupt controller as a module of its own, for its tests.
export * from './layout';
export * from './gic-layout';
export {
  gicContains, gicCpuReset, gicFiqPending, gicIrqPending, gicMmioRead, gicMmioWrite, gicReset, gicRestored, gicSample,
  gicSetPpi, gicSystemAccess, gicSystemRead, gicSystemWrite,
} from './gic';
export { vcpuBlock } from './state';
