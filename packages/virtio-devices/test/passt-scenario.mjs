// passt under a mock driver, in a network namespace of its own: run with `unshare -n`. Answers JSON.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { setInterval } from 'node:timers';
import { VirtioNet } from '@vmm/virtio-devices';
import { startDriver } from '@vmm/virtio-devices/mock';
import { PasstBackend } from '@vmm/virtio-devices/node';

const MAC = [2, 0, 0, 0, 0, 2];
const ip = (...args) => execFileSync('ip', args);
const alive = (pid) => existsSync(`/proc/${pid}`);

async function until(check) {
  for (let i = 0; i < 2000; i++) {
    const result = check();
    if (result) return result;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`nothing came: ${check}`);
}

if (process.argv[2] === 'hold') {
  const passt = await PasstBackend.start({
    addresses: ['10.44.0.2'],
    gateways: ['10.44.0.1'],
    netmask: '24',
  });
  console.log(passt.pid);
  setInterval(() => undefined, 1000);
} else {
  await main();
}

async function main() {
  ip('link', 'set', 'lo', 'up');
  ip('tuntap', 'add', 'dev', 'd0', 'mode', 'tap');
  ip('link', 'set', 'd0', 'up');
  ip('addr', 'add', '10.44.0.9/24', 'dev', 'd0');
  ip('route', 'add', 'default', 'via', '10.44.0.1');
  const passt = await PasstBackend.start({
    addresses: ['10.44.0.2'],
    gateways: ['10.44.0.1'],
    netmask: '24',
    mtu: 9000,
    tcpPorts: [{ host: 8022, guest: 22, address: '127.0.0.1' }],
  });
  const device = new VirtioNet({ backend: passt, mac: Uint8Array.from(MAC) });
  const driver = startDriver(device, { queueSize: 64 });
  for (let i = 0; i < 60; i++) driver.rings[0].add([{ writable: 2048 }]);
  driver.kick(0);
  const got = [];
  const frames = () => {
    for (const { written } of driver.rings[0].collect()) got.push(Buffer.from(written.subarray(12)));
    return got;
  };
  driver.rings[1].add([{ readable: Buffer.alloc(12) }, { readable: discover() }]);
  driver.kick(1);
  const offer = await until(() => frames().find((frame) => isUdpTo(frame, 68)));
  const router = option(offer, 3);
  const mtu = option(offer, 26);

  // A connection to the host's port asks the guest for one.
  const client = connect(8022, '127.0.0.1');
  client.on('error', () => undefined);
  const request = await until(() =>
    frames().find((frame) => isTcpSyn(frame, 22) || isArpFor(frame, '10.44.0.2')),
  );
  client.destroy();
  const uid = Number(/^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${passt.pid}/status`, 'utf8'))[1]);
  const runningBefore = alive(passt.pid);
  await passt.close();
  const runningAfterClose = alive(passt.pid);

  const blocker = createServer().listen(8023, '127.0.0.1');
  await once(blocker, 'listening');
  const refused = await PasstBackend.start({
    addresses: ['10.44.0.2'],
    gateways: ['10.44.0.1'],
    netmask: '24',
    tcpPorts: [{ host: 8023, address: '127.0.0.1' }],
  }).then(
    async (started) => {
      await started.close();
      return { code: 'started' };
    },
    ({ code, message }) => ({ code, message }),
  );
  blocker.close();

  const holder = spawn(process.execPath, [process.argv[1], 'hold'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = await once(holder.stdout, 'data');
  const heldPid = Number(line.toString());
  const held = alive(heldPid);
  holder.kill('SIGKILL');
  await once(holder, 'close');
  await until(() => !alive(heldPid));
  console.log(
    JSON.stringify({
      offered: address(offer, 14 + 20 + 8 + 16),
      router: router && [...router].join('.'),
      mtu: mtu?.readUInt16BE(0),
      forwarded: request !== undefined,
      uid,
      runningBefore: runningBefore && held,
      runningAfterClose,
      runningAfterKill: alive(heldPid),
      refused,
      pids: [passt.pid, heldPid],
    }),
  );
}

/** DHCPDISCOVER (RFC 2131) in an Ethernet frame, without a UDP checksum. */
function discover() {
  const dhcp = Buffer.alloc(300);
  dhcp.set([1, 1, 6, 0, 0x12, 0x34, 0x56, 0x78]);
  dhcp.set(MAC, 28);
  dhcp.set([0x63, 0x82, 0x53, 0x63, 53, 1, 1, 55, 3, 1, 3, 26, 255], 236);
  const frame = Buffer.alloc(42 + dhcp.length);
  frame.fill(0xff, 0, 6);
  frame.set(MAC, 6);
  frame.writeUInt16BE(0x0800, 12);
  frame[14] = 0x45;
  frame.writeUInt16BE(28 + dhcp.length, 16);
  frame[22] = 64;
  frame[23] = 17;
  frame.fill(0xff, 30, 34);
  let sum = 0;
  for (let i = 14; i < 34; i += 2) sum += frame.readUInt16BE(i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  frame.writeUInt16BE(~sum & 0xffff, 24);
  frame.writeUInt16BE(68, 34);
  frame.writeUInt16BE(67, 36);
  frame.writeUInt16BE(8 + dhcp.length, 38);
  dhcp.copy(frame, 42);
  return frame;
}

function isUdpTo(frame, port) {
  return (
    frame.length > 282 &&
    frame.readUInt16BE(12) === 0x0800 &&
    frame[23] === 17 &&
    frame.readUInt16BE(36) === port
  );
}

function isTcpSyn(frame, port) {
  return (
    frame.length >= 54 &&
    frame.readUInt16BE(12) === 0x0800 &&
    frame[23] === 6 &&
    frame.readUInt16BE(36) === port
  );
}

function isArpFor(frame, wanted) {
  return frame.length >= 42 && frame.readUInt16BE(12) === 0x0806 && address(frame, 38) === wanted;
}

function address(frame, at) {
  return [...frame.subarray(at, at + 4)].join('.');
}

/** A DHCP option's value. */
function option(frame, code) {
  for (let at = 42 + 240; at < frame.length && frame[at] !== 255;) {
    if (frame[at] === 0) {
      at++;
      continue;
    }
    const length = frame[at + 1];
    if (frame[at] === code) return frame.subarray(at + 2, at + 2 + length);
    at += 2 + length;
  }
  return undefined;
}
