import { MockGuest, turns } from '../../test/vsock-guest.ts';
import { VirtioDeviceError } from '../errors.ts';
import type { VsockConnection } from './connection.ts';
import {
  VIRTIO_VSOCK_OP_REQUEST as REQUEST,
  VIRTIO_VSOCK_OP_RESPONSE as RESPONSE,
  VIRTIO_VSOCK_OP_RST as RST,
  VIRTIO_VSOCK_OP_RW as RW,
  VIRTIO_VSOCK_OP_SHUTDOWN as SHUTDOWN,
  VIRTIO_VSOCK_TYPE_SEQPACKET as SEQPACKET,
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
  it('are asked for, answered, and carry data', async () => {
    const guest = new MockGuest();
    const connecting = guest.device.connect(9);
    const [request] = guest.received();
    expect(request).toMatchObject({ operation: REQUEST, sourceCid: 2, destinationCid: 42, guestPort: 9 });
    const { hostPort } = request!;
    guest.send({ operation: RESPONSE, hostPort, guestPort: 9 });
    const connection = await connecting;
    connection.write(encode('ping'));
    expect(await guest.receivedText()).toEqual([`RW ${hostPort}>9 "ping"`]);
  });

  it('are refused by a reset', async () => {
    const guest = new MockGuest();
    const connecting = guest.device.connect(9);
    const { hostPort } = guest.received()[0]!;
    guest.send({ operation: RST, hostPort, guestPort: 9 });
    await expect(connecting).rejects.toMatchObject({ code: 'CONNECTION_REFUSED' });
    expect(guest.device.statistics.connections).toBe(0);
  });

  it('wait for the driver', async () => {
    const device = new VirtioVsock({ guestCid: 3 });
    const connecting = device.connect(9, { timeout: 5 });
    await expect(connecting).rejects.toMatchObject({ code: 'TIMED_OUT' });
    await turns();
    expect(device.statistics.connections).toBe(0);
  });
});
