import { once } from 'node:events';
import { accepted, encode, ManualTimers, turns } from '../../test/vsock-guest.ts';
import {
  VIRTIO_VSOCK_OP_CREDIT_UPDATE as CREDIT_UPDATE,
  VIRTIO_VSOCK_OP_RST as RST,
  VIRTIO_VSOCK_OP_RW as RW,
  VIRTIO_VSOCK_OP_SHUTDOWN as SHUTDOWN,
} from '../vsock/constants.ts';
import { VsockStream } from './vsock-stream.ts';

describe('a connection as a stream', () => {
  it.each(['guest', 'host'])(
    'gives a slow guest all the time it takes when both have ended, first the %s',
    async (first) => {
      const timers = new ManualTimers();
      const { guest, connection } = await accepted({ closeTimeout: 1234, setTimer: timers.set });
      const stream = new VsockStream(connection, { allowHalfOpen: true });
      guest.send({ operation: CREDIT_UPDATE, allocation: 4 });
      stream.resume();
      if (first === 'host') stream.end('slowly');
      guest.send({ operation: SHUTDOWN, flags: 2, allocation: 4 });
      await once(stream, 'end');
      if (first === 'guest') stream.end('slowly');
      await turns();
      expect(await guest.receivedText()).toEqual(['RW 5>1000 "slow"', 'CREDIT_REQUEST 5>1000']);
      expect(timers.pending).toEqual([]);
      timers.run();
      expect(await guest.receivedText()).toEqual([]);
      guest.send({ operation: CREDIT_UPDATE, allocation: 4, forwarded: 4 });
      expect(await guest.receivedText()).toEqual(['RW 5>1000 "ly"', 'SHUTDOWN 5>1000 flags 3']);
      guest.send({ operation: RST });
      await once(stream, 'close');
      expect(stream.errored).toBeNull();
    },
  );

  it('closes when both sides have ended, not before everything was read', async () => {
    const { guest, connection } = await accepted();
    const stream = new VsockStream(connection);
    guest.send({ operation: RW, data: 'unread' });
    guest.send({ operation: SHUTDOWN, flags: 3 });
    await turns();
    expect([connection.state, stream.destroyed]).toEqual(['closed', false]);
    stream.setEncoding('utf8');
    const closed = once(stream, 'close');
    const chunks: unknown[] = [];
    for await (const chunk of stream) chunks.push(chunk);
    expect(chunks).toEqual(['unread']);
    await closed;
  });

  it('fails once when it is written to after the guest has stopped reading', async () => {
    const { guest, connection } = await accepted();
    const stream = new VsockStream(connection);
    guest.send({ operation: SHUTDOWN, flags: 1 });
    const errors: unknown[] = [];
    stream.on('error', (error) => errors.push(error));
    stream.write(encode('nobody reads this'));
    await new Promise((resolve) => stream.once('close', resolve));
    expect(errors).toEqual([expect.objectContaining({ code: 'CONNECTION_CLOSED' })]);
    expect(connection.state).toBe('closed');
  });
});
