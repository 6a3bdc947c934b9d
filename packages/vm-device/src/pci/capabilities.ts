import { VmDeviceError } from '../errors.ts';
import type { PciConfigSpace } from './config-space.ts';
import {
  PCI_CAPABILITIES_POINTER,
  PCI_CONFIG_SIZE,
  PCI_HEADER_SIZE,
  PCI_STATUS,
  PCI_STATUS_CAPABILITIES_LIST,
} from './registers.ts';

export interface PciCapabilityOptions {
  /** Bits of each byte of the body that software may write. Default: none. */
  readonly writable?: ArrayLike<number>;
  /** Software is about to read a part of the body, and no more than that. Must not throw. */
  readonly onRead?: (offset: number, length: 1 | 2 | 4) => void;
  /** Software wrote to a part of the body. Must not throw. */
  readonly onWrite?: (offset: number, length: 1 | 2 | 4) => void;
}

/** A capability in configuration space. */
export interface PciCapability {
  /** Where its ID is. */
  readonly offset: number;
  /** What follows ID and next pointer; live: what is written here is what software reads. */
  readonly body: Uint8Array;
}

interface Capability extends PciCapability, PciCapabilityOptions {}

/** The capability list of a function, PCI Local Bus 3.0 §6.7: where capabilities are, and who hears of accesses. */
export class PciCapabilities {
  readonly #space: PciConfigSpace;
  /** In messages. */
  readonly #owner: string;
  readonly #list: Capability[] = [];
  #free = PCI_HEADER_SIZE;

  constructor(space: PciConfigSpace, owner: string) {
    this.#space = space;
    this.#owner = owner;
  }

  /**
   * @param body what follows ID and next pointer
   * @throws VmDeviceError `EXHAUSTED` when the 192 bytes for capabilities are used up
   */
  add(id: number, body: ArrayLike<number>, options: PciCapabilityOptions): PciCapability {
    const offset = this.#free;
    const size = 2 + body.length;
    if (offset + size > PCI_CONFIG_SIZE) {
      throw new VmDeviceError('EXHAUSTED', `${this.#owner}: no room for a capability of ${size} bytes`);
    }
    const space = this.#space;
    const previous = this.#list.at(-1);
    space.set(previous === undefined ? PCI_CAPABILITIES_POINTER : previous.offset + 1, 1, offset);
    space.set(PCI_STATUS, 2, space.read(PCI_STATUS, 2) | PCI_STATUS_CAPABILITIES_LIST);
    space.set(offset, 1, id);
    for (let i = 0; i < body.length; i++) {
      space.set(offset + 2 + i, 1, body[i]!);
      space.allowWrite(offset + 2 + i, 1, options.writable?.[i] ?? 0);
    }
    this.#free = (offset + size + 3) & ~3;
    const capability = { ...options, offset, body: space.bytes.subarray(offset + 2, offset + size) };
    this.#list.push(capability);
    return capability;
  }

  /** Software is about to read configuration space. */
  beforeRead(offset: number, length: 1 | 2 | 4): void {
    for (const { onRead, offset: start, body } of this.#list) {
      const at = offset - start - 2;
      if (onRead !== undefined && at < body.length && at + length > 0) onRead(at, length);
    }
  }

  /** Software wrote to configuration space. */
  afterWrite(offset: number, length: 1 | 2 | 4): void {
    for (const { onWrite, offset: start, body } of this.#list) {
      const at = offset - start - 2;
      if (onWrite !== undefined && at < body.length && at + length > 0) onWrite(at, length);
    }
  }
}
