// Lives of guests, each in a process of its own; prints what came of it:
//
//   node snapshot.mjs first SNAPSHOT DISK kvm|wasm mmio|pci CPUS
//   node snapshot.mjs second SNAPSHOT NAME
//   node snapshot.mjs full DIRECTORY
//
// The first is snapshotted while it works, and then killed by SIGKILL as the process has no time to clean up; the second
// goes on. The last one has a small filesystem, which is full when it is snapshotted for the second time.
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, readdirSync, statfsSync, unlinkSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { VmBuilder, Vmm } from '@vmm/reference-vmm';

/** Counts, and writes each number to its place on the disk; ends when it is told to, with a code of its own. */
const GUEST = `
work() {
  n=0
  while :; do
    n=$((n + 1))
    printf 'record %d\n' $n | dd of=/dev/vda bs=4096 seek=$n conv=notrunc,fsync 2>/dev/null
    read uptime _ </proc/uptime
    echo "count $n $uptime"
  done
}
spin() {
  c=0
  while :; do
    c=$((c + 1))
    [ $((c % 500)) = 0 ] && echo "spin $c"
  done
}
work & worker=$!
spin & spinner=$!
read line
kill $worker $spinner
wait
sync
echo "told $line"
exit 7
`;

const ENDED = ['stopping', 'stopped', 'failed'];

/** Everything that the guest says, and when it has said something. */
class Listener {
  output = '';
  #vm;
  #arrived = withResolvers();

  constructor(vm) {
    this.#vm = vm;
    vm.streams.stdout.on('data', (bytes) => {
      this.output += Buffer.from(bytes).toString('latin1');
      this.#arrived.resolve();
      this.#arrived = withResolvers();
    });
    void vm.stopped.then(() => this.#arrived.resolve());
  }

  /** Resolves when so many lines match. */
  async seen(pattern, times) {
    while ((this.output.match(pattern)?.length ?? 0) < times) {
      if (ENDED.includes(this.#vm.state)) throw new Error(`the VM is ${this.#vm.state}:\n${this.output}`);
      await this.#arrived.promise;
    }
  }

  get lines() {
    return this.output.split('\n').slice(0, -1);
  }
}

function withResolvers() {
  let resolve;
  const promise = new Promise((settle) => (resolve = settle));
  return { promise, resolve };
}

async function report(value) {
  if (!process.stdout.write(`${JSON.stringify(value)}\n`)) await once(process.stdout, 'drain');
}

async function first(snapshot, disk, hypervisor, transport, cpus) {
  const vm = await new VmBuilder()
    .hypervisor(hypervisor)
    .transport(transport)
    .cpus(Number(cpus))
    .memoryMb(128)
    .blockDevice(disk)
    .command('sh', '-c', GUEST)
    .build();
  const guest = new Listener(vm);
  const start = performance.now();
  vm.start();
  await guest.seen(/count \d+/g, 5);
  await guest.seen(/spin \d+/g, 2);
  const before = guest.lines.length;
  await vm.snapshot(snapshot);
  const state = vm.state;
  // It goes on, and a second snapshot takes the place of the first.
  await guest.seen(/count \d+/g, (guest.output.match(/count \d+/g)?.length ?? 0) + 2);
  const again = guest.lines.length;
  await vm.snapshot(snapshot);
  const ran = (performance.now() - start) / 1000;
  await report({ state, lines: guest.lines, before, again, ran });
  process.kill(process.pid, 'SIGKILL');
}

async function second(snapshot, name) {
  const start = performance.now();
  const vm = await Vmm.restore(snapshot, { name, paused: true });
  const restored = performance.now() - start;
  const states = [vm.state];
  const guest = new Listener(vm);
  const resumed = performance.now();
  await vm.resume();
  states.push(vm.state);
  await guest.seen(/count .*\n/g, 1);
  const ran = (performance.now() - resumed) / 1000;
  await guest.seen(/count \d+/g, 5);
  await guest.seen(/spin \d+/g, 2);
  const command = vm.exec(['sh', '-c', 'cat; uname -m >&2; exit 3']);
  command.stdin.end('heard');
  const executed = await command.output();
  vm.streams.stdin.end('end\n');
  const end = await vm.stopped;
  await report({ states, lines: guest.lines, executed, end, ran, restored });
}

async function full(directory) {
  const vm = await new VmBuilder()
    .hypervisor('wasm')
    .memoryMb(96)
    .command('sh', '-c', 'echo ready; while read line; do echo "heard $line"; done')
    .build();
  const guest = new Listener(vm);
  vm.start();
  await guest.seen(/ready/g, 1);
  const snapshot = join(directory, 'snapshot');
  await vm.snapshot(snapshot);
  const manifest = readFileSync(join(snapshot, 'snapshot.json'), 'utf8');
  const filler = join(directory, 'filler');
  fill(filler, 16 << 20);
  const error = await vm.snapshot(snapshot).catch((failure) => failure);
  const state = vm.state;
  const names = readdirSync(directory).sort();
  const kept = readFileSync(join(snapshot, 'snapshot.json'), 'utf8') === manifest;
  vm.streams.stdin.write('one\n');
  await guest.seen(/heard one/g, 1);
  unlinkSync(filler);
  const copy = await Vmm.restore(snapshot, { name: `copy-${process.pid}` });
  const other = new Listener(copy);
  copy.streams.stdin.write('two\n');
  await other.seen(/heard two/g, 1);
  await copy[Symbol.asyncDispose]();
  await vm[Symbol.asyncDispose]();
  await report({ code: error.code, message: error.message, state, names, kept });
}

/** Leaves less room than a snapshot takes. */
function fill(path, room) {
  const { bavail, bsize } = statfsSync(dirname(path));
  const piece = Buffer.alloc(1 << 20, 1);
  const file = openSync(path, 'w');
  for (let left = bavail * bsize - room; left > 0; left -= piece.length) writeSync(file, piece);
  closeSync(file);
}

const [mode, ...args] = process.argv.slice(2);
await { first, second, full }[mode](...args);
