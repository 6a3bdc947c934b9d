// vsock as a guest program sees it: throughput each way and the time of a byte there and back.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { VmBuilder } from '@vmm/reference-vmm';
import { compile, median, report, serveVsock, vsockPattern } from './support.mjs';

const BYTES = 64 * 1024 * 1024;
const ROUND_TRIPS = 2000;
const ROUNDS = 3;

const program = compile(fileURLToPath(new URL('../../integration-tests/src/vsock-guest.c', import.meta.url)));
const script = Array.from(
  { length: ROUNDS },
  () => `vsock connect stream 5001 send ${BYTES}
vsock connect stream 5002 receive
vsock connect stream 5000 duplex ${BYTES}
vsock connect stream 5000 latency ${ROUND_TRIPS}`,
).join('\n');

async function run(transport) {
  const vm = await new VmBuilder()
    .hypervisor('wasm')
    .transport(transport)
    .vsock(42)
    .guestFiles([{ type: 'file', path: 'bin/vsock', data: program, mode: 0o755 }])
    .command('sh', '-c', script)
    .build();
  serveVsock(vm.vsock, vsockPattern(BYTES));
  vm.start();
  vm.streams.stdin.end();
  let output = '';
  for await (const text of vm.streams.stdout) output += text;
  await vm[Symbol.asyncDispose]();
  return output;
}

function values(output, name, value) {
  const found = [...output.matchAll(new RegExp(`RESULT ${name} .*seconds=([\\d.]+)`, 'g'))];
  if (found.length !== ROUNDS) throw new Error(`${name} ran ${found.length} times of ${ROUNDS}\n${output}`);
  return median(found.map(([, seconds]) => value(Number(seconds))));
}

console.log(
  `vsock: ${BYTES / 2 ** 20} MiB on one connection, software hypervisor, host side in Node.js streams`,
);
for (const transport of ['mmio', 'pci']) {
  const output = await run(transport);
  const rate = (seconds) => BYTES / 1e6 / seconds;
  report(`${transport}: guest to host`, 'MB/s', values(output, 'send', rate));
  report(`${transport}: host to guest`, 'MB/s', values(output, 'receive', rate));
  report(`${transport}: both at once, each`, 'MB/s', values(output, 'duplex', rate));
  report(
    `${transport}: one byte there and back`,
    'us',
    values(output, 'latency', (s) => (s * 1e6) / ROUND_TRIPS),
  );
}
console.log(
  existsSync('/dev/vhost-vsock')
    ? 'QEMU: not measured; its vsock device is one of the host kernel (vhost-vsock)'
    : 'QEMU: no comparison, its vsock device needs /dev/vhost-vsock, which is not here',
);
