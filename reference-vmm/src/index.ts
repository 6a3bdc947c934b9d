export { VmBuilder } from './builder.ts';
export { type Abortable, Agent, type NetworkSetUp } from './agent/agent.ts';
export type { ExecOptions, GuestProcess } from './agent/guest-process.ts';
export type { CommandOutput, GuestCommand } from './agent/output.ts';
export type {
  AgentInfo,
  CommandExit,
  TerminalSize as GuestTerminalSize,
  TreeEntry,
} from './agent/messages.ts';
export type { TreeItem, TreeSource } from './agent/transfers.ts';
export { type RingKind, type VmmConfig, parseDuration, parseSize } from './config.ts';
export type { BalloonConfig } from './devices/balloon.ts';
export type { CustomDeviceConfig, CustomDeviceOptions } from './devices/custom.ts';
export { type DiskConfig, type DiskOptions, parseDisk } from './devices/disk.ts';
export type { NetworkConfig, NetworkOptions, PortForward } from './devices/network.ts';
export type { DeviceHost } from './devices/prepared.ts';
export type { ShareConfig, ShareOptions } from './devices/share.ts';
export type { VsockConfig } from './devices/vsock.ts';
export type { RateConfig } from './devices/rate.ts';
export type { ExitSite, ExitStatistics } from './exit-statistics.ts';
export { VmmError, type VmmErrorCode, type VmmErrorOptions } from './errors.ts';
export type { Subscription } from './broadcast.ts';
export type { SubscribeOptions, VmmEvent } from './events.ts';
export type { ConsoleMatch, ExpectOptions } from './expect.ts';
export type { GuestFetchInit } from './fetch.ts';
export type { ShutdownOptions } from './power.ts';
export { ControlClient, type RequestOptions } from './control/client.ts';
export { type ListOptions, type SilentVm, list } from './control/list.ts';
export type { ConsoleClient } from './control/console-client.ts';
export { VmControl } from './control/control.ts';
export type {
  ControlError,
  DeviceInfo,
  DeviceStats,
  StopRequest,
  TerminalSize,
  VmInfo,
  VmStats,
} from './control/schema.ts';
export { type CpioEntry, buildCpio } from './guest/cpio.ts';
export { debianFiles } from './guest/debian-files.ts';
export { type Guest, type GuestModule, type LoadableModule, prepareGuest } from './guest/guest.ts';
export type { ConsoleStream, GuestInput, GuestOutput } from './streams.ts';
export type { AttachedDevice, CommandStreams } from './device-manager.ts';
export type { AnyHypervisor, HypervisorChoice } from './hypervisors.ts';
export type {
  Architecture,
  BootProtocol,
  CpuTemplate,
  IrqChipMode,
  TransportKind,
} from './machine/machine.ts';
export { DEFAULT_CMDLINES, defaultCmdline } from './machine/platform.ts';
export type { VmmOperation, VmmState } from './lifecycle.ts';
export type { Replacements } from './snapshot/saved-config.ts';
export type { RestoreOptions, SnapshotOptions } from './snapshot/restore.ts';
export type { SnapshotInfo } from './snapshot/save.ts';
export type { SnapshotProgress, SnapshotRequest } from './control/snapshot-schema.ts';
export type { VmSummary } from './status-file.ts';
export type { StopReason } from './stop-reason.ts';
export type { VmmHost } from './vm-parts.ts';
export { type OperationOptions, Vmm } from './vmm.ts';
