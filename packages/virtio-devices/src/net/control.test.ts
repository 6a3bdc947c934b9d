import fc from 'fast-check';
import { bytesOf, frameOf, MAC, NetRig, TestBackend } from '../../test/net-rig.ts';
import { FeatureSet } from '../features.ts';
import { DRIVER_COMBINATIONS } from '../mock/index.ts';
import * as net from './constants.ts';
import { FILTER_MAX_ADDRESSES } from './filter.ts';

const { VIRTIO_NET_OK: OK, VIRTIO_NET_ERR: ERR } = net;
const OTHER = '02:00:00:00:00:42';
const GROUP = '01:00:5e:00:00:05';
const BROADCAST = 'ff:ff:ff:ff:ff:ff';

/** A table of addresses as VIRTIO_NET_CTRL_MAC_TABLE_SET has it. */
function table(...addresses: readonly string[]): number[] {
  return [addresses.length, 0, 0, 0, ...addresses.flatMap((address) => [...bytesOf(address)])];
}

function receivedOf(rig: NetRig, ...to: readonly string[]): string[] {
  rig.lend(to.length, 200);
  for (const [index, address] of to.entries()) rig.backend.push(frameOf(60, index, address));
  return rig
    .received()
    .map(({ frame }) =>
      [...frame.subarray(0, 6)].map((byte) => byte.toString(16).padStart(2, '0')).join(':'),
    );
}

describe.each(DRIVER_COMBINATIONS)('the control queue, $transport and $ring rings', (how) => {
  it('filters by address: own, table, broadcast (§5.1.6.5.1, .2)', () => {
    const rig = new NetRig(new TestBackend(), {}, how);
    const all = [MAC, OTHER, GROUP, BROADCAST];
    expect(receivedOf(rig, ...all)).toEqual(all);
    expect(rig.command(net.VIRTIO_NET_CTRL_RX, net.VIRTIO_NET_CTRL_RX_PROMISC, [0])).toBe(OK);
    expect(receivedOf(rig, ...all)).toEqual([MAC, BROADCAST]);
    expect(rig.command(net.VIRTIO_NET_CTRL_MAC, 0, table(OTHER), table(GROUP))).toBe(OK);
    expect(receivedOf(rig, ...all)).toEqual(all);
    expect(rig.command(net.VIRTIO_NET_CTRL_MAC, 0, table(), table())).toBe(OK);
    expect(rig.command(net.VIRTIO_NET_CTRL_RX, net.VIRTIO_NET_CTRL_RX_ALLMULTI, [1])).toBe(OK);
    expect(receivedOf(rig, ...all)).toEqual([MAC, GROUP, BROADCAST]);
    expect(rig.command(net.VIRTIO_NET_CTRL_RX, net.VIRTIO_NET_CTRL_RX_NOMULTI, [1])).toBe(OK);
    expect(rig.command(net.VIRTIO_NET_CTRL_RX, net.VIRTIO_NET_CTRL_RX_NOBCAST, [1])).toBe(OK);
    expect(rig.command(net.VIRTIO_NET_CTRL_RX, net.VIRTIO_NET_CTRL_RX_ALLUNI, [1])).toBe(OK);
    expect(receivedOf(rig, ...all)).toEqual([MAC, OTHER]);
    expect(rig.command(net.VIRTIO_NET_CTRL_RX, net.VIRTIO_NET_CTRL_RX_NOUNI, [1])).toBe(OK);
    expect(receivedOf(rig, ...all)).toEqual([]);
    expect(rig.device.statistics.receiveFiltered).toBeGreaterThan(0);
  });

  it('changes the address, which the configuration space and the filter follow (§5.1.6.5.2)', () => {
    const rig = new NetRig(new TestBackend(), {}, how);
    const generation = rig.driver.readConfigGeneration();
    rig.command(net.VIRTIO_NET_CTRL_RX, net.VIRTIO_NET_CTRL_RX_PROMISC, [0]);
    expect(rig.command(net.VIRTIO_NET_CTRL_MAC, net.VIRTIO_NET_CTRL_MAC_ADDR_SET, bytesOf(OTHER))).toBe(OK);
    expect(receivedOf(rig, MAC, OTHER)).toEqual([OTHER]);
    expect([0, 1, 2, 3, 4, 5].map((at) => rig.driver.readConfig(at, 1))).toEqual([...bytesOf(OTHER)]);
    expect(rig.driver.readConfigGeneration()).not.toBe(generation);
    expect(rig.device.mac).toEqual(bytesOf(OTHER));
    rig.driver.start();
    expect(rig.device.mac).toEqual(bytesOf(MAC));
  });

  it('a command may be cut anywhere, and needs room for its answer', () => {
    const rig = new NetRig(new TestBackend(), {}, how);
    const ring = rig.driver.rings[rig.control]!;
    ring.add([{ readable: [0] }, { readable: [0, 0] }, { writable: 1 }, { writable: 3 }]);
    rig.driver.kick(rig.control);
    expect(ring.collect()[0]!.written).toEqual(Uint8Array.of(OK));
    ring.add([{ readable: [0, 0, 0] }]);
    rig.driver.kick(rig.control);
    expect(rig.driver.needsReset).toBe(true);
    rig.driver.start();
    expect(rig.command(0, 0, [1])).toBe(OK);
  });
});

describe('control commands', () => {
  it('filter VLANs once F_CTRL_VLAN was negotiated (§5.1.6.5.3)', () => {
    const tagged = (vlan: number): Uint8Array => {
      const frame = frameOf(60, vlan);
      frame.set([0x81, 0x00, 0x20 | (vlan >> 8), vlan & 0xff], 12);
      return frame;
    };
    const rig = new NetRig(new TestBackend());
    const vlans = (): number[] => {
      rig.lend(3, 200);
      for (const vlan of [5, 4095, 7]) rig.backend.push(tagged(vlan));
      return rig.received().map(({ frame }) => ((frame[14]! & 0xf) << 8) | frame[15]!);
    };
    expect(vlans()).toEqual([]);
    expect(rig.command(net.VIRTIO_NET_CTRL_VLAN, net.VIRTIO_NET_CTRL_VLAN_ADD, [5, 0])).toBe(OK);
    expect(rig.command(net.VIRTIO_NET_CTRL_VLAN, net.VIRTIO_NET_CTRL_VLAN_ADD, [0xff, 0x0f])).toBe(OK);
    rig.lend(3, 200);
    expect(vlans()).toEqual([5, 4095]);
    expect(rig.command(net.VIRTIO_NET_CTRL_VLAN, net.VIRTIO_NET_CTRL_VLAN_DEL, [5, 0])).toBe(OK);
    expect(vlans()).toEqual([4095]);
    expect(receivedOf(rig, MAC)).toEqual([MAC]);
    const without = new NetRig(new TestBackend(), {}, { without: FeatureSet.of(net.VIRTIO_NET_F_CTRL_VLAN) });
    without.lend(1, 200);
    without.backend.push(tagged(9));
    expect(without.received()).toHaveLength(1);
  });

  it('a table that is too long lets all of its kind pass', () => {
    const rig = new NetRig(new TestBackend());
    rig.command(net.VIRTIO_NET_CTRL_RX, net.VIRTIO_NET_CTRL_RX_PROMISC, [0]);
    const many = new Array<string>(FILTER_MAX_ADDRESSES + 1).fill('02:00:00:00:01:00');
    expect(rig.command(net.VIRTIO_NET_CTRL_MAC, 0, table(...many), table(GROUP))).toBe(OK);
    expect(receivedOf(rig, OTHER, GROUP, '01:00:5e:00:00:06')).toEqual([OTHER, GROUP]);
    const groups = new Array<string>(FILTER_MAX_ADDRESSES).fill('01:00:5e:00:01:00');
    expect(rig.command(net.VIRTIO_NET_CTRL_MAC, 0, table(OTHER), table(...groups))).toBe(OK);
    expect(receivedOf(rig, OTHER, '02:00:00:00:00:77', '01:00:5e:00:00:06')).toEqual([
      OTHER,
      '01:00:5e:00:00:06',
    ]);
  });

  it('set queue pairs within what there is (§5.1.6.5.5), and the backend learns of it', () => {
    const rig = new NetRig(new TestBackend({ pairs: 4 }), { queuePairs: 3 });
    const set = (low: number, high = 0): number =>
      rig.command(net.VIRTIO_NET_CTRL_MQ, net.VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, [low, high]);
    expect([set(0), set(4), set(1, 1)]).toEqual([ERR, ERR, ERR]);
    expect(rig.device.activeQueuePairs).toBe(1);
    expect(set(3)).toBe(OK);
    expect(rig.backend.setups.at(-1)).toMatchObject({ queuePairs: 3 });
    expect(rig.driver.readConfig(net.VIRTIO_NET_CONFIG_MAX_VIRTQUEUE_PAIRS, 2)).toBe(3);
  });

  it('without F_MQ the control queue is the third one (§5.1.2)', () => {
    const rig = new NetRig(
      new TestBackend({ pairs: 2 }),
      { queuePairs: 2 },
      { without: FeatureSet.of(net.VIRTIO_NET_F_MQ), queues: [0, 1, 2] },
    );
    const ring = rig.driver.rings[2]!;
    ring.add([{ readable: [0, 0, 0] }, { writable: 1 }]);
    rig.driver.kick(2);
    expect(ring.collect()[0]!.written).toEqual(Uint8Array.of(OK));
  });

  it('set guest offloads that were negotiated, and no others (§5.1.6.5.6)', () => {
    const offloads = [net.VIRTIO_NET_F_GUEST_CSUM, net.VIRTIO_NET_F_GUEST_TSO4, net.VIRTIO_NET_F_GUEST_USO4];
    const rig = new NetRig(new TestBackend({ offloads }));
    const set = (features: FeatureSet): number => {
      const data = new DataView(new ArrayBuffer(8));
      data.setUint32(0, features.low, true);
      data.setUint32(4, features.high, true);
      return rig.command(net.VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, new Uint8Array(data.buffer));
    };
    const inForce = (): FeatureSet => rig.backend.setups.at(-1)!.guestOffloads;
    expect(inForce().equals(FeatureSet.of(...offloads))).toBe(true);
    expect(set(FeatureSet.of(net.VIRTIO_NET_F_GUEST_CSUM))).toBe(OK);
    expect(inForce().equals(FeatureSet.of(net.VIRTIO_NET_F_GUEST_CSUM))).toBe(true);
    expect(set(FeatureSet.of(net.VIRTIO_NET_F_GUEST_TSO6))).toBe(ERR);
    expect(set(FeatureSet.of(net.VIRTIO_NET_F_MAC))).toBe(ERR);
    expect(set(FeatureSet.EMPTY)).toBe(OK);
    expect(inForce().equals(FeatureSet.EMPTY)).toBe(true);
  });

  it.each([
    ['an unknown class', [9, 0, 0]],
    ['no command', [0]],
    ['nothing', []],
    ['an unknown receive mode', [0, 6, 1]],
    ['a receive mode that is no boolean', [0, 0, 2]],
    ['a receive mode without a value', [0, 0]],
    ['a receive mode with too much', [0, 0, 1, 1]],
    ['an address that is too short', [1, 1, 2, 0, 0, 0, 0]],
    ['an unknown address command', [1, 2, 2, 0, 0, 0, 0, 0]],
    ['a table without a count', [1, 0, 1, 0, 0]],
    ['a table that is cut off', [1, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0, 1]],
    ['a table of 2^32 - 1 addresses', [1, 0, 255, 255, 255, 255, 0, 0, 0, 0]],
    ['one table only', [1, 0, 0, 0, 0, 0]],
    ['tables with more behind them', [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]],
    ['a VLAN beyond 4095', [2, 0, 0, 16]],
    ['an unknown VLAN command', [2, 2, 1, 0]],
    ['queue pairs without F_MQ', [4, 0, 1, 0]],
    ['offloads that were not offered', [5, 0, 0, 0, 0, 0, 0, 0, 0, 0]],
  ])('%s is answered with VIRTIO_NET_ERR and changes nothing', (_what, bytes) => {
    const rig = new NetRig(new TestBackend());
    const before = rig.device.save();
    const ring = rig.driver.rings[rig.control]!;
    ring.add([...(bytes.length === 0 ? [] : [{ readable: bytes }]), { writable: 1 }]);
    rig.driver.kick(rig.control);
    expect(ring.collect()[0]!.written).toEqual(Uint8Array.of(ERR));
    expect(rig.device.save()).toEqual(before);
    expect(rig.device.statistics).toMatchObject({ controlCommands: 1, controlErrors: 1 });
    expect(rig.driver.needsReset).toBe(false);
  });

  it('any bytes are answered, and the device works afterwards', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ minLength: 2, maxLength: 40 }), { maxLength: 12 }), (commands) => {
        const rig = new NetRig(new TestBackend({ pairs: 2 }), { queuePairs: 2 });
        const ring = rig.driver.rings[rig.control]!;
        for (const bytes of commands) {
          ring.add([{ readable: bytes }, { writable: 1 }]);
          rig.driver.kick(rig.control);
          expect([OK, ERR]).toContain(ring.collect()[0]!.written[0]);
        }
        expect(rig.driver.needsReset).toBe(false);
        expect(rig.send(frameOf(60))).toBe(1);
      }),
      { numRuns: 100 },
    );
  });
});
