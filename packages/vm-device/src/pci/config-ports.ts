import type { BusDevice } from '../device.ts';

/** Configuration space by requester ID and offset. */
export interface ConfigAccess {
  read(id: number, offset: number, length: 1 | 2 | 4): number;
  write(id: number, offset: number, length: 1 | 2 | 4, value: number): void;
}

const ENABLE = 0x8000_0000;
/** Enable, bus, device, function and register; the rest is reserved and reads as 0. */
const IMPLEMENTED = 0x80ff_fffc;

/** CONFIG_ADDRESS and CONFIG_DATA, PCI Local Bus 3.0 §3.2.2.3.2. */
export class ConfigPorts implements BusDevice {
  readonly #access: ConfigAccess;
  #address = 0;

  constructor(access: ConfigAccess) {
    this.#access = access;
  }

  get address(): number {
    return this.#address;
  }

  set address(value: number) {
    this.#address = (value & IMPLEMENTED) >>> 0;
  }

  read(offset: number, length: 1 | 2 | 4): number {
    if (offset === 0 && length === 4) return this.#address;
    if (offset < 4 || this.#address < ENABLE) return 0xffff_ffff;
    return this.#access.read((this.#address >>> 8) & 0xffff, this.#register(offset), length);
  }

  /** CONFIG_ADDRESS takes whole doublewords only; narrower stores are meant for other devices. */
  write(offset: number, length: 1 | 2 | 4, value: number): void {
    if (offset === 0 && length === 4) this.address = value;
    else if (offset >= 4 && this.#address >= ENABLE) {
      this.#access.write((this.#address >>> 8) & 0xffff, this.#register(offset), length, value);
    }
  }

  #register(offset: number): number {
    return (this.#address & 0xfc) | (offset & 3);
  }
}
