import { RateLimiter } from '@vmm/virtio-devices';
import { VmmError } from '../errors.ts';
import type { OptionList } from './option-list.ts';

/** Limits of a device, each for one second; a second's worth may come at once. */
export interface RateConfig {
  /** Bytes a second. */
  readonly bandwidth?: number | undefined;
  /** Requests or frames a second. */
  readonly iops?: number | undefined;
}

const SECOND = 1000;

export function rateLimiter({ bandwidth, iops }: RateConfig): RateLimiter | undefined {
  if (bandwidth === undefined && iops === undefined) return undefined;
  const bucket = (size: number | undefined): { size: number; refillTime: number } | undefined =>
    size === undefined ? undefined : { size, refillTime: SECOND };
  return new RateLimiter({ bandwidth: bucket(bandwidth), operations: bucket(iops) });
}

export function parseRate(options: OptionList): RateConfig {
  return { bandwidth: options.bytes('bandwidth'), iops: options.integer('iops', 1, MAX_IOPS) };
}

const MAX_IOPS = 1_000_000_000;

/** @throws VmmError `INVALID_CONFIG` */
export function checkRate(what: string, { bandwidth, iops }: RateConfig): void {
  for (const [name, value] of [
    ['bandwidth', bandwidth],
    ['iops', iops],
  ] as const) {
    if (value !== undefined && !(Number.isSafeInteger(value) && value >= 1))
      throw new VmmError('INVALID_CONFIG', `${what}: ${name} ${value} is no whole number above 0`);
  }
}
