import { accepted, decode, encode, MockGuest } from '../../test/vsock-guest.ts';
import { FeatureSet } from '../features.ts';
import {
  VIRTIO_VSOCK_F_SEQPACKET,
  VIRTIO_VSOCK_HEADER_SIZE as HEADER,
  VIRTIO_VSOCK_OP_CREDIT_UPDATE as CREDIT_UPDATE,
  VIRTIO_VSOCK_OP_REQUEST as REQUEST,
  VIRTIO_VSOCK_OP_RW as RW,
  VIRTIO_VSOCK_OP_SHUTDOWN as SHUTDOWN,
  VIRTIO_VSOCK_SEQ_EOM as SEQ_EOM,
  VIRTIO_VSOCK_SEQ_EOR as SEQ_EOR,
  VIRTIO_VSOCK_TYPE_SEQPACKET as SEQPACKET,
  VSOCK_TXQ,
} from './constants.ts';
import { VirtioVsock } from './vsock.ts';

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

  it('that the guest has no room for are refused before the connection is accepted as well', async () => {
    const guest = new MockGuest();
    const errors: unknown[] = [];
    guest.device.listen(
      5,
      (connection) => {
        try {
          connection.write(encode('01234'));
        } catch (error) {
          errors.push(error);
        }
      },
      { type: 'seqpacket' },
    );
    guest.send({ operation: REQUEST, type: SEQPACKET, allocation: 4 });
    expect(await guest.receivedText()).toEqual(['RESPONSE 5>1000']);
    expect(errors).toMatchObject([{ code: 'MESSAGE_TOO_LARGE' }]);
  });

  it('as large as the buffer arrive: credit comes back before a message is whole', async () => {
    const { guest, connection } = await accepted({ bufferSize: 4096 }, 'seqpacket');
    const send = (size: number, flags: number): void =>
      guest.send({ operation: RW, type: SEQPACKET, data: new Uint8Array(size), flags });
    // Too little to be worth an update by itself.
    send(1000, SEQ_EOM);
    expect(connection.read()).toHaveLength(1000);
    expect(await guest.receivedText()).toEqual([]);
    send(3096, 0);
    expect(guest.received()).toMatchObject([{ operation: CREDIT_UPDATE, allocation: 4096, forwarded: 1000 }]);
    send(1000, SEQ_EOM);
    expect(connection.read()).toHaveLength(4096);
  });

  it('as large as the buffer arrive when the one before is read late', async () => {
    const { guest, connection } = await accepted({ bufferSize: 4096 }, 'seqpacket');
    const send = (size: number, flags: number): void =>
      guest.send({ operation: RW, type: SEQPACKET, data: new Uint8Array(size), flags });
    send(1000, SEQ_EOM);
    send(3096, 0);
    expect(await guest.receivedText()).toEqual([]);
    expect(connection.read()).toHaveLength(1000);
    expect(guest.received()).toMatchObject([{ operation: CREDIT_UPDATE, allocation: 4096, forwarded: 1000 }]);
  });

  it('are not asked for from a driver that did not take the feature', async () => {
    const without = FeatureSet.of(VIRTIO_VSOCK_F_SEQPACKET);
    const guest = new MockGuest({ driver: { without }, start: false });
    const early = guest.device.connect(9, { type: 'seqpacket' });
    early.catch(() => undefined);
    guest.driver.start();
    guest.lend(4);
    await expect(early).rejects.toMatchObject({ code: 'CONNECTION_REFUSED' });
    await expect(guest.device.connect(9, { type: 'seqpacket' })).rejects.toMatchObject({
      code: 'CONNECTION_REFUSED',
    });
    expect(guest.received()).toEqual([]);
    expect(guest.device.statistics.connections).toBe(0);
  });
});
