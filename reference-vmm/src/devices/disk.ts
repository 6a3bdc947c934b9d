import { type BlockBackend, OverlayBlockBackend, VirtioBlock } from '@vmm/virtio-devices';
import { FileBlockBackend, type FileBlockIo, OverlayFile } from '@vmm/virtio-devices/node';
import { VmmError } from '../errors.ts';
import { OptionList } from './option-list.ts';
import type { PreparedDevice } from './prepared.ts';
import { type RateConfig, checkRate, parseRate, rateLimiter } from './rate.ts';

/** How a disk is shown to the guest. */
export interface DiskOptions extends RateConfig {
  /** The guest cannot write. Default false. */
  readonly readOnly?: boolean | undefined;
  /** What the guest sees as the disk's serial number: 1 to 20 printable ASCII characters. */
  readonly serial?: string | undefined;
  /**
   * Writes go elsewhere, and the disk is only read: into memory, and they are gone with the VM; or into a sparse file that
   * is made when it is not there. Default: writes go to the disk.
   */
  readonly overlay?: 'memory' | { readonly file: string } | undefined;
  /** How files are accessed. Default `auto`: the best of what this machine allows. */
  readonly io?: FileBlockIo | undefined;
  /** Number of request queues, 1 to 16. Default 1. */
  readonly queues?: number | undefined;
}

/** A disk for the guest: a raw image file, or a backend of one's own. */
export type DiskConfig = DiskOptions & ({ readonly path: string } | { readonly backend: BlockBackend });

const MAX_QUEUES = 16;
const IO: readonly FileBlockIo[] = ['auto', 'io_uring', 'threads', 'portable'];

function isIo(text: string): text is FileBlockIo {
  return IO.some((kind) => kind === text);
}

const SERIAL = /^[\x21-\x7e](?:[\x20-\x7e]{0,18}[\x21-\x7e])?$/;

/** @throws VmmError `INVALID_CONFIG` */
export function checkDisk(config: DiskConfig, index: number): void {
  const what = 'path' in config ? `disk ${config.path}` : `disk ${index}`;
  const { queues, serial } = config;
  if ('path' in config && config.path === '') throw new VmmError('INVALID_CONFIG', 'disk: names no file');
  if (queues !== undefined && !(Number.isInteger(queues) && queues >= 1 && queues <= MAX_QUEUES))
    throw new VmmError(
      'INVALID_CONFIG',
      `${what}: queues ${queues} is out of range, 1 to ${MAX_QUEUES} are possible`,
    );
  if (serial !== undefined && !SERIAL.test(serial))
    throw new VmmError(
      'INVALID_CONFIG',
      `${what}: serial "${serial}" is not made of 1 to 20 printable ASCII characters`,
    );
  checkRate(what, config);
}

/**
 * Reads `FILE[,ro][,overlay[=FILE]][,serial=TEXT][,queues=N][,io=KIND][,bandwidth=BYTES][,iops=N]`.
 *
 * @throws VmmError `INVALID_CONFIG`
 */
export function parseDisk(text: string): DiskConfig {
  const options = new OptionList('disk', text);
  if (options.value === '') throw options.error(`"${text}" names no file`);
  const overlay = options.flagOrText('overlay');
  const io = options.text('io');
  if (io !== undefined && !isIo(io)) throw options.error(`io=${io} is none of ${IO.join(', ')}`);
  const config: DiskConfig = {
    path: options.value,
    readOnly: options.flag('ro'),
    overlay: overlay === undefined ? undefined : overlay === '' ? 'memory' : { file: overlay },
    io,
    serial: options.text('serial'),
    queues: options.integer('queues', 1, MAX_QUEUES),
    ...parseRate(options),
  };
  options.done();
  checkDisk(config, 0);
  return config;
}

/** @throws VirtioDeviceError when a file cannot be used; nothing stays open then */
export async function prepareDisk(config: DiskConfig, index: number): Promise<PreparedDevice> {
  const backend = await openDisk(config);
  const limiter = rateLimiter(config);
  return {
    name: `disk${index}`,
    drivers: ['virtio_blk'],
    create: ({ debug }) =>
      new VirtioBlock({
        backend,
        readOnly: config.readOnly ?? false,
        ...(config.serial === undefined ? {} : { id: config.serial }),
        ...(config.queues === undefined ? {} : { queues: config.queues }),
        ...(limiter === undefined ? {} : { rateLimiter: limiter }),
        onError: (error) => debug(error.message),
      }),
    close: () => backend.close(),
  };
}

async function openDisk(config: DiskConfig): Promise<BlockBackend> {
  const { overlay } = config;
  const io = config.io === undefined ? {} : { io: config.io };
  const readOnly = (config.readOnly ?? false) || overlay !== undefined;
  const base = 'backend' in config ? config.backend : new FileBlockBackend(config.path, { readOnly, ...io });
  if (overlay === undefined) return base;
  try {
    const { sizeBytes } = base;
    return new OverlayBlockBackend(
      base,
      overlay === 'memory' ? {} : { store: OverlayFile.open(overlay.file, { sizeBytes, ...io }) },
    );
  } catch (error) {
    await base.close();
    throw error;
  }
}
