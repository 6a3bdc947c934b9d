import { VirtioBalloon } from '@vmm/virtio-devices';
import { VmmError } from '../errors.ts';
import { OptionList } from './option-list.ts';
import type { PreparedDevice } from './prepared.ts';

/** A balloon, by which the guest gives memory back. */
export interface BalloonConfig {
  /** Bytes that the guest is to give at the beginning, a multiple of 4096. Default 0. */
  readonly target?: number | undefined;
  /** The guest takes memory back rather than end a program for the lack of it. Default true. */
  readonly deflateOnOom?: boolean | undefined;
  /** The guest tells what it does not use at the moment, and that is released. Default true. */
  readonly freePageReporting?: boolean | undefined;
  /** The guest can be asked for what it does not use ({@link VirtioBalloon.hintFreePages}). Default false. */
  readonly freePageHinting?: boolean | undefined;
}

const MIB = 1024 * 1024;
const PAGE = 4096;

/** @throws VmmError `INVALID_CONFIG` */
export function checkBalloon({ target = 0 }: BalloonConfig, memory: number): void {
  if (target % PAGE !== 0)
    throw new VmmError('INVALID_CONFIG', `balloon: ${target} bytes is no multiple of ${PAGE}`);
  if (!(Number.isSafeInteger(target) && target >= 0 && target < memory))
    throw new VmmError(
      'INVALID_CONFIG',
      `balloon: ${target / MIB} MiB is out of range, 0 to less than the ${memory / MIB} MiB of the VM are possible`,
    );
}

/**
 * Reads `on` or `SIZE`, and behind it `[,no-deflate-on-oom][,no-reporting]`.
 *
 * @throws VmmError `INVALID_CONFIG`
 */
export function parseBalloon(text: string, size: (text: string) => number): BalloonConfig {
  const options = new OptionList('balloon', text);
  const config: BalloonConfig = {
    target: options.value === 'on' ? 0 : size(options.value),
    deflateOnOom: !options.flag('no-deflate-on-oom'),
    freePageReporting: !options.flag('no-reporting'),
  };
  options.done();
  return config;
}

export function prepareBalloon(config: BalloonConfig): PreparedDevice {
  return {
    name: 'balloon',
    drivers: ['virtio_balloon'],
    create: ({ vm, debug }) =>
      new VirtioBalloon({
        release: (ranges, words) => vm.discardMemory(ranges, words),
        target: config.target ?? 0,
        deflateOnOom: config.deflateOnOom ?? true,
        freePageReporting: config.freePageReporting ?? true,
        freePageHinting: config.freePageHinting ?? false,
        onError: (error) => debug(error.message),
      }),
    close: () => undefined,
  };
}
