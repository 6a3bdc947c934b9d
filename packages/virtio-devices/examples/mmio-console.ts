// A console behind the MMIO transport, with both ends in one process: the mock driver is the guest.
import assert from 'node:assert/strict';
import { VirtioConsole } from '@vmm/virtio-devices';
import { MockMmioDriver } from '@vmm/virtio-devices/mock';

const output: string[] = [];
const device = new VirtioConsole({
  size: { columns: 120, rows: 40 },
  console: { onOutput: (bytes) => void output.push(new TextDecoder().decode(bytes)) },
});
const guest = new MockMmioDriver(device).start();
const [receiveq, transmitq] = guest.rings;
assert(receiveq !== undefined && transmitq !== undefined);

transmitq.add([{ readable: 'login: ' }]);
guest.kick(1);
assert.deepEqual(output, ['login: ']);

device.console.write(new TextEncoder().encode('root\n'));
receiveq.add([{ writable: 64 }]);
guest.kick(0);
assert.deepEqual(
  receiveq.collect().map(({ written }) => new TextDecoder().decode(written)),
  ['root\n'],
);
