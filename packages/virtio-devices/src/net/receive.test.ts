import { brokenChains } from '@vmm/virtio-queue/mock';
import fc from 'fast-check';
import { frameOf, header, NetRig, TestBackend } from '../../test/net-rig.ts';
import { FeatureSet } from '../features.ts';
import { DRIVER_COMBINATIONS } from '../mock/index.ts';
import { RateLimiter } from '../rate-limiter.ts';
import { VIRTIO_F_EVENT_IDX } from '../virtio.ts';
import * as net from './constants.ts';

describe.each(DRIVER_COMBINATIONS)('frames to the guest, $transport and $ring rings', (how) => {
  it('come behind a header, with one interrupt', () => {
    const rig = new NetRig(new TestBackend(), {}, how);
    rig.lend(4, 128);
    rig.driver.interrupt.take();
    rig.backend.push(frameOf(60));
    expect(rig.received()).toEqual([
      { header: Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0), frame: frameOf(60), buffers: 1 },
    ]);
    expect(rig.driver.interrupt.take()).toBe(1);
    expect(rig.device.statistics).toMatchObject({ receivedFrames: 1, receivedBytes: 60 });
  });

  it('lie in as many buffers as they need, cut in any way (§5.1.6.3)', () => {
    const size = fc.integer({ min: 12, max: 300 });
    fc.assert(
      fc.property(
        fc.array(fc.array(size, { minLength: 1, maxLength: 3 }), { minLength: 4, maxLength: 5 }),
        fc.array(fc.integer({ min: 14, max: 200 }), { maxLength: 6 }),
        (chains, lengths) => {
          const rig = new NetRig(new TestBackend(), {}, { ...how, queueSize: 16 });
          for (const pieces of chains) {
            rig.driver.rings[0]!.add(pieces.map((writable) => ({ writable })));
          }
          rig.driver.kick(0);
          for (const [index, length] of lengths.entries()) rig.backend.push(frameOf(length, index));
          const got = rig.received();
          got.forEach(({ frame }, index) => expect(frame).toEqual(frameOf(lengths[index]!, index)));
          expect(got.length + rig.backend.waiting()).toBe(lengths.length);
          expect(rig.driver.needsReset).toBe(false);
        },
      ),
      { numRuns: 30 },
    );
  });

  it('wait with the backend until there are buffers, and then all go on', () => {
    const rig = new NetRig(new TestBackend(), {}, how);
    for (let i = 0; i < 10; i++) rig.backend.push(frameOf(100, i));
    expect(rig.backend.waiting()).toBe(10);
    rig.lend(4, 64);
    expect(rig.received().map(({ frame }) => frame)).toEqual([frameOf(100, 0), frameOf(100, 1)]);
    rig.lend(16, 64);
    expect(rig.received().map(({ frame }) => frame[20])).toEqual([22, 23, 24, 25, 26, 27, 28, 29]);
    expect(rig.backend.waiting()).toBe(0);
  });

  it('without merging a frame goes into one buffer, or nowhere', () => {
    const rig = new NetRig(
      new TestBackend(),
      {},
      { ...how, without: FeatureSet.of(net.VIRTIO_NET_F_MRG_RXBUF) },
    );
    rig.lend(2, 100);
    rig.backend.push(frameOf(89));
    rig.backend.push(frameOf(88, 1));
    rig.backend.push(frameOf(14, 2));
    expect(rig.received().map(({ frame, buffers }) => [frame.length, buffers])).toEqual([
      [88, 1],
      [14, 1],
    ]);
    expect(rig.device.statistics).toMatchObject({ receiveTooLarge: 1, receivedFrames: 2 });
  });

  it('a receive buffer without room for a header is the driver’s fault (§5.1.6.3.1)', () => {
    const rig = new NetRig(new TestBackend(), {}, how);
    rig.lend(1, 11);
    expect(rig.driver.needsReset).toBe(true);
    expect(rig.driver.errors[0]!.message).toContain('§5.1.6.3.1');
    rig.driver.start();
    rig.lend(1, 100);
    rig.backend.push(frameOf(20));
    expect(rig.received()).toHaveLength(1);
  });

  it('nothing is written to buffers after the driver’s reset of the queue (§2.6.1)', () => {
    const rig = new NetRig(new TestBackend(), {}, how);
    rig.lend(4, 128);
    const before = rig.driver.memory.regions[0]!.bytes.slice();
    rig.driver.resetQueue(0);
    rig.backend.push(frameOf(60));
    expect(Buffer.compare(rig.driver.memory.regions[0]!.bytes, before)).toBe(0);
    rig.driver.setUpQueues();
    rig.lend(4, 128);
    expect(rig.received()).toHaveLength(1);
  });

  it.each(brokenChains({ packed: how.ring === 'packed', indirect: true }))(
    'after a chain with $name it works again once reset',
    ({ add }) => {
      const rig = new NetRig(new TestBackend(), {}, how);
      rig.lend(1, 128);
      const ring = rig.driver.rings[0]!;
      rig.backend.push(frameOf(60));
      ring.collect();
      add(ring);
      ring.publish();
      rig.driver.notify(0);
      rig.backend.push(frameOf(60));
      expect(rig.driver.needsReset).toBe(true);
      rig.driver.start();
      rig.lend(2, 128);
      expect(rig.received()).toHaveLength(1);
    },
  );
});

describe('receiving', () => {
  it('a busy network does not hold the event loop: 256 frames, then a later turn', () => {
    const rig = new NetRig(new TestBackend(), { queueSize: 1024 }, { queueSize: 1024 });
    for (let i = 0; i < 600; i++) rig.backend.push(frameOf(20));
    rig.lend(600, 64);
    expect(rig.received()).toHaveLength(256);
    rig.deferred.shift()!();
    expect(rig.received()).toHaveLength(256);
    rig.settle();
    expect(rig.received()).toHaveLength(88);
  });

  it('a frame larger than all buffers of the queue waits, and holds up nothing but itself and its followers', () => {
    const rig = new NetRig(new TestBackend(), {}, { queueSize: 4 });
    rig.lend(4, 20);
    rig.backend.push(frameOf(200));
    expect(rig.received()).toEqual([]);
    expect(rig.send(frameOf(60))).toBe(1);
    expect(rig.backend.waiting()).toBe(1);
  });

  it('no notification is lost when the driver lends buffers without one (no EVENT_IDX)', () => {
    const rig = new NetRig(new TestBackend(), {}, { without: FeatureSet.of(VIRTIO_F_EVENT_IDX) });
    rig.backend.push(frameOf(60));
    rig.lend(1, 128);
    expect(rig.received()).toHaveLength(1);
    rig.backend.push(frameOf(60));
    expect(rig.received()).toHaveLength(0);
    rig.driver.rings[0]!.add([{ writable: 128 }]);
    expect(rig.driver.kick(0)).toBe(true);
    expect(rig.received()).toHaveLength(1);
  });

  it('VIRTIO_NET_HDR_F_DATA_VALID is given only with GUEST_CSUM (§5.1.6.4.1)', () => {
    const offloads = [net.VIRTIO_NET_F_GUEST_CSUM];
    const flags = net.VIRTIO_NET_HDR_F_DATA_VALID;
    const withIt = new NetRig(new TestBackend({ offloads }));
    withIt.lend(1, 128);
    withIt.backend.push(frameOf(60), 0, flags);
    expect(withIt.received()[0]!.header[0]).toBe(flags);
    const without = new NetRig(new TestBackend({ offloads }), {}, { without: FeatureSet.of(...offloads) });
    without.lend(1, 128);
    without.backend.push(frameOf(60), 0, flags);
    expect(without.received()[0]!.header[0]).toBe(0);
  });

  it('a limiter spreads frames over time', () => {
    let time = 0;
    const timers: (() => void)[] = [];
    const receiveLimiter = new RateLimiter({
      operations: { size: 4, refillTime: 4 },
      now: () => time,
      setTimer: (task) => {
        timers.push(task);
        return () => undefined;
      },
    });
    const rig = new NetRig(new TestBackend(), { receiveLimiter });
    for (let i = 0; i < 10; i++) rig.backend.push(frameOf(60));
    rig.lend(16, 128);
    expect(rig.received()).toHaveLength(4);
    expect(timers).toHaveLength(1);
    time = 1;
    timers.shift()!();
    // One token let four begin: three are owed.
    expect(rig.received()).toHaveLength(4);
    time = 5;
    timers.shift()!();
    expect(rig.received()).toHaveLength(2);
  });

  it('a backend that throws puts the device into DEVICE_NEEDS_RESET, also outside of a notification', () => {
    const rig = new NetRig(new TestBackend());
    rig.lend(1, 128);
    rig.backend.fault = new Error('broken network');
    rig.backend.push(frameOf(60));
    expect(rig.driver.needsReset).toBe(true);
    expect(rig.driver.errors[0]!.message).toContain('broken network');
  });

  it('frames of one pair do not go to another', () => {
    const rig = new NetRig(new TestBackend({ pairs: 2 }), { queuePairs: 2 });
    expect(rig.command(net.VIRTIO_NET_CTRL_MQ, net.VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, [2, 0])).toBe(0);
    rig.lend(1, 128, 0);
    rig.lend(1, 128, 1);
    rig.backend.push(frameOf(60, 7), 1);
    expect(rig.received(0)).toEqual([]);
    expect(rig.received(1)).toHaveLength(1);
    expect(rig.send(frameOf(60), header(), 1)).toBe(1);
    expect(rig.backend.sent.map(({ pair }) => pair)).toEqual([1]);
  });
});
