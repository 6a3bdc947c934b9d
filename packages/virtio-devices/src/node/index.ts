export { ConsolePty, type ConsolePtyOptions } from './console-pty.ts';
export { ConsolePortStream } from './console-stream.ts';
export { FileBlockBackend } from './file-backend.ts';
export type { FileBlockBackendOptions } from './file-backend.ts';
export type { FileBlockIo } from './open-file-io.ts';
export { requireHost } from './load.ts';
export { OverlayFile, type OverlayFileOptions } from './overlay-file.ts';
export { HostDirectory, type HostDirectoryStatistics } from './fs-host-directory.ts';
export type { HostDirectoryCache, HostDirectoryOptions } from './fs-options.ts';
export type { IdMapping, IdRange } from './fs-ids.ts';
export type { HostDirectoryState } from './fs-state.ts';
export { TapBackend, type TapBackendOptions } from './net-tap.ts';
export { PasstBackend, type PasstOptions, type PortForward } from './net-passt.ts';
export { PcapFile } from './net-pcap.ts';
export { VsockForwarder, type VsockForwarderOptions } from './vsock-forwarder.ts';
export {
  VsockHost,
  VsockServer,
  type VsockHostConnectOptions,
  type VsockServerOptions,
} from './vsock-host.ts';
export { VsockStream, type VsockStreamOptions } from './vsock-stream.ts';
