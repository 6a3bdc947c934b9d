// Process start to the first line from user space, and guest instructions per second meanwhile.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { VmBuilder } from '@vmm/reference-vmm';
import {
  CMDLINE,
  FIRST_LINE,
  guestWith,
  inTurn,
  median,
  ourRun,
  peerRun,
  report,
  timed,
} from './support.mjs';

const guest = await guestWith(`/bin/busybox echo ${FIRST_LINE}\n/bin/busybox poweroff -f`);
console.log(`boot: Debian kernel ${guest.version}, 256 MiB, one vCPU, command line "${CMDLINE}"`);

const { ours, theirs } = await inTurn(
  5,
  () => timed(...ourRun(guest), FIRST_LINE),
  () => timed(...peerRun(guest), FIRST_LINE),
);
const first = (runs) => median(runs.map(({ toMarker }) => toMarker)) / 1000;
report('process start to first userspace line', 's', first(ours), first(theirs), 'at most 3 s');

const runs = [];
for (let round = 0; round < 5; round++) {
  const vm = await new VmBuilder()
    .hypervisor('wasm')
    .kernel(guest.kernel)
    .initrd(guest.initrd)
    .cmdline(CMDLINE)
    .memoryMb(256)
    .build();
  const started = performance.now();
  vm.start();
  let text = '';
  for await (const chunk of vm.console) {
    text += chunk;
    if (text.includes(FIRST_LINE)) break;
  }
  const seconds = (performance.now() - started) / 1000;
  await vm.stopped;
  runs.push({ seconds, instructions: vm.instructionCount() });
  if (round === 0) reportMemory(vm);
  await vm[Symbol.asyncDispose]();
}
report('start() to first userspace line', 's', median(runs.map(({ seconds }) => seconds)));
report('guest instructions of that boot', 'M', median(runs.map(({ instructions }) => instructions)) / 1e6);
report(
  'guest instructions per second',
  'MIPS',
  median(runs.map(({ seconds, instructions }) => instructions / seconds)) / 1e6,
  undefined,
  'at least 120',
);

// With drivers, and what they need of the transport.
const transports = { mmio: [], pci: [] };
for (let round = 0; round < 5; round++) {
  for (const [transport, figures] of Object.entries(transports)) figures.push(await bootToCommand(transport));
}
const inMedian = (transport, figure) => median(transports[transport].map((each) => each[figure]));
for (const transport of Object.keys(transports)) {
  report(`start() to the output of a command, virtio-${transport}`, 's', inMedian(transport, 'seconds'));
  report(`exits until then, virtio-${transport}`, '', inMedian(transport, 'exits'));
}

/** Boots the built-in guest, with console and entropy device, until the command that it runs says something. */
async function bootToCommand(transport) {
  const builder = new VmBuilder().hypervisor('wasm').transport(transport);
  const vm = await builder.command('echo', FIRST_LINE).build();
  const started = performance.now();
  vm.start();
  await once(vm.streams.stdout, 'data');
  const figures = { seconds: (performance.now() - started) / 1000, exits: vm.exitStatistics().total };
  await vm[Symbol.asyncDispose]();
  return figures;
}

/** Resident memory of this process that is not guest memory which the guest touched. */
function reportMemory(vm) {
  const status = readFileSync('/proc/self/status', 'utf8');
  const resident = Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)[1]) / 1024;
  let touched = 0;
  for (const { bytes } of vm.memory.regions) {
    const words = new BigUint64Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 8);
    // A page that reads as zeroes may have been touched too: this counts too little guest memory, never too much.
    for (let page = 0; page < words.length; page += 512) {
      if (words.subarray(page, page + 512).some((word) => word !== 0n)) touched += 4096;
    }
  }
  report(
    'RSS beyond guest memory touched',
    'MiB',
    resident - touched / (1024 * 1024),
    undefined,
    'under 120 MiB',
  );
}
