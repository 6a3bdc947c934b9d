import { checkOption, VirtioDeviceError } from '../errors.ts';
import { UNCHANGED_ID } from './native-fs.ts';

/** Ids of the guest and of the host that stand for each other: `guest + i` for `host + i`, i below `count`. */
export interface IdRange {
  readonly guest: number;
  readonly host: number;
  readonly count: number;
}

/**
 * Whose files are whose.
 *
 * - `identity`: ids are the same on both sides; needs root on the host.
 * - `squash`: everything that the guest makes belongs to this process' user, whose files the guest sees as root's.
 * - ranges: what is in none of them is 65534 for the guest, and the guest cannot make it (EOVERFLOW).
 */
export type IdMapping =
  'identity' | 'squash' | { readonly uids: readonly IdRange[]; readonly gids: readonly IdRange[] };

/** What the guest sees of an id that has none of its own. */
const OVERFLOW_ID = 65534;

/** Translates one kind of ids. */
export class IdMap {
  readonly #ranges: readonly IdRange[];
  /** New files keep the owner they get by being made. */
  readonly squash: boolean;

  /** @throws VirtioDeviceError `INVALID_OPTION` */
  constructor(name: string, ranges: readonly IdRange[], squash: boolean) {
    for (const { guest, host, count } of ranges) {
      checkOption(`${name}: guest`, guest, 0, UNCHANGED_ID - 1);
      checkOption(`${name}: host`, host, 0, UNCHANGED_ID - 1);
      checkOption(`${name}: count`, count, 1, UNCHANGED_ID - Math.max(guest, host));
    }
    for (const side of ['guest', 'host'] as const) {
      const sorted = [...ranges].sort((a, b) => a[side] - b[side]);
      sorted.forEach((range, index) => {
        const next = sorted[index + 1];
        if (next !== undefined && range[side] + range.count > next[side]) {
          throw new VirtioDeviceError('INVALID_OPTION', `${name}: two ranges share ids of the ${side}`);
        }
      });
    }
    this.#ranges = ranges;
    this.squash = squash;
  }

  toGuest(id: number): number {
    for (const { guest, host, count } of this.#ranges) {
      if (id >= host && id < host + count) return guest + id - host;
    }
    return OVERFLOW_ID;
  }

  /** @returns undefined: there is none */
  toHost(id: number): number | undefined {
    for (const { guest, host, count } of this.#ranges) {
      if (id >= guest && id < guest + count) return host + id - guest;
    }
    return undefined;
  }

  /** The host's id of what a guest's process makes. @returns undefined: it cannot */
  ofNew(id: number): number | undefined {
    return this.squash ? UNCHANGED_ID : this.toHost(id);
  }
}

/** @throws VirtioDeviceError `INVALID_OPTION` */
export function createIdMaps(
  mapping: IdMapping,
  own: { readonly uid: number; readonly gid: number },
): { readonly uids: IdMap; readonly gids: IdMap } {
  if (mapping === 'identity') {
    const all = [{ guest: 0, host: 0, count: UNCHANGED_ID }];
    return { uids: new IdMap('uids', all, false), gids: new IdMap('gids', all, false) };
  }
  if (mapping === 'squash') {
    return {
      uids: new IdMap('uids', [{ guest: 0, host: own.uid, count: 1 }], true),
      gids: new IdMap('gids', [{ guest: 0, host: own.gid, count: 1 }], true),
    };
  }
  return { uids: new IdMap('uids', mapping.uids, false), gids: new IdMap('gids', mapping.gids, false) };
}
