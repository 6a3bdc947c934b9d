import { type BlockBackend, VirtioBlock } from '@vmm/virtio-devices';
import { FileBlockBackend } from '@vmm/virtio-devices/node';
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
  /** Number of request queues, 1 to 16. Default 1. */
  readonly queues?: number | undefined;
}

/** A disk for the guest: a raw image file, or a backend of one's own. */
export type DiskConfig = DiskOptions & ({ readonly path: string } | { readonly backend: BlockBackend });

const MAX_QUEUES = 16;
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
 * Reads `FILE[,ro][,serial=TEXT][,queues=N][,bandwidth=BYTES][,iops=N]`.
 *
 * @throws VmmError `INVALID_CONFIG`
 */
export function parseDisk(text: string): DiskConfig {
  const options = new OptionList('disk', text);
  if (options.value === '') throw options.error(`"${text}" names no file`);
  const config: DiskConfig = {
    path: options.value,
    readOnly: options.flag('ro'),
    serial: options.text('serial'),
    queues: options.integer('queues', 1, MAX_QUEUES),
    ...parseRate(options),
  };
  options.done();
  checkDisk(config, 0);
  return config;
}

/** @throws VirtioDeviceError when the file cannot be used */
export function prepareDisk(config: DiskConfig, index: number): PreparedDevice {
  const backend =
    'backend' in config
      ? config.backend
      : new FileBlockBackend(config.path, { readOnly: config.readOnly ?? false });
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
