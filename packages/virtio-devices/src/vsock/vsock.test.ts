import { describePacket, MockGuest, turns } from '../../test/vsock-guest.ts';
import { VirtioDeviceError } from '../errors.ts';
import type { VsockConnection } from './connection.ts';
import {
  VIRTIO_VSOCK_HEADER_SIZE as HEADER,
  VIRTIO_VSOCK_OP_CREDIT_REQUEST as CREDIT_REQUEST,
  VIRTIO_VSOCK_OP_CREDIT_UPDATE as CREDIT_UPDATE,
  VIRTIO_VSOCK_OP_REQUEST as REQUEST,
  VIRTIO_VSOCK_OP_RESPONSE as RESPONSE,
  VIRTIO_VSOCK_OP_RST as RST,
  VIRTIO_VSOCK_OP_RW as RW,
  VIRTIO_VSOCK_OP_SHUTDOWN as SHUTDOWN,
  VIRTIO_VSOCK_SEQ_EOM as SEQ_EOM,
  VIRTIO_VSOCK_SEQ_EOR as SEQ_EOR,
  VIRTIO_VSOCK_TYPE_SEQPACKET as SEQPACKET,
  VMADDR_PORT_ANY,
  VSOCK_EVENTQ,
  VSOCK_RXQ,
  VSOCK_TXQ,
} from './constants.ts';
import { VirtioVsock } from './vsock.ts';

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
const decode = (bytes: Uint8Array | undefined): string | undefined =>
  bytes === undefined ? undefined : new TextDecoder().decode(bytes);

/** A guest with an open connection from its port 1000 to port 5. */
async function accepted(
  options: ConstructorParameters<typeof MockGuest>[0] = {},
  type: 'stream' | 'seqpacket' = 'stream',
): Promise<{ guest: MockGuest; connection: VsockConnection }> {
  const guest = new MockGuest(options);
  const connections: VsockConnection[] = [];
  guest.device.listen(5, (each) => void connections.push(each), { type });
  guest.send({ operation: REQUEST, type: type === 'stream' ? 1 : SEQPACKET });
  expect(await guest.receivedText()).toEqual(['RESPONSE 5>1000']);
  return { guest, connection: connections[0]! };
}

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

describe('credit (§5.10.6.3)', () => {
  it('of the guest is never exceeded, and asked for once when it is used up', async () => {
    const { guest, connection } = await accepted();
    guest.send({ operation: CREDIT_UPDATE, allocation: 10 });
    connection.write(encode('0123456789abcdef'));
    expect(await guest.receivedText()).toEqual(['RW 5>1000 "0123456789"', 'CREDIT_REQUEST 5>1000']);
    expect(connection.outputBytes).toBe(6);
    guest.send({ operation: CREDIT_UPDATE, allocation: 10, forwarded: 4 });
    expect(await guest.receivedText()).toEqual(['RW 5>1000 "abcd"', 'CREDIT_REQUEST 5>1000']);
    guest.send({ operation: CREDIT_UPDATE, allocation: 10, forwarded: 14 });
    expect(await guest.receivedText()).toEqual(['RW 5>1000 "ef"']);
  });

  it('that the guest claims beyond what was sent is none', async () => {
    const { guest, connection } = await accepted();
    guest.send({ operation: CREDIT_UPDATE, allocation: 100, forwarded: 1000 });
    connection.write(encode('x'));
    expect(await guest.receivedText()).toEqual(['CREDIT_REQUEST 5>1000']);
  });

  it('of the host is what was announced: a guest that sends more is cut off', async () => {
    const { guest, connection } = await accepted({ bufferSize: 4096 });
    for (let i = 0; i < 4; i++) guest.send({ operation: RW, data: new Uint8Array(1024) });
    expect([connection.inputBytes, connection.state]).toEqual([4096, 'open']);
    guest.send({ operation: RW, data: 'x' });
    expect(await guest.receivedText()).toEqual(['RST 5>1000']);
    expect(await connection.closed).toMatchObject({ code: 'CONNECTION_RESET' });
  });

  it('of the host comes back as data is read, and before the guest has none', async () => {
    const { guest, connection } = await accepted({ bufferSize: 4096 });
    let sent = 0;
    let forwarded = 0;
    for (let round = 0; round < 200; round++) {
      // As much as the guest may, in packets that fit nowhere evenly.
      const size = Math.min(777, 4096 - (sent - forwarded));
      expect(size).toBeGreaterThan(0);
      guest.send({ operation: RW, data: new Uint8Array(size) });
      sent += size;
      while (connection.read() !== undefined);
      // A device that sent much goes on in the next turn.
      await new Promise((resolve) => setImmediate(resolve));
      const updates = guest.received();
      for (const each of updates) forwarded = each.forwarded;
      expect(updates.length).toBeLessThanOrEqual(1);
    }
    expect(connection.statistics.bytesFromGuest).toBe(sent);
  });

  it('is told when the guest asks, however often with one packet', async () => {
    const { guest } = await accepted();
    guest.driver.rings[VSOCK_RXQ]!.collect();
    for (let i = 0; i < 8; i++) guest.add({ operation: CREDIT_REQUEST });
    guest.driver.kick(VSOCK_TXQ);
    expect(await guest.receivedText()).toEqual(['CREDIT_UPDATE 5>1000']);
  });

  it('counts modulo 2^32', async () => {
    const { guest, connection } = await accepted({ bufferSize: 2 ** 30 });
    // The counters start at 0: what a long connection has behind it is claimed with the credit.
    connection.write(encode('abc'));
    expect(await guest.receivedText()).toEqual(['RW 5>1000 "abc"']);
    guest.send({ operation: CREDIT_UPDATE, allocation: 0xffff_ffff, forwarded: 3 });
    connection.write(encode('def'));
    expect(await guest.receivedText()).toEqual(['RW 5>1000 "def"']);
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

describe('ends (§5.10.6.5)', () => {
  it('of the host: half-close, data the other way, then the guest ends and all is confirmed', async () => {
    const { guest, connection } = await accepted();
    connection.write(encode('question'));
    connection.end();
    expect(await guest.receivedText()).toEqual(['RW 5>1000 "question"', 'SHUTDOWN 5>1000 flags 2']);
    expect(() => connection.write(encode('more'))).toThrow(
      expect.objectContaining({ code: 'CONNECTION_CLOSED' }) as Error,
    );
    guest.send({ operation: RW, data: 'answer' });
    guest.send({ operation: SHUTDOWN, flags: 2 });
    expect(connection.readEnded).toBe(false);
    expect(decode(connection.read())).toBe('answer');
    expect(connection.readEnded).toBe(true);
    // Nothing is left for either side: the connection is closed as a whole.
    expect(await guest.receivedText()).toEqual(['SHUTDOWN 5>1000 flags 3']);
    guest.send({ operation: RST });
    expect(await connection.closed).toBeUndefined();
    expect(guest.device.statistics.connections).toBe(0);
  });

  it('of the guest: half-close, and the host answers', async () => {
    const { guest, connection } = await accepted();
    guest.send({ operation: RW, data: 'question' });
    guest.send({ operation: SHUTDOWN, flags: 2 });
    expect(decode(connection.read())).toBe('question');
    expect(connection.readEnded).toBe(true);
    connection.write(encode('answer'));
    expect(await guest.receivedText()).toEqual(['RW 5>1000 "answer"']);
    connection.end();
    expect((await guest.receivedText()).at(-1)).toBe('SHUTDOWN 5>1000 flags 3');
  });

  it('flags add up, whatever comes later', async () => {
    const { guest, connection } = await accepted();
    guest.send({ operation: SHUTDOWN, flags: 1 });
    expect(connection.writable).toBe(false);
    guest.send({ operation: SHUTDOWN, flags: 2 });
    expect(await guest.receivedText()).toEqual(['RST 5>1000']);
    expect(connection.state).toBe('closed');
  });

  it('of a guest that has not taken everything are an error', async () => {
    const { guest, connection } = await accepted();
    guest.send({ operation: CREDIT_UPDATE, allocation: 1 });
    connection.write(encode('lost'));
    guest.send({ operation: SHUTDOWN, flags: 3 });
    expect(await connection.closed).toMatchObject({ code: 'CONNECTION_RESET' });
  });

  it('by close(): what was written is sent first, and a guest that does not confirm is reset', async () => {
    const timers: { callback: () => void; milliseconds: number; cancelled: boolean }[] = [];
    const { guest, connection } = await accepted({
      closeTimeout: 1234,
      setTimer: (callback, milliseconds) => {
        const timer = { callback, milliseconds, cancelled: false };
        timers.push(timer);
        return () => (timer.cancelled = true);
      },
    });
    guest.send({ operation: RW, data: 'unread' });
    connection.write(encode('last'));
    connection.close();
    expect(await guest.receivedText()).toEqual(['RW 5>1000 "last"', 'SHUTDOWN 5>1000 flags 3']);
    expect([connection.state, connection.read()]).toEqual(['closing', undefined]);
    const [timer] = timers.filter(({ cancelled }) => !cancelled);
    expect(timer!.milliseconds).toBe(1234);
    timer!.callback();
    expect(await guest.receivedText()).toEqual(['RST 5>1000']);
    expect(await connection.closed).toBeUndefined();
  });

  it('by destroy() are a reset at once', async () => {
    const { guest, connection } = await accepted();
    connection.destroy();
    expect(await guest.receivedText()).toEqual(['RST 5>1000']);
    expect(guest.device.statistics.connections).toBe(0);
    // A second one, and data for what is gone.
    connection.destroy();
    guest.send({ operation: RW, data: 'late' });
    expect(await guest.receivedText()).toEqual(['RST 5>1000']);
  });

  it('by a reset of the guest are an error, and no reset answers it', async () => {
    const { guest, connection } = await accepted();
    guest.send({ operation: RST });
    guest.send({ operation: RST });
    expect(await guest.receivedText()).toEqual([]);
    expect(await connection.closed).toMatchObject({ code: 'CONNECTION_RESET' });
  });

  it('come to every connection when the driver goes, and callbacks know', async () => {
    const { guest, connection } = await accepted();
    const closed: unknown[] = [];
    connection.onClosed = (error) => closed.push(error?.code);
    guest.driver.start();
    await turns();
    expect(closed).toEqual(['CONNECTION_RESET']);
    expect(guest.device.statistics.connections).toBe(0);
  });
});

describe('messages (§5.10.6.6)', () => {
  it('keep their borders, whole or in pieces, and the ends of records', async () => {
    const { guest, connection } = await accepted({}, 'seqpacket');
    const send = (data: string, flags: number): void =>
      guest.send({ operation: RW, type: SEQPACKET, data, flags });
    send('one', SEQ_EOM);
    send('tw', 0);
    send('', 0);
    expect(connection.inputBytes).toBe(5);
    send('o', SEQ_EOM | SEQ_EOR);
    send('', SEQ_EOM);
    const read: unknown[] = [];
    for (let bytes = connection.read(); bytes !== undefined; bytes = connection.read()) {
      read.push([decode(bytes), connection.endOfRecord]);
    }
    expect(read).toEqual([
      ['one', false],
      ['two', true],
      ['', false],
    ]);
    // A message without an end is none.
    send('never', 0);
    guest.send({ operation: SHUTDOWN, type: SEQPACKET, flags: 3 });
    expect([connection.read(), connection.readEnded]).toEqual([undefined, true]);
  });

  it('are sent in pieces that fit, the last of which says so', async () => {
    const { guest, connection } = await accepted({ bufferBytes: HEADER + 4 }, 'seqpacket');
    connection.write(encode('012345'), { endOfRecord: true });
    connection.write(encode(''));
    connection.write(encode('ab'));
    expect(await guest.receivedText()).toEqual([
      'RW 5>1000 "0123"',
      'RW 5>1000 flags 3 "45"',
      'RW 5>1000 flags 1',
      'RW 5>1000 flags 1 "ab"',
    ]);
  });

  it('that the guest has no room for are refused', async () => {
    const { guest, connection } = await accepted({}, 'seqpacket');
    guest.send({ operation: CREDIT_UPDATE, type: SEQPACKET, allocation: 4 });
    expect(() => connection.write(encode('01234'))).toThrow(
      expect.objectContaining({ code: 'MESSAGE_TOO_LARGE' }) as Error,
    );
    connection.write(encode('0123'));
    expect(await guest.receivedText()).toEqual(['RW 5>1000 flags 1 "0123"']);
  });

  it('are not offered without the feature', () => {
    const { features } = new VirtioVsock({ guestCid: 3, seqpacket: false });
    expect([features.has(0), features.has(1)]).toEqual([true, false]);
  });

  it('without contents cost little, and are not taken without end', async () => {
    const { guest, connection } = await accepted({ bufferSize: 4096 }, 'seqpacket');
    for (let i = 0; i < 4096; i++) {
      guest.send({ operation: RW, type: SEQPACKET, flags: SEQ_EOM });
      guest.driver.rings[VSOCK_TXQ]!.collect();
    }
    expect(connection.state).toBe('open');
    guest.send({ operation: RW, type: SEQPACKET, flags: SEQ_EOM });
    expect(connection.state).toBe('closed');
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
