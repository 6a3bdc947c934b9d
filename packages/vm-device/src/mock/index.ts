import type {
  Doorbell,
  DoorbellRegistry,
  Interrupt,
  MsiController,
  MsiInterrupt,
  MsiMessage,
} from '../device.ts';

/** Records what a device did to its line. */
export class MockInterrupt implements Interrupt {
  /** Edges since the line was made. */
  edges = 0;
  level = false;

  trigger(): void {
    this.edges++;
  }

  setLevel(high: boolean): void {
    this.level = high;
  }

  /** Edges since the last call. */
  take(): number {
    const edges = this.edges;
    this.edges = 0;
    return edges;
  }
}

interface MockDoorbell extends Doorbell {
  readonly length: 2 | 4;
  readonly match: number | undefined;
  readonly onRing: () => void;
}

/** Keeps doorbells in a list and rings them when a test says so. */
export class MockDoorbellRegistry implements DoorbellRegistry {
  readonly #doorbells = new Set<MockDoorbell>();

  get size(): number {
    return this.#doorbells.size;
  }

  createDoorbell(address: number, length: 2 | 4, match: number | undefined, onRing: () => void): Doorbell {
    const doorbell: MockDoorbell = {
      address,
      length,
      match,
      onRing,
      [Symbol.dispose]: () => void this.#doorbells.delete(doorbell),
    };
    this.#doorbells.add(doorbell);
    return doorbell;
  }

  /** What a guest store does: rings each doorbell it hits; false when it would exit instead. */
  store(address: number, length: 2 | 4, value: number): boolean {
    const hit = [...this.#doorbells].filter(
      (bell) =>
        bell.address === address &&
        bell.length === length &&
        (bell.match === undefined || bell.match === value),
    );
    for (const bell of hit) bell.onRing();
    return hit.length > 0;
  }
}

/** Records the messages that functions send. */
export class MockMsiController implements MsiController {
  /** Messages sent since the controller was made; undefined for an interrupt without one. */
  readonly sent: { readonly deviceId: number; readonly message: MsiMessage | undefined }[] = [];
  /** Interrupts made and not disposed. */
  size = 0;

  createMsi(deviceId: number): MsiInterrupt {
    this.size++;
    let message: MsiMessage | undefined;
    let disposed = false;
    return {
      setMessage: (next) => {
        message = next;
      },
      trigger: () => void this.sent.push({ deviceId, message }),
      [Symbol.dispose]: () => {
        if (!disposed) this.size--;
        disposed = true;
      },
    };
  }

  /** `data` of the messages since the last call. */
  take(): (number | undefined)[] {
    return this.sent.splice(0).map(({ message }) => message?.data);
  }
}
