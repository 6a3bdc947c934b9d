import { brokenChains } from '@vmm/virtio-queue/mock';
import fc from 'fast-check';
import { frameOf, header, NetRig, TestBackend } from '../../test/net-rig.ts';
import { DRIVER_COMBINATIONS } from '../mock/index.ts';
import { RateLimiter } from '../rate-limiter.ts';
import * as net from './constants.ts';
import { completeFrame, internetChecksum } from './header.ts';

describe.each(DRIVER_COMBINATIONS)('frames from the guest, $transport and $ring rings', (how) => {
  it('come to the backend without their header, and their buffers go back', () => {
    const rig = new NetRig(new TestBackend(), {}, how);
    expect(rig.send(frameOf(60))).toBe(1);
    expect(rig.backend.sent).toEqual([{ pair: 0, frame: frameOf(60) }]);
    expect(rig.device.statistics).toMatchObject({ transmittedFrames: 1, transmittedBytes: 60 });
  });

  it('may be cut in any way, the header too (§2.7.4.1)', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(72), { maxLength: 6 }), (cuts) => {
        const rig = new NetRig(new TestBackend(), {}, how);
        const whole = Uint8Array.from([...header(), ...frameOf(60, 3)]);
        const borders = [0, ...cuts.sort((a, b) => a - b), whole.length];
        const parts = borders
          .slice(1)
          .map((end, index) => ({ readable: whole.subarray(borders[index], end) }));
        rig.driver.rings[1]!.add(parts.filter(({ readable }) => readable.length > 0));
        rig.driver.kick(1);
        expect(rig.backend.sent.map(({ frame }) => frame)).toEqual([frameOf(60, 3)]);
      }),
      { numRuns: 30 },
    );
  });

  it('stay in the guest while the backend takes none, in order', () => {
    const rig = new NetRig(new TestBackend(), {}, how);
    rig.backend.capacity = 2;
    for (let i = 0; i < 5; i++)
      rig.driver.rings[1]!.add([{ readable: header() }, { readable: frameOf(60, i) }]);
    rig.driver.kick(1);
    expect(rig.driver.rings[1]!.collect()).toHaveLength(2);
    rig.driver.interrupt.take();
    rig.driver.rings[1]!.setUsedEvent();
    rig.backend.resume(1);
    expect(rig.driver.rings[1]!.collect()).toHaveLength(1);
    expect(rig.driver.interrupt.take()).toBe(1);
    rig.backend.resume();
    expect(rig.driver.rings[1]!.collect()).toHaveLength(2);
    expect(rig.backend.sent.map(({ frame }) => frame)).toEqual([0, 1, 2, 3, 4].map((i) => frameOf(60, i)));
  });

  it.each([
    ['without a whole header', [{ readable: new Uint8Array(11) }]],
    ['with a header only', [{ readable: header() }]],
    ['too short for Ethernet', [{ readable: header() }, { readable: new Uint8Array(13) }]],
    ['larger than any frame', [{ readable: header() }, { readable: new Uint8Array(net.NET_MAX_FRAME + 1) }]],
    ['with nothing to read', [{ writable: 100 }]],
  ])('that come %s are dropped and counted', (_what, buffers) => {
    const rig = new NetRig(new TestBackend(), {}, how);
    rig.driver.rings[1]!.add(buffers);
    rig.driver.kick(1);
    expect(rig.driver.rings[1]!.collect()).toHaveLength(1);
    expect(rig.backend.sent).toEqual([]);
    expect(rig.device.statistics).toMatchObject({ transmitDropped: 1, transmittedFrames: 0 });
    expect(rig.driver.needsReset).toBe(false);
    expect(rig.send(frameOf(60))).toBe(1);
  });

  it.each(brokenChains({ packed: how.ring === 'packed', indirect: true }))(
    'after a chain with $name it works again once reset',
    ({ add }) => {
      const rig = new NetRig(new TestBackend(), {}, how);
      const ring = rig.driver.rings[1]!;
      add(ring);
      ring.publish();
      rig.driver.notify(1);
      expect(rig.driver.needsReset).toBe(true);
      rig.driver.start();
      expect(rig.send(frameOf(60))).toBe(1);
    },
  );

  it('a reset while frames wait gives nothing back and sends nothing', () => {
    const rig = new NetRig(new TestBackend(), {}, how);
    rig.backend.capacity = 0;
    rig.send(frameOf(60));
    const { memory } = rig.driver;
    rig.driver.status = 0;
    const before = memory.regions[0]!.bytes.slice();
    rig.backend.resume();
    expect(rig.backend.sent).toEqual([]);
    expect(Buffer.compare(memory.regions[0]!.bytes, before)).toBe(0);
    expect(rig.backend.setups.at(-1)).toBeUndefined();
  });
});

describe('transmitting', () => {
  it('a guest that sends without end does not hold the event loop: 256 frames, then a later turn', () => {
    const rig = new NetRig(new TestBackend(), { queueSize: 1024 }, { queueSize: 1024 });
    for (let i = 0; i < 500; i++)
      rig.driver.rings[1]!.add([{ readable: header() }, { readable: frameOf(14) }]);
    rig.driver.kick(1);
    expect(rig.backend.sent).toHaveLength(256);
    rig.settle();
    expect(rig.backend.sent).toHaveLength(500);
  });

  it('malformed frames have the same budget', () => {
    const rig = new NetRig(new TestBackend(), { queueSize: 1024 }, { queueSize: 1024 });
    for (let i = 0; i < 500; i++) rig.driver.rings[1]!.add([{ readable: [1] }]);
    rig.driver.kick(1);
    expect(rig.driver.rings[1]!.collect()).toHaveLength(256);
    rig.settle();
    expect(rig.driver.rings[1]!.collect()).toHaveLength(244);
  });

  it('a limiter spreads frames over time', () => {
    let time = 0;
    const timers: (() => void)[] = [];
    const transmitLimiter = new RateLimiter({
      bandwidth: { size: 200, refillTime: 200 },
      now: () => time,
      setTimer: (task) => {
        timers.push(task);
        return () => undefined;
      },
    });
    const rig = new NetRig(new TestBackend(), { transmitLimiter });
    for (let i = 0; i < 5; i++)
      rig.driver.rings[1]!.add([{ readable: header() }, { readable: frameOf(100, i) }]);
    rig.driver.kick(1);
    expect(rig.backend.sent).toHaveLength(2);
    time = 100;
    timers.shift()!();
    expect(rig.backend.sent).toHaveLength(3);
    time = 400;
    timers.shift()!();
    expect(rig.backend.sent.map(({ frame }) => frame)).toEqual([0, 1, 2, 3, 4].map((i) => frameOf(100, i)));
    expect(rig.driver.rings[1]!.collect()).toHaveLength(5);
  });

  it('a backend that throws puts the device into DEVICE_NEEDS_RESET', () => {
    const rig = new NetRig(new TestBackend());
    rig.backend.fault = new Error('broken network');
    rig.send(frameOf(60));
    expect(rig.driver.needsReset).toBe(true);
  });
});

describe('checksums that the guest left to the device (§5.1.6.2)', () => {
  const flags = net.VIRTIO_NET_HDR_F_NEEDS_CSUM;

  it('are completed for backends that want whole frames', () => {
    const rig = new NetRig(new TestBackend());
    const frame = frameOf(100, 5);
    // A partial sum, as a driver puts there.
    frame[34 + 16] = 0x12;
    frame[34 + 17] = 0x34;
    const expected = frame.slice();
    const sum = internetChecksum(frame, 34, 100);
    expected[34 + 16] = sum >> 8;
    expected[34 + 17] = sum & 0xff;
    rig.send(frame, header({ flags, csumStart: 34, csumOffset: 16 }));
    expect(rig.backend.sent[0]!.frame).toEqual(expected);
    expect(internetChecksum(rig.backend.sent[0]!.frame, 34, 100)).toBe(
      // Over a completed packet the sum leaves what the driver had put there.
      0x1234,
    );
  });

  it('internetChecksum is that of RFC 1071', () => {
    // The example of RFC 1071 §3.
    const bytes = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
    expect(internetChecksum(bytes, 0, 8)).toBe(~0xddf2 & 0xffff);
    expect(internetChecksum(Uint8Array.of(1), 0, 1)).toBe(0xfeff);
    expect(internetChecksum(new Uint8Array(65560).fill(0xff), 0, 65560)).toBe(0);
  });

  it.each([
    ['a place before the payload', { flags, csumStart: 13, csumOffset: 0 }],
    ['a place behind the frame', { flags, csumStart: 50, csumOffset: 9 }],
    ['a start behind the frame', { flags, csumStart: 0xffff, csumOffset: 0 }],
    ['an offset that overflows', { flags, csumStart: 20, csumOffset: 0xffff }],
    ['a segmentation that was not negotiated', { gsoType: net.VIRTIO_NET_HDR_GSO_TCPV4 }],
    ['a segmentation that does not exist', { gsoType: 0x7f }],
  ])('a header with %s drops the frame', (_what, fields) => {
    const rig = new NetRig(new TestBackend());
    expect(rig.send(frameOf(60), header(fields))).toBe(1);
    expect(rig.backend.sent).toEqual([]);
    expect(rig.device.statistics).toMatchObject({ transmitDropped: 1, transmittedFrames: 0 });
    expect(rig.send(frameOf(60))).toBe(1);
    expect(rig.backend.sent).toHaveLength(1);
  });

  it('no header makes it write outside the checksum’s two bytes', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 12, maxLength: 12 }),
        fc.uint8Array({ maxLength: 120 }),
        (head, frame) => {
          const bytes = Uint8Array.from([...head, ...frame]);
          const before = bytes.slice();
          const ok = completeFrame(bytes);
          const changed = [...bytes.keys()].filter((index) => bytes[index] !== before[index]);
          if (!ok) return changed.length === 0;
          const at = 12 + head[6]! + 256 * head[7]! + head[8]! + 256 * head[9]!;
          return changed.every((index) => (head[0]! & 1) !== 0 && (index === at || index === at + 1));
        },
      ),
    );
  });
});
