// What a tap interface does in a network namespace of its own, as JSON by scenario: run with `unshare -n`.
import { execFileSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { FeatureSet, VIRTIO_NET_F_MRG_RXBUF, VirtioNet } from '@vmm/virtio-devices';
import { startDriver } from '@vmm/virtio-devices/mock';
import { TapBackend } from '@vmm/virtio-devices/node';

const HOST = '10.9.0.1';
const GUEST = '10.9.0.2';
const MAC = '02:00:00:00:00:02';
const RX = 0;
const TX = 1;

const ip = (...args) => execFileSync('ip', args, { encoding: 'utf8' });
const hex = (bytes) => Buffer.from(bytes).toString('hex');

/** Waits until `check` answers something. */
async function until(check) {
  for (let i = 0; i < 2000; i++) {
    const result = check();
    if (result) return result;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`nothing came: ${check}`);
}

class Rig {
  constructor(options = {}, driver = {}) {
    const { queuePairs = 1 } = options;
    this.tap = new TapBackend({ name: 't%d', queuePairs, up: false });
    const { name } = this.tap;
    // Before its neighbours: it gives the interface its address, and the kernel forgets them then.
    this.device = new VirtioNet({
      backend: this.tap,
      mac: MAC,
      queuePairs,
      onError: (error) => (this.error = error),
    });
    // No IPv6, so that there are no frames but those of the test.
    ip('link', 'set', name, 'addrgenmode', 'none');
    ip('link', 'set', name, 'up');
    ip('addr', 'add', `${HOST}/24`, 'dev', name);
    ip('neigh', 'add', GUEST, 'lladdr', MAC, 'dev', name);
    this.driver = startDriver(this.device, driver);
  }

  lend(count, size, queue = RX) {
    for (let i = 0; i < count; i++) this.driver.rings[queue].add([{ writable: size }]);
    this.driver.kick(queue);
  }

  /** UDP frames that the guest got, put together. */
  received(queue = RX) {
    const used = this.driver.rings[queue].collect();
    const frames = [];
    for (let i = 0; i < used.length;) {
      const buffers = used[i].written[10] | (used[i].written[11] << 8);
      const whole = Buffer.concat(used.slice(i, i + buffers).map(({ written }) => written));
      frames.push({ header: hex(whole.subarray(0, 12)), buffers, frame: whole.subarray(12) });
      i += buffers;
    }
    return frames.filter(({ frame }) => frame.readUInt16BE(12) === 0x0800 && frame[23] === 17);
  }

  async receive(count, queue = RX) {
    const all = [];
    await until(() => {
      all.push(...this.received(queue));
      return all.length >= count;
    });
    return all;
  }

  close() {
    this.tap.close();
  }
}

async function hostSocket() {
  const socket = createSocket('udp4');
  socket.bind(5000, HOST);
  await once(socket, 'listening');
  return socket;
}

/** An Ethernet frame with a UDP packet from the guest; its checksum is the pseudo header's sum only, as with F_CSUM. */
function udpFrame(tapMac, payload) {
  const frame = Buffer.alloc(42 + payload.length);
  Buffer.from(tapMac.replaceAll(':', ''), 'hex').copy(frame, 0);
  Buffer.from(MAC.replaceAll(':', ''), 'hex').copy(frame, 6);
  frame.writeUInt16BE(0x0800, 12);
  frame[14] = 0x45;
  frame.writeUInt16BE(28 + payload.length, 16);
  frame[22] = 64;
  frame[23] = 17;
  frame.set(GUEST.split('.').map(Number), 26);
  frame.set(HOST.split('.').map(Number), 30);
  let sum = 0;
  for (let i = 14; i < 34; i += 2) sum += frame.readUInt16BE(i);
  frame.writeUInt16BE(~fold(sum) & 0xffff, 24);
  frame.writeUInt16BE(9, 34);
  frame.writeUInt16BE(5000, 36);
  frame.writeUInt16BE(8 + payload.length, 38);
  let pseudo = 17 + 8 + payload.length;
  for (let i = 26; i < 34; i += 2) pseudo += frame.readUInt16BE(i);
  frame.writeUInt16BE(fold(pseudo), 40);
  payload.copy(frame, 42);
  return frame;
}

function fold(sum) {
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}

function netHeader(flags, gsoType, csumStart, csumOffset) {
  const bytes = Buffer.alloc(12);
  bytes[0] = flags;
  bytes[1] = gsoType;
  bytes.writeUInt16LE(csumStart, 6);
  bytes.writeUInt16LE(csumOffset, 8);
  return bytes;
}

const scenarios = {
  async frames() {
    const rig = new Rig();
    const socket = await hostSocket();
    rig.lend(8, 600);
    socket.send('7'.repeat(1400), 9, GUEST);
    socket.send('hi', 9, GUEST);
    const got = await rig.receive(2);
    const tapMac = /ether (\S+)/.exec(ip('link', 'show', rig.tap.name))[1];
    const answer = once(socket, 'message');
    rig.driver.rings[TX].add([
      { readable: netHeader(1, 0, 34, 6) },
      { readable: udpFrame(tapMac, Buffer.from('from the guest')) },
    ]);
    rig.driver.kick(TX);
    const [message] = await answer;
    socket.close();
    const result = {
      description: rig.tap.description,
      name: rig.tap.name,
      mtu: rig.tap.mtu,
      up: ip('link', 'show', rig.tap.name).includes('UP'),
      headers: got.map(({ header }) => header),
      buffers: got.map(({ buffers }) => buffers),
      payloads: got.map(({ frame }) => frame.subarray(42).toString()),
      message: message.toString(),
      used: rig.driver.rings[TX].collect().length,
      statistics: rig.device.statistics,
      errors: rig.driver.errors.map(String),
    };
    rig.close();
    result.gone = !ip('link').includes(result.name);
    return result;
  },

  async scarceBuffers() {
    const rig = new Rig();
    ip('link', 'set', rig.tap.name, 'mtu', '9000');
    const socket = await hostSocket();
    const payload = Buffer.from(Array.from({ length: 8000 }, (_, index) => (index * 31) & 0xff));
    rig.lend(3, 700);
    socket.send(payload, 9, GUEST);
    socket.send('after', 9, GUEST);
    await new Promise((resolve) => setTimeout(resolve, 50));
    const early = rig.received().length;
    for (let i = 0; i < 10; i++) rig.lend(1, 700);
    rig.lend(3, 700);
    const got = await rig.receive(2);
    socket.close();
    rig.close();
    return {
      early,
      intact: got[0].frame.subarray(42).equals(payload),
      buffers: got[0].buffers,
      next: got[1].frame.subarray(42).toString(),
    };
  },

  async withoutMerging() {
    const rig = new Rig({}, { without: FeatureSet.of(VIRTIO_NET_F_MRG_RXBUF) });
    const socket = await hostSocket();
    rig.lend(3, 200);
    socket.send(Buffer.alloc(1000), 9, GUEST);
    socket.send('fits', 9, GUEST);
    const got = await rig.receive(1);
    socket.close();
    rig.close();
    return {
      payloads: got.map(({ frame }) => frame.subarray(42).toString()),
      statistics: rig.device.statistics,
    };
  },

  async malformed() {
    const rig = new Rig();
    const socket = await hostSocket();
    const tapMac = /ether (\S+)/.exec(ip('link', 'show', rig.tap.name))[1];
    const frame = udpFrame(tapMac, Buffer.from('ok'));
    const send = (header) => {
      rig.driver.rings[TX].add([{ readable: header }, { readable: frame }]);
      rig.driver.kick(TX);
    };
    send(netHeader(1, 0, 0xffff, 0xffff));
    send(netHeader(1, 0, 60, 60));
    send(netHeader(0, 0x7f, 0, 0));
    send(Buffer.from('ff'.repeat(12), 'hex'));
    const refused = rig.device.statistics.transmitDropped;
    const answer = once(socket, 'message');
    send(netHeader(1, 0, 34, 6));
    const [message] = await answer;
    socket.close();
    rig.close();
    return { refused, message: message.toString(), needsReset: rig.driver.needsReset };
  },

  async filter() {
    const rig = new Rig();
    const socket = await hostSocket();
    const control = rig.driver.rings[2];
    control.add([{ readable: [0, 0, 0] }, { writable: 1 }]);
    rig.driver.kick(2);
    ip('neigh', 'add', '10.9.0.3', 'lladdr', '02:00:00:00:00:03', 'dev', rig.tap.name);
    rig.lend(4, 600);
    socket.send('other', 9, '10.9.0.3');
    socket.send('mine', 9, GUEST);
    const got = await rig.receive(1);
    socket.close();
    rig.close();
    return {
      payloads: got.map(({ frame }) => frame.subarray(42).toString()),
      filtered: rig.device.statistics.receiveFiltered > 0,
    };
  },

  async multiQueue() {
    const rig = new Rig({ queuePairs: 2 }, { queueSize: 64 });
    const socket = await hostSocket();
    const counts = [];
    for (const pairs of [2, 1]) {
      rig.driver.rings[4].add([{ readable: [4, 0, pairs, 0] }, { writable: 1 }]);
      rig.driver.kick(4);
      rig.lend(12, 600, 0);
      if (pairs === 2) rig.lend(12, 600, 2);
      // Many flows, so that the kernel uses every queue that it may.
      const total = 12;
      let sent = 0;
      const seen = [0, 0];
      await until(() => {
        if (sent < total) socket.send('x', 1000 + sent++, GUEST);
        seen[0] += rig.received(0).length;
        seen[1] += rig.received(2).length;
        return seen[0] + seen[1] >= total;
      });
      counts.push(seen);
    }
    const details = ip('-d', 'link', 'show', rig.tap.name);
    socket.close();
    rig.close();
    return { counts, queues: /multi_queue .*numdisabled \d+/.exec(details)?.[0] };
  },

  async removed() {
    const rig = new Rig();
    rig.lend(2, 600);
    ip('link', 'del', rig.tap.name);
    await until(() => rig.error);
    const used = (() => {
      rig.driver.rings[TX].add([{ readable: Buffer.alloc(12) }, { readable: Buffer.alloc(60) }]);
      rig.driver.kick(TX);
      return rig.driver.rings[TX].collect().length;
    })();
    rig.close();
    return { code: rig.error.code, message: rig.error.message, linkUp: rig.device.linkUp, used };
  },

  async carrier() {
    const rig = new Rig();
    const lower = () => ip('link', 'show', rig.tap.name).includes('LOWER_UP');
    const before = lower();
    rig.device.setLink(false);
    const down = lower();
    rig.device.setLink(true);
    const after = lower();
    rig.close();
    return { before, down, after };
  },

  async addresses() {
    const address = (name) => /link\/ether (\S+)/.exec(ip('link', 'show', name))[1];
    ip('tuntap', 'add', 'dev', 'there', 'mode', 'tap');
    const given = address('there');
    const there = new TapBackend({ name: 'there' });
    new VirtioNet({ backend: there, mac: MAC });
    const rig = new Rig();
    const made = address(rig.tap.name);
    const other = new Rig();
    const device = new VirtioNet({ backend: new TapBackend({ name: 'saved%d' }), mac: 'fe:00:00:00:00:07' });
    const above = address(device.backend.name);
    other.device.restore(device.save());
    const result = { kept: address('there') === given, made, above, restored: address(other.tap.name) };
    for (const each of [there, rig, other, device.backend]) each.close();
    return result;
  },

  async names() {
    const attempt = (options, prepare = () => undefined) => {
      let tap;
      try {
        prepare();
        tap = new TapBackend(options);
        return { name: tap.name };
      } catch (error) {
        return { code: error.code, message: error.message };
      } finally {
        tap?.close();
      }
    };
    ip('tuntap', 'add', 'dev', 'many', 'mode', 'tap', 'multi_queue');
    ip('tuntap', 'add', 'dev', 'single', 'mode', 'tap');
    const held = new TapBackend({ name: 'held' });
    const stays = new TapBackend({ name: 'stays', persistent: true });
    stays.close();
    const result = {
      existing: attempt({ name: 'single' }),
      existingMultiQueue: attempt({ name: 'many' }),
      twoQueues: attempt({ name: 'many', queuePairs: 2 }),
      twoQueuesOfOne: attempt({ name: 'single', queuePairs: 2 }),
      inUse: attempt({ name: 'held' }),
      noTap: attempt({ name: 'lo' }),
      bad: attempt({ name: 'a/b' }),
      long: attempt({ name: 'sixteencharacter' }),
      persistent: ip('link').includes('stays'),
      wasKept: ip('link').includes('single'),
    };
    held.close();
    process.setegid(65534);
    process.seteuid(65534);
    result.forbidden = attempt({ name: 'mine' });
    result.forbiddenExisting = attempt({ name: 'single' });
    process.seteuid(0);
    return result;
  },
};

for (const [name, scenario] of Object.entries(scenarios)) {
  try {
    console.log(JSON.stringify({ name, result: await scenario() }));
  } catch (error) {
    console.log(JSON.stringify({ name, failure: String(error.stack) }));
  }
}
