import * as devices from '../src/index.ts';
import type { VirtioDevice } from '../src/index.ts';
import type { MockVirtioDriver } from '../src/mock/index.ts';

/** A device that hostile drivers are let loose on. */
export interface Subject {
  readonly device: VirtioDevice;
  /** The queue that it takes requests from. */
  readonly queue: number;
  /** What the host does meanwhile, so that there is something for the guest. */
  readonly stir: () => void;
  /**
   * Makes the device want something of every queue, where a driver or its past have a part in that.
   *
   * @param busy the queue that something was put into already
   */
  readonly wake?: (driver: MockVirtioDriver, busy: number) => void;
  /** A request that the device answers; whether it did, after `settle()`. */
  readonly request: (driver: MockVirtioDriver) => void;
  readonly answered: (driver: MockVirtioDriver) => boolean;
}

const oneAnswer =
  (queue: number) =>
  (driver: MockVirtioDriver): boolean =>
    driver.rings[queue]!.collect().length === 1;

/** Options with this Queue Size, or with the device's own. */
function sized(queueSize: number | undefined): { readonly queueSize?: number } {
  return queueSize === undefined ? {} : { queueSize };
}

function entropy(queueSize?: number): Subject {
  return {
    device: new devices.VirtioEntropy({ ...sized(queueSize), source: (target) => target.fill(1) }),
    queue: 0,
    stir: () => undefined,
    request: (driver) => driver.rings[0]!.add([{ writable: 8 }]),
    answered: oneAnswer(0),
  };
}

function block(queueSize?: number, disk: Uint8Array | number = 65536): Subject {
  return {
    device: new devices.VirtioBlock({
      ...sized(queueSize),
      backend: new devices.MemoryBlockBackend(disk),
      queues: 2,
    }),
    queue: 0,
    stir: () => undefined,
    request: (driver) => driver.rings[0]!.add([{ readable: new Uint8Array(16) }, { writable: 513 }]),
    answered: (driver) => {
      const [used, ...more] = driver.rings[0]!.collect();
      return more.length === 0 && used?.written[512] === devices.VIRTIO_BLK_S_OK;
    },
  };
}

function console(queueSize?: number): Subject {
  const device = new devices.VirtioConsole({ ...sized(queueSize), ports: [{ name: 'agent' }] });
  return {
    device,
    queue: 1,
    stir: () => {
      device.resize({ columns: 80, rows: 25 });
      for (const port of device.ports) port.write(new Uint8Array(100));
    },
    wake: (driver, busy) => {
      const send = (port: number, event: number): void => {
        driver.rings[3]!.add([{ readable: controlMessage(port, event, 1) }]);
        driver.rings[3]!.publish();
        driver.notify(3);
      };
      if (busy === 3) return;
      for (let i = 0; i < 6 && busy !== 2; i++) driver.rings[2]!.add([{ writable: 80 }]);
      driver.rings[2]!.publish();
      send(0, 0);
      for (const port of [0, 1]) {
        send(port, 3);
        send(port, 6);
      }
    },
    request: (driver) => driver.rings[1]!.add([{ readable: 'still here' }]),
    answered: oneAnswer(1),
  };
}

/** `struct virtio_console_control`. */
function controlMessage(port: number, event: number, value: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(8));
  view.setUint32(0, port, true);
  view.setUint16(4, event, true);
  view.setUint16(6, value, true);
  return new Uint8Array(view.buffer);
}

function net(queueSize?: number): Subject {
  const nic = new devices.FrameStream();
  const device = new devices.VirtioNet({ ...sized(queueSize), backend: nic, mac: '02:00:00:00:00:01' });
  return {
    device,
    queue: 1,
    stir: () => {
      nic.send(new Uint8Array(600).fill(0xff));
      device.setLink(!device.linkUp);
    },
    request: (driver) => driver.rings[1]!.add([{ readable: new Uint8Array(12 + 60) }]),
    answered: oneAnswer(1),
  };
}

function vsock(queueSize?: number): Subject {
  const device = new devices.VirtioVsock({ ...sized(queueSize), guestCid: 42 });
  device.listen(5, (connection) => void connection.write(new Uint8Array(100)));
  return {
    device,
    queue: 1,
    stir: () => void device.connect(7, { timeout: 10 }).catch(() => undefined),
    // As for a guest that was restored: it is told that its connections are gone.
    wake: () => device.restore({ version: 1, resetDue: true }),
    request: (driver) => driver.rings[1]!.add([{ readable: new Uint8Array(44) }]),
    answered: oneAnswer(1),
  };
}

function balloon(queueSize?: number): Subject {
  const device = new devices.VirtioBalloon({
    ...sized(queueSize),
    release: () => undefined,
    freePageHinting: true,
  });
  return {
    device,
    queue: 0,
    stir: () => device.setTarget(device.target === 0 ? 4096 : 0),
    request: (driver) =>
      driver.rings[0]!.add([{ readable: new Uint8Array(Uint32Array.of(0x8_0010).buffer) }]),
    answered: oneAnswer(0),
  };
}

/** FUSE_INIT of version 7.31, `struct fuse_in_header` and `struct fuse_init_in`. */
function fuseInit(): Uint8Array {
  const bytes = new Uint8Array(40 + 64);
  const view = new DataView(bytes.buffer);
  [bytes.length, 26, 1].forEach((word, at) => view.setUint32(4 * at, word, true));
  [7, 31].forEach((word, at) => view.setUint32(40 + 4 * at, word, true));
  return bytes;
}

function fs(queueSize?: number): Subject {
  const ESTALE = -116;
  return {
    device: new devices.VirtioFs({
      ...sized(queueSize),
      tag: 'test',
      handler: {
        description: 'nothing',
        lookup: () => Promise.resolve(ESTALE),
        getattr: () => ESTALE,
        open: () => ({ fh: 1, openFlags: 0 }),
        read: (_context, _node, _fh, _offset, data) => Promise.resolve(data.length),
        write: (_context, _node, _fh, _offset, data) => data.length,
      },
    }),
    queue: 1,
    stir: () => undefined,
    request: (driver) => driver.rings[1]!.add([{ readable: fuseInit() }, { writable: 16 + 64 }]),
    answered: (driver) => {
      const [used, ...more] = driver.rings[1]!.collect();
      return more.length === 0 && used !== undefined && used.length >= 16 && used.written[4] === 0;
    },
  };
}

/** @remarks `disk` is the size of the block device, or its contents */
export const SUBJECTS: readonly {
  readonly name: string;
  readonly make: (queueSize?: number, disk?: Uint8Array | number) => Subject;
}[] = [
  { name: 'entropy', make: entropy },
  { name: 'block', make: block },
  { name: 'console', make: console },
  { name: 'net', make: net },
  { name: 'vsock', make: vsock },
  { name: 'balloon', make: balloon },
  { name: 'fs', make: fs },
];

/** A device whose backend answers when it is told to. */
export interface HeldSubject extends Subject {
  /** Brings the driver to where {@link hold} is possible. */
  readonly prepare?: (driver: MockVirtioDriver, settle: () => Promise<void>) => Promise<void>;
  /** A request that the backend does not answer before `release()`. */
  readonly hold: (driver: MockVirtioDriver) => void;
  /** Where the answer goes; default `queue`. */
  readonly answerQueue?: number;
  /** Requests that the backend has, or that wait for it. */
  readonly held: () => number;
  /** How many that may be, however many drivers came and went. */
  readonly mayHold: number;
  readonly release: () => void;
}

/** Promises that are resolved together. */
class Gate {
  #waiting: (() => void)[] = [];
  #isOpen = false;

  get held(): number {
    return this.#waiting.length;
  }

  pass(): Promise<void> {
    return this.#isOpen ? Promise.resolve() : new Promise((resolve) => this.#waiting.push(resolve));
  }

  open(): void {
    this.#isOpen = true;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

/** `struct virtio_blk_req` of a type. */
function blockHeader(type: number): Uint8Array {
  return Uint8Array.from([type, ...new Uint8Array(15)]);
}

function heldBlock(type: number): HeldSubject {
  const gate = new Gate();
  const backend = devices.createBlockBackend({
    sizeBytes: 65536,
    read: async (_offset, length) => {
      await gate.pass();
      return new Uint8Array(length).fill(7);
    },
    write: () => gate.pass(),
    flush: () => gate.pass(),
  });
  const { request, answered } = block();
  return {
    device: new devices.VirtioBlock({ backend }),
    queue: 0,
    stir: () => undefined,
    request,
    answered,
    hold: (driver) =>
      driver.rings[0]!.add([
        { readable: blockHeader(type) },
        ...(type === devices.VIRTIO_BLK_T_OUT ? [{ readable: new Uint8Array(512) }] : []),
        { writable: type === devices.VIRTIO_BLK_T_IN ? 513 : 1 },
      ]),
    held: () => gate.held,
    mayHold: 16,
    release: () => gate.open(),
  };
}

/** FUSE_READ of 512 bytes. */
function fuseRead(): Uint8Array {
  const bytes = new Uint8Array(40 + 40);
  const view = new DataView(bytes.buffer);
  [bytes.length, 15, 1].forEach((word, at) => view.setUint32(4 * at, word, true));
  view.setUint32(40 + 16, 512, true);
  return bytes;
}

function heldFs(): HeldSubject {
  const gate = new Gate();
  const plain = fs();
  const device = new devices.VirtioFs({
    tag: 'test',
    handler: {
      description: 'a slow one',
      lookup: () => 0,
      getattr: () => 0,
      read: async (context, _node, _fh, _offset, data) => {
        await gate.pass();
        if (!context.cancelled) data.store(new Uint8Array(data.length).fill(7));
        return data.length;
      },
    },
  });
  return {
    ...plain,
    device,
    prepare: async (driver, settle) => {
      plain.request(driver);
      driver.rings[1]!.publish();
      driver.notify(1);
      await settle();
      driver.rings[1]!.collect();
    },
    hold: (driver) => driver.rings[1]!.add([{ readable: fuseRead() }, { writable: 16 + 512 }]),
    held: () => gate.held,
    mayHold: 66,
    release: () => gate.open(),
  };
}

function heldNet(): HeldSubject {
  let isOpen = false;
  let waiting = 0;
  let client: devices.NetBackendClient | undefined;
  const backend: devices.NetBackend = {
    description: 'a wire that is busy',
    offloads: devices.FeatureSet.EMPTY,
    maximumQueuePairs: 1,
    attach: (device) => void (client = device),
    configure: () => undefined,
    transmit: (_pair, batch) => {
      waiting = isOpen ? 0 : batch.remaining;
      while (isOpen && batch.remaining > 0) batch.advance();
    },
    receive: () => false,
    close: () => undefined,
  };
  const { request, answered } = net();
  return {
    device: new devices.VirtioNet({ backend, mac: '02:00:00:00:00:01' }),
    queue: 1,
    stir: () => undefined,
    request,
    answered,
    hold: request,
    held: () => waiting,
    mayHold: 64,
    release: () => {
      isOpen = true;
      client?.writable(0);
    },
  };
}

function heldVsock(): HeldSubject {
  const gate = new Gate();
  const device = new devices.VirtioVsock({ guestCid: 42 });
  device.listen(5, async () => gate.pass());
  let port = 1000;
  const { request, answered } = vsock();
  return {
    device,
    queue: 1,
    stir: () => undefined,
    request,
    answered,
    prepare: (driver) => {
      for (let i = 0; i < 4; i++) driver.rings[0]!.add([{ writable: 256 }]);
      driver.rings[0]!.publish();
      return Promise.resolve();
    },
    answerQueue: 0,
    // REQUEST of a stream.
    hold: (driver) => {
      const view = new DataView(new ArrayBuffer(44));
      view.setUint32(0, 42, true);
      view.setUint32(8, 2, true);
      view.setUint32(16, port++, true);
      view.setUint32(20, 5, true);
      view.setUint16(28, 1, true);
      view.setUint16(30, 1, true);
      view.setUint32(36, 65536, true);
      driver.rings[1]!.add([{ readable: new Uint8Array(view.buffer) }]);
    },
    held: () => gate.held,
    // What the host's program has promised is its own affair; connections are as many as may be.
    mayHold: 1024,
    release: () => gate.open(),
  };
}

export const HELD_SUBJECTS: readonly { readonly name: string; readonly make: () => HeldSubject }[] = [
  { name: 'block (reads)', make: () => heldBlock(devices.VIRTIO_BLK_T_IN) },
  { name: 'block (writes)', make: () => heldBlock(devices.VIRTIO_BLK_T_OUT) },
  { name: 'block (flushes)', make: () => heldBlock(devices.VIRTIO_BLK_T_FLUSH) },
  { name: 'fs', make: heldFs },
  { name: 'net', make: heldNet },
  { name: 'vsock', make: heldVsock },
];
