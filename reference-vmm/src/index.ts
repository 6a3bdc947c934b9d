export { VmBuilder } from './builder.ts';
export {
  type BlockDeviceConfig,
  DEFAULT_CMDLINE,
  type VmmConfig,
  parseDisk,
  parseDuration,
  parseSize,
} from './config.ts';
export { VmmError, type VmmErrorCode } from './errors.ts';
export { type CpioEntry, buildCpio } from './guest/cpio.ts';
export { type Guest, prepareGuest } from './guest/guest.ts';
export type { ConsoleStream, GuestInput, GuestOutput } from './streams.ts';
export type { CommandStreams } from './device-manager.ts';
export { type StopReason, Vmm, type VmmHost, type VmmState } from './vmm.ts';
