import { VmBuilder } from '../../builder.ts';
import type { RateConfig } from '../../devices/rate.ts';
import { parseBytes, parseSize } from '../../units.ts';
import type { RunConfig, RunRate, Size } from './schema.ts';

const MIB = 1024 * 1024;

/** @throws VmmError `INVALID_CONFIG` */
export function builderOf(config: RunConfig): VmBuilder {
  const { hypervisor, irqchip, cpu, transport, ring, cpus, vsock, balloon } = config;
  const builder = new VmBuilder()
    .hypervisor(hypervisor)
    .irqchip(irqchip)
    .cpu(cpu)
    .transport(transport)
    .ring(ring)
    .cpus(cpus)
    .memoryMb(sizeOf(config.memory) / MIB);
  if (config.arch !== undefined) builder.arch(config.arch);
  if (config.bootProtocol !== undefined) builder.bootProtocol(config.bootProtocol);
  if (config.name !== undefined) builder.name(config.name);
  if (config.kernel !== undefined) builder.kernel(config.kernel);
  if (config.initrd !== undefined) builder.initrd(config.initrd);
  if (config.cmdline !== undefined) builder.cmdline(config.cmdline);
  for (const { path, bandwidth, iops, ...disk } of config.disk)
    builder.blockDevice(path, { ...disk, ...rateOf({ bandwidth, iops }) });
  for (const { bandwidth, iops, ...network } of config.net)
    builder.networkDevice({ ...network, ...rateOf({ bandwidth, iops }) });
  for (const { directory, ...share } of config.share) builder.shareDirectory(directory, share);
  if (vsock !== undefined) builder.vsock(vsock.cid, vsock.path === undefined ? {} : { path: vsock.path });
  if (balloon !== undefined) builder.balloon({ ...balloon, target: sizeOf(balloon.target ?? 0) });
  if (config.guestFiles !== undefined) builder.guestArchive(config.guestFiles);
  if (config.command !== undefined) builder.command(...config.command).terminal(config.tty);
  else if (readsScript(config)) builder.command('sh');
  return builder;
}

/** The shell that the built-in guest has anyway sits at a terminal; who wants it to have none is to get what it prints, alone. */
function readsScript({ interactive, tty, detach, kernel }: RunConfig): boolean {
  return interactive && !tty && !detach && kernel === undefined;
}

function sizeOf(size: Size): number {
  return parseSize(String(size));
}

function rateOf({ bandwidth, iops }: RunRate): RateConfig {
  return { bandwidth: bandwidth === undefined ? undefined : parseBytes(String(bandwidth)), iops };
}
