export * as aml from './aml.ts';
export type { AcpiConfig, AcpiPciConfig, PortDeviceSlot } from './config.ts';
export { ACPI_SLP_TYP_S5 } from './dsdt.ts';
export * from './tables.ts';
