import { readConfigSpace } from '../config-space.ts';
import { VIRTIO_BALLOON_PAGE_SIZE } from './constants.ts';

/** Offsets in `struct virtio_balloon_config`, VIRTIO 1.3 §5.5.4. */
const NUM_PAGES = 0;
const ACTUAL = 4;
const FREE_PAGE_HINT_CMD_ID = 8;
const POISON_VAL = 12;
const CONFIG_BYTES = 16;

/** The device's configuration space. Sizes are in pages of 4096 bytes. */
export class BalloonConfig {
  readonly #bytes = new Uint8Array(CONFIG_BYTES);
  readonly #view = new DataView(this.#bytes.buffer);

  /** Pages that the balloon is to have. */
  get pages(): number {
    return this.#view.getUint32(NUM_PAGES, true);
  }

  set pages(count: number) {
    this.#view.setUint32(NUM_PAGES, count, true);
  }

  /** The same in bytes. */
  get target(): number {
    return this.pages * VIRTIO_BALLOON_PAGE_SIZE;
  }

  /** Pages that the driver says its balloon has. */
  get actual(): number {
    return this.#view.getUint32(ACTUAL, true);
  }

  set actual(count: number) {
    this.#view.setUint32(ACTUAL, count, true);
  }

  /** `free_page_hint_cmd_id`. */
  get hintCommand(): number {
    return this.#view.getUint32(FREE_PAGE_HINT_CMD_ID, true);
  }

  set hintCommand(command: number) {
    this.#view.setUint32(FREE_PAGE_HINT_CMD_ID, command, true);
  }

  /** What the guest fills free pages with. */
  get poison(): number {
    return this.#view.getUint32(POISON_VAL, true);
  }

  set poison(value: number) {
    this.#view.setUint32(POISON_VAL, value, true);
  }

  read(offset: number, length: 1 | 2 | 4): number {
    return readConfigSpace(this.#bytes, offset, length);
  }

  /** A write of the driver's: it may change `actual` and `poison_val`. */
  write(offset: number, length: 1 | 2 | 4, value: number): void {
    for (let i = 0; i < length; i++) {
      const at = offset + i;
      const isDrivers = (at >= ACTUAL && at < ACTUAL + 4) || (at >= POISON_VAL && at < POISON_VAL + 4);
      if (isDrivers) this.#bytes[at] = value >>> (8 * i);
    }
  }

  /** Forgets what the driver wrote. */
  reset(): void {
    this.actual = 0;
    this.poison = 0;
  }
}
