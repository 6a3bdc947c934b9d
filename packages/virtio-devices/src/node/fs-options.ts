import { checkOption, VirtioDeviceError } from '../errors.ts';
import { createIdMaps, type IdMap, type IdMapping } from './fs-ids.ts';

/** Milliseconds that names and attributes hold in the guest. */
const CACHE_TIMES = { none: 0, auto: 1000, always: 86_400_000 } as const;
/** Descriptors that are left to the rest of the process. */
const RESERVED = 512;

/** How much the guest's kernel keeps. */
export type HostDirectoryCache = keyof typeof CACHE_TIMES;

export interface HostDirectoryOptions {
  /** Everything that would change the directory is answered with EROFS. Default false. */
  readonly readOnly?: boolean;
  /**
   * What the guest's kernel may rely on without asking. `none`: nothing but the data of files that are open; `auto` (the
   * default): names and attributes for a second, and data while size and times do not change; `always`: everything, for
   * directories that nobody else changes.
   */
  readonly cache?: HostDirectoryCache;
  /** Default: `identity` for root, else `squash`. */
  readonly ids?: IdMapping;
  /** Reading leaves the host's access times alone, as far as this user may. Default false. */
  readonly noatime?: boolean;
  /** The guest may make block and character devices. Default false: EPERM. */
  readonly deviceNodes?: boolean;
  /** The guest may make programs that are set-user-ID or set-group-ID for the host. Default false: EPERM. */
  readonly setuid?: boolean;
  /** Extended attributes that the guest sees and sets. Default `user`: those that begin with `user.`; `all`: no ACLs. */
  readonly xattrs?: 'none' | 'user' | 'all';
  /** Files that the guest may know of at a time, 16 to 16777216. Default 1048576; more are answered with ENFILE. */
  readonly maxNodes?: number;
  /** Handles kept for them, 16 to 1048576. Default: half of the process' limit, at most 16384. */
  readonly maxHandles?: number;
  /** Files and directories that the guest may have open, 1 to 1048576. Default: a quarter of the limit, at most 16384. */
  readonly maxOpenFiles?: number;
}

/** Options with their defaults. */
export interface HostDirectorySettings {
  readonly readOnly: boolean;
  readonly cache: HostDirectoryCache;
  readonly validity: number;
  readonly uids: IdMap;
  readonly gids: IdMap;
  readonly noatime: 0 | 1;
  readonly deviceNodes: boolean;
  readonly setuid: boolean;
  readonly xattrs: 'none' | 'user' | 'all';
  readonly maxNodes: number;
  readonly maxHandles: number;
  readonly maxOpenFiles: number;
}

/**
 * @param limit of the process' open files
 * @throws VirtioDeviceError `INVALID_OPTION`
 */
export function settingsOf(
  options: HostDirectoryOptions,
  own: { readonly uid: number; readonly gid: number },
  limit: number,
): HostDirectorySettings {
  const cache = oneOf('cache', options.cache ?? 'auto', ['none', 'auto', 'always'] as const);
  const free = Math.max(limit - RESERVED, 64);
  return {
    readOnly: options.readOnly ?? false,
    cache,
    validity: CACHE_TIMES[cache],
    ...createIdMaps(options.ids ?? (own.uid === 0 ? 'identity' : 'squash'), own),
    noatime: options.noatime === true ? 1 : 0,
    deviceNodes: options.deviceNodes ?? false,
    setuid: options.setuid ?? false,
    xattrs: oneOf('xattrs', options.xattrs ?? 'user', ['none', 'user', 'all'] as const),
    maxNodes: checkOption('maxNodes', options.maxNodes ?? 1 << 20, 16, 1 << 24),
    maxHandles: checkOption(
      'maxHandles',
      options.maxHandles ?? Math.min(Math.floor(free / 2), 16384),
      16,
      1 << 20,
    ),
    maxOpenFiles: checkOption(
      'maxOpenFiles',
      options.maxOpenFiles ?? Math.min(Math.floor(free / 4), 16384),
      1,
      1 << 20,
    ),
  };
}

function oneOf<T extends string>(name: string, value: string, values: readonly T[]): T {
  const found = values.find((candidate) => candidate === value);
  if (found !== undefined) return found;
  throw new VirtioDeviceError('INVALID_OPTION', `${name} must be ${values.join(', ')}, not ${value}`);
}
