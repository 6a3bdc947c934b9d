import { accepted, encode } from '../../test/vsock-guest.ts';
import {
  VIRTIO_VSOCK_OP_CREDIT_REQUEST as CREDIT_REQUEST,
  VIRTIO_VSOCK_OP_CREDIT_UPDATE as CREDIT_UPDATE,
  VIRTIO_VSOCK_OP_RW as RW,
  VSOCK_RXQ,
  VSOCK_TXQ,
} from './constants.ts';

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
