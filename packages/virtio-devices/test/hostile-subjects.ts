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
  /** A request that the device answers; whether it did, after `settle()`. */
  readonly request: (driver: MockVirtioDriver) => void;
  readonly answered: (driver: MockVirtioDriver) => boolean;
}

const oneAnswer =
  (queue: number) =>
  (driver: MockVirtioDriver): boolean =>
    driver.rings[queue]!.collect().length === 1;

function entropy(): Subject {
  return {
    device: new devices.VirtioEntropy({ source: (target) => target.fill(1) }),
    queue: 0,
    stir: () => undefined,
    request: (driver) => driver.rings[0]!.add([{ writable: 8 }]),
    answered: oneAnswer(0),
  };
}

function block(): Subject {
  return {
    device: new devices.VirtioBlock({ backend: new devices.MemoryBlockBackend(65536), queues: 2 }),
    queue: 0,
    stir: () => undefined,
    request: (driver) => driver.rings[0]!.add([{ readable: new Uint8Array(16) }, { writable: 513 }]),
    answered: (driver) => {
      const [used, ...more] = driver.rings[0]!.collect();
      return more.length === 0 && used?.written[512] === devices.VIRTIO_BLK_S_OK;
    },
  };
}

function console(): Subject {
  const device = new devices.VirtioConsole({ ports: [{ name: 'agent' }] });
  return {
    device,
    queue: 1,
    stir: () => {
      device.resize({ columns: 80, rows: 25 });
      device.ports[0]!.write(new Uint8Array(100));
    },
    request: (driver) => driver.rings[1]!.add([{ readable: 'still here' }]),
    answered: oneAnswer(1),
  };
}

function net(): Subject {
  const nic = new devices.FrameStream();
  const device = new devices.VirtioNet({ backend: nic, mac: '02:00:00:00:00:01' });
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

function vsock(): Subject {
  const device = new devices.VirtioVsock({ guestCid: 42 });
  device.listen(5, (connection) => void connection.write(new Uint8Array(100)));
  return {
    device,
    queue: 1,
    stir: () => void device.connect(7, { timeout: 10 }).catch(() => undefined),
    request: (driver) => driver.rings[1]!.add([{ readable: new Uint8Array(44) }]),
    answered: oneAnswer(1),
  };
}

function balloon(): Subject {
  const device = new devices.VirtioBalloon({ release: () => undefined, freePageHinting: true });
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

function fs(): Subject {
  const ESTALE = -116;
  return {
    device: new devices.VirtioFs({
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

export const SUBJECTS: readonly { readonly name: string; readonly make: () => Subject }[] = [
  { name: 'entropy', make: entropy },
  { name: 'block', make: block },
  { name: 'console', make: console },
  { name: 'net', make: net },
  { name: 'vsock', make: vsock },
  { name: 'balloon', make: balloon },
  { name: 'fs', make: fs },
];
