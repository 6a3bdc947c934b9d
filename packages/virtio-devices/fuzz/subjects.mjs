// Devices to fuzz, each with requests that mean something to it and a way to tell that it works.
import * as devices from '@vmm/virtio-devices';

function words(length, fields) {
  const view = new DataView(new ArrayBuffer(length));
  for (const [at, value, size = 4] of fields) {
    if (size === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
  }
  return new Uint8Array(view.buffer);
}

const fuse = (opcode, body, node = 1) =>
  Uint8Array.from([
    ...words(40, [
      [0, 40 + body.length],
      [4, opcode],
      [8, 1],
      [16, node],
    ]),
    ...body,
  ]);
const packet = (operation, length = 0, type = 1) =>
  Uint8Array.from([
    ...words(44, [
      [0, 42],
      [8, 2],
      [16, 1000],
      [20, 5],
      [24, length],
      [28, type, 2],
      [30, operation, 2],
      [36, 65536],
    ]),
    ...new Uint8Array(length),
  ]);
const control = (port, event, value = 1) =>
  words(8, [
    [0, port],
    [4, event, 2],
    [6, value, 2],
  ]);
const block = (type, sector = 0) =>
  words(16, [
    [0, type],
    [8, sector],
  ]);

/**
 * `requests`: queue, bytes for the device, room for its answer. `probe`: one that a device after a reset answers.
 */
export const SUBJECTS = [
  {
    make: () => ({ device: new devices.VirtioEntropy({ source: (target) => target.fill(1) }) }),
    requests: [[0, new Uint8Array(0), 64]],
    probe: 0,
  },
  {
    make: () => ({
      device: new devices.VirtioBlock({ backend: new devices.MemoryBlockBackend(65536), queues: 2 }),
    }),
    requests: [
      [0, block(0), 513],
      [1, Uint8Array.from([...block(1, 8), ...new Uint8Array(512)]), 1],
      [0, block(4), 1],
      [1, block(8), 21],
      [0, Uint8Array.from([...block(11), ...words(16, [[8, 4]])]), 1],
      [
        0,
        Uint8Array.from([
          ...block(13),
          ...words(16, [
            [8, 4],
            [12, 1],
          ]),
        ]),
        1,
      ],
    ],
    probe: 0,
  },
  {
    make: () => {
      const source = devices.createBlockBackend({
        sizeBytes: 65536,
        read: (_offset, length) => Promise.resolve(new Uint8Array(length)),
        write: () => Promise.resolve(),
        flush: () => Promise.resolve(),
        discard: () => Promise.resolve(),
        writeZeroes: () => Promise.resolve(),
      });
      const backend = new devices.OverlayBlockBackend(source);
      return { device: new devices.VirtioBlock({ backend }) };
    },
    requests: [
      [0, block(0), 513],
      [0, Uint8Array.from([...block(1, 8), ...new Uint8Array(512)]), 1],
      [0, block(4), 1],
      [0, Uint8Array.from([...block(11), ...words(16, [[8, 4]])]), 1],
    ],
    probe: 0,
  },
  {
    make: () => {
      const device = new devices.VirtioConsole({ ports: [{ name: 'agent' }] });
      const stir = (n) => {
        const port = device.ports[n % device.ports.length];
        if (n % 5 === 0) device.resize({ columns: n, rows: 25 });
        else if (n % 5 === 1) void port.close();
        else if (!port.hostOpen) {
          try {
            port.open();
          } catch (error) {
            if (error.code !== 'WRONG_STATE') throw error;
          }
        } else port.write(new Uint8Array(n));
      };
      return { device, stir };
    },
    requests: [
      [1, Uint8Array.of(65), 0],
      [2, new Uint8Array(0), 80],
      [3, control(0, 0), 0],
      [3, control(1, 3), 0],
      [3, control(1, 6), 0],
      [3, control(0, 3), 0],
      [4, new Uint8Array(0), 32],
      [5, new Uint8Array(40), 0],
      [0, new Uint8Array(0), 32],
    ],
    probe: 0,
  },
  {
    make: () => {
      const nic = new devices.FrameStream();
      const device = new devices.VirtioNet({ backend: nic, mac: '02:00:00:00:00:01' });
      const stir = (n) => {
        if (n % 5 === 0) device.setLink(!device.linkUp);
        else if (n % 5 === 1) device.announce();
        else nic.send(new Uint8Array(14 + 8 * n).fill(n % 2 === 0 ? 0xff : 2));
      };
      return { device, stir };
    },
    requests: [
      [1, new Uint8Array(72), 0],
      [0, new Uint8Array(0), 1526],
      [2, Uint8Array.of(0, 0, 1), 1],
      [2, Uint8Array.from([1, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 7, 0, 0, 0, 0]), 1],
      [2, Uint8Array.of(1, 1, 2, 0, 0, 0, 0, 9), 1],
      [2, Uint8Array.of(2, 0, 5, 0), 1],
      [2, Uint8Array.of(3, 0), 1],
      [1, Uint8Array.from([1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0, ...new Uint8Array(60)]), 0],
    ],
    probe: 0,
  },
  {
    make: () => {
      const device = new devices.VirtioVsock({ guestCid: 42, setTimer: () => () => undefined });
      const connections = [];
      const use = (connection) => {
        connections.push(connection);
        connection.onReadable = () => connection.read();
      };
      device.listen(5, use);
      device.listen(6, use, { type: 'seqpacket' });
      const stir = (n) => {
        const connection = connections.at(-1);
        if (n % 6 === 0 || connection === undefined) {
          device.connect(n, { type: n % 4 === 0 ? 'seqpacket' : 'stream' }).then(use, () => undefined);
        } else if (n % 6 === 1) connection.end();
        else if (n % 6 === 2) connection.close();
        else if (n % 6 === 3) connection.destroy();
        else if (connection.writable) {
          try {
            connection.write(new Uint8Array(n));
          } catch (error) {
            if (error.code !== 'MESSAGE_TOO_LARGE') throw error;
          }
        }
      };
      return { device, stir };
    },
    requests: [
      [1, packet(1), 0],
      [0, new Uint8Array(0), 512],
      [1, packet(5, 60), 0],
      [1, packet(6), 0],
      [1, packet(7), 0],
      [1, packet(4), 0],
      [1, packet(2), 0],
      [1, packet(3), 0],
      [1, packet(1, 0, 2), 0],
      [2, new Uint8Array(0), 4],
    ],
    probe: 0,
  },
  {
    make: () => {
      const device = new devices.VirtioBalloon({
        release: () => undefined,
        freePageHinting: true,
        setTimer: () => () => undefined,
      });
      const stir = (n) => {
        if (n % 3 === 0) device.setTarget(4096 * n);
        else if (n % 3 === 1) device.guestStatistics().catch(() => undefined);
        else {
          try {
            device.hintFreePages(() => undefined);
          } catch (error) {
            if (error.code !== 'WRONG_STATE') throw error;
          }
        }
      };
      return { device, stir };
    },
    requests: [
      [0, Uint8Array.of(4, 0, 8, 0, 5, 0, 8, 0), 0],
      [1, Uint8Array.of(4, 0, 8, 0), 0],
      [2, new Uint8Array(20), 0],
      [3, Uint8Array.of(2, 0, 0, 0), 64],
      [4, new Uint8Array(0), 4096],
    ],
    probe: 0,
  },
  {
    make: () => {
      const attr = { ino: 1, size: 0, blocks: 0, atime: 0, mtime: 0, ctime: 0, atimensec: 0, mtimensec: 0 };
      Object.assign(attr, { ctimensec: 0, mode: 0o100644, nlink: 1, uid: 0, gid: 0, rdev: 0, blksize: 4096 });
      const entry = { nodeId: 2, entryValid: 1, attrValid: 1, attr };
      const reply = { attr, attrValid: 1 };
      const handler = {
        description: 'anything',
        lookup: () => Promise.resolve(entry),
        getattr: () => reply,
        setattr: () => reply,
        readlink: () => 'target',
        symlink: () => entry,
        mknod: () => entry,
        mkdir: () => entry,
        unlink: () => 0,
        rmdir: () => 0,
        rename: () => 0,
        link: () => entry,
        open: () => ({ fh: 1, openFlags: 0 }),
        create: () => ({ entry, fh: 1, openFlags: 0 }),
        read: (_context, _node, _fh, _offset, data) => Promise.resolve(data.length),
        write: (_context, _node, _fh, _offset, data) => data.length,
        getxattr: () => new Uint8Array(20),
        listxattr: () => Promise.resolve(new Uint8Array(20)),
        setxattr: () => 0,
        fallocate: () => 0,
        lseek: () => 5,
      };
      return { device: new devices.VirtioFs({ tag: 'test', handler }) };
    },
    requests: [
      [
        1,
        fuse(
          26,
          words(64, [
            [0, 7],
            [4, 31],
          ]),
        ),
        80,
      ],
      [1, fuse(1, Uint8Array.of(97, 0)), 144],
      [1, fuse(3, new Uint8Array(16)), 120],
      [1, fuse(15, words(40, [[16, 64]])), 80],
      [1, fuse(16, words(104, [[16, 64]])), 24],
      [0, fuse(2, Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0)), 0],
      [
        0,
        fuse(
          42,
          words(24, [
            [0, 1],
            [8, 2],
            [16, 1],
          ]),
        ),
        0,
      ],
      [1, fuse(22, Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 97, 0)), 60],
      [1, fuse(12, Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 97, 0, 98, 0)), 16],
      [1, fuse(6, Uint8Array.of(97, 0, 98, 0)), 144],
      [1, fuse(46, new Uint8Array(24)), 24],
      [1, fuse(35, Uint8Array.from([...new Uint8Array(16), 97, 0])), 176],
    ],
    probe: 0,
  },
];
