import { accepted, decode, encode, ManualTimers, MockGuest, turns } from '../../test/vsock-guest.ts';
import type { VirtioDeviceError } from '../errors.ts';
import type { VsockConnection } from './connection.ts';
import {
  VIRTIO_VSOCK_OP_CREDIT_UPDATE as CREDIT_UPDATE,
  VIRTIO_VSOCK_OP_REQUEST as REQUEST,
  VIRTIO_VSOCK_OP_RST as RST,
  VIRTIO_VSOCK_OP_RW as RW,
  VIRTIO_VSOCK_OP_SHUTDOWN as SHUTDOWN,
  VSOCK_TXQ,
} from './constants.ts';

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
    const timers = new ManualTimers();
    const { guest, connection } = await accepted({ closeTimeout: 1234, setTimer: timers.set });
    guest.send({ operation: RW, data: 'unread' });
    connection.write(encode('last'));
    connection.close();
    expect(await guest.receivedText()).toEqual(['RW 5>1000 "last"', 'SHUTDOWN 5>1000 flags 3']);
    expect([connection.state, connection.read()]).toEqual(['closing', undefined]);
    expect(timers.pending).toEqual([1234]);
    timers.run();
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

  it('of both sides leave the guest its time to take what it has no room for yet', async () => {
    const timers = new ManualTimers();
    const { guest, connection } = await accepted({ setTimer: timers.set });
    guest.send({ operation: CREDIT_UPDATE, allocation: 2 });
    connection.write(encode('abcdef'));
    connection.end();
    guest.send({ operation: SHUTDOWN, flags: 2, allocation: 2 });
    expect(await guest.receivedText()).toEqual(['RW 5>1000 "ab"', 'CREDIT_REQUEST 5>1000']);
    expect([connection.readEnded, connection.state, timers.pending]).toEqual([true, 'open', []]);
    guest.send({ operation: CREDIT_UPDATE, allocation: 100, forwarded: 2 });
    expect(await guest.receivedText()).toEqual(['RW 5>1000 "cdef"', 'SHUTDOWN 5>1000 flags 3']);
    expect([connection.state, timers.pending]).toEqual(['closing', [8000]]);
    guest.send({ operation: RST });
    expect(await connection.closed).toBeUndefined();
  });

  it('of both sides are an error when a reset comes before the guest has taken everything', async () => {
    const { guest, connection } = await accepted();
    guest.send({ operation: CREDIT_UPDATE, allocation: 2 });
    connection.write(encode('abcdef'));
    connection.end();
    guest.send({ operation: SHUTDOWN, flags: 2, allocation: 2 });
    guest.send({ operation: RST });
    expect(await connection.closed).toMatchObject({ code: 'CONNECTION_RESET' });
  });

  it('of a guest that stops receiving, and sending later, are an error if something was lost', async () => {
    const { guest, connection } = await accepted();
    guest.send({ operation: CREDIT_UPDATE, allocation: 1 });
    connection.write(encode('lost'));
    guest.send({ operation: SHUTDOWN, flags: 1 });
    guest.send({ operation: SHUTDOWN, flags: 2 });
    expect(await connection.closed).toMatchObject({ code: 'CONNECTION_RESET' });
  });

  it('by a guest that gives up before it is accepted say so', async () => {
    const guest = new MockGuest();
    const connections: VsockConnection[] = [];
    guest.device.listen(5, (each) => {
      connections.push(each);
      return new Promise(() => undefined);
    });
    guest.send({ operation: REQUEST });
    await turns();
    guest.send({ operation: RST });
    expect(await connections[0]!.closed).toMatchObject({
      code: 'CONNECTION_RESET',
      message: 'the guest reset the vsock connection to port 1000',
    });
  });

  it('are told although another callback throws', async () => {
    const errors: VirtioDeviceError[] = [];
    const { guest, connection } = await accepted({ onError: (error) => errors.push(error) });
    const closed: unknown[] = [];
    connection.onReadable = () => {
      throw new Error('mine');
    };
    connection.onClosed = (error) => closed.push(error?.code ?? 'cleanly');
    guest.add({ operation: RW, data: 'last words' });
    guest.add({ operation: SHUTDOWN, flags: 3 });
    guest.driver.kick(VSOCK_TXQ);
    await turns();
    expect([closed, errors.map(({ cause }) => (cause as Error).message)]).toEqual([['cleanly'], ['mine']]);
    expect(await Promise.race([connection.closed, turns().then(() => 'never')])).toBeUndefined();
  });
});
