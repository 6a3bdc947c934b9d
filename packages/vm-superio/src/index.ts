export { VmSuperioError } from './errors.ts';
export type { VmSuperioErrorCode } from './errors.ts';
export { Pl011 } from './pl011.ts';
export type { Pl011Options, Pl011State } from './pl011.ts';
export { UARTDR, UARTFR } from './pl011-registers.ts';
export { Pl031 } from './pl031.ts';
export type { Pl031Options, Pl031State } from './pl031.ts';
export { PL061_PINS, Pl061 } from './pl061.ts';
export type { Pl061Options, Pl061State } from './pl061.ts';
export { Uart16550A } from './uart16550a.ts';
export type { Uart16550AOptions, Uart16550AStatistics } from './uart16550a.ts';
export type { Uart16550AState } from './uart16550a-state.ts';
export { UART16550A_SIZE } from './uart16550a-registers.ts';
export { I8042 } from './i8042.ts';
export type { I8042Options, I8042State } from './i8042.ts';
export {
  ACPI_POWER_SIZE,
  ACPI_RESET,
  ACPI_RESET_VALUE,
  ACPI_SLEEP_CONTROL,
  ACPI_SLEEP_STATUS,
  ACPI_SLP_TYP_S5,
  AcpiPower,
} from './acpi-power.ts';
export type { AcpiPowerOptions, AcpiPowerState } from './acpi-power.ts';
export { CMOS_CENTURY, CmosRtc } from './cmos-rtc.ts';
export type { CmosRtcOptions, CmosRtcState } from './cmos-rtc.ts';
export { PostCodePort } from './post-code-port.ts';
export { Pvpanic, PVPANIC_CRASH_LOADED, PVPANIC_PANICKED, PVPANIC_PORT } from './pvpanic.ts';
