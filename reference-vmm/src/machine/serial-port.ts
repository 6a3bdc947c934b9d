/** What the serial ports of all architectures have in common. */
export interface Uart {
  enqueueInput(bytes: Uint8Array): number;
  flush(): void;
}

/** The host's end of a serial port. */
export class SerialPort {
  #uart: Uart | undefined;
  #release: () => void = () => undefined;
  #drained: Promise<void> | undefined;

  /** For the device's option of that name. */
  readonly onDrained = (): void => this.#release();

  connect(uart: Uart): void {
    this.#uart = uart;
  }

  /** Types bytes; resolves when they have all been taken. */
  async write(bytes: Uint8Array): Promise<void> {
    for (let rest = bytes; this.#uart !== undefined;) {
      rest = rest.subarray(this.#uart.enqueueInput(rest));
      if (rest.length === 0) return;
      this.#drained ??= new Promise((resolve) => {
        this.#release = () => {
          this.#drained = undefined;
          resolve();
        };
      });
      await this.#drained;
    }
  }

  /** Hands over what has been printed. */
  flush(): void {
    this.#uart?.flush();
  }
}
