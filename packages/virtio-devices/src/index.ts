export type { ActivateContext, DeviceInterrupt, SharedMemoryRegion, VirtioDevice } from './device.ts';
export { drainQueue } from './drain.ts';
export { VirtioDeviceError, type VirtioDeviceErrorCode } from './errors.ts';
export { FeatureSet } from './features.ts';
export { readConfigSpace } from './config-space.ts';
export { StateReader } from './state.ts';
export {
  RateLimiter,
  type RateLimiterOptions,
  type RateLimiterState,
  type RateLimits,
  type SetTimer,
  type TokenBucketOptions,
  type TokenBucketState,
} from './rate-limiter.ts';
export * from './virtio.ts';

export { VirtioTransportCore } from './transport/core.ts';
export type {
  TransportBindings,
  TransportCoreState,
  TransportOptions,
  TransportStatistics,
  VirtioTransport,
} from './transport/types.ts';
export { QueueSlot, type QueueSlotState } from './transport/queue-slot.ts';
export * from './transport/mmio-registers.ts';
export { VirtioMmioTransport, type VirtioMmioOptions, type VirtioMmioState } from './transport/mmio.ts';
export * from './transport/pci-registers.ts';
export { VirtioPciTransport, type VirtioPciOptions, type VirtioPciState } from './transport/pci.ts';
export type { PciCommonState } from './transport/pci-common.ts';
export { PACKED_RING_FEATURES, RING_FEATURES, SPLIT_RING_FEATURES } from './ring-features.ts';

export * from './block/constants.ts';
export type { BlockBackend } from './block/backend.ts';
export { BlockBatch, type TransferDone } from './block/batch.ts';
export type { BlockTopology } from './block/config.ts';
export type { VirtioBlockStatistics } from './block/executor.ts';
export { VirtioBlock, type VirtioBlockOptions, type VirtioBlockState } from './block/block.ts';
export {
  AsyncBlockBackend,
  createBlockBackend,
  type BlockSignal,
  type BlockSource,
} from './block/async-backend.ts';
export { OverlayBlockBackend, type OverlayBlockBackendOptions } from './block/overlay-backend.ts';
export { MemoryOverlayStore, type OverlayStore } from './block/overlay-store.ts';
export { BITMAP_PAGE_BYTES, type BitmapPage } from './block/sector-bitmap.ts';
export { MemoryBlockBackend, type MemoryBlockBackendOptions } from './block/memory-backend.ts';

export * from './console/constants.ts';
export { VirtioConsole, type VirtioConsoleOptions } from './console/console.ts';
export type { ConsoleSize } from './console/control.ts';
export type { ConsolePort, ConsolePortOptions, ConsolePortStatistics, OutputSink } from './console/port.ts';
export type { ConsolePortState, VirtioConsoleState } from './console/state.ts';

export {
  VirtioEntropy,
  type RandomSource,
  type VirtioEntropyOptions,
  type VirtioEntropyStatistics,
} from './entropy/entropy.ts';

export * from './net/constants.ts';
export type { NetBackend, NetBackendClient, NetBackendSetup } from './net/backend.ts';
export { formatMac, parseMac, randomMac } from './net/mac.ts';
export { TransmitBatch } from './net/transmit-batch.ts';
export { ReceiveBuffers } from './net/receive-buffers.ts';
export { VirtioNet } from './net/net.ts';
export type { VirtioNetOptions, VirtioNetStatistics } from './net/options.ts';
export type { VirtioNetState } from './net/state.ts';

export * from './fs/constants.ts';
export { FuseData } from './fs/data.ts';
export { DirectorySink, type FuseDirent } from './fs/directory-sink.ts';
export { FuseError } from './fs/errors.ts';
export { VirtioFs, type VirtioFsOptions, type VirtioFsState, type VirtioFsStatistics } from './fs/fs.ts';
export type {
  FuseAttr,
  FuseAttrReply,
  FuseContext,
  FuseCreated,
  FuseEntry,
  FuseHandler,
  FuseOpened,
  FuseResult,
  FuseSetattr,
  FuseStatfs,
} from './fs/handler.ts';
export { decodeName, encodeName } from './fs/names.ts';
export type { FuseServerStatistics, FuseSession } from './fs/server.ts';
export {
  FrameStream,
  type AbortSignalLike,
  type FrameStreamOptions,
  type FrameStreamStatistics,
} from './net/frame-stream.ts';
export { PcapRecorder, type PcapRecorderOptions, type PcapSink } from './net/pcap-recorder.ts';

export * from './vsock/constants.ts';
export type {
  VsockConnection,
  VsockConnectionStatistics,
  VsockState,
  VsockType,
} from './vsock/connection.ts';
export type {
  VirtioVsockOptions,
  VirtioVsockState,
  VirtioVsockStatistics,
  VsockConnectOptions,
  VsockHandler,
  VsockListener,
  VsockListenOptions,
} from './vsock/options.ts';
export { VirtioVsock } from './vsock/vsock.ts';

export * from './balloon/constants.ts';
export {
  VirtioBalloon,
  type VirtioBalloonOptions,
  type VirtioBalloonState,
  type VirtioBalloonStatistics,
} from './balloon/balloon.ts';
export type { FreePageHints, FreePageSink } from './balloon/hinting.ts';
export type { MemoryRelease } from './balloon/release.ts';
export type { BalloonGuestStatistics } from './balloon/statistics.ts';
export type { GuestStatisticsOptions } from './balloon/statistics-queue.ts';
