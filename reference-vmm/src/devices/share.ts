import { VirtioFs } from '@vmm/virtio-devices';
import { HostDirectory } from '@vmm/virtio-devices/node';
import { VmmError } from '../errors.ts';
import { OptionList } from './option-list.ts';
import { type PreparedDevice, quoted } from './prepared.ts';

/** How a directory is shared. */
export interface ShareOptions {
  /** What the guest mounts it by: 1 to 36 bytes. Default: the directory's name. */
  readonly tag?: string | undefined;
  /** Where the built-in guest mounts it. Default `/mnt/TAG`. */
  readonly mountPoint?: string | undefined;
  /** The guest cannot write. Default false. */
  readonly readOnly?: boolean | undefined;
}

/** A directory of the host's that the guest sees (virtio-fs). */
export interface ShareConfig extends ShareOptions {
  readonly directory: string;
}

/** A share with its defaults. */
export interface Share {
  readonly directory: string;
  readonly tag: string;
  readonly mountPoint: string;
  readonly readOnly: boolean;
}

/** `tag` of the configuration space, VIRTIO 1.3 §5.11.4; a name for directories in the guest as well. */
const TAG = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,35}$/;

/** Fills in defaults. @throws VmmError `INVALID_CONFIG` */
export function resolveShare(config: ShareConfig): Share {
  const { directory, mountPoint } = config;
  if (directory === '') throw new VmmError('INVALID_CONFIG', 'share: names no directory');
  const tag = config.tag ?? lastName(mountPoint ?? directory);
  if (!TAG.test(tag))
    throw new VmmError(
      'INVALID_CONFIG',
      `share ${directory}: "${tag}" is no tag of 1 to 36 letters, digits, ".", "_" and "-": give one, ${directory}:TAG`,
    );
  if (
    mountPoint !== undefined &&
    (!mountPoint.startsWith('/') || mountPoint === '/' || mountPoint.includes('\0'))
  )
    throw new VmmError(
      'INVALID_CONFIG',
      `share ${directory}: "${mountPoint}" is no absolute path below / in the guest`,
    );
  return { directory, tag, mountPoint: mountPoint ?? `/mnt/${tag}`, readOnly: config.readOnly ?? false };
}

function lastName(path: string): string {
  return path.split('/').findLast((name) => name !== '') ?? '';
}

/** @throws VmmError `INVALID_CONFIG` */
export function checkShares(configs: readonly ShareConfig[]): void {
  const shares = configs.map(resolveShare);
  for (const key of ['tag', 'mountPoint'] as const) {
    const seen = new Set<string>();
    for (const share of shares) {
      if (seen.has(share[key]))
        throw new VmmError(
          'INVALID_CONFIG',
          `share ${share.directory}: "${share[key]}" is taken by another share`,
        );
      seen.add(share[key]);
    }
  }
}

/**
 * Reads `DIRECTORY[:TAG][,ro]` or `DIRECTORY:/PATH/IN/GUEST[,ro]`.
 *
 * @throws VmmError `INVALID_CONFIG`
 */
export function parseShare(text: string): ShareConfig {
  const options = new OptionList('share', text);
  const at = options.value.lastIndexOf(':');
  const directory = at < 0 ? options.value : options.value.slice(0, at);
  const target = at < 0 ? undefined : options.value.slice(at + 1);
  if (target === '') throw options.error(`"${text}" has no tag and no path behind ":"`);
  const config: ShareConfig = {
    directory,
    ...(target === undefined ? {} : target.startsWith('/') ? { mountPoint: target } : { tag: target }),
    readOnly: options.flag('ro'),
  };
  options.done();
  resolveShare(config);
  return config;
}

/** Commands of the built-in guest that mount it. */
export function shareSetup({ tag, mountPoint, readOnly }: Share): string[] {
  const options = readOnly ? '-o ro ' : '';
  const target = quoted(mountPoint);
  return [
    `mkdir -p ${target} && mount -t virtiofs ${options}${quoted(tag)} ${target} || echo "cannot mount share ${tag}" >/dev/console`,
  ];
}

/** Opens the directory. @throws VirtioDeviceError when it cannot be shared */
export function prepareShare(config: ShareConfig, index: number): PreparedDevice {
  const share = resolveShare(config);
  const handler = new HostDirectory(share.directory, { readOnly: share.readOnly });
  return {
    name: `share${index}`,
    drivers: ['virtiofs'],
    setup: shareSetup(share),
    create: ({ debug }) =>
      new VirtioFs({ tag: share.tag, handler, onError: (error) => debug(error.message) }),
    close: () => handler.close(),
  };
}
