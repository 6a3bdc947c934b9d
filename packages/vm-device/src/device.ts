/**
 * What answers register accesses on a bus. Values are unsigned 32-bit numbers; `length` is 1, 2 or 4. The
 * bus splits 8-byte accesses into two of 4, low half first, so that a device needs no 64-bit arithmetic.
 * Accesses come from the guest: any offset, length and value inside the registered range is possible, and
 * none may throw. A read of nothing answers 0.
 */
export interface BusDevice {
  /** @param offset bytes from the start of the registered range */
  read(offset: number, length: 1 | 2 | 4): number;
  write(offset: number, length: 1 | 2 | 4, value: number): void;
}

/** One interrupt line from a device to its interrupt controller. */
export interface Interrupt {
  /** An edge: for devices whose line is described as edge-triggered. */
  trigger(): void;
  /** A level: for devices whose line is described as level-triggered. */
  setLevel(high: boolean): void;
}

/** What a message-signalled interrupt writes (PCI Local Bus 3.0 §6.8): `data` to `address`. */
export interface MsiMessage {
  /** Bits 31:0 of the address. */
  readonly address: number;
  /** Bits 63:32 of the address. */
  readonly addressHigh: number;
  readonly data: number;
}

/** One message-signalled interrupt; the guest chooses its message. */
export interface MsiInterrupt extends Disposable {
  /**
   * What {@link trigger} sends from now on; undefined: nothing. The message comes from the guest: any value is
   * possible, and one that reaches no interrupt controller is dropped by `trigger`.
   */
  setMessage(message: MsiMessage | undefined): void;
  trigger(): void;
}

/** Where message-signalled interrupts go: local APICs, a GICv2m frame, an ITS. */
export interface MsiController {
  /**
   * One more interrupt. Nothing is reserved in the interrupt controller before its first message.
   *
   * @param deviceId bus, device and function (bits 15:0) of the function that sends, which an ITS tells apart
   */
  createMsi(deviceId: number): MsiInterrupt;
}

/** Removes a registration; more than one call is harmless. */
export interface Doorbell extends Disposable {
  readonly address: number;
}

/**
 * Registers guest stores that are to be taken without a round trip (ioeventfd and its software twin).
 * `onRing` runs on the owner's event loop once for any number of stores since it last ran, and before a later
 * access of the same vCPU reaches the bus: a device sees a notification before the reset that follows it.
 */
export interface DoorbellRegistry {
  createDoorbell(address: number, length: 2 | 4, match: number | undefined, onRing: () => void): Doorbell;
}
