import fc from 'fast-check';
import { GUEST_CID, MockGuest, turns } from '../../test/vsock-guest.ts';
import type { PacketFields } from '../../test/vsock-guest.ts';
import { startDriver } from '../mock/index.ts';
import type { VsockConnection } from './connection.ts';
import {
  VIRTIO_VSOCK_HEADER_SIZE,
  VIRTIO_VSOCK_OP_REQUEST,
  VIRTIO_VSOCK_OP_RESPONSE,
  VIRTIO_VSOCK_OP_RST,
  VIRTIO_VSOCK_OP_RW,
  VIRTIO_VSOCK_OP_SHUTDOWN,
  VSOCK_RXQ,
  VSOCK_TXQ,
} from './constants.ts';
import { VirtioVsock } from './vsock.ts';

const BUFFER = 4096;
const MAX_CONNECTIONS = 4;

const uint32 = fc.oneof(fc.constantFrom(0, 1, 2, 3, 0x7fff_ffff, 0xffff_ffff), fc.nat(0xffff_ffff));

/** Packets that are near to sense, of few ports, so that they meet connections. */
const packet: fc.Arbitrary<PacketFields> = fc.record(
  {
    operation: fc.oneof(fc.integer({ min: 0, max: 9 }), fc.nat(0xffff)),
    hostPort: fc.constantFrom(5, 6, 7, 0x4000_0000, 0x4000_0001),
    guestPort: fc.integer({ min: 1, max: 6 }),
    type: fc.oneof(fc.constantFrom(1, 2), fc.nat(0xffff)),
    flags: fc.oneof(fc.nat(3), uint32),
    data: fc.uint8Array({ maxLength: 2000 }),
    allocation: uint32,
    forwarded: uint32,
    sourceCid: fc.oneof({ weight: 20, arbitrary: fc.constant(GUEST_CID) }, { weight: 1, arbitrary: uint32 }),
    destinationCid: fc.oneof({ weight: 20, arbitrary: fc.constant(2) }, { weight: 1, arbitrary: uint32 }),
    length: uint32,
  },
  { requiredKeys: ['operation', 'hostPort', 'guestPort'] },
);

const step = fc.oneof(
  { weight: 6, arbitrary: packet.map((fields) => ({ kind: 'packet' as const, fields })) },
  { weight: 1, arbitrary: fc.nat(8).map((count) => ({ kind: 'lend' as const, count })) },
  {
    weight: 1,
    arbitrary: fc.constantFrom('read', 'write', 'end', 'close', 'connect').map((kind) => ({ kind })),
  },
);

describe('a guest that sends whatever it likes', () => {
  it('breaks no rule of the host: bounded memory, bounded connections, never more than its credit', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const guest = new MockGuest({
          buffers: 4,
          bufferBytes: 512,
          bufferSize: BUFFER,
          outputLimit: 1000,
          maxConnections: MAX_CONNECTIONS,
          driver: { queueSize: 32 },
        });
        const connections: VsockConnection[] = [];
        const keep = (each: VsockConnection): void => void connections.push(each);
        guest.device.listen(5, keep);
        guest.device.listen(6, keep, { type: 'seqpacket' });
        for (const each of steps) {
          const open = connections.filter(({ state }) => state === 'open');
          const first = open[0];
          if ('fields' in each) guest.send(each.fields);
          else if ('count' in each) guest.received();
          else if (each.kind === 'read') for (const one of open) one.read();
          else if (each.kind === 'connect')
            guest.device.connect(3, { timeout: 1000 }).then(keep, () => undefined);
          else if (first !== undefined) {
            if (each.kind === 'write' && first.writable && first.outputBytes < 1000)
              first.write(new Uint8Array(1));
            if (each.kind === 'end') first.end();
            if (each.kind === 'close') first.close();
          }
          await turns();
          expect(guest.device.statistics.connections).toBeLessThanOrEqual(MAX_CONNECTIONS);
          for (const one of connections) expect(one.inputBytes).toBeLessThanOrEqual(BUFFER);
        }
        expect(guest.driver.errors).toEqual([]);
        // After everything a connection can be made, as soon as the driver takes what waits.
        for (const one of connections) one.destroy();
        guest.send({ operation: VIRTIO_VSOCK_OP_RST, hostPort: 0x4000_0000, guestPort: 3 });
        guest.driver.start();
        guest.lend(8);
        await turns();
        for (let i = 0; i < 4; i++) {
          for (const { operation, hostPort, guestPort } of guest.received()) {
            if (operation === VIRTIO_VSOCK_OP_REQUEST)
              guest.send({ operation: VIRTIO_VSOCK_OP_RST, hostPort, guestPort });
          }
          await turns();
        }
        guest.send({ operation: VIRTIO_VSOCK_OP_REQUEST, hostPort: 5, guestPort: 77 });
        await turns();
        expect(
          guest.received().filter(({ operation }) => operation === VIRTIO_VSOCK_OP_RESPONSE),
        ).toHaveLength(1);
      }),
      { numRuns: 100 },
    );
  });
});

describe('data that crosses in pieces of any size', () => {
  it('arrives whole and in order, with any credit and any buffers', async () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(sizes, sizes, fc.integer({ min: 20, max: 900 }), async (toHost, toGuest, room) => {
        const guest = new MockGuest({ bufferBytes: VIRTIO_VSOCK_HEADER_SIZE + room, bufferSize: BUFFER });
        let connection: VsockConnection | undefined;
        guest.device.listen(5, (each) => void (connection = each));
        const allocation = room;
        guest.send({ operation: VIRTIO_VSOCK_OP_REQUEST, allocation });
        await turns();
        guest.received();
        const numbers = (start: number, size: number): Uint8Array =>
          Uint8Array.from({ length: size }, (_, i) => start + i);
        let sent = 0;
        const read: number[] = [];
        for (const size of toHost) {
          guest.send({ operation: VIRTIO_VSOCK_OP_RW, data: numbers(sent, size), allocation });
          sent += size;
          for (let bytes = connection!.read(); bytes !== undefined; bytes = connection!.read())
            read.push(...bytes);
          guest.received();
        }
        expect(read).toEqual([...numbers(0, sent)]);

        let written = 0;
        for (const size of toGuest) {
          connection!.write(numbers(written, size));
          written += size;
        }
        const got: number[] = [];
        for (let idle = 0; got.length < written && idle < 4;) {
          const packets = guest.rawData();
          idle = packets.length === 0 ? idle + 1 : 0;
          for (const bytes of packets) got.push(...bytes);
          guest.send({ operation: 6, allocation, forwarded: got.length });
          await new Promise((resolve) => setImmediate(resolve));
        }
        expect(got).toEqual([...numbers(0, written)]);
      }),
      { numRuns: 25 },
    );
  });
});

describe.each([
  { transport: 'mmio', ring: 'split' },
  { transport: 'mmio', ring: 'packed' },
  { transport: 'pci', ring: 'split' },
  { transport: 'pci', ring: 'packed' },
] as const)('vsock over %o', (combination) => {
  it('carries a connection from its request to its end', async () => {
    const device = new VirtioVsock({ guestCid: GUEST_CID });
    device.listen(5, (connection) => {
      connection.onReadable = () => {
        const bytes = connection.read();
        if (bytes !== undefined) connection.write(bytes);
      };
    });
    const driver = startDriver(device, combination);
    for (let i = 0; i < 8; i++) driver.rings[VSOCK_RXQ]!.add([{ writable: 44 }, { writable: 100 }]);
    driver.kick(VSOCK_RXQ);
    const answers: [number, string][] = [];
    for (const [operation, flags, text] of [
      [VIRTIO_VSOCK_OP_REQUEST, 0, ''],
      [VIRTIO_VSOCK_OP_RW, 0, 'hello'],
      [VIRTIO_VSOCK_OP_SHUTDOWN, 3, ''],
    ] as const) {
      const header = new DataView(new ArrayBuffer(VIRTIO_VSOCK_HEADER_SIZE));
      header.setUint32(0, GUEST_CID, true);
      header.setUint32(8, 2, true);
      header.setUint32(16, 1000, true);
      header.setUint32(20, 5, true);
      header.setUint32(24, text.length, true);
      header.setUint16(28, 1, true);
      header.setUint16(30, operation, true);
      header.setUint32(32, flags, true);
      header.setUint32(36, 65_536, true);
      const readable = new Uint8Array(header.buffer);
      driver.rings[VSOCK_TXQ]!.add(text === '' ? [{ readable }] : [{ readable }, { readable: text }]);
      driver.kick(VSOCK_TXQ);
      await turns();
      driver.rings[VSOCK_TXQ]!.collect();
      for (const { written } of driver.rings[VSOCK_RXQ]!.collect()) {
        answers.push([written[30]!, new TextDecoder().decode(written.subarray(VIRTIO_VSOCK_HEADER_SIZE))]);
      }
    }
    expect(answers).toEqual([
      [VIRTIO_VSOCK_OP_RESPONSE, ''],
      [VIRTIO_VSOCK_OP_RW, 'hello'],
      [VIRTIO_VSOCK_OP_RST, ''],
    ]);
    expect(driver.errors).toEqual([]);
  });
});
