import { accepted, decode, describePacket, encode, MockGuest, turns } from '../../test/vsock-guest.ts';
import { PIECES_PER_TURN } from '../drain.ts';
import type { VirtioDeviceError } from '../errors.ts';
import type { VsockConnection } from './connection.ts';
import {
  VIRTIO_VSOCK_HEADER_SIZE as HEADER,
  VIRTIO_VSOCK_OP_CREDIT_UPDATE as CREDIT_UPDATE,
  VIRTIO_VSOCK_OP_REQUEST as REQUEST,
  VIRTIO_VSOCK_OP_RESPONSE as RESPONSE,
  VIRTIO_VSOCK_OP_RST as RST,
  VIRTIO_VSOCK_OP_RW as RW,
  VIRTIO_VSOCK_OP_SHUTDOWN as SHUTDOWN,
  VIRTIO_VSOCK_TYPE_SEQPACKET as SEQPACKET,
  VMADDR_PORT_ANY,
  VSOCK_EVENTQ,
  VSOCK_RXQ,
  VSOCK_TXQ,
} from './constants.ts';
import { VirtioVsock } from './vsock.ts';

describe('connections of the guest (VIRTIO 1.3 §5.10.6)', () => {
  it('reach the listener, and data goes both ways', async () => {
    const { guest, connection } = await accepted();
    expect(connection).toMatchObject({ type: 'stream', localPort: 5, peerPort: 1000, state: 'open' });
    guest.send({ operation: RW, data: 'hello ' });
    guest.send({ operation: RW, data: 'host' });
    expect(decode(connection.read())).toBe('hello host');
    expect(connection.read()).toBeUndefined();
    expect(connection.write(encode('hello guest'))).toBe(true);
    expect(await guest.receivedText()).toEqual(['RW 5>1000 "hello guest"']);
    expect(guest.device.statistics).toMatchObject({
      connections: 1,
      accepted: 1,
      bytesFromGuest: 10,
      bytesToGuest: 11,
    });
  });

  it('are reset where nobody listens, of another type or unknown type', async () => {
    const guest = new MockGuest();
    guest.device.listen(6, () => undefined);
    guest.send({ operation: REQUEST });
    guest.send({ operation: REQUEST, hostPort: 6, type: SEQPACKET });
    guest.send({ operation: REQUEST, hostPort: 6, type: 77 });
    expect(await guest.receivedText()).toEqual(['RST 5>1000', 'RST 6>1000', 'RST 6>1000']);
    expect(guest.device.statistics.refused).toBe(3);
  });

  it('wait for a listener that answers later, and are refused when it destroys, throws or rejects', async () => {
    const errors: VirtioDeviceError[] = [];
    const guest = new MockGuest({ onError: (error) => errors.push(error) });
    let take: () => void = () => undefined;
    guest.device.listen(5, () => new Promise((resolve) => (take = resolve)));
    guest.device.listen(6, (connection) => connection.destroy());
    guest.device.listen(7, () => Promise.reject(new Error('no')));
    guest.device.listen(8, () => {
      throw new Error('never');
    });
    guest.send({ operation: REQUEST });
    expect(await guest.receivedText()).toEqual([]);
    take();
    expect(await guest.receivedText()).toEqual(['RESPONSE 5>1000']);
    for (const hostPort of [6, 7, 8]) guest.send({ operation: REQUEST, hostPort });
    expect((await guest.receivedText()).sort()).toEqual(['RST 6>1000', 'RST 7>1000', 'RST 8>1000']);
    expect(errors.map(({ cause }) => (cause as Error).message).sort()).toEqual(['never', 'no']);
  });

  it('end cleanly: both directions, then a reset that confirms', async () => {
    const { guest, connection } = await accepted();
    guest.send({ operation: RW, data: 'last words' });
    guest.send({ operation: SHUTDOWN, flags: 3 });
    expect(await guest.receivedText()).toEqual(['RST 5>1000']);
    expect(connection.state).toBe('closed');
    expect(decode(connection.read())).toBe('last words');
    expect(connection.readEnded).toBe(true);
    expect(await connection.closed).toBeUndefined();
    expect(guest.device.statistics.connections).toBe(0);
  });
});

describe('connections of the host', () => {
  /** A guest that was asked for a connection to its port 9, and what it was asked. */
  async function asked(options: Parameters<VirtioVsock['connect']>[1] = {}): Promise<{
    guest: MockGuest;
    connecting: Promise<VsockConnection>;
    ports: { hostPort: number; guestPort: number; type: number };
  }> {
    const guest = new MockGuest();
    const connecting = guest.device.connect(9, options);
    connecting.catch(() => undefined);
    const [request] = guest.received();
    expect(request).toMatchObject({ operation: REQUEST, sourceCid: 2, destinationCid: 42, guestPort: 9 });
    await turns();
    return { guest, connecting, ports: { hostPort: request!.hostPort, guestPort: 9, type: request!.type } };
  }

  it('are asked for, answered, and carry data', async () => {
    const { guest, connecting, ports } = await asked();
    guest.send({ operation: RESPONSE, ...ports });
    const connection = await connecting;
    connection.write(encode('ping'));
    expect(await guest.receivedText()).toEqual([`RW ${ports.hostPort}>9 "ping"`]);
    expect(guest.device.statistics.connected).toBe(1);
  });

  it('are refused by a reset', async () => {
    const { guest, connecting, ports } = await asked();
    guest.send({ operation: RST, ...ports });
    await expect(connecting).rejects.toMatchObject({ code: 'CONNECTION_REFUSED' });
    expect(guest.device.statistics.connections).toBe(0);
  });

  it('end with a reset when they are aborted or take too long', async () => {
    const controller = new AbortController();
    const first = await asked({ signal: controller.signal });
    controller.abort(new Error('enough'));
    await expect(first.connecting).rejects.toMatchObject({ code: 'ABORTED', cause: new Error('enough') });
    expect(await first.guest.receivedText()).toEqual([`RST ${first.ports.hostPort}>9`]);
    await expect(first.guest.device.connect(9, { signal: controller.signal })).rejects.toMatchObject({
      code: 'ABORTED',
    });

    const second = await asked({ timeout: 5 });
    await expect(second.connecting).rejects.toMatchObject({ code: 'TIMED_OUT' });
    expect(await second.guest.receivedText()).toEqual([`RST ${second.ports.hostPort}>9`]);
    // What comes too late finds nothing.
    second.guest.send({ operation: RESPONSE, ...second.ports });
    expect(await second.guest.receivedText()).toEqual([`RST ${second.ports.hostPort}>9`]);
  });

  it('wait for a driver until their time is over', async () => {
    const device = new VirtioVsock({ guestCid: 3 });
    await expect(device.connect(9, { timeout: 5 })).rejects.toMatchObject({ code: 'TIMED_OUT' });
    expect(device.statistics.connections).toBe(0);
  });

  it('are limited in number, whoever makes them', async () => {
    const guest = new MockGuest({ maxConnections: 2 });
    guest.device.listen(5, () => undefined);
    const connecting = guest.device.connect(9);
    connecting.catch(() => undefined);
    guest.received();
    for (const guestPort of [1, 2]) guest.send({ operation: REQUEST, guestPort });
    expect(await guest.receivedText()).toEqual(['RST 5>2', 'RESPONSE 5>1']);
    await expect(guest.device.connect(9)).rejects.toMatchObject({ code: 'TOO_MANY_CONNECTIONS' });
    guest.send({ operation: RST, guestPort: 1 });
    guest.send({ operation: REQUEST, guestPort: 3 });
    expect(await guest.receivedText()).toEqual(['RESPONSE 5>3']);
  });

  it('of a driver that goes fail', async () => {
    const { guest, connecting } = await asked();
    const { connection } = await accepted();
    guest.driver.start();
    await expect(connecting).rejects.toMatchObject({ code: 'CONNECTION_RESET' });
    connection.destroy();
    expect(guest.device.statistics.connections).toBe(0);
  });
});

describe('receive buffers', () => {
  it('bound what is sent: data waits, and is cut to the buffers', async () => {
    const { guest, connection } = await accepted({ bufferBytes: HEADER + 4 });
    guest.driver.rings[VSOCK_RXQ]!.collect();
    connection.write(encode('0123456789'));
    expect(await guest.receivedText()).toEqual(['RW 5>1000 "0123"', 'RW 5>1000 "4567"', 'RW 5>1000 "89"']);
  });

  it('that are missing lose nothing: resets wait, and then the device takes no more packets', async () => {
    const guest = new MockGuest({ buffers: 0, driver: { queueSize: 128 } });
    const total = 300;
    for (let i = 0; i < total; i++) {
      if (guest.driver.rings[VSOCK_TXQ]!.freeDescriptors === 0) break;
      guest.send({ operation: RW, guestPort: i });
      guest.driver.rings[VSOCK_TXQ]!.collect();
    }
    // As many answers as may wait, and the rest is left in the queue.
    const waiting = guest.driver.rings[VSOCK_TXQ]!.pendingChains;
    expect(guest.device.statistics.packetsFromGuest).toBe(256);
    expect(waiting).toBe(total - 256);
    const resets: string[] = [];
    for (let round = 0; round < 10; round++) {
      guest.lend(40);
      await new Promise((resolve) => setImmediate(resolve));
      resets.push(...guest.received(false).map(describePacket));
    }
    expect(resets).toEqual(Array.from({ length: total }, (_, i) => `RST 5>${i}`));
  });

  it('without room for a header and data need a reset', async () => {
    const guest = new MockGuest({ bufferBytes: HEADER });
    guest.device.listen(5, () => undefined);
    guest.send({ operation: REQUEST });
    await turns();
    expect(guest.driver.needsReset).toBe(true);
    expect(guest.driver.errors[0]!.message).toContain('receive buffer');
  });

  it('of very many pieces take several turns of the event loop', async () => {
    const tasks: (() => void)[] = [];
    const { guest, connection } = await accepted({
      buffers: 1,
      queueSize: 1024,
      driver: { queueSize: 1024, transport: { defer: (task) => tasks.push(task) } },
    });
    const ring = guest.driver.rings[VSOCK_RXQ]!;
    ring.collect();
    const pieces = Array.from({ length: 512 }, () => ({
      address: guest.driver.memory.regions[0]!.guestAddress + 0x70_0000,
      size: 1,
      isWritable: true,
    }));
    for (let i = 0; i < 64; i++) ring.add(pieces, 'indirect');
    guest.driver.kick(VSOCK_RXQ);
    connection.write(new Uint8Array(65_536));
    // Those that came first may be of any number.
    expect(ring.collect().length).toBeLessThanOrEqual(PIECES_PER_TURN / 512 + 1);
    for (let turn = 0; turn < 10 && tasks.length > 0; turn++) tasks.shift()!();
    expect(connection.outputBytes).toBe(65_536 - (4096 - HEADER) - 64 * (512 - HEADER));
  });

  it('are shared by connections in turn', async () => {
    const guest = new MockGuest({ bufferBytes: HEADER + 1 });
    const connections: VsockConnection[] = [];
    guest.device.listen(5, (each) => void connections.push(each));
    for (const guestPort of [1, 2, 3]) guest.send({ operation: REQUEST, guestPort });
    await guest.receivedText();
    guest.driver.rings[VSOCK_RXQ]!.collect();
    // All at once, with no buffer there.
    const empty = new MockGuest({ buffers: 0, bufferBytes: HEADER + 1 });
    empty.device.listen(5, (each) => void connections.push(each));
    for (const guestPort of [1, 2, 3]) empty.send({ operation: REQUEST, guestPort });
    await turns();
    for (const each of connections.slice(3)) each.write(encode('ab'));
    empty.lend(16);
    expect((await empty.receivedText()).map((each) => each.split(' ').slice(0, 2).join(' '))).toEqual([
      'RESPONSE 5>1',
      'RESPONSE 5>2',
      'RESPONSE 5>3',
      'RW 5>1',
      'RW 5>2',
      'RW 5>3',
      'RW 5>1',
      'RW 5>2',
      'RW 5>3',
    ]);
  });
});

describe('the API of the host', () => {
  it('writes keep what the caller changes afterwards', async () => {
    const { guest, connection } = await accepted();
    guest.send({ operation: CREDIT_UPDATE, allocation: 2 });
    const bytes = encode('abcdef');
    connection.write(bytes);
    bytes.fill(0x7a);
    guest.send({ operation: CREDIT_UPDATE, allocation: 100 });
    const packets = guest.received().filter(({ operation }) => operation === RW);
    expect(packets.map(({ data }) => data).join('')).toBe('abcdef');
  });

  it('writes answer false while too much waits, and drained() and onDrained tell the end of that', async () => {
    const { guest, connection } = await accepted({ outputLimit: 4 });
    guest.send({ operation: CREDIT_UPDATE, allocation: 0 });
    let drained = 0;
    connection.onDrained = () => drained++;
    expect([connection.write(encode('123')), connection.write(encode('4'))]).toEqual([true, false]);
    const promise = connection.drained();
    guest.send({ operation: CREDIT_UPDATE, allocation: 2 });
    await promise;
    expect(drained).toBe(1);
  });

  it('is iterated to the end, or to the error', async () => {
    const { guest, connection } = await accepted();
    const read: string[] = [];
    const all = (async () => {
      for await (const bytes of connection) read.push(decode(bytes)!);
    })();
    guest.send({ operation: RW, data: 'one' });
    await turns();
    guest.send({ operation: RW, data: 'two' });
    await turns();
    guest.send({ operation: SHUTDOWN, flags: 3 });
    await all;
    expect(read).toEqual(['one', 'two']);

    const other = await accepted();
    const failing = (async () => {
      for await (const bytes of other.connection) expect(bytes).toBeUndefined();
    })();
    other.guest.send({ operation: RST });
    await expect(failing).rejects.toMatchObject({ code: 'CONNECTION_RESET' });
  });

  it('ends a connection whose callback throws, and only that', async () => {
    const errors: VirtioDeviceError[] = [];
    const guest = new MockGuest({ onError: (error) => errors.push(error) });
    guest.device.listen(5, (connection) => {
      connection.onReadable = () => {
        if (decode(connection.read()) === 'bad') throw new Error('mine');
      };
    });
    for (const guestPort of [1, 2]) guest.send({ operation: REQUEST, guestPort });
    await guest.receivedText();
    guest.send({ operation: RW, guestPort: 1, data: 'bad' });
    guest.send({ operation: RW, guestPort: 2, data: 'good' });
    expect(await guest.receivedText()).toEqual(['RST 5>1']);
    expect((errors[0]!.cause as Error).message).toBe('mine');
    expect([guest.device.statistics.connections, guest.driver.needsReset]).toEqual([1, false]);
  });

  it('listens on a port once, and on all others', async () => {
    const guest = new MockGuest();
    const seen: string[] = [];
    const listener = guest.device.listen(5, () => void seen.push('5'));
    guest.device.listen(VMADDR_PORT_ANY, ({ localPort }) => void seen.push(`any ${localPort}`));
    expect(() => guest.device.listen(5, () => undefined)).toThrow(
      expect.objectContaining({ code: 'ADDRESS_IN_USE' }) as Error,
    );
    for (const [index, hostPort] of [5, 6].entries())
      guest.send({ operation: REQUEST, hostPort, guestPort: index });
    await turns();
    listener[Symbol.dispose]();
    guest.send({ operation: REQUEST, hostPort: 5, guestPort: 9 });
    await turns();
    expect(seen).toEqual(['5', 'any 6', 'any 5']);
  });

  it.each([
    { guestCid: 2 },
    { guestCid: 0xffff_ffff },
    { guestCid: 3, bufferSize: 100 },
    { guestCid: 3, maxConnections: 0 },
    { guestCid: 3, connectTimeout: 0 },
    { guestCid: 3, closeTimeout: 2 ** 31 },
    { guestCid: 3, outputLimit: 0.5 },
  ])('refuses options %p', (options) => {
    expect(() => new VirtioVsock(options)).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION' }) as Error,
    );
  });

  it('refuses ports that are none', async () => {
    const device = new VirtioVsock({ guestCid: 3 });
    for (const port of [-1, 0.5, 0xffff_ffff, Number.NaN]) {
      await expect(device.connect(port)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    }
    expect(() => device.listen(2 ** 32, () => undefined)).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }) as Error,
    );
  });
});

describe('a snapshot (§5.10.6.7)', () => {
  it('leaves connections to the one that goes on', async () => {
    const { guest, connection } = await accepted();
    await guest.driver.transport.pause();
    connection.write(encode('meanwhile'));
    expect(guest.driver.transport.save()).toBeDefined();
    expect(guest.received()).toEqual([]);
    guest.driver.transport.resume();
    expect(await guest.receivedText()).toEqual(['RW 5>1000 "meanwhile"']);
  });

  it('restored tells the guest that all connections are gone, when it lends a buffer', async () => {
    const { guest } = await accepted();
    guest.driver.rings[VSOCK_RXQ]!.collect();
    await guest.driver.transport.pause();
    const state = structuredClone(guest.driver.transport.save());
    const copy = new MockGuest({ guestCid: 43, driver: { memory: guest.driver.memory }, start: false });
    copy.driver.transport.restore(state);
    copy.driver.transport.resume();
    const ring = guest.driver.rings[VSOCK_EVENTQ]!;
    expect(copy.device.configRead(0, 4)).toBe(43);
    ring.add([{ writable: 8 }]);
    ring.publish();
    copy.driver.transport.core.notify(VSOCK_EVENTQ);
    expect(ring.collect().map(({ written }) => [...written])).toEqual([[0, 0, 0, 0]]);
    // Once.
    ring.add([{ writable: 8 }]);
    ring.publish();
    copy.driver.transport.core.notify(VSOCK_EVENTQ);
    expect(ring.collect()).toEqual([]);
  });

  it.each([null, {}, { version: 2, resetDue: true }, { version: 1 }])(
    'damaged, as %p, is refused',
    (state) => {
      expect(() => new VirtioVsock({ guestCid: 3 }).restore(state)).toThrow(
        expect.objectContaining({ code: 'INVALID_STATE' }) as Error,
      );
    },
  );
});
