import { bytesOf, frameOf, header, MAC, NetRig, TestBackend } from '../../test/net-rig.ts';
import { FeatureSet } from '../features.ts';
import { createDriver, DRIVER_COMBINATIONS } from '../mock/index.ts';
import { RateLimiter } from '../rate-limiter.ts';
import * as net from './constants.ts';
import { formatMac, parseMac, randomMac } from './mac.ts';
import { VirtioNet } from './net.ts';

describe('features and configuration space (§5.1.3, §5.1.4)', () => {
  it('offers what the backend can do, and checksums always', () => {
    const has = (device: VirtioNet, ...bits: readonly number[]): boolean[] =>
      bits.map((bit) => device.features.has(bit));
    const plain = new VirtioNet({ backend: new TestBackend() });
    expect(has(plain, net.VIRTIO_NET_F_CSUM, net.VIRTIO_NET_F_MRG_RXBUF, net.VIRTIO_NET_F_HOST_TSO4)).toEqual(
      [true, true, false],
    );
    expect(has(plain, net.VIRTIO_NET_F_MTU, net.VIRTIO_NET_F_MQ, net.VIRTIO_NET_F_SPEED_DUPLEX)).toEqual([
      false,
      false,
      false,
    ]);
    const offloads = [net.VIRTIO_NET_F_HOST_TSO4, net.VIRTIO_NET_F_GUEST_CSUM, net.VIRTIO_NET_F_GUEST_TSO4];
    const full = new VirtioNet({
      backend: new TestBackend({ offloads, pairs: 2, mtu: 9000 }),
      queuePairs: 2,
      speed: 10_000,
    });
    expect(has(full, ...offloads, net.VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, net.VIRTIO_NET_F_MQ)).not.toContain(
      false,
    );
    const off = new VirtioNet({
      backend: new TestBackend({ offloads }),
      offloads: false,
      mergeable: false,
    });
    expect(has(off, ...offloads, net.VIRTIO_NET_F_CSUM, net.VIRTIO_NET_F_MRG_RXBUF)).not.toContain(true);
    // Without GUEST_CSUM a driver cannot take the others (§5.1.3.1).
    const half = new VirtioNet({ backend: new TestBackend({ offloads: [net.VIRTIO_NET_F_GUEST_TSO4] }) });
    expect(has(half, net.VIRTIO_NET_F_GUEST_TSO4)).toEqual([false]);
  });

  it('says address, status, queue pairs, MTU, speed and duplex', () => {
    const rig = new NetRig(new TestBackend({ pairs: 3 }), { queuePairs: 3, mtu: 9000, speed: 2500 });
    expect([0, 1, 2, 3, 4, 5].map((at) => rig.driver.readConfig(at, 1))).toEqual([...bytesOf(MAC)]);
    expect(rig.driver.readConfig(6, 2)).toBe(net.VIRTIO_NET_S_LINK_UP);
    expect(rig.driver.readConfig(8, 2)).toBe(3);
    expect(rig.driver.readConfig(10, 2)).toBe(9000);
    expect(rig.driver.readConfig(12, 4)).toBe(2500);
    expect(rig.driver.readConfig(16, 1)).toBe(1);
    expect(rig.driver.readConfig(24, 4)).toBe(0);
    const unknown = new NetRig(new TestBackend());
    expect([unknown.driver.readConfig(12, 4), unknown.driver.readConfig(16, 1)]).toEqual([0xffff_ffff, 0xff]);
  });

  it.each([
    [{ queuePairs: 2 }, 'queuePairs'],
    [{ queuePairs: 0 }, 'queuePairs'],
    [{ mtu: 67 }, 'mtu'],
    [{ mtu: 65536 }, 'mtu'],
    [{ speed: -1 }, 'speed'],
    [{ queueSize: 2 }, 'queueSize'],
    [{ mac: '02:00:00:00:00' }, 'mac'],
    [{ mac: '01:00:00:00:00:00' }, 'multicast'],
    [{ mac: new Uint8Array(6) }, 'zero'],
    [{ mac: new Uint8Array(5) }, '6 bytes'],
  ])('refuses %j', (options, text) => {
    expect(() => new VirtioNet({ backend: new TestBackend(), ...options })).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION', message: expect.stringContaining(text) as string }),
    );
  });

  it('addresses are made, read and written', () => {
    expect(formatMac(parseMac('AA-bb-cc-00-01-02'))).toBe('aa:bb:cc:00:01:02');
    const [one, two] = [randomMac(), randomMac()];
    expect([one[0]! & 3, two[0]! & 3]).toEqual([2, 2]);
    expect(formatMac(one)).not.toBe(formatMac(two));
  });
});

describe.each(DRIVER_COMBINATIONS)('the link, $transport and $ring rings', (how) => {
  it('goes down and up from the host’s side, and the driver is told', () => {
    const rig = new NetRig(new TestBackend(), {}, how);
    rig.driver.acknowledge();
    const generation = rig.driver.readConfigGeneration();
    rig.device.setLink(false);
    expect(rig.driver.acknowledge() & 2).toBe(2);
    expect(rig.driver.readConfig(6, 2)).toBe(0);
    expect(rig.driver.readConfigGeneration()).not.toBe(generation);
    rig.lend(2, 100);
    rig.backend.push(frameOf(60));
    expect(rig.received()).toEqual([]);
    expect(rig.send(frameOf(60))).toBe(1);
    expect(rig.backend.sent).toEqual([]);
    rig.device.setLink(true);
    expect(rig.driver.acknowledge() & 2).toBe(2);
    rig.settle();
    expect(rig.received()).toHaveLength(1);
    expect(rig.send(frameOf(60))).toBe(1);
    expect(rig.backend.sent).toHaveLength(1);
    expect(rig.backend.links).toEqual([false, true]);
  });

  it('goes down when the backend fails, and the host hears why', () => {
    const rig = new NetRig(new TestBackend(), {}, how);
    rig.backend.client!.failed(new Error('cable cut'));
    expect(rig.device.linkUp).toBe(false);
    expect(rig.driver.readConfig(6, 2)).toBe(0);
    expect(rig.errors).toEqual(['test network: cable cut']);
    rig.device.setLink(true);
    expect(rig.driver.readConfig(6, 2)).toBe(0);
  });

  it('announce() asks the driver, until it acknowledges (§5.1.6.5.4)', () => {
    const rig = new NetRig(new TestBackend(), {}, how);
    rig.driver.acknowledge();
    rig.device.announce();
    expect(rig.driver.acknowledge() & 2).toBe(2);
    expect(rig.driver.readConfig(6, 2)).toBe(net.VIRTIO_NET_S_LINK_UP | net.VIRTIO_NET_S_ANNOUNCE);
    expect(rig.command(net.VIRTIO_NET_CTRL_ANNOUNCE, net.VIRTIO_NET_CTRL_ANNOUNCE_ACK)).toBe(0);
    expect(rig.driver.readConfig(6, 2)).toBe(net.VIRTIO_NET_S_LINK_UP);
  });

  it('a driver that was restored is asked to announce the guest (§5.1.6.5.4)', async () => {
    const first = new NetRig(new TestBackend(), {}, how);
    await first.driver.transport.pause();
    const state = first.driver.transport.save();
    first.driver.transport.resume();
    expect(first.driver.readConfig(6, 2)).toBe(net.VIRTIO_NET_S_LINK_UP);

    const device = new VirtioNet({ backend: new TestBackend() });
    const restored = createDriver(device, { ...how, memory: first.driver.memory });
    restored.transport.restore(state);
    restored.interrupt.take();
    restored.transport.resume();
    expect(restored.acknowledge() & 2).toBe(2);
    expect(restored.readConfig(6, 2)).toBe(net.VIRTIO_NET_S_LINK_UP | net.VIRTIO_NET_S_ANNOUNCE);
    restored.status = 0;
    expect(restored.readConfig(6, 2)).toBe(net.VIRTIO_NET_S_LINK_UP);
  });

  it('a saved device goes on elsewhere: rings, address, filter, pairs, offloads and link', async () => {
    const offloads = [net.VIRTIO_NET_F_GUEST_CSUM];
    const make = (mac: string): NetRig =>
      new NetRig(new TestBackend({ pairs: 2, offloads }), { queuePairs: 2, mac }, how);
    const first = make(MAC);
    first.command(net.VIRTIO_NET_CTRL_RX, net.VIRTIO_NET_CTRL_RX_PROMISC, [0]);
    first.command(net.VIRTIO_NET_CTRL_MQ, net.VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, [2, 0]);
    first.command(net.VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, new Uint8Array(8));
    first.lend(4, 100);
    first.backend.capacity = 0;
    first.send(frameOf(60, 9));
    first.device.setLink(false);
    await first.driver.transport.pause();
    const state = first.driver.transport.save();

    const backend = new TestBackend({ pairs: 2, offloads });
    const device = new VirtioNet({ backend, queuePairs: 2, mac: '02:00:00:00:00:77' });
    const restored = createDriver(device, { ...how, memory: first.driver.memory });
    restored.transport.restore(state);
    expect(device.mac).toEqual(bytesOf(MAC));
    expect(device.linkUp).toBe(false);
    expect(device.activeQueuePairs).toBe(2);
    restored.transport.resume();
    device.setLink(true);
    await new Promise((resolve) => setImmediate(resolve));
    expect(backend.setups.at(-1)).toMatchObject({ queuePairs: 2, guestOffloads: FeatureSet.EMPTY });
    backend.push(frameOf(60, 1, '02:00:00:00:00:77'));
    backend.push(frameOf(60, 2));
    // The frame that waited in the guest was sent while the link was down.
    expect(device.statistics).toMatchObject({ receivedFrames: 1, receiveFiltered: 1, transmitDropped: 1 });
    const used = first.driver.rings[0]!.collect();
    expect(used).toHaveLength(1);
    expect(used[0]!.written.subarray(12)).toEqual(frameOf(60, 2));
  });
});

describe('state', () => {
  it('frames that the backend had not taken are sent by the restored device', async () => {
    const rig = new NetRig(new TestBackend());
    rig.backend.capacity = 1;
    rig.driver.rings[1]!.add([{ readable: header() }, { readable: frameOf(60, 1) }]);
    rig.driver.rings[1]!.add([{ readable: header() }, { readable: frameOf(60, 2) }]);
    rig.driver.kick(1);
    await rig.driver.transport.pause();
    rig.driver.transport.save();
    expect(rig.backend.sent).toHaveLength(1);
    rig.backend.capacity = Infinity;
    rig.driver.transport.resume();
    expect(rig.backend.sent.map(({ frame }) => frame)).toEqual([frameOf(60, 1), frameOf(60, 2)]);
  });

  it('a paused device takes frames from neither side', async () => {
    const rig = new NetRig(new TestBackend());
    rig.lend(2, 100);
    await rig.driver.transport.pause();
    rig.backend.push(frameOf(60));
    rig.send(frameOf(60));
    expect([rig.received().length, rig.backend.sent.length]).toEqual([0, 0]);
    rig.driver.transport.resume();
    expect([rig.received().length, rig.backend.sent.length]).toEqual([1, 1]);
  });

  it('limiters are saved with it', () => {
    const limits = { bandwidth: { size: 1000, refillTime: 1000 } };
    const now = (): number => 0;
    const make = (): NetRig =>
      new NetRig(new TestBackend(), { transmitLimiter: new RateLimiter({ ...limits, now }) });
    const first = make();
    first.send(frameOf(600));
    const state = first.device.save();
    const second = make();
    second.device.restore(state);
    expect(second.device.save()).toEqual(state);
  });

  it.each([
    ['another version', { version: 2 }],
    ['other queue pairs', { maximumQueuePairs: 2 }],
    ['too many active pairs', { queuePairs: 2 }],
    ['a short filter', { filter: new Uint8Array(5) }],
    ['a filter whose table is too long', { filter: new Uint8Array(10 + 512 + 6 * 128).fill(255) }],
    ['no address', { mac: undefined }],
    ['a short address', { mac: new Uint8Array(5) }],
    ['offloads that are no number', { guestOffloadsLow: 'x' }],
    ['no link', { linkUp: 1 }],
  ])('a state with %s is refused, and nothing changes', (_what, change) => {
    const rig = new NetRig(new TestBackend());
    const before = rig.device.save();
    expect(() => rig.device.restore({ ...before, ...change })).toThrow(
      expect.objectContaining({ code: 'INVALID_STATE' }),
    );
    expect(rig.device.save()).toEqual(before);
  });
});
