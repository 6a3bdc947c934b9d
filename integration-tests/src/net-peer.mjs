// The host's side of a guest on a tap interface, in a network namespace of its own: run with `unshare -n`. Serves bytes and
// takes bytes by TCP, runs a VM whose guest does both, and answers JSON.
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { text } from 'node:stream/consumers';
import { VmBuilder } from '@vmm/reference-vmm';

const [, , transport, ring, queues, megabytes, pcap, script] = process.argv;
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
const ip = (...args) => execFileSync('ip', args);

ip('tuntap', 'add', 'dev', 'vm0', 'mode', 'tap', 'vnet_hdr', ...(Number(queues) > 1 ? ['multi_queue'] : []));
ip('addr', 'add', '10.9.0.1/24', 'dev', 'vm0');

const data = randomBytes(Number(megabytes) * 1_000_000);
const uploads = [];
/** What the device had counted when the guest began to send. */
let beforeUpload;
const source = createServer((socket) => socket.on('error', () => undefined).end(data)).listen(7001);
const counters = () => vm.devices.find(({ device }) => device.name === 'net').device.statistics;
const sink = createServer((socket) => {
  beforeUpload ??= counters();
  const chunks = [];
  socket.on('error', () => undefined);
  socket.on('data', (bytes) => chunks.push(bytes));
  socket.on('end', () => {
    uploads.push(sha256(Buffer.concat(chunks)));
    socket.end();
  });
}).listen(7002);
await Promise.all([once(source, 'listening'), once(sink, 'listening')]);

const vm = await new VmBuilder()
  .hypervisor('wasm')
  .transport(transport)
  .ring(ring)
  .cpus(Number(queues))
  .networkDevice({
    kind: 'tap',
    interface: 'vm0',
    mac: '02:00:00:00:00:02',
    mtu: 1400,
    queues: Number(queues),
    ip: '10.9.0.2/24',
    ...(pcap === '' ? {} : { pcap }),
  })
  .command('sh', '-c', script)
  .build();
vm.start();
vm.streams.stdin.end();
const [stdout, stderr, stopped] = await Promise.all([
  text(vm.streams.stdout),
  text(vm.streams.stderr),
  vm.stopped,
]);
const statistics = counters();
await vm[Symbol.asyncDispose]();
source.close();
sink.close();
const report = { stdout, stderr, stopped, statistics, beforeUpload, sum: sha256(data), uploads };
// A connection that the guest left open would keep this process.
process.stdout.write(JSON.stringify(report), () => process.exit());
